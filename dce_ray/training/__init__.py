"""Parts of ``dce_ray.train``: readings, generators, and what the command line shows and writes."""
