"""Our policy on a surface: runs of points and of the plain baseline, and the choice by the model's mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.policy.recorded import RecordedSurface
from benchmarks.policy.surfaces import Chosen, Search, Surface
from dce_ray.experiment.record import SEARCHED
from dce_ray.points.model import Posterior
from dce_ray.points.runs import PointRun, replicate_of
from dce_ray.search.policy import Policy, Proposal
from dce_ray.search.suggestion import RIVALS, NoisyGain, ended_runs, inwards, unit_place


class UsedUpError(Exception):
    """The pool holds no run that could come next."""


@dataclass(frozen=True, slots=True)
class RecordedPolicy(Policy):
    """Our policy where only recorded points can be tried: the new point is the one with the largest gain among them.

    Points have the numbers of the surface. A point whose recorded replicates are used up is not among those that are
    replicated.
    """

    surface: RecordedSurface = field(kw_only=True)

    def _of_points(self, runs: Sequence[PointRun], points: Mapping[int, list[PointRun]]) -> Proposal:
        fresh = [point for point in range(len(self.surface.points)) if point not in points]
        posterior = self.posterior(runs)
        if fresh and (len(points) < self.startup or posterior is None):
            return self._first(fresh[0])
        if posterior is None:
            raise UsedUpError
        started = sum(map(len, points.values()))
        turn = bool(self.replicate_every) and started % self.replicate_every == self.replicate_every - 1
        worth = self._again(points, posterior) if turn or not fresh else None
        if worth is not None:
            return self._replicate(worth, points[worth])
        if not fresh:
            raise UsedUpError
        return self._first(self._best_new(runs, posterior, fresh))

    def _first(self, point: int) -> Proposal:
        """The first run of a point."""
        return Proposal(point, True, self.surface.points[point], replicate_of(point, 0, self.folds), SEARCHED)

    def _again(self, points: Mapping[int, list[PointRun]], posterior: Posterior) -> int | None:
        """Of the best points that have a replicate left the one with the fewest runs."""
        left = {
            point for point, runs in points.items() if self._replicate(point, runs).replicate in self.surface.replicates
        }
        mean = {estimate.point: estimate.mean for estimate in posterior.points if estimate.point in left}
        best = sorted(mean, key=lambda point: (-mean[point], point or 0))[: self.among]
        return min(best, key=lambda point: (len(points[point or 0]), -mean[point], point or 0), default=None)

    def _best_new(self, runs: Sequence[PointRun], posterior: Posterior, fresh: Sequence[int]) -> int:
        """The recorded point with the largest weighted improvement, as the search's sampler computes it."""
        random = np.random.default_rng(np.random.SeedSequence((self.seed, len(runs))))
        mean = {estimate.point: estimate.mean for estimate in posterior.points if estimate.point is not None}
        best = sorted(mean, key=lambda point: (-mean[point], point))[:RIVALS]
        running = [run.point for run in runs if run.state == "running" and run.point is not None]
        lost = [run.point for run in runs if run.state == "failed" and run.point is not None and run.point not in mean]
        places = [unit_place(self.ranges, scalars) for scalars in self.surface.points]
        rivals = np.array([places[point] for point in dict.fromkeys([*best, *running])])
        gain = NoisyGain(posterior, rivals, [places[one] for one in lost], min(mean.values()), random=random)
        among = np.array([places[point] for point in fresh])
        return fresh[int((gain(among) * inwards(among, posterior, ended_runs(runs))).argmax())]


def ours(sampler: str = "gp", *, one_fold: bool = False, with_plain: bool = True) -> Search:
    """The policy, and the choice by the model's mean.

    Args:
        sampler: on a recorded surface ``gp`` only.
        one_fold: whether all points begin with the same fold and seed, as the peers' do, and go on with other seeds.
        with_plain: whether the plain baseline meets every replicate, and is paid for.
    """

    def search(surface: Surface, budgets: Sequence[int], seed: int) -> Chosen:
        policy = _policy(surface, seed, sampler, 1 if one_fold else surface.folds, with_plain)
        runs: list[PointRun] = []
        chosen: Chosen = {}
        value = 0.0
        while len(runs) < max(budgets):
            try:
                proposal = policy.propose([*runs[:-1], *(replace(run, state="running", curve={}) for run in runs[-1:])])
            except UsedUpError:
                break
            curve = surface.train(proposal.scalars or None, proposal.replicate)
            state = "finished" if curve else "failed"
            runs.append(PointRun(len(runs), proposal.point, proposal.scalars, proposal.replicate, state, curve))
            if len(runs) in budgets:
                value = chosen[len(runs)] = _value(surface, policy, runs)
        if len(runs) < max(budgets):
            value = _value(surface, policy, runs)
        return chosen | {budget: value for budget in budgets if budget not in chosen}

    return search


def _policy(surface: Surface, seed: int, sampler: str, folds: int, with_plain: bool) -> Policy:
    if isinstance(surface, RecordedSurface):
        assert sampler == "gp", "other samplers cannot propose recorded points"
        return RecordedPolicy(surface.ranges, (), folds, seed, surface=surface)
    return Policy(surface.ranges, (), folds, seed, sampler, with_plain=with_plain)


def _value(surface: Surface, policy: Policy, runs: Sequence[PointRun]) -> float:
    """Of the point with the highest mean; 0 where no run of a point has ended."""
    posterior = policy.posterior(runs)
    if posterior is None:
        return 0.0
    best = max(posterior.points, key=lambda estimate: estimate.mean).point
    return next(surface.value(run.scalars) for run in runs if run.point == best)
