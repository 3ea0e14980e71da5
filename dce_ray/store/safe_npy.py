"""Reading ``.npy`` files of strangers: object arrays are pickles, and a pickle can run anything.

The released layout keeps lists and ragged arrays as pickles. This reader knows the few names that such files need
(NumPy's array, dtype and scalar constructors and the text codec of old files), replaces each by a stand-in of its own
that only ever builds plain data, and refuses everything else by name before it is looked up.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import ImportFault

PLAIN_DTYPE = re.compile(r"[biufSU]\d+|O\d*")
HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
BUFFER_BYTES = 1 << 20


class Refused(pickle.UnpicklingError):
    """A pickle asks for something that data never needs."""


@dataclass(frozen=True)
class SourceFile:
    """What one ``.npy`` file holds and how to know it again."""

    path: Path
    array: NDArray[Any]
    """Numbers or text, or an object array of None, numbers, text, lists, tuples and arrays."""
    size: int
    """Bytes."""
    sha256: str


class _Dtype:
    """Stand-in for a dtype: takes only the byte order from its state, so that no flag of a stranger reaches NumPy."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        self.code = _text(code)
        self.order = "="
        if not PLAIN_DTYPE.fullmatch(self.code):
            raise Refused(f"holds data of type {self.code!r}; expected numbers, text or objects")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, subarray, names, fields, *_ = state
        if (subarray, names, fields) != (None, None, None):
            raise Refused("holds a structured array; expected a plain one")
        self.order = _text(order)

    def plain(self) -> np.dtype[Any]:
        """The NumPy dtype; never an object dtype."""
        dtype = np.dtype(self.code)
        return dtype.newbyteorder(">") if self.order == ">" else dtype


class _Array:
    """Stand-in for an array while the pickle is read; ``plain`` makes the array."""

    __slots__ = ("data", "dtype", "fortran", "shape")

    shape: tuple[int, ...]
    dtype: _Dtype
    fortran: bool
    data: list[Any] | bytes

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state
        if not isinstance(self.dtype, _Dtype) or not isinstance(self.data, list | bytes):
            raise Refused("holds an array whose state is not an array's")

    def plain(self) -> NDArray[Any]:
        order: Literal["C", "F"] = "F" if self.fortran else "C"
        if not self.dtype.code.startswith("O"):
            if not isinstance(self.data, bytes):
                raise Refused("holds an array of numbers without its bytes")
            # The bytes are not copied: a feature file is held in memory once, not twice.
            return np.frombuffer(self.data, self.dtype.plain()).reshape(self.shape, order=order)
        if not isinstance(self.data, list):
            raise Refused("holds an array of objects that is not a list")
        array = np.empty(len(self.data), dtype=object)
        for row, value in enumerate(self.data):
            array[row] = _plain(value)
        return array.reshape(self.shape, order=order)


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _reconstruct(_class: object, *_: object) -> _Array:
    return _Array()


def _scalar(dtype: object, data: object) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.code.startswith("O") or not isinstance(data, bytes):
        raise Refused("holds a scalar whose state is not a scalar's")
    return np.frombuffer(data, dtype.plain(), count=1)[0]


def _encode(text: object, codec: object = "latin1") -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1", b"latin1"):
        raise Refused(f"asks for the codec {codec!r}; expected latin1")
    return text.encode("latin1")


class _Permitted:
    """A constructor that a pickle may call, and do nothing else with."""

    __slots__ = ("construct",)

    def __init__(self, construct: Callable[..., Any] | None) -> None:
        self.construct = construct

    def __call__(self, *arguments: Any) -> Any:
        if self.construct is None:
            raise Refused("builds an array other than through its constructor")
        return self.construct(*arguments)

    def __setstate__(self, state: object) -> None:
        raise Refused("changes a constructor")


_NUMPY_CORE = ("numpy.core.multiarray", "numpy._core.multiarray")
_PERMITTED = {
    ("numpy", "ndarray"): _Permitted(None),
    ("numpy", "dtype"): _Permitted(_Dtype),
    ("_codecs", "encode"): _Permitted(_encode),
    **{(module, "_reconstruct"): _Permitted(_reconstruct) for module in _NUMPY_CORE},
    **{(module, "scalar"): _Permitted(_scalar) for module in _NUMPY_CORE},
}


class _PlainUnpickler(pickle.Unpickler):
    """Admits only what arrays, lists and text need; never imports, never calls what the file names."""

    def find_class(self, module: str, name: str) -> Any:
        permitted = _PERMITTED.get((module, name))
        if permitted is None:
            raise Refused(f"asks for {module}.{name}, which no data set needs")
        return permitted

    def persistent_load(self, pid: Any) -> Any:
        raise Refused(f"asks for the outside object {pid!r}, which no data set needs")


def _plain(value: Any) -> Any:
    """``value`` with every stand-in replaced; refuses whatever is not plain data."""
    if isinstance(value, _Array):
        return value.plain()
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        return value
    raise Refused(f"holds a {type(value).__name__.lstrip('_')}; expected arrays, lists, text and numbers")


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


def _read_array(file: _Tally) -> NDArray[Any]:
    version = np.lib.format.read_magic(file)
    if version not in HEADER_READERS:
        raise Refused(f"is of .npy version {version}; expected 1.0 or 2.0")
    shape, fortran, dtype = HEADER_READERS[version](file)
    if dtype == np.dtype(object):
        # 'bytes' reads Python 2 text without decoding a gigabyte of features into it first.
        array = _plain(_PlainUnpickler(file, encoding="bytes").load())
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
            array = _read_array(file)
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
