"""Which runs a pool holds: points of the search space on the replicates of a search, and their truth apart from those.

The configurations are those that a search makes. Point 0 is the paper's, point 1 the released one, the others are a
scrambled Sobol sequence over the ranges of ``search_spaces`` (logarithmic where the search is). All points and the
plain baseline meet the same replicates: every fold with the first seed, then every fold with the second.

What a point is worth in truth comes from runs that no policy sees: trained on all of train as a confirmation trains,
with a confirmation's seeds (from 1000 on), and scored on test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dce_ray.datasets import build_on_data
from dce_ray.errors import ConfigError
from dce_ray.experiment.candidate import CONFIRMATION_SEEDS_FROM
from dce_ray.experiment.record import WITHOUT_METHOD
from dce_ray.points.runs import Replicate, replicate_of
from dce_ray.presets import merge
from dce_ray.search.ledger import run_key
from dce_ray.search.options import SearchOptions
from dce_ray.search.settings import Experiment, Request, Settings, build_experiment
from dce_ray.search.suggestion import spread

SEQUENCE = 77
"""Scrambling of the Sobol sequence of the points."""
BLOCK = 24
"""Points that are recorded before others are begun."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many runs a pool holds."""

    folds: int = 5
    """K of the replicates."""
    points: int = 122
    """The published ones included; the plain baseline is none."""
    replicates: int = 6
    """Runs of each point that policies see."""
    truths: int = 4
    """Runs of each point and of the plain baseline on test."""

    def __post_init__(self) -> None:
        least = {"folds": 2, "points": 2, "replicates": 1, "truths": 0}
        faults = [
            f"{name}={getattr(self, name)} must be {low} or more"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        if faults:
            raise ConfigError("; ".join(faults))


@dataclass(frozen=True, slots=True)
class PoolRun:
    """One run of a pool."""

    folds: int | None
    """K; None for a truth run, which trains on all of train."""
    point: int | None
    """None for the plain baseline."""
    fold: int | None
    """Held out; None for a truth run."""
    round: int
    """How often all folds came before; of a truth run its number."""

    @property
    def truth(self) -> bool:
        """Whether the run is scored on test, and no policy sees it."""
        return self.fold is None

    @property
    def replicate(self) -> Replicate:
        """Of a run that policies see."""
        assert self.fold is not None, "a truth run has no replicate"
        return Replicate(self.fold, self.round)


def planned_runs(size: Size) -> list[PoolRun]:
    """All runs of a pool, in an order in which a record that was cut short is a smaller pool.

    Block by block of :data:`BLOCK` points, each a sample of the space; in a block all points on the first replicate,
    their first truth runs, all on the second replicate, and so on. Plain comes with the first block.
    """
    plan: list[PoolRun] = []
    for first in range(0, size.points, BLOCK):
        arms = [*([None] if first == 0 else []), *range(first, min(first + BLOCK, size.points))]
        for number in range(max(size.replicates, size.truths)):
            if number < size.replicates:
                replicate = replicate_of(0, number, size.folds)
                plan += [PoolRun(size.folds, arm, replicate.fold, replicate.round) for arm in arms]
            if number < size.truths:
                plan += [PoolRun(None, arm, None, number) for arm in arms]
    return plan


class PoolSource:
    """What a pool is recorded from: an experiment as the search would set it up, and its points.

    Args:
        baseline: name in ``BASELINES``.
        data: as for ``dce_ray.datasets.resolve_data``.
        size: how many runs.
    """

    def __init__(self, baseline: str, data: str, size: Size) -> None:
        self.baseline, self.data, self.size = baseline, data, size
        settings = Settings(search=SearchOptions(folds=size.folds))
        request = Request(baseline, data, settings=settings)
        self.experiment, store = build_on_data(data, lambda path, name: build_experiment(request, path, name))
        self.digest = store.digest
        self.origins, self.points = _points(self.experiment, size.points)

    def config(self, run: PoolRun) -> dict[str, Any]:
        """The RunConfig mapping of a run, as the search's ledger and its confirmation make it."""
        space = self.experiment.space
        searched = self.points[run.point or 0]  # the plain baseline reads none of them
        config = self.experiment.configure(space.complete(searched))
        if run.point is None:
            config = merge(config, WITHOUT_METHOD)
        if run.truth:
            return merge(config, {"seed": config["seed"] + CONFIRMATION_SEEDS_FROM + run.round, "protocol": "confirm"})
        return merge(config, {"seed": config["seed"] + run.round, "sampling": {"fold": run.fold}})

    def key(self, run: PoolRun) -> str:
        """Name of the run, decided by all that decides its numbers."""
        return run_key(self.config(run), self.digest)


def _points(experiment: Experiment, count: int) -> tuple[Sequence[str], Sequence[Mapping[str, float]]]:
    """Origin and searched scalars of every point."""
    named, _ = experiment.queued()
    origins = [origin for origin, _ in named][:count]
    points = [dict(scalars) for _, scalars in named][:count]
    ranges = experiment.space.searched
    points += [spread(ranges, SEQUENCE, index) for index in range(count - len(points))]
    return origins + ["search"] * (count - len(origins)), points
