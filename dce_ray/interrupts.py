"""Ctrl-C and SIGTERM: the first one ends the work tidily, the second at once; at once too while importing."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import FrameType

STANDARD_ERROR = 2
INTERRUPTED = 130
"""Exit status of what Ctrl-C or SIGTERM has ended."""
STOPPING = (
    b"\nstopping: what is done is kept, resume= goes on with it; press Ctrl-C again to end without waiting for runs, "
    b"pictures and MLflow\n"
)


UNREAD_STOPPING = (
    b"\nstopping: nobody reads the output any more; what is done is kept, and resume=<its folder> goes on with it "
    b"(an ablation or a confirmation anew: the same command)\n"
)
_unread = threading.Event()
"""Set once what read the output was found to be gone."""
_asked = threading.Event()
"""Set once the last work that could be stopped was asked to."""


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

    at_once = False
    _asked.clear()

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal at_once
        if not request():
            at_once = True
            raise KeyboardInterrupt
        _asked.set()
        _tell(STOPPING)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Exception as fault:
        if at_once:  # what was in the middle of something made another fault of it
            raise KeyboardInterrupt from fault
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_by_sigterm_too() -> None:
    """Let SIGTERM, which schedulers and ``cluster stop`` send before they kill, be to this process what Ctrl-C is."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def sigterm_kept() -> Iterator[None]:
    """Behind the block SIGTERM is what it was before.

    Ray takes it for its own when it starts, and leaves it to the kernel when it ends: that kills at once, while Python
    believes a handler to be there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # what Ray's own handler makes of it
        raise KeyboardInterrupt from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def nobody_reads() -> bool:
    """Whether what reads our output has gone, as ``head`` goes; all further output is thrown away then."""
    asked = select.poll()
    asked.register(sys.stdout.fileno(), 0)
    if not any(events & (select.POLLERR | select.POLLHUP) for _, events in asked.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _unread.set()
    return True


def tell_unread() -> None:
    """Say on standard error that the work stops since nobody reads."""
    _tell(UNREAD_STOPPING)


def _tell(text: bytes) -> None:
    """Write on standard error, past what may not be entered again where a signal has interrupted it.

    Where nobody reads that either (``2>&1 | head``, or a ``tee`` that Ctrl-C has ended), it is thrown away, now and
    later: the work has to stop tidily all the same.
    """
    try:
        os.write(STANDARD_ERROR, text)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_ERROR)


def was_unread() -> bool:
    """Whether :func:`nobody_reads` has found so."""
    return _unread.is_set()


def nothing_asked() -> None:
    """New work begins: that earlier work was asked to stop says nothing of it."""
    _asked.clear()


def ends_at_once(fault: BaseException | None) -> bool:
    """Whether a fault is the second Ctrl-C, also where the first had ended the work already: nothing is waited for then
    that can come later, as pictures can, and what MLflow lacks."""
    return isinstance(fault, KeyboardInterrupt) and _asked.is_set()


def was_interrupted(fault: BaseException | None) -> bool:
    """Whether a fault is Ctrl-C, or was made of one (``raise ... from``).

    What fails while things are put in order after Ctrl-C is a fault of its own, and hidden by nothing.
    """
    while fault is not None:
        if isinstance(fault, KeyboardInterrupt):
            return True
        fault = fault.__cause__
    return False


def came_after_one(fault: BaseException | None) -> bool:
    """Whether Ctrl-C had ended the work when a fault was met."""
    while fault is not None:
        if isinstance(fault, KeyboardInterrupt):
            return True
        fault = fault.__cause__ or fault.__context__
    return False


def broken_line(fault: BaseException) -> str:
    """What a second Ctrl-C met in the middle of something, with its place; empty where it met nothing."""
    broken = fault.__cause__
    if not isinstance(fault, KeyboardInterrupt) or broken is None:
        return ""
    frames = traceback.extract_tb(broken.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f" in the middle of something: {''.join(traceback.format_exception_only(broken)).strip()}{place}"


def end_quietly_while_importing() -> None:
    """Where a command of this package is being started, let Ctrl-C end it with one line until :func:`imported`.

    What is being imported meets no ``KeyboardInterrupt``, which some libraries would make another fault of.
    """
    ours = any(option == "-m" and name.split(".")[0] == "dce_ray" for option, name in pairwise(sys.orig_argv))
    starting = sys.argv[:1] == ["-m"]  # as long as Python looks for the module
    if ours and starting and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def imported() -> None:
    """The command begins: from here on Ctrl-C is its own."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(STANDARD_ERROR, b"interrupted\n")
    os._exit(INTERRUPTED)  # nothing was begun that would have to be ended
