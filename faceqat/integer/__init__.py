"""Integer programs: what they are, how they run, how they are recorded."""
