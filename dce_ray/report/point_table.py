"""One row per point, and one for the plain baseline: what all runs of a setting say together.

How many runs there were, the study says; what they are worth, the model of the noise. Values are fractions, as in the
trials table, and None where nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dce_ray.config import SCALARS
from dce_ray.experiment.record import PLAIN
from dce_ray.points.model import PointEstimate
from dce_ray.points.scores import RunningScores
from dce_ray.points.standing import Standing
from dce_ray.report.table_files import write_rows
from dce_ray.report.trial_table import TrialRow, TrialTable, field_of, parameter_of


@dataclass(frozen=True, slots=True)
class PointRow:
    """A setting of what is searched, or the plain baseline."""

    point: int | None
    """Number of the point; None for the plain baseline where it is one setting."""
    origin: str | None
    """``paper``, ``released`` or ``search``; ``baseline`` for the plain baseline."""
    delta: float | None
    theta_rep: float | None
    theta_pro: float | None
    beta: float | None
    gamma: float | None
    lambda_: float | None
    further: Mapping[str, float | None]
    """By key: what is searched beside the six scalars; all rows of a table have the same keys."""
    runs: int
    """Finished runs."""
    failed_runs: int
    mean_fraction: float | None
    """The model's mean: expected score on the selecting split, on the folds and seeds that ran, in [0, 1]."""
    deviation_fraction: float | None
    """Its standard deviation."""
    low_fraction: float | None
    """Lower end of its 95 % interval."""
    high_fraction: float | None
    probability_better: float | None
    """That its expected score is above the plain baseline's."""
    probability_best: float | None
    """That its expected score is the highest of all points."""
    iteration: int | None
    """Up to which it would be trained where it is confirmed."""

    @property
    def plain(self) -> bool:
        """Whether this is the plain baseline."""
        return self.origin == PLAIN

    def parameter(self, name: str) -> float | None:
        """Value of one of ``dce_ray.config.SCALARS``, or of what is searched beside them."""
        return parameter_of(self, name)


@dataclass(frozen=True, slots=True)
class PointTable:
    """All points that were started, by their number, and the plain baseline."""

    points: tuple[PointRow, ...]
    plain: PointRow | None
    """At its best values where it has a search of its own; None where no run of it was started."""
    plain_points: tuple[PointRow, ...] = ()
    """The plain baseline's own points, the highest mean first; empty where it is one setting."""

    @property
    def plain_rows(self) -> tuple[PointRow, ...]:
        """Everything that was run of the plain baseline."""
        return self.plain_points or ((self.plain,) if self.plain else ())

    @property
    def names(self) -> list[str]:
        """What the points are made of: the six scalars, where a component reads them, and what is searched beside."""
        unread = self.points and all(row.parameter(name) is None for row in self.points for name in SCALARS)
        further = self.rows[0].further if self.rows else {}
        return [*(() if unread else SCALARS), *further]

    @property
    def rows(self) -> tuple[PointRow, ...]:
        """The plain baseline, then the points."""
        return self.plain_rows + self.points

    @property
    def ranked(self) -> list[PointRow]:
        """Points with the highest mean first, the first of equals; those without a finished run behind them."""
        return _ranked(self.points)

    @property
    def best(self) -> PointRow | None:
        """The point with the highest mean; None where none has a finished run."""
        return next((row for row in self.ranked if row.mean_fraction is not None), None)


def read_points(trials: TrialTable, standing: Standing | None) -> PointTable:
    """The points of a search.

    Args:
        trials: its runs.
        standing: what the model makes of them; None before a run has ended.
    """
    runs: dict[int | None, list[TrialRow]] = {}
    for row in trials.rows:
        if row.state != "waiting":
            runs.setdefault(row.point, []).append(row)
    known = standing.estimates if standing else {}
    points = sorted(point for point in runs if point is not None)
    scores = RunningScores(standing.runs if standing else ())
    found = [_row(point, runs[point], known.get(point), scores) for point in points]
    own = tuple(_ranked([row for row in found if row.plain]))
    if own:
        plain: PointRow | None = own[0]
    else:
        plain = _row(None, runs[None], known.get(None), scores) if None in runs else None
    return PointTable(tuple(row for row in found if not row.plain), plain, own)


def _ranked(rows: Sequence[PointRow]) -> list[PointRow]:
    """The highest mean first, the first of equals; those without a finished run behind them."""
    return sorted(rows, key=lambda row: (row.mean_fraction is None, -(row.mean_fraction or 0), row.point))


def _row(point: int | None, runs: Sequence[TrialRow], one: PointEstimate | None, scores: RunningScores) -> PointRow:
    return PointRow(
        point=point,
        origin=PLAIN if point is None else runs[0].origin,
        **{field_of(name): runs[0].parameter(name) for name in SCALARS},
        further=dict(runs[0].further),
        runs=one.runs if one else 0,
        failed_runs=_failed(runs),
        mean_fraction=one.mean if one else None,
        deviation_fraction=one.deviation if one else None,
        low_fraction=one.low if one else None,
        high_fraction=one.high if one else None,
        probability_better=one.better if one else None,
        probability_best=one.best if one else None,
        iteration=scores.chosen(point) if one else None,
    )


def _failed(runs: Sequence[TrialRow]) -> int:
    """Runs that failed; one that was tried again by a later trial is what that one is."""
    last = {row.key: row for row in sorted(runs, key=lambda row: row.number) if row.key is not None}
    return sum(row.state == "failed" for row in runs if row.key is None or last[row.key] is row)


def write_points(table: PointTable, parquet: Path, comma_separated: Path) -> None:
    """Write the rows, the plain baseline's first, as Parquet and CSV.

    Raises:
        OutputError: the disk is full or not writable.
    """
    write_rows(PointRow, table.rows, parquet, comma_separated)
