"""New points: where the samplers would look next, given what the model says of the runs so far.

Every function here is pure: whatever is random is seeded by the search's seed and the number of the run, and a sampler
is made anew for each suggestion and told all ended runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from scipy.special import ndtr

from dce_ray.config import ScalarRange
from dce_ray.points.covariance import sobol
from dce_ray.points.model import Posterior
from dce_ray.points.runs import PointRun
from dce_ray.search.study import make_sampler

Array = NDArray[np.float64]

EVERYWHERE = 512
"""Candidates that are spread over the space."""
STEPS = (0.2, 0.07)
"""How far candidates lie around each of the best points: standard deviations, in widths of a range."""
STEPS_PER_POINT = 32
"""Candidates per best point and step."""
BEST = 4
"""How many points have candidates around them."""
CLOSER = (0.1, 0.04, 0.015)
"""How far further candidates lie around the best ones, round by round."""
FINALISTS = 5
"""How many of a round's candidates have further ones around them."""
STEPS_PER_FINALIST = 40
RIVALS = 40
"""How many of the best points a new one has to beat; the others are hardly ever the best in a draw."""
DRAWS = 32
"""Of the rivals' levels, for noisy expected improvement."""
INWARDS = 40.0
"""How strongly new points keep away from the ends of ranges while few runs have ended; see :func:`inwards`."""
SMALLEST = 1e-6
"""Least eigenvalue of a covariance, and least variance, as a share of the largest eigenvalue."""


def spread(ranges: Mapping[str, ScalarRange], seed: int, index: int) -> dict[str, float]:
    """A point of a scrambled Sobol sequence: the first few fill the space more evenly than random ones.

    Args:
        ranges: the searched scalars by name.
        seed: decides the scrambling.
        index: place in the sequence, from 0.
    """
    sequence = sobol(len(ranges), np.random.default_rng(seed))
    if index:  # SciPy cannot skip nothing
        sequence.fast_forward(index)
    return _in_units(ranges, sequence.random()[0])


def suggest(
    sampler: str,
    ranges: Mapping[str, ScalarRange],
    runs: Sequence[PointRun],
    posterior: Posterior,
    seed: tuple[int, int],
    *,
    believed: Sequence[Mapping[str, float]] = (),
) -> dict[str, float]:
    """Scalars of the next point.

    Args:
        sampler: ``gp``, ``tpe``, ``cmaes`` or ``random``.
        ranges: the searched scalars by name.
        runs: all started runs by number.
        posterior: of the usable ones, some of them a point's.
        seed: the search's seed and the number of the run.
        believed: scalars of points that somebody thinks good, such as published ones.

    Raises:
        ConfigError: for an unknown sampler.
    """
    if sampler == "gp":
        return _improve(ranges, runs, posterior, seed, believed)
    if sampler == "cmaes" and len(ranges) > 1:
        return _evolve(ranges, runs, posterior, seed)
    return _ask(sampler, ranges, runs, posterior, seed)


def _improve(
    ranges: Mapping[str, ScalarRange],
    runs: Sequence[PointRun],
    posterior: Posterior,
    seed: tuple[int, int],
    believed: Sequence[Mapping[str, float]],
) -> dict[str, float]:
    """The place with the largest noisy expected improvement (Letham et al. 2019) under the model of all runs.

    Our own and not Optuna's GPSampler, which knows nothing of folds and seeds, measures improvement from the luckiest
    score, and fits its process anew each time. In the same policy, told scores without the effects of fold and seed, it
    found no more on the smooth surfaces of ``benchmarks.policy`` with noise of 3.2 s (after 96 runs 1.87 ± 0.57
    against 2.14 ± 0.45, 24 surfaces, before there was :func:`inwards`, which weights the improvement), and a proposal
    takes it 0.3 s after 300 runs and 5.0 s after 1,000, ours 0.02 s and 0.08 s (0.09 s and 1.1 s where the model's
    components are fitted anew; ``benchmarks.policy cost``).
    """
    random = np.random.default_rng(np.random.SeedSequence(seed))
    mean = posterior.means
    place = {run.point: unit_place(ranges, run.scalars) for run in runs if run.point is not None}
    best = sorted(mean, key=lambda point: (-mean[point], point))
    running = {run.point: None for run in runs if run.state == "running" and run.point is not None}
    rivals = np.array([place[point] for point in dict.fromkeys([*best[:RIVALS], *running])])
    lost = [
        place[run.point] for run in runs if run.state == "failed" and run.point is not None and run.point not in mean
    ]
    gain_of = NoisyGain(posterior, rivals, lost, min(mean.values()), random=random)
    ended, thought_good = ended_runs(runs), [unit_place(ranges, scalars) for scalars in believed]

    def gain_at(candidates: Array) -> Array:
        return gain_of(candidates) * inwards(candidates, posterior, ended, thought_good)

    candidates = _reachable(
        ranges,
        np.concatenate(
            [
                sobol(len(ranges), random).random(EVERYWHERE),
                *(_around(place[point], step, STEPS_PER_POINT, random) for point in best[:BEST] for step in STEPS),
            ]
        ),
    )
    for step in CLOSER:
        finalists = candidates[np.argsort(-gain_at(candidates), kind="stable")[:FINALISTS]]
        around = [_around(point, step, STEPS_PER_FINALIST, random) for point in finalists]
        candidates = _reachable(ranges, np.concatenate([finalists, *around]))
    return _in_units(ranges, candidates[int(gain_at(candidates).argmax())])


