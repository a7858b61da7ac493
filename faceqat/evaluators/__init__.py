"""Evaluators: each takes a predict function and yields (name, value)."""
