"""What may vary: one file per baseline, one section per data set."""