def inwards(places: Array, posterior: Posterior, ended: int, believed: Sequence[Array] = ()) -> Array:
    r"""The belief that good settings lie inside of the ranges, by which the gain of a place is multiplied.

    .. math:: \exp(-40 \, \nu \, |x - m(x)|^2 / n)

    after n ended runs of points, nu being the share of a run's variance that is noise, and m(x) the nearest place that
    lies, in every scalar, between the middle of the range and the points that are believed to be good: a normal belief
    that is raised to a power that falls as 1/n (Hvarfner et al. 2022, pi-BO). While few noisy runs have ended a model
    is least sure of the corners, and the improvement alone asks there again and again. Where a run says much, and once
    there are many, the weight is the same everywhere. What it is worth, and where it costs, stands in docs/measured.md.

    Args:
        places: (m, d) in the unit cube.
        posterior: of the usable runs.
        ended: how many runs of points have ended, from 1; those that failed say something of the middle, too.
        believed: (d,) places of points that somebody thinks good: an end at which one lies is not kept away from.

    Returns:
        (m,) weights in (0, 1].
    """
    power = INWARDS * (1 - posterior.shares.signal_share) / ended
    good = np.array([np.full(places.shape[1], 0.5), *believed])
    beyond = places - np.clip(places, good.min(axis=0), good.max(axis=0))
    return np.asarray(np.exp(-power * (beyond**2).sum(axis=1)))


def ended_runs(runs: Sequence[PointRun]) -> int:
    """How many runs of points have ended, well or not."""
    return sum(run.state != "running" and not run.plain for run in runs)


class NoisyGain:
    """Noisy expected improvement: how far a place is expected to lie above the best of its rivals.

    No rival's level is known, so the mean is taken over draws of all of them from the joint posterior; given a draw it
    is the usual closed form. Points that are still running are among the rivals: what they may come to be is gone.

    Args:
        posterior: of the usable runs.
        rivals: (k, d) places of the best points and of those that run.
        lost: places of points that only failed.
        worst: what each of them is believed to have scored: were it nothing, the same corner would be asked until the
            budget is gone.
        random: of the draws.
        draws: how many.
    """

    def __init__(
        self,
        posterior: Posterior,
        rivals: Array,
        lost: Sequence[Array],
        worst: float,
        *,
        random: np.random.Generator,
        draws: int = DRAWS,
    ) -> None:
        self.posterior, self.worst = posterior, worst
        self.lost = len(lost)
        self.known = np.concatenate([np.array(lost).reshape(len(lost), rivals.shape[1]), rivals])
        self.normal = random.standard_normal((len(rivals), draws))

    def __call__(self, candidates: Array) -> Array:
        """(m,) for (m, d) places in the unit cube, in fractions."""
        mean, among, beside, own = self.posterior.surface_beside(self.known, candidates)
        hyper = self.posterior.hyper
        noise = hyper.nugget**2 + hyper.point_fold**2 + hyper.noise**2
        for row in range(self.lost):  # one more run of known score: a rank-one step of the joint normal
            all_with = np.concatenate([among[:, row], beside[:, row]])
            weight = all_with / (among[row, row] + noise)
            mean = mean + weight * (self.worst - mean[row])
            seen = among[row].copy()
            among = among - np.outer(weight[: len(among)], seen)
            beside = beside - np.outer(weight[len(among) :], seen)
            own = own - weight[len(among) :] * all_with[len(among) :]
        rivals, places = slice(self.lost, len(among)), slice(len(among), None)
        beside = beside[:, rivals]
        values, vectors = np.linalg.eigh(among[rivals, rivals])
        values = np.maximum(values, SMALLEST * values[-1])
        change = vectors * np.sqrt(values) @ self.normal
        best = (mean[rivals, None] + change).max(axis=0)
        weights = beside @ (vectors / values) @ vectors.T
        difference = mean[places, None] + weights @ change - best
        left = own - np.einsum("mk,mk->m", weights, beside)
        deviation = np.sqrt(np.maximum(left, SMALLEST * values[-1]))[:, None]
        height = difference / deviation
        density = np.exp(-(height**2) / 2) / np.sqrt(2 * np.pi)
        return np.asarray((difference * ndtr(height) + deviation * density).mean(axis=1))


