"""Stores that lie elsewhere: each machine fetches one once, checks it, and maps it for all its processes.

``<cache>/fetched/<digest>/`` is a whole store, ``<digest>.part/`` what of it has come so far; a download that was cut
off goes on from there. Two locks per digest, both let go by the kernel when a process dies:

- ``<digest>.fetching`` is held alone by who downloads: all others of the machine wait and find the store there;
- ``<digest>.used`` is shared by every process that has the store mapped: what somebody uses is never evicted. Its time
  says when it was used last.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dce_ray.errors import OutputError, StoreError
from dce_ray.files import cache_folder
from dce_ray.places import Place
from dce_ray.store.integrity import check_files, file_sha256
from dce_ray.store.schema import MANIFEST, Manifest, manifest_of, read_manifest

LIMIT = "DCE_CACHE_GB"
"""Variable of the environment: how many gigabytes the fetched stores of a machine may take together."""
DEFAULT_LIMIT_GB = 200.0
SPARE_BYTES = 2**29
"""Left free on the disk for everything else."""

log = logging.getLogger(__name__)
_used: dict[Path, BinaryIO] = {}
"""Locks that this process holds until it ends, by the store's folder."""


def remote_manifest(address: str) -> Manifest:
    """What a store that lies elsewhere says of itself.

    Raises:
        StoreError: there is none, or one of a newer version.
        StorageError: the place does not answer, or refuses.
    """
    place = Place.at(address, "data")
    content = place.read(MANIFEST)
    if content is None:
        place.require_bucket("data")
        raise StoreError(
            f"{address}: not a store, it has no {MANIFEST}; write one there: "
            f"python -m dce_ray.store import source=... target={address}"
        )
    return manifest_of(content, address)


def fetched(address: str) -> Path:
    """The folder of this machine's copy of a store; downloads it where there is none, or waits for who does.

    The copy stays while this process lives.

    Raises:
        StoreError: there is no store, it is damaged, or there is no room for it.
        StorageError: the place does not answer, or refuses.
    """
    manifest = remote_manifest(address)
    folder = _home() / manifest.digest
    _use(folder)
    with _locked(folder.with_suffix(".fetching")):
        if not _whole(folder, manifest):
            _make_room(manifest, folder)
            _download(Place.at(address, "data"), manifest, folder)
    return folder


def adopt(folder: Path, digest: str) -> None:
    """Let a store that lies on this machine stand for what would be fetched: nothing is downloaded here."""
    known = _home() / digest
    with _locked(known.with_suffix(".fetching")):
        if not known.exists():
            known.unlink(missing_ok=True)  # a link to a store that is gone
            known.symlink_to(folder.resolve(), target_is_directory=True)


def _home() -> Path:
    home = cache_folder() / "fetched"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise StoreError(f"{home}: cannot be made ({fault.strerror}); set DCE_CACHE to a folder with room") from fault
    return home


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _use(folder: Path) -> None:
    """Keep a store from being evicted for as long as this process lives."""
    if folder not in _used:
        file = folder.with_suffix(".used").open("ab")
        fcntl.flock(file, fcntl.LOCK_SH)  # waits while it is being evicted
        _used[folder] = file
    os.utime(folder.with_suffix(".used"))


def _whole(folder: Path, manifest: Manifest) -> bool:
    try:
        if read_manifest(folder).digest != manifest.digest:
            raise StoreError(f"{folder}: holds another store")
        check_files(folder, manifest, verify=False)  # the content was compared when it came
    except StoreError as fault:
        if folder.is_symlink():
            folder.unlink()  # who it belonged to has changed it
        elif folder.exists():
            log.warning("%s; it is fetched again", fault)
            shutil.rmtree(folder)
        return False
    return True


def _download(place: Place, manifest: Manifest, folder: Path) -> None:
    part = folder.with_suffix(".part")
    try:
        part.mkdir(exist_ok=True)
        for name, record in manifest.files.items():
            for _ in range(2):  # what a download of before left may be of no use
                place.fetch(name, part / name)
                if file_sha256(part / name) == record.sha256:
                    break
                (part / name).unlink()
            else:
                raise StoreError(f"{place}: {name} has a wrong SHA-256, also when fetched again; write the store again")
        (part / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        part.rename(folder)
    except FileNotFoundError as fault:
        raise StoreError(f"{place}: incomplete ({fault.filename or fault}); write the store again") from fault
    except (OSError, OutputError) as fault:
        reason = getattr(fault.__cause__ or fault, "strerror", None) or fault
        raise StoreError(
            f"{folder}: cannot be written ({reason}); free some space, or set DCE_CACHE to a folder with room; the "
            f"download goes on from where it was"
        ) from fault


def _make_room(manifest: Manifest, folder: Path) -> None:
    """Evict what was used longest ago, until limit and disk have room; nothing that is in use.

    Raises:
        StoreError: there is no room even so.
    """
    home, size = folder.parent, sum(record.size for record in manifest.files.values())
    limit = float(os.environ.get(LIMIT, DEFAULT_LIMIT_GB)) * 1e9
    if size > limit:
        raise StoreError(
            f"{home}: the store has {size / 1e9:.3g} GB and {LIMIT} allows {limit / 1e9:.3g}; raise {LIMIT}"
        )
    with _locked(home / "evicting"):
        others = [path for path in home.iterdir() if path.is_dir() and path.stem != folder.name]
        others.sort(key=_last_use)
        left, have = size - _size(folder.with_suffix(".part")), sum(map(_size, others))
        for path in others:
            if have + size <= limit and shutil.disk_usage(home).free >= left + SPARE_BYTES:
                return
            have -= _evict(path)
        free = shutil.disk_usage(home).free
        if have + size > limit or free < left + SPARE_BYTES:
            raise StoreError(
                f"{home}: no room for a store of {size / 1e9:.3g} GB: {free / 1e9:.3g} GB are free on the disk, "
                f"{have / 1e9:.3g} of {limit / 1e9:.3g} GB ({LIMIT}) are in use by other runs; free some space, set "
                f"DCE_CACHE to a larger disk, or raise {LIMIT}"
            )


def _evict(path: Path) -> int:
    """Remove a store that nobody uses; how many bytes that gave."""
    with path.with_suffix(".used").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        size = _size(path)
        log.info("%s: evicted, it was used longest ago", path)
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path)
    return size


def _last_use(path: Path) -> float:
    mark = path.with_suffix(".used")
    return mark.stat().st_mtime if mark.exists() else 0.0


def _size(path: Path) -> int:
    """Bytes below a folder; a link takes none."""
    if path.is_symlink() or not path.is_dir():
        return 0
    return sum(file.stat().st_size for file in path.iterdir())
