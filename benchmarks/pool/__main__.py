"""``python -m benchmarks.pool record`` trains a pool's runs, ``write`` puts them into one Parquet file.

``record work=<folder> [baseline=delu] [data=synthetic] [folds=5] [points=122] [replicates=6] [truths=4] [minutes=0]``
goes on with what the folder holds; several processes may record into one folder at once. ``minutes`` is how long, 0
to the end. A run takes one thread.

``write target=<file> work=<folder>[,<folder>] [note=<text>]`` gathers what folders of one baseline and data set hold so
far, and says how far apart points and runs lie; the note stands in the file beside where its numbers come from.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.policy.output import show_pool
from benchmarks.pool.plan import PoolSource, Size, planned_runs
from benchmarks.pool.record import record
from benchmarks.pool.table import Pool, Recorded, about, gather, write_pool
from dce_ray.errors import DataError, DceError
from dce_ray.files import read_json, write_json

RECORD = {
    "work": "",
    "baseline": "delu",
    "data": "synthetic",
    "folds": "5",
    "points": "122",
    "replicates": "6",
    "truths": "4",
    "minutes": "0",
}
WRITE = {"target": "", "work": "", "note": ""}
ASKED = "pool.json"
"""What a folder of runs is for."""


def source_of(options: dict[str, Any]) -> PoolSource:
    """What to record."""
    size = Size(*(int(options[name]) for name in ("folds", "points", "replicates", "truths")))
    return PoolSource(options["baseline"], options["data"], size)


def record_into(folder: Path, options: dict[str, str]) -> None:
    """Train the runs of a pool.

    Raises:
        DataError: the folder holds the runs of another pool.
    """
    asked = {name: options[name] for name in RECORD if name not in ("work", "minutes")}
    source = source_of(asked)
    file = folder / ASKED
    if file.is_file() and read_json(file) != asked:
        raise DataError(f"{folder} holds the runs of {read_json(file)}, not of {asked}; record into another folder")
    write_json(file, asked)
    torch.set_num_threads(1)
    minutes = float(options["minutes"])
    plan = planned_runs(source.size)
    trained = record(source, plan, folder, until=time.time() + 60 * minutes if minutes else None)
    print(f"{trained} runs trained here, {len(gather(source, folder)[0])} of {len(plan)} recorded")


def write_from(folders: list[Path], target: Path, note: str) -> None:
    """Put the runs of folders into one file, with what is to be known of them beside the usual."""
    asked = [read_json(folder / ASKED) for folder in folders]
    sources = [source_of(one) for one in asked]
    runs: list[Recorded] = []
    contents: list[Mapping[str, Any]] = []
    for source, folder in zip(sources, folders, strict=True):
        found, files = gather(source, folder)
        runs, contents = runs + found, contents + files
    largest = max(sources, key=lambda source: source.size.points)
    recorded = " and ".join(
        " ".join(["python -m benchmarks.pool record", *(f"{name}={value}" for name, value in one.items())])
        for one in asked
    )
    begun = sorted({one.run.point for one in runs if one.run.point is not None})
    points = {point: largest.points[point] for point in begun}
    origins = {point: largest.origins[point] for point in begun}
    pool = Pool(points, origins, runs, about(sources, contents, recorded) | {"note": note})
    write_pool(target, pool)
    print(f"{len(runs)} runs, {sum(len(run.curve) for run in runs)} evaluations, {target.stat().st_size:,} bytes")
    show_pool(pool)


def read_options(given: list[str], known: dict[str, str]) -> dict[str, str]:
    """``key=value`` over the defaults.

    Raises:
        SystemExit: for unknown keys, and where one that has no default is absent.
    """
    pairs = dict(argument.partition("=")[::2] for argument in given)
    if unknown := pairs.keys() - known.keys():
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    options = known | pairs
    if absent := [name for name, value in options.items() if not value and name != "note"]:
        raise SystemExit(f"{', '.join(absent)}: give {', '.join(f'{name}=<...>' for name in absent)}")
    return options


def main(arguments: list[str]) -> None:
    """Read the arguments and do it."""
    what = arguments[0] if arguments else ""
    if what not in ("record", "write"):
        raise SystemExit(f"{what or 'nothing'}: say record or write\n{__doc__}")
    options = read_options(arguments[1:], RECORD if what == "record" else WRITE)
    try:
        if what == "record":
            record_into(Path(options["work"]), options)
        else:
            folders = [Path(folder) for folder in options["work"].split(",")]
            write_from(folders, Path(options["target"]), options["note"])
    except DceError as fault:
        raise SystemExit(str(fault)) from fault


if __name__ == "__main__":
    main(sys.argv[1:])