def _reachable(ranges: Mapping[str, ScalarRange], places: Array) -> Array:
    """Places moved to where values of the ranges are: whole numbers lie on a grid."""
    found = places.copy()
    for column, item in enumerate(ranges.values()):
        if item.step is not None:
            found[:, column] = [item.to_unit(item.from_unit(float(place))) for place in places[:, column]]
    return found


def _around(place: Array, step: float, count: int, random: np.random.Generator) -> Array:
    """(count, d) places around one, inside of the cube."""
    return np.asarray(np.clip(place + step * random.standard_normal((count, len(place))), 0.0, 1.0))


def _ask(
    sampler: str,
    ranges: Mapping[str, ScalarRange],
    runs: Sequence[PointRun],
    posterior: Posterior,
    seed: tuple[int, int],
) -> dict[str, float]:
    """What Optuna suggests on a study of the runs, each valued by its score without the effects of fold and seed.

    Runs without a score (they run, or have failed) stand in it as running, which its TPESampler counts as bad.
    """
    study = optuna.create_study(direction="maximize", sampler=make_sampler(sampler, *seed))
    searched = {name: FloatDistribution(item.low, item.high, log=item.log) for name, item in ranges.items()}
    for run in runs:
        if run.plain:
            continue
        value = posterior.adjusted.get(run.number)
        state = TrialState.RUNNING if value is None else TrialState.COMPLETE
        study.add_trial(create_trial(params=dict(run.scalars), distributions=searched, value=value, state=state))
    return {name: ranges[name].nearest(value) for name, value in study.ask(searched).params.items()}


def _evolve(
    ranges: Mapping[str, ScalarRange], runs: Sequence[PointRun], posterior: Posterior, seed: tuple[int, int]
) -> dict[str, float]:
    """CMA-ES told the points' means in the order in which the points came up, a generation at a time.

    Optuna's own keeps its state beside the trials of a study that goes on; here it is a function of the points alone.
    """
    from cmaes import CMA

    size = len(ranges)
    random = np.random.SeedSequence(seed).generate_state(1)
    bounds = np.tile([0.0, 1.0], (size, 1))
    evolution = CMA(mean=np.full(size, 0.5), sigma=1 / 6, bounds=bounds, seed=int(random[0]))
    mean = posterior.means
    place = {run.point: unit_place(ranges, run.scalars) for run in runs if run.point is not None}
    told = [(place[point], -mean[point]) for point in place if point in mean]
    for first in range(0, len(told) - evolution.population_size + 1, evolution.population_size):
        evolution.tell(told[first : first + evolution.population_size])
    return _in_units(ranges, evolution.ask())


def unit_place(ranges: Mapping[str, ScalarRange], scalars: Mapping[str, float]) -> Array:
    """Scalars in the unit cube, in the order of ``ranges``."""
    return np.array([item.to_unit(scalars[name]) for name, item in ranges.items()])


def _in_units(ranges: Mapping[str, ScalarRange], place: Array) -> dict[str, float]:
    return {name: item.from_unit(float(part)) for (name, item), part in zip(ranges.items(), place, strict=True)}
