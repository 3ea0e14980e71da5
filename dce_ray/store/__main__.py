"""``python -m dce_ray.store``: import, look at, verify and export feature stores."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from dce_ray.commandline import command, compose
from dce_ray.errors import ConfigError, unknown_name
from dce_ray.places import is_bucket
from dce_ray.store.export import export_released
from dce_ray.store.layout import Progress
from dce_ray.store.per_video import import_per_video
from dce_ray.store.reader import FeatureStore, open_store
from dce_ray.store.released import import_released
from dce_ray.store.sending import local_target, send_store
from dce_ray.words import argument

USAGE = """
python -m dce_ray.store import source=FOLDER target=STORE    a released data set becomes a store
    name=         which data set, where the folder holds several
    dtype=        float32 (default) or float16 (half the size)
    fps= stride_frames=              known for THUMOS14 and ActivityNet-1.2
    train_subset= test_subset=       known likewise, else guessed aloud
    strict=true   refuse a data set with any fault, instead of mending or leaving out
python -m dce_ray.store import source=FOLDER annotations=FILE.json target=STORE
    your own data: <video>.npy or .npz of (T, D), RGB first, or folders rgb/ and flow/; annotations as ActivityNet's
    rgb= flow=    folders of the two streams, where they lie apart
    fps= stride_frames= train_subset= test_subset= name= dtype=    as above
    classes=      text file with a class per line (default: those of the training videos)
    skip_faulty=true    leave out the videos that have a fault; else any fault imports nothing
    trim_streams=true   cut the longer of a video's streams at its end
python -m dce_ray.store copy store=STORE target=PLACE        a store to another folder or bucket
python -m dce_ray.store info store=STORE                     what is in it
python -m dce_ray.store verify store=STORE                   compare every file with its SHA-256
python -m dce_ray.store export store=STORE target=FOLDER     back to the released layout

A STORE that is read or written may lie in a bucket: s3://bucket/path or gs://bucket/path. One that is read is fetched
once per machine into DCE_CACHE (default ~/.cache/dce-ray), where fetched stores take DCE_CACHE_GB (200) at most.
"""
PLAIN_STEPS = 10
"""Lines per stage where no progress bar can be drawn."""


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A progress bar on a terminal with rich installed; a line per tenth elsewhere."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars
    except ModuleNotFoundError:
        yield _plain_lines()
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f}%"))
    with Bars(*columns, TimeRemainingColumn(), console=console) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield show


def _plain_lines() -> Progress:
    printed: dict[str, int] = {}

    def show(stage: str, done: int, total: int) -> None:
        tenth = done * PLAIN_STEPS // max(total, 1)
        if tenth > printed.get(stage, 0):
            printed[stage] = tenth
            print(f"{stage}: {tenth * 100 // PLAIN_STEPS}%", file=sys.stderr, flush=True)

    return show


RELEASED_ONLY = {"strict": False}
OWN_ONLY = {"rgb": None, "flow": None, "classes": None, "skip_faulty": False, "trim_streams": False}


def import_command(arguments: list[str]) -> None:
    """Import a released data set, or a user's own with ``annotations=``, and print the report."""
    optional = ("name", "fps", "stride_frames", "train_subset", "test_subset", "annotations")
    defaults = {"source": None, "target": None, "dtype": "float32"} | dict.fromkeys(optional)
    given = compose(defaults | RELEASED_ONLY | OWN_ONLY, arguments)
    if given["rgb"] and given["flow"] and given["source"] is None:
        given["source"] = given["rgb"]
    given = _complete(given, "source", "target")
    own = given["annotations"] is not None
    unread = [key for key, value in (RELEASED_ONLY if own else OWN_ONLY).items() if given[key] != value]
    if unread:
        layout = "the released layout" if own else "your own data, with annotations=<ActivityNet JSON>"
        raise ConfigError(f"{', '.join(f'{key}=' for key in unread)}: read for {layout} alone; leave it out")
    if own and given["name"] is None:  # results lie under the name that the user gave
        given["name"] = str(given["target"]).rstrip("/").rpartition("/")[2]
    keys = ("name", "train_subset", "test_subset", *(("rgb", "flow", "classes") if own else ()))
    options: dict[str, Any] = {key: str(given[key]) for key in keys if given[key] is not None}
    options |= {"dtype": str(given["dtype"]), "fps": _number(given, "fps")}
    options |= {"stride_frames": _whole(given, "stride_frames")}
    options |= {key: _switch(given, key) for key in (("skip_faulty", "trim_streams") if own else ("strict",))}
    started = time.monotonic()
    source, target = str(given["source"]), str(given["target"])
    with local_target(target) as place, shown_progress() as progress:
        if own:
            report = import_per_video(source, str(given["annotations"]), place, **options, progress=progress)
        else:
            report = import_released(source, place, **options, progress=progress)
    if own and report.notices:
        print("\n".join(f"note: {notice}" for notice in report.notices))
    print(replace(report, target=target if is_bucket(target) else report.target))
    print(f"  {time.monotonic() - started:.1f} s; every finding is in {target}/import_report.json")


