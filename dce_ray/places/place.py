"""A folder or a prefix in a bucket, written in whole objects: whoever reads sees the old content or the new one.

Object stores cannot append, rename or lock, so nothing here does: small files are replaced, large ones are read on from
where a download was cut off.
"""

from __future__ import annotations

import _thread
import os
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import pyarrow.fs

from dce_ray.errors import StorageAwayError, StorageError
from dce_ray.places.address import is_bucket, refuse_credentials
from dce_ray.places.faults import NO_BUCKET, lasting, patiently
from dce_ray.places.local import appending, reading
from dce_ray.words import masked

FINE, AWAY, REFUSED = "fine", "away", "refused"
"""See :meth:`Place.state`."""
CHUNK = 8 * 2**20
"""Bytes that are sent or fetched at once."""


@dataclass(frozen=True, slots=True)
class Place:
    """Files below an address."""

    address: str
    """``s3://bucket/prefix``, ``gs://bucket/prefix`` with pyarrow's options behind a question mark, or a folder."""
    _filesystem: Any = field(compare=False, repr=False)
    _root: str = field(compare=False, repr=False)

    @classmethod
    def at(cls, address: str | Path, key: str = "storage") -> Place:
        """The place of an address; nothing is asked of it yet.

        Args:
            address: as :attr:`address`.
            key: whose value it is, for the message.

        Raises:
            StorageError: it is no address that can be read, or holds credentials.
        """
        text = str(address)
        if "://" not in text:
            folder = Path(text).expanduser().resolve()
            return cls(str(folder), pyarrow.fs.LocalFileSystem(), str(folder))
        if not is_bucket(text):
            raise StorageError(f"{key}={masked(text)}: must be a folder, s3://bucket/prefix or gs://bucket/prefix")
        refuse_credentials(text, key)
        parts = urllib.parse.urlsplit(text)
        path = parts.path.rstrip("/")
        filesystem, root = _opened(parts.scheme, parts.netloc, parts.query, key)
        return cls(urllib.parse.urlunsplit(parts._replace(path=path)), filesystem, root + path)

    def __str__(self) -> str:
        return self.address

    def below(self, *names: str) -> Place:
        """A place inside this one."""
        inner = "/".join(names)
        if is_bucket(self.address):
            parts = urllib.parse.urlsplit(self.address)
            address = urllib.parse.urlunsplit(parts._replace(path=f"{parts.path}/{inner}"))
        else:
            address = f"{self.address}/{inner}"
        return Place(address, self._filesystem, f"{self._root}/{inner}")

    def above(self, levels: int) -> Place:
        """The place so many levels up."""
        root = "/".join(self._root.split("/")[:-levels])
        if is_bucket(self.address):
            parts = urllib.parse.urlsplit(self.address)
            path = "/".join(parts.path.split("/")[:-levels])
            return Place(urllib.parse.urlunsplit(parts._replace(path=path)), self._filesystem, root)
        return Place(root, self._filesystem, root)

    @property
    def names(self) -> tuple[str, ...]:
        """The parts of the way here, the bucket or the root not among them."""
        return tuple(self._root.split("/")[1:])

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        try:
            return bytes(patiently(self.address, lambda: self._read(name)))
        except FileNotFoundError:
            return None

    def _read(self, name: str) -> bytes:
        with self._filesystem.open_input_file(f"{self._root}/{name}") as file:
            content: bytes = file.read()
        return content

    def write(self, name: str, content: bytes) -> None:
        """Replace a file as a whole.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        if is_bucket(self.address):
            patiently(self.address, lambda: _undisturbed(self._write, name, content))
        else:
            patiently(self.address, lambda: _write_file(Path(self._root) / name, content))

    def _write(self, name: str, content: bytes) -> None:
        with self._filesystem.open_output_stream(f"{self._root}/{name}") as file:
            file.write(content)

    def send(self, path: Path, name: str) -> None:
        """Bring a local file here, in bounded memory.

        Raises:
            FileNotFoundError: there is no such file here.
            OutputError: it cannot be read.
            StorageError: the place does not answer, or refuses.
        """
        if is_bucket(self.address):
            patiently(self.address, lambda: _undisturbed(self._send, path, name))
        else:
            patiently(self.address, lambda: _copy_file(path, Path(self._root) / name))

    def _send(self, path: Path, name: str) -> None:
        with reading(path) as piece, self._filesystem.open_output_stream(f"{self._root}/{name}") as target:
            while chunk := piece(CHUNK):
                target.write(chunk)

    def fetch(self, name: str, path: Path) -> None:
        """Bring a file from here to ``path``, behind what a download that was cut off left there.

        Raises:
            FileNotFoundError: there is no such file.
            OutputError: the disk of this machine is full or not writable.
            StorageError: the place does not answer, or refuses.
        """
        patiently(self.address, lambda: self._fetch(name, path))

    def _fetch(self, name: str, path: Path) -> None:
        with self._filesystem.open_input_file(f"{self._root}/{name}") as source, appending(path) as (have, write):
            source.seek(min(have, source.size()))
            while chunk := source.read(CHUNK):
                write(chunk)

    def files(self) -> dict[str, int]:
        """Sizes in bytes of all files at any depth, by their name from here.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        return {name: size for name, (_, size) in self.marks().items()}

    def marks(self) -> dict[str, tuple[int, int]]:
        """Time (nanoseconds, as the place has it) and size of all files at any depth, by their name from here.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        found = [each for each in self._list(recursive=True) if each.is_file]
        return {each.path[len(self._root) + 1 :]: (each.mtime_ns, each.size) for each in found}

    def folders(self) -> list[str]:
        """Names of what lies one level below and holds something.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        return [each.base_name for each in self._list(recursive=False) if not each.is_file]

    def _list(self, *, recursive: bool) -> list[Any]:
        selector = pyarrow.fs.FileSelector(self._root, recursive=recursive, allow_not_found=True)
        return list(patiently(self.address, lambda: self._filesystem.get_file_info(selector)))

    def remove(self, *names: str) -> None:
        """Remove files; those that are not there are passed over.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        for name in names:
            try:
                patiently(self.address, lambda name=name: self._filesystem.delete_file(f"{self._root}/{name}"))  # type: ignore[misc]
            except FileNotFoundError:
                continue

    def clear(self) -> None:
        """Remove everything below.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        try:
            patiently(self.address, lambda: self._filesystem.delete_dir(self._root))
        except FileNotFoundError:
            return

    def state(self, *, write: bool) -> str:
        """How the place takes requests of this process now: ``fine``, ``away`` (no answer) or ``refused``.

        Args:
            write: whether it must be possible to write there; else it is only asked for.
        """
        try:
            if write:
                self.check()
            else:
                self._filesystem.get_file_info(self._root)
        except StorageAwayError:
            return AWAY
        except StorageError:
            return REFUSED
        except OSError as fault:
            return REFUSED if lasting(fault) else AWAY
        return FINE

    def require_bucket(self, key: str = "storage") -> None:
        """Say that there is no such bucket, where that is why nothing is found.

        Raises:
            StorageError: with the key, its value and the remedy.
        """
        bucket = self._root.partition("/")[0]
        found = patiently(self.address, lambda: self._filesystem.get_file_info(bucket))
        if is_bucket(self.address) and found.type == pyarrow.fs.FileType.NotFound:
            raise StorageError(f"{key}={self.address}: {NO_BUCKET}")

    def check(self, key: str = "storage") -> None:
        """Write, read and remove a small file: what cannot be done is told before anything depends on it.

        Raises:
            StorageError: with the key, its value and the remedy.
        """
        name, content = f".probe-{uuid4().hex}", uuid4().bytes
        try:
            self.write(name, content)
            found = self.read(name)
            self.remove(name)
        except FileNotFoundError as fault:  # a folder that cannot be made
            raise StorageError(f"{key}={self.address}: cannot be made ({fault}); choose another") from fault
        except StorageError as fault:
            raise type(fault)(f"{key}={fault}", self.address) from fault
        if found != content:
            raise StorageError(f"{key}={self.address}: does not give back what was written to it; choose another")


