"""Figures, tables and one page for the reader of a run."""
