"""Reading pickles of strangers: plain data comes out, or nothing.

The few names that arrays need (NumPy's array, dtype and scalar constructors and the text codec of old files) are
replaced by stand-ins that only ever build plain data; everything else is refused by name before it is looked up.

A pickle of a kilobyte can also name a thing without end: lists that hold one list twice, which holds one twice, and so
on. Nothing here walks such a thing: a shared part is built once, and what the whole would be without sharing is counted
against the size of the file.
"""

from __future__ import annotations

import pickle
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

PLAIN_DTYPE = re.compile(r"[biufSU]\d+|O\d*")
DEEPEST = 50
"""Lists within lists; the released layout has three."""
OBJECTS_PER_BYTE, BYTES_PER_BYTE = 10, 100
"""As many objects, and bytes in arrays and text, a file may describe per byte of its own, shared ones as often as they
are named. Without sharing an object takes a byte at least; class names are shared, a few dozen bytes for two."""
BYTES_PER_CALL_BYTE = 10
"""As many bytes all calls of :data:`COPYING` may give per byte of the file: each copies what it is given."""
COPYING = ("encode", "scalar")
TOO_MUCH = "describes far more data than its size can hold, by naming the same parts again and again"
DICTIONARIES = (pickle.EMPTY_DICT, pickle.DICT, pickle.SETITEM, pickle.SETITEMS)
SETS = (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)


class Refused(pickle.UnpicklingError):
    """A pickle asks for something that data never needs."""


class _Dtype:
    """Stand-in for a dtype: takes only the byte order from its state, so that no flag of a stranger reaches NumPy."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        self.code = _text(code)
        self.order = "="
        if not PLAIN_DTYPE.fullmatch(self.code):
            raise Refused(f"holds data of type {reprlib.repr(self.code)}; expected numbers, text or objects")

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

    def plain(self, builder: _Builder, depth: int) -> NDArray[Any]:
        """The array; its objects are made by ``builder``."""
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
            array[row] = builder.plain(value, depth)
        return array.reshape(self.shape, order=order)


def _text(value: object) -> str:
    if not isinstance(value, str | bytes):
        raise Refused(f"holds a {type(value).__name__} where a name belongs")
    return value.decode("latin1") if isinstance(value, bytes) else value


def _reconstruct(_class: object, *_: object) -> _Array:
    return _Array()


def _scalar(dtype: object, data: object) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.code.startswith("O") or not isinstance(data, bytes):
        raise Refused("holds a scalar whose state is not a scalar's")
    return np.frombuffer(data, dtype.plain(), count=1)[0]


def _encode(text: object, codec: object = "latin1") -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1", b"latin1"):
        raise Refused(f"asks for the codec {reprlib.repr(codec)}; expected latin1")
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


def _refuse_kind(_unpickler: object, kind: str) -> None:
    raise Refused(f"holds a {kind}; expected arrays, lists, text and numbers")


class _PlainUnpickler(pickle._Unpickler):
    """Admits only what arrays, lists and text need; never imports, never calls what the file names.

    It is Python's own unpickler written in Python: the one in C hashes the keys of dictionaries and sets, which takes
    without end for tuples that hold one tuple twice, and sizes its memory by a number in the file.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **pickle._Unpickler.dispatch,
        **{
            code[0]: partial(_refuse_kind, kind=kind)
            for kind, codes in {"dict": DICTIONARIES, "set": SETS}.items()
            for code in codes
        },
    }

    def __init__(self, file: Any, file_size: int) -> None:
        # 'bytes' reads Python 2 text without decoding a gigabyte of features into it first.
        super().__init__(file, encoding="bytes")
        self.bytes_left = BYTES_PER_CALL_BYTE * file_size

    def find_class(self, module: str, name: str) -> Any:
        permitted = _PERMITTED.get((module, name))
        if permitted is None:
            raise Refused(f"asks for {module}.{name}, which no data set needs")
        return _Permitted(partial(self._counted, permitted)) if name in COPYING else permitted

    def _counted(self, copying: _Permitted, *arguments: Any) -> Any:
        """What a call that copies bytes gives, as long as all of them give no more than the file can hold."""
        made = copying(*arguments)
        self.bytes_left -= len(made) if isinstance(made, bytes) else made.nbytes
        if self.bytes_left < 0:
            raise Refused(TOO_MUCH)
        return made

    def persistent_load(self, pid: Any) -> Any:
        raise Refused(f"asks for the outside object {reprlib.repr(pid)}, which no data set needs")


@dataclass
class _Built:
    """A list, tuple or array that was built, and what it would be if nothing in it were shared."""

    value: Any
    objects: int
    size: int
    """Bytes of its arrays and its text."""


class _Builder:
    """Replaces every stand-in by plain data; refuses whatever is none, and more of it than the file can hold.

    Args:
        file_size: bytes of the file.
    """

    def __init__(self, file_size: int) -> None:
        self.most_objects, self.most_bytes = OBJECTS_PER_BYTE * file_size, BYTES_PER_BYTE * file_size
        self.objects = self.size = 0
        self._known: dict[int, _Built | None] = {}
        """By the identity of what the pickle held, which lives as long as this; None while it is being built."""

    def plain(self, value: Any, depth: int = 0) -> Any:
        """``value`` as arrays, lists, text and numbers; ``depth`` lists are around it."""
        if isinstance(value, _Array | list | tuple):
            return self._container(value, depth)
        if value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
            self._count(1, len(value) if isinstance(value, str | bytes) else 0)
            return value
        raise Refused(f"holds a {type(value).__name__.lstrip('_')}; expected arrays, lists, text and numbers")

    def _container(self, value: _Array | list[Any] | tuple[Any, ...], depth: int) -> Any:
        """A container, built when it is met first and counted whenever it is."""
        if depth > DEEPEST:
            raise Refused(f"holds lists within lists, more than {DEEPEST} deep")
        if id(value) in self._known:
            known = self._known[id(value)]
            if known is None:
                raise Refused("holds a list that holds itself")
            self._count(known.objects, known.size)
            return known.value
        self._known[id(value)] = None
        objects, size = self.objects, self.size
        if isinstance(value, _Array):
            built: Any = value.plain(self, depth + 1)
            self._count(1, 0 if built.dtype.hasobject else built.nbytes)
        else:
            built = type(value)(self.plain(item, depth + 1) for item in value)
            self._count(1, 0)
        self._known[id(value)] = _Built(built, self.objects - objects, self.size - size)
        return built

    def _count(self, objects: int, size: int) -> None:
        self.objects += objects
        self.size += size
        if self.objects > self.most_objects or self.size > self.most_bytes:
            raise Refused(TOO_MUCH)


def load_plain(file: Any, file_size: int) -> Any:
    """What the pickle at a file's place holds: None, numbers, text, lists, tuples and arrays of them.

    Args:
        file: with ``read``, ``readinto`` and ``readline``.
        file_size: its bytes.

    Raises:
        Refused: it asks for anything else, or for more than the file can hold. A damaged pickle can raise anything.
    """
    return _Builder(file_size).plain(_PlainUnpickler(file, file_size).load())
