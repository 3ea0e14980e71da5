"""A pool as one Parquet file: a row per evaluation, and where the numbers come from in the file's metadata."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.pool.plan import PoolRun, PoolSource, planned_runs
from benchmarks.pool.record import run_file
from dce_ray.config import ScalarRange
from dce_ray.errors import DataError
from dce_ray.files import read_json, write_atomically
from dce_ray.points.runs import Replicate
from dce_ray.provenance import cores, processor, versions

METADATA = b"pool"
"""Key of the provenance in the schema's metadata."""


@dataclass(frozen=True)
class Recorded:
    """One run that was trained."""

    run: PoolRun
    seed: int
    curve: Mapping[int, float]
    """Score by iteration, a fraction in [0, 1]: on the held-out fold, or on test where it is a truth run."""
    error: str | None = None
    """Why it failed; its curve ends before."""


@dataclass(frozen=True)
class Grid:
    """Points that were all recorded on the same replicates, as plain was, and have as many truth runs."""

    points: tuple[int, ...]
    """Numbers, ascending."""
    replicates: tuple[Replicate, ...]
    truths: int
    """Truth runs of every point and of plain that count: those with the first seeds."""


@dataclass(frozen=True)
class Pool:
    """What was recorded, as it is read back."""

    points: Mapping[int, Mapping[str, float]]
    """Searched scalars of every point that has a run, by its number."""
    origins: Mapping[int, str]
    """``paper``, ``released`` or ``search``, by point."""
    runs: Sequence[Recorded]
    about: Mapping[str, Any]
    """Provenance, the size of the plan, and the searched ranges."""

    @property
    def ranges(self) -> dict[str, ScalarRange]:
        """Of the searched scalars."""
        return {name: ScalarRange(*item) for name, item in self.about["ranges"].items()}

    def grid(self, folds: int) -> Grid:
        """The largest whole part of what was recorded with one K: the one that holds the most runs.

        A run that failed counts: that it failed is what a policy sees of it. Where plain has no truth run, none are
        asked of the points.

        Args:
            folds: K.
        """
        seen = {(one.run.point, one.run.replicate) for one in self.runs if one.run.folds == folds}
        met = sorted({replicate for _, replicate in seen}, key=lambda one: (one.round, one.fold))
        had = {
            point: next((n for n, replicate in enumerate(met) if (point, replicate) not in seen), len(met))
            for point in (None, *self.points)
        }
        most = len(self.truth.get(None, ()))
        grids = [
            Grid(
                tuple(p for p in sorted(self.points) if had[p] >= count and len(self.truth.get(p, ())) >= truths),
                tuple(met[:count]),
                truths,
            )
            for count in range(1, had[None] + 1)
            for truths in range(min(1, most), most + 1)
        ]
        return max(grids, key=lambda one: len(one.points) * (len(one.replicates) + one.truths), default=Grid((), (), 0))

    def truths(self, grid: Grid) -> NDArray[np.float64]:
        """Truth runs of the grid's points that count, (points, truth runs), in percent."""
        return np.array([self.truth[point][: grid.truths] for point in grid.points])

    def curves(self, folds: int) -> dict[tuple[int | None, Replicate], Mapping[int, float]]:
        """Curve of every run that policies see, by point (None: plain) and replicate; failed ones have none.

        Args:
            folds: K.
        """
        found = {(one.run.point, one.run.replicate): one for one in self.runs if one.run.folds == folds}
        return {where: one.curve if one.error is None else {} for where, one in found.items()}

    @cached_property
    def truth(self) -> dict[int | None, NDArray[np.float64]]:
        """Test scores at the end of every truth run by point (None: plain), in percent, by seed."""
        ended = [one for one in self.runs if one.run.truth and one.error is None]
        by_point: dict[int | None, list[Recorded]] = {}
        for one in sorted(ended, key=lambda one: one.seed):
            by_point.setdefault(one.run.point, []).append(one)
        return {point: np.array([100 * one.curve[max(one.curve)] for one in runs]) for point, runs in by_point.items()}


def gather(source: PoolSource, folder: Path) -> tuple[list[Recorded], list[Mapping[str, Any]]]:
    """The recorded runs of a plan in its order, and their files' content.

    Args:
        source: what was recorded.
        folder: of the runs' files.
    """
    runs, contents = [], []
    for run in planned_runs(source.size):
        file = run_file(folder, source.key(run))
        if file.is_file():
            content = read_json(file)
            curve = {int(iteration): score for iteration, score in content["curve"].items()}
            runs.append(Recorded(run, content["seed"], curve, content["error"]))
            contents.append(content)
    return runs, contents


