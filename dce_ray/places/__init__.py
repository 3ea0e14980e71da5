"""Places that several machines reach: a shared folder, or a prefix in a bucket (``s3://``, ``gs://``)."""

from dce_ray.places.place import Place, is_bucket

__all__ = ["Place", "is_bucket"]
