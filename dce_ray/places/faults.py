"""What goes wrong at a place: what may pass is waited for, what will not is told with its remedy.

pyarrow raises ``OSError`` for everything, with the service's code in its text. Credentials are never part of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from dce_ray.errors import StorageAwayError, StorageError

PATIENCE_S = 60.0
"""For so long a place that does not answer is asked again before it counts as a fault."""
LONGEST_PAUSE_S = 5.0

KEY = (
    "the key is not accepted: give the right one in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and "
    "AWS_SESSION_TOKEN) or ~/.aws/credentials, for gs:// in GOOGLE_APPLICATION_CREDENTIALS, on every node"
)
NO_BUCKET = "the bucket does not exist: make it, or correct the address"
LASTING = (
    (
        ("INVALID_ACCESS_KEY_ID", "INVALID_CLIENT_TOKEN_ID", "SIGNATURE_DOES_NOT_MATCH", "UNRECOGNIZED_CLIENT"),
        KEY,
    ),
    (("EXPIRED_TOKEN", "ExpiredToken", "UNAUTHENTICATED", "INVALID_SIGNATURE"), KEY),
    (
        ("HTTP status 400", "HTTP status 401"),
        f"the request is refused without a reason, as a key that has expired is; {KEY}",
    ),
    (("NO_SUCH_BUCKET", "NoSuchBucket", "bucket does not exist", "Bucket not found"), NO_BUCKET),
    (
        ("ACCESS_DENIED", "AccessDenied", "PERMISSION_DENIED", "HTTP status code 403", "HTTP status 403"),
        f"access is denied: the key needs the rights to list, read, write and delete there; or {KEY}",
    ),
    (("Permission denied", "Read-only file system"), "it may not be written to: mend its rights, or choose another"),
    (("No space left", "Disk quota exceeded"), "the disk is full: free space there, or choose another"),
    (("Not a directory", "File exists"), "a file is in the way: remove it, or choose another"),
)
"""Words of faults that no waiting mends, each with its remedy."""
UNREACHABLE = "it does not answer: see that AWS_ENDPOINT_URL (or endpoint_override=) is right, and the network up"

log = logging.getLogger(__name__)
T = TypeVar("T")


def patiently(address: str, action: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Do ``action``, again and again while the fault may pass: a service that is overloaded, a network that is gone.

    Args:
        address: of the place, for the message.
        action: may be done twice.
        patience_s: seconds until a fault that may pass counts.

    Raises:
        FileNotFoundError: as ``action`` does.
        StorageError: with the address and the remedy; ``StorageAwayError`` where it may pass all the same.
    """
    until, pause = time.monotonic() + patience_s, 0.25
    while True:
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError as fault:
            remedy = lasting(fault)
            if remedy:
                raise StorageError(f"{address}: {remedy} ({_told(fault)})", address) from fault
            if time.monotonic() + pause > until:
                raise StorageAwayError(f"{address}: {UNREACHABLE} ({_told(fault)})", address) from fault
            log.warning("%s: %s; asked again in %.1f s", address, _told(fault), pause)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def lasting(fault: OSError) -> str | None:
    """The remedy of a fault that no waiting mends; None where it may pass."""
    text = str(fault)
    return next((remedy for words, remedy in LASTING if any(word in text for word in words)), None)


def _told(fault: OSError) -> str:
    text = " ".join(str(fault).split())
    return text.partition(" (Request ID")[0][:300]
