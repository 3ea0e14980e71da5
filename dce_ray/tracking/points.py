"""The points of a search with ``policy=replicates`` in MLflow's words: one run each, with their replicates below.

A point's run says what the model makes of it. Its numbers change whenever a run of the search ends: step is the number
of runs that the model knew then, so that each metric's curve shows how the search came to see the point.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.tracking.content import (
    POINT,
    STATUS,
    RunContent,
    Value,
    common_tags,
    milliseconds,
    point_identity,
    point_name,
    scalar_params,
    shown_name,
)
from dce_ray.tracking.tables import Table

if TYPE_CHECKING:
    from dce_ray.points.model import PointEstimate
    from dce_ray.points.standing import Standing

DIGITS = 4
"""Decimals of what the model says; smaller changes are none, and are not sent."""
MAP = "mAP/"
REFIT = 1.02
"""While the search runs, the model is asked again when there are so many times the runs that it was asked with."""


@dataclass(frozen=True, slots=True)
class PointContent:
    """One point, or the plain baseline."""

    content: RunContent
    state: str
    """Changes when ``values`` or ``tables`` do."""
    values: tuple[Value, ...]
    """What the model says now, and the mean mAP over the point's runs."""
    tables: Callable[[], Mapping[str, Table]]


class PointReader:
    """Reads the points of a folder again and again; the model is fitted anew only when another run has ended.

    Args:
        folder: of the search.
    """

    def __init__(self, folder: ExperimentFolder) -> None:
        self.folder = folder
        self._finished: frozenset[str] = frozenset()
        self._standing: Standing | None = None
        self._common: dict[str, str] = {}
        self._name = ""
        self._known_ms = 0
        """When the last of the runs that the model knows ended."""
        self._evaluated: dict[int, Mapping[str, float]] = {}

    def read(self, runs: Sequence[tuple[RunFolder, RunRecord]], *, live: bool) -> Iterator[PointContent]:
        """The plain baseline, then the points by their number; nothing with another policy.

        Args:
            runs: on the selecting split.
            live: whether the search is running.
        """
        if self.folder.config.get("policy") != "replicates":
            return
        self._follow(runs, live=live)
        self._common, self._name = common_tags(self.folder), shown_name(self.folder)
        groups: dict[int | None, list[RunRecord]] = {}
        for _, record in runs:
            groups.setdefault(record.point, []).append(record)
        for point in sorted(groups, key=lambda number: -1 if number is None else number):
            yield self._content(point, groups[point], live=live)

    def _follow(self, runs: Sequence[tuple[RunFolder, RunRecord]], *, live: bool) -> None:
        """Ask the model again where runs have finished since: in a long search, a fiftieth of all at least.

        The model costs more the more runs there are, so that asking it for each of them would cost the most by far.
        """
        finished = frozenset(record.key for _, record in runs if record.state == "finished")
        if finished == self._finished or (live and len(finished) < len(self._finished) * REFIT):
            return
        from dce_ray.points.standing import read_standing  # brings scipy, which policy=single does without

        self._standing = read_standing(self.folder)
        scores = self._standing.scores if self._standing else {}
        ends = [record.ended or 0.0 for _, record in runs if record.number in scores]
        self._known_ms = milliseconds(max(ends, default=0.0))
        self._evaluated = {
            record.number: _map_at(run, scores[record.number].iteration)
            for run, record in runs
            if record.number in scores
        }
        self._finished = finished

    def _content(self, point: int | None, records: Sequence[RunRecord], *, live: bool) -> PointContent:
        first, estimate = records[0], self._estimate(point)
        ends = [record.ended for record in records if record.ended is not None]
        state = "running" if live else _state(records)
        tags = self._common | {
            "kind": POINT,
            "setting": first.setting,
            "components": first.components,
            "protocol": str(first.config.get("protocol", "")),
            "origin": first.origin,
            "status": state,
            "search": self.folder.path.name,
            "runs": str(estimate.runs if estimate else 0),
            "runs.failed": str(sum(record.state == "failed" for record in records)),
        }
        content = RunContent(
            kind=POINT,
            identity=point_identity(point),
            name=f"{self._name} {point_name(first)}",
            status=STATUS[state],
            tags=tags if point is None else tags | {"point": str(point)},
            params=scalar_params(first),
            start_ms=milliseconds(min((record.started or 0.0) for record in records)),
            end_ms=None if live else milliseconds(max(ends, default=first.started)),
        )
        values = tuple(self._values(point, estimate))
        told = repr([(value.key, value.value) for value in values])
        return PointContent(content, hashlib.sha256(told.encode()).hexdigest(), values, lambda: self._tables(point))

    def _estimate(self, point: int | None) -> PointEstimate | None:
        return None if self._standing is None else self._standing.estimates.get(point)

    def _values(self, point: int | None, one: PointEstimate | None) -> Iterator[Value]:
        if one is None or self._standing is None:
            return
        told = {"model_mean": one.mean, "model_deviation": one.deviation, "model_low": one.low, "model_high": one.high}
        told |= {key: value for key, value in (("p_better", one.better), ("p_best", one.best)) if value is not None}
        told |= {"runs": float(one.runs)}
        told |= {f"mean/{key}": value for key, value in self._mean_map(point).items()}
        for key, value in told.items():
            yield Value(key, round(value, DIGITS), len(self._standing.scores), self._known_ms)

    def _evaluations(self, point: int | None) -> list[Mapping[str, float]]:
        assert self._standing is not None, "there is an estimate, so there is a model"
        runs = self._standing.runs_of(point)
        return [self._evaluated[run.number] for run in runs if run.number in self._evaluated]

    def _mean_map(self, point: int | None) -> dict[str, float]:
        """Mean over the point's runs, each at the iteration where its score was read; what all of them have."""
        found = self._evaluations(point)
        shared = [key for key in found[0] if all(key in one for one in found)] if found else []
        return {key: math.fsum(one[key] for one in found) / len(found) for key in shared}

    def _tables(self, point: int | None) -> dict[str, Table]:
        standing = self._standing
        if standing is None or self._estimate(point) is None:
            return {}
        mean = self._mean_map(point)
        rows = [[key.removeprefix(MAP).replace("avg_", "average "), value] for key, value in mean.items()]
        adjusted, scores = standing.adjusted, standing.scores
        runs = [
            [
                *(run.number, run.replicate.fold, standing.records[run.number].seed),
                *(scores[run.number].iteration, scores[run.number].value, adjusted[run.number]),
            ]
            for run in standing.runs_of(point)
            if run.number in scores
        ]
        columns = ("run", "fold", "seed", "iteration", "score", "less fold and seed")
        tables = {"runs": Table(columns, runs)}
        return tables | ({"map": Table(("tIoU", f"mean mAP of {len(runs)} runs"), rows)} if rows else {})


def _map_at(run: RunFolder, iteration: int) -> dict[str, float]:
    """The mAP of a run at an iteration, by key."""
    reading = next((line for line in run.readings() if line.iteration == iteration), None)
    metrics = reading.metrics if reading else {}
    return {key: value for key, value in metrics.items() if key.startswith(MAP) and value is not None}


def _state(records: Sequence[RunRecord]) -> str:
    """What a point of a search that no longer runs has come to."""
    states = {record.state for record in records}
    if "finished" in states:
        return "finished"
    return "interrupted" if "running" in states else "failed"
