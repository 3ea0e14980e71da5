"""Ray for the time of a search, and how much of it one run gets."""
