"""Bringing a store to where every machine reaches it: data first, the manifest last."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dce_ray.errors import StoreError
from dce_ray.files import cache_folder
from dce_ray.places import Place, is_bucket
from dce_ray.store.layout import Progress, no_progress
from dce_ray.store.reader import FeatureStore
from dce_ray.store.schema import MANIFEST, manifest_of


def send_store(store: FeatureStore, target: str, progress: Progress = no_progress) -> bool:
    """Write a store to a folder or a bucket; the same data that lie there already are kept.

    Args:
        store: on this machine.
        target: folder, ``s3://`` or ``gs://``.
        progress: told (stage, bytes done, bytes in all).

    Returns:
        Whether anything was written: not where the same data lie there already.

    Raises:
        StoreError: another store lies there.
        StorageError: the place does not answer, or refuses.
    """
    place = Place.at(target, "target")
    refuse_other(place, store.digest)
    there = place.files()
    if MANIFEST in there:
        return False
    total, done = sum(record.size for record in store.manifest.files.values()), 0
    for name, record in store.manifest.files.items():
        place.send(store.path / name, name)
        done += record.size
        progress("sending", done, total)
    place.send(store.path / MANIFEST, MANIFEST)
    return True


def refuse_other(place: Place, digest: str | None = None) -> None:
    """Raise where a place holds a store.

    Args:
        place: to be written to.
        digest: of a store that may lie there.

    Raises:
        StoreError: with the remedy.
    """
    content = place.read(MANIFEST)
    if content is not None and manifest_of(content, place.address).digest != digest:
        raise StoreError(f"{place}: holds a store with other data; choose another target, or remove it first")


@contextmanager
def local_target(target: str) -> Iterator[Path]:
    """Where a store is written that goes to ``target``: there, or in a folder of its own on the way to a bucket."""
    if not is_bucket(target):
        yield Path(target)
        return
    place = Place.at(target, "target")
    place.check("target")
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sending-", dir=cache_folder()) as scratch:
        folder = Path(scratch) / "store"
        yield folder
        send_store(FeatureStore.open(folder), target)
