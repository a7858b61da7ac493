"""What a run leaves behind for its reader: figures and one table."""
