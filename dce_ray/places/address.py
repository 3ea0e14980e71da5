"""Addresses of places, read without asking anything of them: which are buckets, and which hold credentials."""

from __future__ import annotations

from dce_ray.errors import StorageError

BUCKETS = ("s3", "gs", "gcs")
"""Schemes of object stores."""
ANONYMOUS = "anonymous"
"""What ``gs://anonymous@bucket`` has before its ``@``: no name, but that none is given."""
S3_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def is_bucket(address: object) -> bool:
    """Whether an address names an object store and no folder.

    >>> is_bucket("s3://bucket/stores/thumos14"), is_bucket("/mnt/nfs"), is_bucket("thumos14")
    (True, False, False)
    """
    return str(address).partition("://")[0] in BUCKETS and "://" in str(address)


def refuse_credentials(address: str, key: str) -> None:
    """Refuse an address with credentials in it: it is kept with the results, and sent to every machine.

    Secrets may hold ``/``, ``?`` and ``@``, so that all before the last ``@`` counts as theirs where there is a colon
    in what would be the bucket; nothing of it is ever shown.

    Args:
        address: of an object store.
        key: whose value it is, for the message.

    Raises:
        StorageError: with the remedy.
    """
    scheme, _, rest = address.partition("://")
    bucket = rest.replace("?", "/").replace("#", "/").partition("/")[0]
    if "@" not in bucket and ":" not in bucket:
        return
    if scheme != "s3" and bucket.count("@") == 1 and bucket.startswith(f"{ANONYMOUS}@") and ":" not in bucket:
        return
    names = S3_KEYS if scheme == "s3" else "GOOGLE_APPLICATION_CREDENTIALS"
    if "@" in rest:
        bare = f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
        raise StorageError(
            f"{key}={bare}: holds credentials, which would be kept with the results; give them in {names}, and the "
            f"address without them"
        )
    raise StorageError(
        f"{key}={scheme}://...: has a colon where the bucket's name stands, as credentials have; write "
        f"{scheme}://bucket/prefix, and give credentials in {names}, the server in AWS_ENDPOINT_URL"
    )