@lru_cache(maxsize=16)
def _opened(scheme: str, netloc: str, query: str, key: str) -> tuple[Any, str]:
    """pyarrow's file system of a bucket and the bucket's name, made once per process."""
    options = dict(urllib.parse.parse_qsl(query))
    if scheme == "s3":
        options.setdefault("allow_delayed_open", "true")  # a small object is one request and not three
    else:
        options.setdefault("retry_limit_seconds", "20")  # its own default is a quarter of an hour
    try:
        filesystem, root = pyarrow.fs.FileSystem.from_uri(f"{scheme}://{netloc}?{urllib.parse.urlencode(options)}")
    except (pyarrow.ArrowException, OSError) as fault:
        told = masked(str(fault))
        raise StorageError(f"{key}={scheme}://{netloc}: cannot be opened ({told}); correct the address") from fault
    return filesystem, root.rstrip("/")


def _undisturbed(action: Callable[..., None], *arguments: object) -> None:
    """Do it in a thread of its own, and wait for it: signals, and what they raise, reach the main thread alone.

    An upload that is left by an exception is completed by pyarrow, and a part of the object replaces the whole one. So
    a process that is told to end finishes the object first, or does not begin it; told a second time, it leaves it.
    Thread and queues are the interpreter's own: those of ``threading`` hold locks in Python, which an exception out of
    a signal may leave held.
    """
    begin: SimpleQueue[bool] = SimpleQueue()
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def act() -> None:
        fault = None
        try:
            if begin.get():
                action(*arguments)
        except BaseException as met:
            fault = met
        ended.put(fault)
        ended.put(fault)  # told to end when it had the first, the main thread asks again

    _thread.start_new_thread(act, ())
    try:
        begin.put(True)
        fault = ended.get()
    except BaseException:
        begin.put(False)
        ended.get()
        raise
    if fault is not None:
        raise fault


def _write_file(path: Path, content: bytes) -> None:
    partial = _beside(path)
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _copy_file(source: Path, path: Path) -> None:
    partial = _beside(path)
    with reading(source) as piece, partial.open("wb") as target:
        while chunk := piece(CHUNK):
            target.write(chunk)
    partial.replace(path)


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}")
