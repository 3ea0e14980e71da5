"""What ``data=`` may be: the name of a known data set, a feature store or its address, or a folder of released files.

A released layout is imported once into the cache and reused as long as its files are the same.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dce_ray.data.synthetic import DEFAULT_SIZE, SIZES, ensure_synthetic
from dce_ray.errors import DataError, unknown_name
from dce_ray.files import cache_folder
from dce_ray.places import is_bucket
from dce_ray.presets import DATA_SETS, data_set_of
from dce_ray.store import FeatureStore, open_store
from dce_ray.store.layout import FEATURES_SUFFIX, ReleasedFiles, locate
from dce_ray.store.released import import_released
from dce_ray.store.schema import MANIFEST

log = logging.getLogger(__name__)
T = TypeVar("T")


def data_folder() -> Path:
    """Where named data sets are looked for: ``DCE_DATA``, else ``./data``."""
    return Path(os.environ.get("DCE_DATA", "data")).expanduser()


def resolve_data(text: str) -> Path:
    """The folder of the feature store that ``text`` means; imports or generates it where that was not done yet.

    Args:
        text: ``synthetic`` (of size ``bench``) or ``synthetic-<size>``, each at its own draw; ``thumos14``,
            ``activitynet12`` or ``hapt`` (released layout in the data folder); a store's folder, or its ``s3://`` or
            ``gs://`` address, which is fetched into the cache; a folder in the released layout.

    Raises:
        DataError: when it is none of these, with what was looked for.
        DceError: when the import fails.
    """
    if is_bucket(text):
        return open_store(text).path
    if text == "synthetic" or text.startswith("synthetic-"):
        size = text.removeprefix("synthetic").removeprefix("-") or DEFAULT_SIZE
        if size not in SIZES:
            raise DataError(unknown_name("synthetic size", size, SIZES))
        return ensure_synthetic(size, cache_folder=cache_folder() / "synthetic")
    if text in DATA_SETS and DATA_SETS[text].store_names:
        return _imported(_named(text))
    path = Path(text).expanduser()
    if (path / MANIFEST).is_file():
        open_store(path)
        return path
    if path.is_dir() and any(path.glob(f"*{FEATURES_SUFFIX}")):
        return _imported(path)
    names = [name for name, entry in DATA_SETS.items() if entry.store_names] + [f"synthetic-{size}" for size in SIZES]
    if path.exists():
        raise DataError(f"data={text}: holds neither {MANIFEST} (a store) nor *{FEATURES_SUFFIX} (released layout)")
    raise DataError(f"data={text}: no such folder, and {unknown_name('data set', text, names)}")


def build_on_data(data: str, build: Callable[[str, str], T]) -> tuple[T, FeatureStore]:
    """Build what depends on the data set, and open the data; a wrong key is refused before the data is touched.

    Args:
        data: as for :func:`resolve_data`.
        build: takes the store's folder, or its address where it lies in a bucket, and the data set's name in
            ``presets.DATA_SETS``. It is called twice: first with neither known, so that a typo starts no import.

    Returns:
        What ``build`` made, and the store.

    Raises:
        DceError: as ``build`` and :func:`resolve_data` say.
    """
    build(data, "default")
    store = open_store(data if is_bucket(data) else resolve_data(data).resolve())
    return build(data if is_bucket(data) else str(store.path), data_set_of(store.name)), store


def _named(name: str) -> Path:
    folder = data_folder()
    for store_name in DATA_SETS[name].store_names:
        for place in (folder, folder / store_name, folder / name):
            if (place / f"{store_name}{FEATURES_SUFFIX}").is_file():
                return place
    wanted = " or ".join(f"{store_name}{FEATURES_SUFFIX}" for store_name in DATA_SETS[name].store_names)
    raise DataError(
        f"data={name}: {wanted} is not in {folder}; set DCE_DATA to its folder, or give data=<folder of the files>"
    )


def _imported(source: Path) -> Path:
    """The cached store of a released layout."""
    files = locate(source)
    target = cache_folder() / "stores" / f"{files.name}-{_fingerprint(files)}"
    if not (target / MANIFEST).is_file():
        log.info("importing %s into %s (once)", source, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        log.info("%s", import_released(source, target, name=files.name))
    return target


def _fingerprint(files: ReleasedFiles) -> str:
    """Short hash over path, size and time of every file of a released layout."""
    digest = hashlib.sha256()
    for file in (files.features, *sorted(files.annotations.iterdir())):
        state = file.stat()
        digest.update(f"{file.resolve()}|{state.st_size}|{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]
