"""Files that survive their writer: replaced as a whole, or appended to line by line.

Numbers that are not finite are written as ``null``, so that every file is strict JSON.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from dce_ray.errors import DceError, OutputError

EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+\Z")
"""Numbers with an exponent, with or without a point."""
STARTING_S = 60.0
"""A scratch folder that nobody holds belongs to somebody who is just starting, unless it is older than this."""
_held: list[int] = []
"""Locks of this process's scratch folders."""


def cache_folder() -> Path:
    """Where imported, generated and fetched stores lie: ``DCE_CACHE``, else ``~/.cache/dce-ray``."""
    return Path(os.environ.get("DCE_CACHE", "~/.cache/dce-ray")).expanduser()


def scratch_folder(prefix: str) -> Path:
    """A new folder for what this process must write somewhere; those that dead processes left are removed.

    A living process holds a lock on its folder, whichever container or host name it runs under.
    """
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{prefix}-*"):
        with contextlib.suppress(OSError):  # it is somebody else's, or has just gone
            _remove_abandoned(left)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=place))
    _held.append(os.open(folder, os.O_RDONLY))
    fcntl.flock(_held[-1], fcntl.LOCK_EX)
    return folder


def _remove_abandoned(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY)
    try:
        if time.time() - os.fstat(lock).st_mtime > STARTING_S:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write in, which takes the place of ``path`` as a whole when the block ends, and goes where it raises.

    A reader sees the old content or the new one, also after a power cut.

    Raises:
        OutputError: the disk is full or not writable.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as fault:
            raise not_written(path, fault) from fault
    finally:
        with contextlib.suppress(OSError):  # where nothing could be written there may be nothing to remove from
            partial.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Refuse a folder in which none can be made; no more than what was there is left.

    Raises:
        OutputError: with the reason.
    """
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.mkdir()
        probe.rmdir()
    except OSError as fault:
        raise not_written(folder, fault) from fault
    finally:
        for each in absent:
            with contextlib.suppress(OSError):  # not made, or used by another process meanwhile
                each.rmdir()


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace ``path`` as a whole; see :func:`atomic_file`.

    Raises:
        OutputError: the disk is full or not writable.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` atomically with ``value`` as JSON; numbers that are not finite become ``null``."""
    write_atomically(path, json.dumps(finite(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OutputError: the file is absent or no JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as fault:
        raise OutputError(f"{path} does not exist; give the folder of an experiment") from fault
    except (OSError, ValueError) as fault:
        raise OutputError(f"{path} cannot be read: {fault}") from fault


def read_back(value: Any) -> Any:
    """``value`` as :func:`read_json` would give it after :func:`write_json`: tuples are lists, and so on."""
    return json.loads(json.dumps(finite(value), allow_nan=False))


def parse_yaml(text: str) -> Any:
    """What YAML text holds; ``1e-4`` is a number, as in YAML 1.2, where PyYAML's 1.1 takes it for a text.

    >>> parse_yaml("{low: 1e-4, high: 2E+3, name: 1e, version: 1.0e-4}")
    {'low': 0.0001, 'high': 2000.0, 'name': '1e', 'version': 0.0001}

    Raises:
        yaml.YAMLError: it is none.
    """
    import yaml  # here: a bare GPU box without it trains from mappings

    class Loader(yaml.SafeLoader):
        """Reads plain values alone."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))
    return yaml.load(text, Loader)


def append_line(path: Path, value: Any) -> None:
    """Append ``value`` as one line of JSON, after cutting off what a killed writer left of its last line.

    Raises:
        OutputError: the disk is full or not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_torn_line(path)
        with path.open("ab") as file:
            file.write((json.dumps(finite(value), allow_nan=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())  # before the checkpoint that knows of it
    except OSError as fault:
        raise not_written(path, fault) from fault


def whole_lines(path: Path) -> list[bytes]:
    """Lines that end with a line end; what follows the last one is still being written, or never will be."""
    return path.read_bytes().split(b"\n")[:-1] if path.is_file() else []


def cut_torn_line(path: Path) -> None:
    """Remove what follows the last line end: the rest of a line whose writer was killed or ran out of disk."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def finite(value: Any) -> Any:
    """The same value with None for every number that is not finite, and plain lists and dicts."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


AGAIN = "give the command again"
"""What :func:`not_written` ends with; a command that is refused when it is given again says there what goes on."""


def not_written(path: Path, fault: OSError) -> OutputError:
    """What to tell the user when ``path`` cannot be written."""
    if isinstance(fault, IsADirectoryError):
        return OutputError(f"{path} cannot be written, for it is a folder; give the name of a file")
    return OutputError(
        f"{path} cannot be written ({fault.strerror or fault}); free space or mend the rights, then {AGAIN}"
    )


@contextlib.contextmanager
def held(path: Path, refusal: DceError) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; the system lets go of it when the process dies.

    Raises:
        DceError: ``refusal``, where another process holds it.
        OutputError: the file cannot be made.
    """
    try:
        opened = path.open("w")
    except OSError as fault:
        raise not_written(path, fault) from fault
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            raise refusal from fault
        yield


def is_held(path: Path) -> bool:
    """Whether a process of this machine holds the lock file ``path`` now."""
    if not path.is_file():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
