"""How a search stands: its runs, their fair scores and what the model makes of them, read from its folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dce_ray.config import ScalarRange
from dce_ray.errors import SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord, searched_beside
from dce_ray.points.arms import PlainArm, against_plain, read_plain_arm
from dce_ray.points.model import PointEstimate, Posterior, fit
from dce_ray.points.runs import PointRun, read_runs
from dce_ray.points.scores import Scored, fair_scores
from dce_ray.points.threads import one_thread


@dataclass(frozen=True)
class Standing:
    """What is known of the points of a search."""

    runs: tuple[PointRun, ...]
    """All that were started, by their number."""
    scores: Mapping[int, Scored]
    """Fair score of every usable run, by its number."""
    posterior: Posterior
    """Of the points, and of the plain baseline: at its own best values where it has a search of its own."""
    records: Mapping[int, RunRecord]
    """By the run's number."""
    plain_arm: PlainArm | None = None
    """The plain baseline's own search; None where it is one setting, or has no usable run."""

    @property
    def plain(self) -> PointEstimate | None:
        """The plain baseline, at its own best values where it has a search of its own; None without a usable run."""
        return self.posterior.plain if self.plain_arm is None else self.plain_arm.best

    @property
    def adjusted(self) -> Mapping[int, float]:
        """Score of each usable run by its number, less the estimated effects of its fold and seed."""
        own = {} if self.plain_arm is None else self.plain_arm.posterior.adjusted
        return own | self.posterior.adjusted

    @property
    def estimates(self) -> dict[int | None, PointEstimate]:
        """All that is known, by point; the plain baseline's own points among them, else it is None's."""
        found: dict[int | None, PointEstimate] = {one.point: one for one in self.posterior.points}
        if self.plain_arm is not None:
            return found | {one.point: one for one in self.plain_arm.points}
        return found if self.plain is None else found | {None: self.plain}

    @property
    def ranked(self) -> list[PointEstimate]:
        """Points with a usable run, the highest mean first; equal ones by their number."""
        return sorted(self.posterior.points, key=lambda point: (-point.mean, point.point or 0))

    def runs_of(self, point: int | None) -> list[PointRun]:
        """Runs of a point, or of the plain baseline (None) where it is one setting, by their number."""
        return [run for run in self.runs if run.point == point]

    def record_of(self, point: int | None) -> RunRecord:
        """The first run's record of a point, or of the plain baseline (None): its configuration and origin.

        Raises:
            SearchError: it has no run.
        """
        runs = self.runs_of(point)
        if not runs:
            raise SearchError(f"point {point} has no run in this search")
        return self.records[runs[0].number]

    def text(self) -> str:
        """Who leads by the model, beside the plain baseline; in percent."""
        if not self.ranked:
            return ""
        text = f"leading by the model: {_estimate(f'point {self.ranked[0].point}', self.ranked[0])}"
        plain = self.plain
        name = "plain baseline" if plain is None or plain.point is None else f"plain baseline (point {plain.point})"
        return f"{text}; {_estimate(name, plain)}" if plain else text


def read_standing(folder: ExperimentFolder) -> Standing | None:
    """The standing of a search with ``policy=replicates``; None where no run has ended with a score yet."""
    runs = read_runs(folder)
    if not any(run.usable for run in runs):
        return None
    records = {record.number: record for run in folder.trials() if (record := run.record())}
    ranges, scored = searched_ranges(folder.config), fair_scores(runs)
    with one_thread():
        further = {name: ranges[name] for name in searched_beside(folder.config)}
        plain = read_plain_arm(runs, further, scored)
        compared = against_plain(runs, plain.best.point if plain else None)
        posterior = fit(compared if plain else runs, ranges, scored=scored)
    return Standing(tuple(runs), scored, posterior, records, plain)


def searched_ranges(config: Mapping[str, Any]) -> dict[str, ScalarRange]:
    """The searched scalars of a search's ``config.json``, with their ranges."""
    return {name: ScalarRange(**item) for name, item in config["space"].items() if isinstance(item, Mapping)}


def _estimate(name: str, one: PointEstimate) -> str:
    runs = "1 run" if one.runs == 1 else f"{one.runs} runs"
    return f"{name} with {100 * one.mean:.2f} +- {100 * one.deviation:.2f} ({runs})"
