"""Files of this machine that are sent to a place or fetched from it: their faults are not those of the place.

Neither is waited for as a place is: a disk that is full does not pass by asking a bucket again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from dce_ray.errors import OutputError
from dce_ray.files import not_written


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Callable[[int], bytes]]:
    """A file that is read piece by piece: what gives the next, of so many bytes at most.

    Raises:
        FileNotFoundError: there is no such file.
        OutputError: it cannot be read.
    """
    with _told(path, _not_read):
        file = path.open("rb")
    with file:

        def piece(size: int) -> bytes:
            with _told(path, _not_read):
                return file.read(size)

        yield piece


@contextlib.contextmanager
def appending(path: Path) -> Iterator[tuple[int, Callable[[bytes], None]]]:
    """A file that is written behind what it holds: how many bytes that are, and what writes the next.

    Raises:
        OutputError: it cannot be written.
    """
    with _told(path, not_written, absent=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)  # what is written is on the disk, or refused, at once
    with file:

        def write(piece: bytes) -> None:
            left = memoryview(piece)
            with _told(path, not_written, absent=True):
                while left:
                    left = left[file.write(left) :]

        yield file.tell(), write


@contextlib.contextmanager
def _told(path: Path, words: Callable[[Path, OSError], OutputError], *, absent: bool = False) -> Iterator[None]:
    """Inside, faults are those of ``path``; that it does not exist is one only where ``absent``."""
    try:
        yield
    except OSError as fault:
        if isinstance(fault, FileNotFoundError) and not absent:
            raise
        raise words(path, fault) from fault


def _not_read(path: Path, fault: OSError) -> OutputError:
    return OutputError(f"{path} cannot be read ({fault.strerror or fault}); mend its disk or its rights, then go on")
