"""How a search stands: its runs, their fair scores and what the model makes of them, read from its folder alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from dce_ray.config import ScalarRange
from dce_ray.errors import SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord, searched_beside
from dce_ray.points.arms import PlainArm, against_plain, read_plain_arm
from dce_ray.points.model import PointEstimate, Posterior, fit
from dce_ray.points.runs import Content, PointRun, content_of, made_runs, runs_of
from dce_ray.points.scores import Scored, fair_scores
from dce_ray.points.threads import one_thread
from dce_ray.words import counted


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

    @cached_property
    def adjusted(self) -> Mapping[int, float]:
        """Score of each usable run by its number, less the estimated effects of its fold and seed."""
        own = {} if self.plain_arm is None else self.plain_arm.posterior.adjusted
        return own | self.posterior.adjusted

    @cached_property
    def estimates(self) -> dict[int | None, PointEstimate]:
        """All that is known, by point; the plain baseline's own points among them, else it is None's."""
        found: dict[int | None, PointEstimate] = {one.point: one for one in self.posterior.points}
        if self.plain_arm is not None:
            return found | {one.point: one for one in self.plain_arm.points}
        return found if self.plain is None else found | {None: self.plain}

    @property
    def comparable(self) -> bool:
        """Whether points and plain baseline may be compared by their means.

        Two models, one for each arm, know nothing of each other's folds: while one arm has a fold that the other has
        not, the difference of their means is that of the folds as well.
        """
        if self.plain_arm is None:
            return True
        folds = [{run.replicate.fold for run in self.runs if run.usable and run.own_search == own} for own in (0, 1)]
        return folds[0] == folds[1]

    @property
    def plain_leads(self) -> bool:
        """Whether the plain baseline's mean is above all points', as far as they are comparable."""
        plain = self.plain
        return self.comparable and plain is not None and bool(self.ranked) and plain.mean > self.ranked[0].mean

    @cached_property
    def ranked(self) -> list[PointEstimate]:
        """Points with a usable run, the highest mean first; equal ones by their number."""
        return sorted(self.posterior.points, key=lambda point: (-point.mean, point.point or 0))

    def runs_of(self, point: int | None) -> list[PointRun]:
        """Runs of a point, or of the plain baseline (None) where it is one setting, by their number."""
        return list(self._by_point.get(point, ()))

    @cached_property
    def _by_point(self) -> dict[int | None, list[PointRun]]:
        """Asked for point by point: no pass over all runs for each of them."""
        found: dict[int | None, list[PointRun]] = {}
        for run in self.runs:
            found.setdefault(run.point, []).append(run)
        return found

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
        """Who leads by the model, the plain baseline included, and the best point; in percent."""
        if not self.ranked:
            return ""
        by_class = any(record.config.get("metric") == "classification" for record in self.records.values())
        unit = " (classification mAP)" if by_class else ""
        best, plain = _estimate(f"point {self.ranked[0].point}", self.ranked[0]) + unit, self.plain
        if plain is None:
            return f"leading by the model: {best}"
        name = "plain baseline" if plain.point is None else f"plain baseline (point {plain.point})"
        other = _estimate(name, plain) + unit
        if self.plain_leads:
            return f"leading by the model: {other}; best point: {best}"
        if not self.comparable:
            return f"best point: {best}; {other}; not comparable before both have runs on the same folds"
        return f"leading by the model: {best}; {other}"


def read_standing(folder: ExperimentFolder) -> Standing | None:
    """The standing of a search with ``policy=replicates``; None where no run has ended with a score yet.

    Who asks again before another run has ended gets the model that is there: at a search's end display, choice, study,
    report and result all ask.
    """
    config, found = folder.config, [(run.record(), run) for run in folder.trials()]
    runs = made_runs(config, found)
    if not any(run.usable for run in runs):
        return None
    records = {record.number: record for record, _ in found}
    ranges = tuple(searched_ranges(config).items())
    posterior, plain = _fitted(content_of(runs), ranges, tuple(searched_beside(config)))
    return Standing(tuple(runs), fair_scores(runs), posterior, records, plain)


@lru_cache(maxsize=1)
def _fitted(
    content: Content, ranges: tuple[tuple[str, ScalarRange], ...], beside: tuple[str, ...]
) -> tuple[Posterior, PlainArm | None]:
    """The model of the runs, its uncertainty worked out, and what is known of the plain baseline's own search.

    Args:
        content: of the usable runs.
        ranges: of all searched keys.
        beside: names of those that the plain baseline reads as well.
    """
    runs, of_all = runs_of(content), dict(ranges)
    scored = fair_scores(runs)
    with one_thread():
        plain = read_plain_arm(runs, {name: of_all[name] for name in beside}, scored)
        posterior = fit(_of_points(runs, plain), of_all, scored=scored)
        for model in (posterior, *([plain.posterior] if plain else [])):
            _ = model.points
    return posterior, plain


def _of_points(runs: Sequence[PointRun], plain: PlainArm | None) -> Sequence[PointRun]:
    """The runs that the model of the points sees.

    Where the plain baseline has a search of its own, its best point is the luckiest of many: beside the points, as an
    arm of one, it would not be shrunken, and every point's chance of being better would come out too low. So the points
    are by themselves, and have no such chance; only before any of them has a usable run is it taken in its place.
    """
    if plain is None:
        return runs
    others = [run for run in runs if not run.own_search]
    return others or against_plain(runs, plain.best.point)


def searched_ranges(config: Mapping[str, Any]) -> dict[str, ScalarRange]:
    """The searched scalars of a search's ``config.json``, with their ranges."""
    return {name: ScalarRange(**item) for name, item in config["space"].items() if isinstance(item, Mapping)}


def _estimate(name: str, one: PointEstimate) -> str:
    return f"{name} with {100 * one.mean:.2f} ± {100 * one.deviation:.2f} ({counted(one.runs, 'run')})"