def copy_command(arguments: list[str]) -> None:
    """Bring a store to another folder or into a bucket."""
    given = _complete(compose({"store": None, "target": None}, arguments), "store", "target")
    store = open_store(str(given["store"]))
    with shown_progress() as progress:
        written = send_store(store, str(given["target"]), progress)
    kept = "" if written else "; these data lie there already, nothing was copied"
    print(f"{given['target']}: {store.name}, digest {store.digest}{kept}")


def info_command(arguments: list[str]) -> None:
    """Print what a store holds."""
    store = open_store(_store_path(arguments))
    counts, rows = store.manifest.counts, np.arange(len(store))
    size = sum(record.size for record in store.manifest.files.values())
    print(f"{store.name}: {store.path}")
    print(f"  {counts['videos']} videos: {counts['train']} train, {counts['test']} test")
    print(f"  {counts['instances']} instances, {counts['ambiguous']} ambiguous, {len(store.class_names)} classes")
    print(
        f"  {counts['snippets']} snippets of {store.feature_size} channels ({store.rgb_size} RGB, "
        f"{store.feature_size - store.rgb_size} flow), {store.dtype}, {size / 1e6:.1f} MB"
    )
    print(
        f"  {int(store.lengths.min())} to {int(store.lengths.max())} snippets per video, median "
        f"{np.median(store.lengths):.0f}"
    )
    print(f"  {store.fps:g} fps, {store.stride_frames} frames per snippet = {1 / store.snippets_per_second:g} s")
    print(f"  digest {store.digest}")
    origin = store.manifest.provenance
    if origin.get("made_by"):
        print(f"  made by {origin['made_by']} at {origin.get('made_at')}")
    per_video = store.labels(rows).sum(axis=0)
    per_instance = np.bincount(store.instances(rows).label, minlength=len(store.class_names))
    width = max(map(len, store.class_names))
    for name, videos, instances in zip(store.class_names, per_video, per_instance, strict=True):
        print(f"    {name:{width}s} {videos:6.0f} videos {instances:7d} instances")


def verify_command(arguments: list[str]) -> None:
    """Compare every file of a store with its SHA-256."""
    store = FeatureStore.open(open_store(_store_path(arguments)).path, verify=True)
    print(f"{store.path}: whole; {len(store.manifest.files)} files, digest {store.digest}")


def export_command(arguments: list[str]) -> None:
    """Write a store in the released layout."""
    given = _complete(compose({"store": None, "target": None}, arguments), "store", "target")
    store = open_store(str(given["store"]))
    with shown_progress() as progress:
        folder = export_released(store, str(given["target"]), progress)
    print(f"{folder}: {store.name} in the released layout, {len(store)} videos")


COMMANDS: Mapping[str, Callable[[list[str]], None]] = {
    "import": import_command,
    "copy": copy_command,
    "info": info_command,
    "verify": verify_command,
    "export": export_command,
}


def _store_path(arguments: list[str]) -> str:
    """The store of ``store=<folder>``, also written without its key."""
    named = [text if "=" in text else argument("store", text, pasted=False) for text in arguments]
    return str(_complete(compose({"store": None}, named), "store")["store"])


def _complete(given: dict[str, Any], *required: str) -> dict[str, Any]:
    missing = [key for key in required if given[key] is None]
    if missing:
        raise ConfigError(f"{', '.join(f'{key}=' for key in missing)} is missing; see python -m dce_ray.store --help")
    return given


def _number(given: dict[str, Any], key: str) -> float | None:
    value = given[key]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ConfigError(f"{key}={value!r}: must be a number")
    return None if value is None else float(value)


def _whole(given: dict[str, Any], key: str) -> int | None:
    value = _number(given, key)
    if value is not None and not value.is_integer():
        raise ConfigError(f"{key}={value:g}: must be a whole number")
    return None if value is None else int(value)


def _switch(given: dict[str, Any], key: str) -> bool:
    if not isinstance(given[key], bool):
        raise ConfigError(f"{key}={given[key]!r}: must be true or false")
    return bool(given[key])


def main(arguments: list[str]) -> None:
    """Run one command."""
    name, *rest = arguments or [""]
    if name not in COMMANDS:
        raise ConfigError(f"{unknown_name('command', name, COMMANDS)}; see python -m dce_ray.store --help")
    COMMANDS[name](rest)


if __name__ == "__main__":
    command(main, USAGE)
