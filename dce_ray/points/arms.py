"""Two arms: where more is searched than the method's scalars, the plain baseline has points of its own.

A learning rate serves the plain baseline as well, and a comparison with one that nobody tuned would praise the method
for what tuning did. Both arms draw their numbers of points from the same row, in the order in which points came up; a
run of the plain baseline's has ``own_search`` set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dce_ray.config import ScalarRange
from dce_ray.points.estimates import PointEstimate
from dce_ray.points.model import Posterior, fit
from dce_ray.points.runs import PointRun
from dce_ray.points.scores import Scored

SAME = 1e-9
"""Two settings are the same where no value differs by more, as a share of its range."""


@dataclass(frozen=True)
class PlainArm:
    """What is known of the plain baseline's own points."""

    posterior: Posterior
    """Of its runs alone."""
    ranges: Mapping[str, ScalarRange]
    """Of the keys that it reads."""
    values: Mapping[int, Mapping[str, float]]
    """By point."""

    @property
    def points(self) -> list[PointEstimate]:
        """Its points with usable runs; no chances, which compare with points of the other arm."""
        return [replace(one, better=None, best=None) for one in self.posterior.points]

    @property
    def best(self) -> PointEstimate:
        """The one with the highest mean, the first of equals."""
        return next(one for one in self.points if one.point == self.posterior.best_point)

    def known(self, values: Mapping[str, float]) -> PointEstimate | None:
        """The point that has these values; None where none with a usable run has."""
        place = self._place(values)
        return next(
            (
                one
                for one in self.points
                if one.point is not None and np.abs(self._place(self.values[one.point]) - place).max() <= SAME
            ),
            None,
        )

    def expected(self, values: Mapping[str, float]) -> tuple[float, float]:
        """Mean and standard deviation of the score at these values, a fraction: of the point there, else of the
        model's surface."""
        known = self.known(values)
        if known is not None:
            return known.mean, known.deviation
        mean, deviation = self.posterior.predict(self._place(values)[None, :])
        return float(mean[0]), float(deviation[0])

    def _place(self, values: Mapping[str, float]) -> np.ndarray:
        return np.array([item.to_unit(values[name]) for name, item in self.ranges.items()])


def read_plain_arm(
    runs: Sequence[PointRun], ranges: Mapping[str, ScalarRange], scored: Mapping[int, Scored]
) -> PlainArm | None:
    """The plain baseline's arm; None where it has no usable run.

    Args:
        runs: of both arms.
        ranges: of the keys that the plain baseline reads.
        scored: fair scores of both arms' runs.
    """
    own = plain_runs(runs)
    if not any(run.usable for run in own):
        return None
    values = {run.point: run.scalars for run in own if run.point is not None}
    return PlainArm(fit(own, ranges, scored=scored), ranges, values)


def plain_runs(runs: Sequence[PointRun]) -> list[PointRun]:
    """Runs of the plain baseline's own points, as points of a search that has no other arm."""
    return [replace(run, own_search=False) for run in runs if run.own_search]


def against_plain(runs: Sequence[PointRun], point: int | None) -> list[PointRun]:
    """Runs of the other arm, and those of one of the plain baseline's points as the plain baseline's.

    Args:
        runs: of both arms.
        point: the plain baseline's point; None: none of them.
    """
    others = [run for run in runs if not run.own_search]
    chosen = [run for run in runs if run.own_search and run.point == point]
    return others + [replace(run, point=None, own_search=False, scalars={}) for run in chosen]
