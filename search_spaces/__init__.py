"""What may vary: one file per baseline, one section per data set; the package ``dce_ray.search_spaces``."""
