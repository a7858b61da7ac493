"""What a run leaves behind for its reader: figures, one table, one page."""
