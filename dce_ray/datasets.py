"""What ``data=`` may be: a known name, a feature store or its address, a released layout, your own features.

What is no store is imported once into the cache and reused as long as its files and the options are the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dce_ray.config_base import Config, number
from dce_ray.data.synthetic import DEFAULT_SIZE, SIZES, ensure_synthetic, size_of
from dce_ray.errors import ConfigError, DataError, ImportFault, unknown_name
from dce_ray.files import cache_folder
from dce_ray.places import is_bucket
from dce_ray.presets import DATA_SETS, EMBEDDED, data_set_of
from dce_ray.store import FeatureStore, open_store
from dce_ray.store.feature_files import STREAMS, has_feature_files
from dce_ray.store.layout import FEATURES_SUFFIX, locate
from dce_ray.store.per_video import import_per_video
from dce_ray.store.released import import_released
from dce_ray.store.schema import ANNOTATIONS, FEATURES, MANIFEST
from dce_ray.words import command_line

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImportOptions(Config):
    """How ``data=`` is imported where it is no store yet; None is the importer's own choice, which it says aloud."""

    annotations: str | None = None
    """ActivityNet JSON of per-video features; None takes the only JSON file in their folder."""
    fps: float | None = number(None, 1e-3, 1e5)
    """Frames per second at which the features were extracted."""
    stride_frames: int | None = number(None, 1, 10**6)
    """Frames from one snippet to the next."""
    train_subset: str | None = None
    test_subset: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What the user chose, by key."""
        return {key: value for key, value in self.to_mapping().items() if value is not None}


IMPORT_KEYS: tuple[str, ...] = tuple(ImportOptions().to_mapping())
"""Keys of a command beside ``data=``."""
IMPORT_ALONE = ("skip_faulty", "trim_streams", "classes")
"""Keys that ``python -m dce_ray.store import`` takes and no command beside ``data=``."""


def import_options(values: Mapping[str, Any]) -> ImportOptions:
    """The import's keys among those of a command.

    Raises:
        ConfigError: a value of the wrong type or out of range.
    """
    return ImportOptions.from_mapping({key: values[key] for key in IMPORT_KEYS if key in values})


def data_folder() -> Path:
    """Where named data sets are looked for: ``DCE_DATA``, else ``./data``."""
    return Path(os.environ.get("DCE_DATA", "data")).expanduser()


def resolve_data(text: str, options: ImportOptions | None = None) -> Path:
    """The folder of the feature store that ``text`` means; imports or generates it where that was not done yet.

    Args:
        text: ``synthetic`` (of size ``bench``) or ``synthetic-<size>``, each at its own draw; ``thumos14``,
            ``activitynet12`` or ``hapt`` (released layout in the data folder); a store's folder, or its ``s3://`` or
            ``gs://`` address, which is fetched into the cache; a folder in the released layout; a folder of per-video
            features with an ActivityNet JSON.
        options: of the import; refused where nothing is imported.

    Raises:
        DataError: when it is none of these, with what was looked for.
        ConfigError: options that the data cannot take.
        DceError: when the import fails.
    """
    options = options or ImportOptions()
    if is_bucket(text):
        _refuse(options.given, f"{text} is a store and has its own; import the features again")
        return open_store(text).path
    if text == "synthetic" or text.startswith("synthetic-"):
        size = text.removeprefix("synthetic").removeprefix("-") or DEFAULT_SIZE
        if size not in SIZES:
            raise DataError(unknown_name("synthetic size", size, SIZES))
        _refuse(options.given, f"data={text} is generated and its rate and subsets are known; give your own data")
        return ensure_synthetic(size, cache_folder=cache_folder() / "synthetic")
    if text in DATA_SETS and DATA_SETS[text].store_names:
        return _imported(_named(text), options)
    path = Path(text).expanduser()
    if (path / MANIFEST).is_file():
        open_store(path)
        _refuse(options.given, f"{path} is a store and has its own; import the features again")
        return path
    if path.is_dir() and any(path.glob(f"*{FEATURES_SUFFIX}")):
        return _imported(path, options)
    if path.is_dir() and has_feature_files(path):
        return _imported_per_video(path, options)
    if path.is_file():
        raise DataError(f"data={text}: {_what_of_a_file(path)}")
    names = [name for name, entry in DATA_SETS.items() if entry.store_names] + [f"synthetic-{size}" for size in SIZES]
    if path.exists():
        raise DataError(
            f"data={text}: holds neither {MANIFEST} (a store) nor *{FEATURES_SUFFIX} (released layout) nor <video>.npy "
            f"(your own features, with annotations=<ActivityNet JSON>)"
        )
    raise DataError(f"data={text}: no such folder, and {unknown_name('data set', text, names)}")


def _refuse(given: Iterable[str], why: str) -> None:
    keys = [f"{key}=" for key in given]
    if keys:
        raise ConfigError(f"{', '.join(keys)}: {why}, or leave {'it' if len(keys) == 1 else 'them'} out")


def _what_of_a_file(path: Path) -> str:
    """What to give in place of a file."""
    if path.name.endswith(FEATURES_SUFFIX):
        return f"is a file; give its folder, which holds the annotations too: data={path.parent}"
    if path.name in (MANIFEST, FEATURES, ANNOTATIONS):
        return f"is a file of a store; give the store's folder: data={path.parent}"
    return (
        f"is a file, and features alone have no labels; give a folder that holds <Name>{FEATURES_SUFFIX} and "
        f"<Name>-Annotations/, or one that holds <video>.npy, with annotations=<ActivityNet JSON>"
    )


def data_set_meant(text: str) -> str:
    """Name in ``presets.DATA_SETS`` of what ``data=`` means, told without importing or generating anything.

    Raises:
        DataError: it is nothing that :func:`resolve_data` takes.
    """
    if text in DATA_SETS:
        return text
    if text.startswith("synthetic-"):
        return "synthetic"
    path = Path(text).expanduser()
    if (path / MANIFEST).is_file():
        return data_set_of(open_store(path).name)
    if path.is_dir() and any(path.glob(f"*{FEATURES_SUFFIX}")):
        return data_set_of(locate(path).name)
    return data_set_of(open_store(resolve_data(text)).name)  # which says what is wrong with it


def results_name(data: str | None, store: FeatureStore) -> str:
    """Name of the folder that the results of a data set lie in: what is compared with each other lies in one.

    Embedded data of another size than the usual one are other data, and are called as they were asked for.

    Args:
        data: as for :func:`resolve_data`; None where a configuration of before names the store, which then tells
            itself what it was asked for as.
        store: what that came to.
    """
    name = data_set_of(store.name)
    if name == "default":
        return store.name
    if data is None and name == EMBEDDED:
        data = f"{EMBEDDED}-{size_of(store)}"
    asked = (data or "").removeprefix(f"{EMBEDDED}-")
    return f"{EMBEDDED}-{asked}" if asked != data and asked in SIZES and asked != DEFAULT_SIZE else name


def build_on_data(
    data: str, build: Callable[[str, str], T], options: ImportOptions | None = None
) -> tuple[T, FeatureStore]:
    """Build what depends on the data set, and open the data; a wrong key is refused before the data is touched.

    Args:
        data: as for :func:`resolve_data`.
        build: takes the store's folder, or its address where it lies in a bucket, and the data set's name in
            ``presets.DATA_SETS``. It is called twice: first with neither known, so that a typo starts no import.
        options: as for :func:`resolve_data`.

    Returns:
        What ``build`` made, and the store.

    Raises:
        DceError: as ``build`` and :func:`resolve_data` say.
    """
    build(data, "default")
    folder = resolve_data(data, options)
    store = open_store(data if is_bucket(data) else folder.resolve())
    return build(data if is_bucket(data) else str(store.path), data_set_of(store.name)), store


def _named(name: str) -> Path:
    folder = data_folder()
    for store_name in DATA_SETS[name].store_names:
        for place in (folder, folder / store_name, folder / name):
            if (place / f"{store_name}{FEATURES_SUFFIX}").is_file():
                return place
    wanted = " or ".join(f"{store_name}{FEATURES_SUFFIX}" for store_name in DATA_SETS[name].store_names)
    raise DataError(
        f"data={name}: {wanted} is not in {folder.absolute()}; set DCE_DATA to its folder, or give data=<folder of "
        f"the files>"
    )


def _imported(source: Path, options: ImportOptions) -> Path:
    """The cached store of a released layout."""
    files = locate(source)
    given = options.given
    if "annotations" in given:
        raise ConfigError(f"annotations=: {source} holds a released data set, which brings its own; leave it out")
    target = _cached(files.name, _fingerprint([files.features, *sorted(files.annotations.iterdir())], given))
    if not (target / MANIFEST).is_file():
        log.info("importing %s into %s (once)", source, target)
        log.info("%s", import_released(source, target, name=files.name, **given))
    return target


def _imported_per_video(source: Path, options: ImportOptions) -> Path:
    """The cached store of per-video features."""
    given = options.given
    annotations = Path(given.pop("annotations", None) or _only_json(source)).expanduser()
    folders = [source, *(folder for folder in (source / stream for stream in STREAMS) if folder.is_dir())]
    features = [file for folder in folders for file in sorted(folder.iterdir()) if file.is_file()]
    present = [annotations] if annotations.is_file() else []  # else the import says so
    target = _cached(annotations.stem, _fingerprint([*present, *features], given))
    if not (target / MANIFEST).is_file():
        log.info("importing %s into %s (once)", source, target)
        try:
            report = import_per_video(source, annotations, target, **given)
        except ImportFault as fault:
            lines = [str(fault), *_import_apart(str(fault), source, annotations, given)]
            raise ImportFault("\n".join(lines)) from fault
        for notice in report.notices:
            log.warning("%s: %s", report.name, notice)
        log.info("%s", report)
    return target


def _import_apart(told: str, source: Path, annotations: Path, given: Mapping[str, Any]) -> list[str]:
    """Lines on the keys in a message that ``store import`` alone takes, with a command; none without such keys.

    The command takes the first of those that need no file of the user's, which is ``skip_faulty`` where that helps.
    """
    keys = [key for key in IMPORT_ALONE if f"{key}=" in told]
    if not keys:
        return []
    switch = {key: "true" for key in keys if f"{key}=true" in told}
    words = {"source": source, "annotations": annotations, **given, "target": f"stores/{annotations.stem}"}
    line = command_line("dce_ray.store import", **words, **dict(list(switch.items())[:1]))
    are = "is a key" if len(keys) == 1 else "are keys"
    return [f"{', '.join(f'{key}=' for key in keys)} {are} of the import by itself: {line}"]


def _only_json(source: Path) -> Path:
    found = sorted(source.glob("*.json"))
    if len(found) != 1:
        raise DataError(
            f"data={source}: {len(found)} JSON files lie beside the features; give annotations=<ActivityNet JSON>"
        )
    return found[0]


def _cached(name: str, fingerprint: str) -> Path:
    target = cache_folder() / "stores" / f"{name}-{fingerprint}"
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _fingerprint(files: Iterable[Path], options: Mapping[str, Any]) -> str:
    """Short hash over path, size and time of every file, and the options of the import."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode() if options else b"")
    for file in files:
        state = file.stat()
        digest.update(f"{file.resolve()}|{state.st_size}|{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]
