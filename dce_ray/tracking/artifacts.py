"""Which files of an experiment folder become artifacts of which run, and the tables made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dce_ray.experiment.folder import RECORD, ExperimentFolder, RunFolder
from dce_ray.files import read_json
from dce_ray.tracking.content import RunContent, Value
from dce_ray.tracking.tables import Table, best_reading, class_table, from_csv, map_table

if TYPE_CHECKING:
    from dce_ray.evaluation import MapTable

SEARCH_FILES = (
    "config.json",
    "environment.json",
    "best.yaml",
    "trials.csv",
    "trials.parquet",
    "points.csv",
    "points.parquet",
    "report.html",
    "confirmation.md",
    "confirmation.csv",
    "confirmation.tex",
    "confirmation.json",
)
RUN_FILES = (RECORD, "table.json")
ON_TEST_FILES = (*RUN_FILES, "detections.json", "checkpoint.pt")


def search_files(folder: ExperimentFolder) -> Iterator[tuple[Path, str]]:
    """Files of the search that exist, each with its artifact folder."""
    for name in SEARCH_FILES:
        if (folder.path / name).is_file():
            yield folder.path / name, ""
    for picture in sorted(folder.figures.glob("*")):
        if picture.is_file() and picture.suffix in {".png", ".svg"}:
            yield picture, "figures"


def run_files(run: RunFolder, *, on_test: bool) -> Iterator[tuple[Path, str]]:
    """Files of one run that exist; a run on test keeps its detections and its checkpoint."""
    names = ON_TEST_FILES if on_test else RUN_FILES
    for name in names:
        if (run.path / name).is_file():
            yield run.path / name, ""


def search_tables(folder: ExperimentFolder) -> dict[str, Table]:
    """Tables of the search by name: all trials, the points (policy=replicates), and the confirmation."""
    files = {name: folder.path / f"{name}.csv" for name in ("trials", "points", "confirmation")}
    return {name: from_csv(path) for name, path in files.items() if path.is_file()}


def read_map_table(run: RunFolder) -> MapTable | None:
    """The whole mAP table of a run; None where the run has none (yet)."""
    if not run.table.is_file():
        return None
    from dce_ray.evaluation import MapTable  # brings torch, which a mirror does without until a run is confirmed

    return MapTable.from_mapping(read_json(run.table))


def values_on_test(run: RunFolder, content: RunContent) -> list[Value]:
    """The table of a run on test as metrics ``test/mAP/...``, so that the run table of the UI can show them."""
    if not run.record().on_test or content.end_ms is None:
        return []
    table = read_map_table(run)
    step = run.record().iteration or 0
    values = table.metrics() if table is not None else {}
    return [Value(f"test/{key}", value, step, content.end_ms) for key, value in values.items() if math.isfinite(value)]


def run_tables(run: RunFolder) -> dict[str, Table]:
    """Tables of a run by name: ``map``, and ``class_ap`` where the whole table was kept."""
    table = read_map_table(run)
    if table is not None:
        return {"map": map_table(table), "class_ap": class_table(table)}
    reading = best_reading(run.readings(), run.record().iteration)
    return {"map": reading} if reading else {}
