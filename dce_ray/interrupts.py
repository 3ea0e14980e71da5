"""Ctrl-C and SIGTERM: the first one ends the work tidily, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STANDARD_ERROR = 2
STOPPING = b"\nstopping: what is done is kept, resume= goes on with it; press Ctrl-C again to end at once\n"


@contextmanager
def stop_on_signal(request: Callable[[], bool]) -> Iterator[None]:
    """Inside the block, turn SIGINT and SIGTERM into requests to stop, and say so; outside, they are what they were.

    Signals reach a process's main thread only: in any other thread the block changes nothing.

    Args:
        request: asks the work to stop; returns False where it was stopping already, and then the block is left by
            ``KeyboardInterrupt``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if not request():
            raise KeyboardInterrupt
        os.write(STANDARD_ERROR, STOPPING)  # a print that was interrupted may not be entered again

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
