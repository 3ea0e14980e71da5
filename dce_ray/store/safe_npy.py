"""Reading ``.npy`` files of strangers: object arrays are pickles, and a pickle can run anything.

The released layout keeps lists and ragged arrays as pickles; :mod:`dce_ray.store.plain_pickle` reads them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import ImportFault
from dce_ray.store.plain_pickle import Refused, load_plain

HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """What one ``.npy`` file holds and how to know it again."""

    path: Path
    array: NDArray[Any]
    """Numbers or text, or an object array of None, numbers, text, lists, tuples and arrays."""
    size: int
    """Bytes."""
    sha256: str


class _Tally:
    """A file that counts and hashes what is read, for provenance and progress without a second pass."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance
        self._sha256 = hashlib.sha256()
        self.size = 0

    def _seen(self, data: Any) -> None:
        self._sha256.update(data)
        self.size += len(data)
        self._advance(self.size)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._seen(data)
        return data

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self._seen(memoryview(buffer)[:count])
        return int(count)

    def readline(self) -> bytes:
        data = self._file.readline()
        self._seen(data)
        return data

    def finish(self) -> str:
        """Hash of the whole file, what lies behind the data included."""
        while self.read(BUFFER_BYTES):
            pass
        return self._sha256.hexdigest()


def _read_array(file: _Tally, file_size: int) -> NDArray[Any]:
    version = np.lib.format.read_magic(file)
    if version not in HEADER_READERS:
        raise Refused(f"is of .npy version {version}; expected 1.0 or 2.0")
    shape, fortran, dtype = HEADER_READERS[version](file)
    if dtype == np.dtype(object):
        array = load_plain(file, file_size)
        if not isinstance(array, np.ndarray) or array.shape != tuple(shape):
            raise Refused(f"announces an array of shape {shape} and holds another thing")
        return array
    if dtype.hasobject:
        raise Refused("holds a structured array of objects; expected a plain one")
    count = int(np.prod(shape, dtype=object))
    data = file.read(count * dtype.itemsize)
    return np.frombuffer(data, dtype, count).reshape(shape, order="F" if fortran else "C")


def read_npy(path: Path, advance: Callable[[int], None] = lambda size: None) -> SourceFile:
    """Read a ``.npy`` file of numbers, text or plain objects; nothing in it is run.

    Peak memory is the size of the file for arrays that Python 3 or Python 2 wrote with protocol 2 or newer.

    Args:
        path: the file.
        advance: told the number of bytes read so far.

    Raises:
        ImportFault: the file is missing, damaged, or asks for anything but arrays, lists, text and numbers.
    """
    try:
        with path.open("rb", buffering=BUFFER_BYTES) as opened:
            file = _Tally(opened, advance)
            array = _read_array(file, os.fstat(opened.fileno()).st_size)
            return SourceFile(path, array, file.size, file.finish())
    except Refused as fault:
        raise ImportFault(
            f"{path}: {fault}; refused, and nothing in the file was run. Take the file from its publisher"
        ) from fault
    except OSError as fault:
        raise ImportFault(f"{path}: cannot be read ({fault.strerror}); check the path and its permissions") from fault
    except Exception as fault:  # a damaged pickle can raise anything
        raise ImportFault(
            f"{path}: is not a readable .npy file ({type(fault).__name__}: {fault}); download it again"
        ) from fault
