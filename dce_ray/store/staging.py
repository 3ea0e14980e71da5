"""A folder that appears whole or not at all: made beside its place, flushed to disk, renamed.

Each writer works in its own hidden folder beside the target and holds a lock on it; the kernel drops the lock when the
process dies, however it dies, so the next writer knows what is rubbish and what is still being written.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dce_ray.errors import StoreError

logger = logging.getLogger(__name__)

OWNER = "owner.json"
STARTING_S = 60.0
"""A folder without an owner's mark belongs to somebody who is just starting, unless it is older than this."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


class Occupied(StoreError):
    """Something else stands where the folder was to go."""


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A new empty folder that becomes ``target`` when the block ends, and vanishes when it raises.

    An empty folder at ``target`` is replaced.

    Raises:
        Occupied: something stands at ``target`` when the block ends; it is left as it is.
        StoreError: another writer is at work on ``target``; the disk is full; the place may not be written to.
    """
    with _plain_errors(target):
        made = _make_parents(target.parent)
        staging: Path | None = None
        try:
            _clear_abandoned(target)
            staging, lock = _claim(target)
            try:
                yield staging
                (staging / OWNER).unlink()
                _publish(staging, target)
            finally:
                os.close(lock)
        except BaseException:
            if staging is not None:
                shutil.rmtree(staging, ignore_errors=True)
            for folder in made:
                _remove_if_empty(folder)
            raise


def refuse_occupied(target: Path) -> None:
    """Raise ``Occupied`` where ``target`` is a file or a folder with something in it."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        what = "a folder that is not empty" if target.is_dir() else "a file"
        raise Occupied(f"{target}: is {what}; choose another target, or remove it first")


@contextmanager
def _plain_errors(target: Path) -> Iterator[None]:
    """Say in one message what a full disk or a missing permission means here."""
    try:
        yield
    except OSError as fault:
        if fault.errno in FULL:
            free = shutil.disk_usage(_existing(target)).free
            raise StoreError(
                f"{target}: no room to write it ({fault.strerror}; {free / 1e9:.2f} GB free there); nothing was left "
                f"behind. Free some space, choose another target, or take dtype=float16 for half the size"
            ) from fault
        if fault.errno in FORBIDDEN:
            raise StoreError(
                f"{target}: may not be written to ({fault.strerror}: {fault.filename or target}); nothing was left "
                f"behind. Choose a target in a folder of yours"
            ) from fault
        raise StoreError(f"{target}: cannot be written ({fault}); nothing was left behind") from fault


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _make_parents(folder: Path) -> list[Path]:
    """Make ``folder``; the folders that were missing, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as fault:
        logger.debug("%s stays: %s", folder, fault)


def _prefix(target: Path) -> str:
    return f".{target.name}.writing-"


def _claim(target: Path) -> tuple[Path, int]:
    staging = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    lock = os.open(staging, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    mark = {"process": os.getpid(), "host": socket.gethostname()}
    (staging / OWNER).write_text(json.dumps(mark), encoding="utf-8")
    # mkdtemp makes private folders; a store is as open as any other folder of its owner.
    umask = os.umask(0)
    os.umask(umask)
    staging.chmod(0o777 & ~umask)
    return staging, lock


def _clear_abandoned(target: Path) -> None:
    """Remove what dead writers of ``target`` left; refuse to work beside a living one."""
    for folder in target.parent.glob(f"{_prefix(target)}*"):
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # its writer has just finished
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / OWNER).exists() or time.time() - os.fstat(lock).st_mtime > STARTING_S:
                shutil.rmtree(folder)
                logger.warning("removed %s, left by an import that was interrupted", folder)
        except BlockingIOError:
            raise StoreError(
                f"{target}: another import is writing it now{_owner(folder)}; wait for it, then open its store"
            ) from None
        finally:
            os.close(lock)


def _owner(folder: Path) -> str:
    try:
        mark = json.loads((folder / OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return f" (process {mark['process']} on {mark['host']})"


def _publish(staging: Path, target: Path) -> None:
    for path in (*staging.iterdir(), staging):
        _sync(path)
    try:
        staging.rename(target)
    except OSError as fault:
        if fault.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}:
            refuse_occupied(target)
        raise
    _sync(target.parent)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
