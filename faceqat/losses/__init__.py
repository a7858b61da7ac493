"""Training losses; `objective` makes the one that the config names."""