def about(sources: Sequence[PoolSource], contents: Sequence[Mapping[str, Any]], command: str) -> dict[str, Any]:
    """Where a pool comes from.

    Raises:
        DataError: nothing was recorded, or the sources are of different baselines or data.
    """
    if not contents:
        raise DataError("no run of this pool was recorded yet; python -m benchmarks.pool record trains them")
    if len({(source.baseline, source.digest) for source in sources}) > 1:
        raise DataError("a pool is of one baseline and one data set; write one file for each")
    first = sources[0]
    searched = first.experiment.space.searched
    return {
        "command": command,
        "commits": sorted({content["commit"] for content in contents}),
        "processor": processor(),
        "cores": cores(),
        "first": min(content["ended"] for content in contents),
        "last": max(content["ended"] for content in contents),
        "core_seconds": float(np.mean([content["core_seconds"] for content in contents])),
        "load": float(np.mean([content["load"] for content in contents])),
        "versions": versions(),
        "baseline": first.baseline,
        "data": first.data,
        "digest": first.digest,
        "config": first.experiment.run.to_mapping() | {"data": first.data},
        "ranges": {name: [item.low, item.high, item.log] for name, item in searched.items()},
    }


def write_pool(path: Path, pool: Pool) -> None:
    """Write a pool as Parquet, as a whole or not at all."""
    rows = list(_rows(pool))
    names = [*pool.ranges]
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in _types(names).items()}
    table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(dict(pool.about), sort_keys=True).encode()})
    memory = io.BytesIO()
    pq.write_table(table, memory, compression="zstd")
    write_atomically(path, memory.getvalue())


def read_pool(path: Path) -> Pool:
    """Read a pool.

    Raises:
        DataError: the file is absent, or no pool.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as fault:
        raise DataError(
            f"{path} cannot be read as Parquet ({fault}); python -m benchmarks.pool write makes it"
        ) from fault
    metadata = table.schema.metadata or {}
    if METADATA not in metadata:
        raise DataError(f"{path} is Parquet but no pool; python -m benchmarks.pool write makes one")
    found = json.loads(metadata[METADATA])
    points: dict[int, dict[str, float]] = {}
    origins: dict[int, str] = {}
    runs: dict[PoolRun, Recorded] = {}
    for row in table.to_pylist():
        run = PoolRun(row["folds"], row["point"], row["fold"], row["round"])
        if run.point is not None:
            points[run.point] = {name: row[name] for name in found["ranges"]}
            origins[run.point] = row["origin"]
        curve = {} if row["iteration"] is None else {row["iteration"]: row["score"]}
        before = runs.get(run)
        runs[run] = Recorded(run, row["seed"], {**(before.curve if before else {}), **curve}, row["error"])
    return Pool(points, origins, list(runs.values()), found)


def _types(scalars: Iterable[str]) -> dict[str, pa.DataType]:
    """Columns of the file."""
    return {
        "part": pa.string(),
        "folds": pa.int16(),
        "arm": pa.string(),
        "point": pa.int32(),
        "origin": pa.string(),
        **dict.fromkeys(scalars, pa.float64()),
        "fold": pa.int16(),
        "round": pa.int16(),
        "seed": pa.int32(),
        "iteration": pa.int32(),
        "score": pa.float64(),
        "error": pa.string(),
    }


def _rows(pool: Pool) -> Iterator[dict[str, Any]]:
    """A row per evaluation; one without an iteration for a run that failed before its first."""
    for one in pool.runs:
        run = one.run
        scalars = dict.fromkeys(pool.ranges) if run.point is None else dict(pool.points[run.point])
        of_run = {
            "part": "truth" if run.truth else "search",
            "folds": run.folds,
            "arm": "plain" if run.point is None else "points",
            "point": run.point,
            "origin": "baseline" if run.point is None else pool.origins[run.point],
            **scalars,
            "fold": run.fold,
            "round": run.round,
            "seed": one.seed,
            "error": one.error,
        }
        for iteration, score in one.curve.items() or [(None, None)]:
            yield of_run | {"iteration": iteration, "score": score}
