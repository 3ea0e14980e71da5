"""Which files of an experiment folder become artifacts of which run, and the tables made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.run_folder import RECORD, RunFolder
from dce_ray.experiment.single import SingleRun
from dce_ray.files import read_json
from dce_ray.tracking.content import RunContent, Value
from dce_ray.tracking.tables import Table, best_reading, class_table, from_csv, map_table

if TYPE_CHECKING:
    from dce_ray.evaluation import MapTable

SEARCH_FILES = (
    "config.json",
    "environment.json",
    "sessions.jsonl",
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
    """Files of the search, or of all studies of ablations, that exist, each with its artifact folder."""
    studies = sorted(file.name for study in studies_of(folder) for file in folder.path.glob(f"{study}.*"))
    for name in (*SEARCH_FILES, *studies):
        if (folder.path / name).is_file():
            yield folder.path / name, ""
    for picture in sorted(folder.figures.glob("*")):
        if picture.is_file() and picture.suffix in {".png", ".svg"}:
            yield picture, "figures"


def studies_of(folder: ExperimentFolder) -> list[str]:
    """Names of the studies that ablations have written tables of; none of a search."""
    if folder.config.get("kind") != "ablation":
        return []
    return sorted(path.stem for path in folder.path.glob("*.csv"))


def run_files(run: RunFolder, *, on_test: bool) -> Iterator[tuple[Path, str]]:
    """Files of one run that exist; a run on test keeps its detections and its checkpoint."""
    names = ON_TEST_FILES if on_test else RUN_FILES
    for name in names:
        if (run.path / name).is_file():
            yield run.path / name, ""


def search_tables(folder: ExperimentFolder) -> dict[str, Table]:
    """Tables of the search by name: all trials, the points (policy=replicates), the confirmation; each study's."""
    files = {name: folder.path / f"{name}.csv" for name in ("trials", "points", "confirmation", *studies_of(folder))}
    return {name: from_csv(path) for name, path in files.items() if path.is_file()}


def read_map_table(run: RunFolder) -> MapTable | None:
    """The whole mAP table of a run; None where the run has none (yet)."""
    return _map_table_in(run.table) if run.table.is_file() else None


def _map_table_in(path: Path) -> MapTable:
    from dce_ray.evaluation import MapTable  # brings torch, which a mirror does without until a run is confirmed

    return MapTable.from_mapping(read_json(path))


def values_on_test(run: RunFolder, content: RunContent) -> list[Value]:
    """The table of a run on test as metrics ``test/mAP/...``, so that the run table of the UI can show them."""
    if not run.record().on_test or content.end_ms is None:
        return []
    table = read_map_table(run)
    return [] if table is None else _on_test(table, run.record().iteration or 0, content.end_ms)


def _on_test(table: MapTable, step: int, time_ms: int) -> list[Value]:
    values = table.metrics().items()
    return [Value(f"test/{key}", value, step, time_ms) for key, value in values if math.isfinite(value)]


def run_tables(run: RunFolder) -> dict[str, Table]:
    """Tables of a run by name: ``map``, and ``class_ap`` where the whole table was kept."""
    table = read_map_table(run)
    if table is not None:
        return {"map": map_table(table), "class_ap": class_table(table)}
    reading = best_reading(run.readings(), run.record().iteration)
    return {"map": reading} if reading else {}


def single_files(folder: SingleRun) -> Iterator[tuple[Path, str]]:
    """Files of a single run that exist: its tables and curves, and the weights that its tables are of."""
    weights = folder.run.best_checkpoint if folder.run.best_checkpoint.is_file() else folder.run.checkpoint
    names = [path.name for table in folder.tables.values() for path in sorted(folder.path.glob(f"{table.stem}.*"))]
    for name in ("config.json", "environment.json", *names, "curves.png", folder.run.detections.name, weights.name):
        if (folder.path / name).is_file():
            yield folder.path / name, ""


def single_on_test(folder: SingleRun, content: RunContent) -> list[Value]:
    """The table of a single run on test as metrics ``test/mAP/...``, where it has read test."""
    path, readings = folder.tables.get("test"), folder.run.readings()
    if path is None or content.end_ms is None:
        return []
    step = folder.record().iteration or (readings[-1].iteration if readings else 0)
    return _on_test(_map_table_in(path), step, content.end_ms)


def single_tables(folder: SingleRun) -> dict[str, Table]:
    """Tables of a single run by name: ``map_<split>`` and ``class_ap_<split>``."""
    tables = {split: _map_table_in(path) for split, path in folder.tables.items()}
    found = {f"map_{split}": map_table(table) for split, table in tables.items()}
    return found | {f"class_ap_{split}": class_table(table) for split, table in tables.items()}
