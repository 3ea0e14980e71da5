"""Places that several machines reach: a shared folder, or a prefix in a bucket (``s3://``, ``gs://``)."""

from dce_ray.places.address import is_bucket, refuse_credentials
from dce_ray.places.place import Place

__all__ = ["Place", "is_bucket", "refuse_credentials"]
