"""Locks of the operating system: who holds one loses it when it dies."""

from __future__ import annotations

import fcntl
import time

from dce_ray.errors import TrackingError


def wait_for_lock(descriptor: int, patience_s: float, refusal: str) -> None:
    """Lock an open file, waiting for at most ``patience_s`` seconds.

    Raises:
        TrackingError: with the message ``refusal`` when another process keeps it for longer.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as fault:
            if time.monotonic() >= deadline:
                raise TrackingError(refusal) from fault
            time.sleep(0.1)
