"""A recorded pool as a surface: real runs, and samplers that choose among recorded points by their own acquisition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from benchmarks.pool.table import Pool
from dce_ray.config import ScalarRange
from dce_ray.errors import DataError
from dce_ray.points.runs import Replicate
from dce_ray.search.study import first_rung
from dce_ray.search.suggestion import unit_place

POOL = Path(__file__).resolve().parent.parent / "pool" / "delu-synthetic.parquet"
"""DELU on the embedded data."""
STARTUP = 10
"""Trials before Optuna's samplers look at scores; random until then."""
Scalars = Mapping[str, float]


class RecordedSurface:
    """The runs of a pool, points and folds in an order of the seed's.

    Args:
        pool: what was recorded.
        folds: K.
        seed: of the order.

    Raises:
        DataError: fewer than two points were recorded on a replicate and have a truth.
    """

    def __init__(self, pool: Pool, folds: int, seed: int) -> None:
        grid = pool.grid(folds)
        numbers, replicates = grid.points, grid.replicates
        if len(numbers) < 2:
            raise DataError(
                f"K={folds}: no two points have a recorded run and a truth run beside plain's; record more of this K "
                f"with python -m benchmarks.pool"
            )
        random = np.random.default_rng([seed, 4])
        self.ranges: Mapping[str, ScalarRange] = pool.ranges
        self.seed = seed
        self.order = [int(number) for number in random.permutation(numbers)]
        """Number in the pool of each point here."""
        self.points: Sequence[Scalars] = [pool.points[number] for number in self.order]
        recorded = [int(fold) for fold in random.permutation(sorted({one.fold for one in replicates}))]
        self.folds = len(recorded)
        self._fold_here = {fold: place for place, fold in enumerate(recorded)}
        self.replicates = sorted((self._here(one) for one in replicates), key=lambda one: (one.round, one.fold))
        """What can be asked for."""
        of_points = {number: place for place, number in enumerate(self.order)}
        self._curves = {
            (None if number is None else of_points[number], self._here(replicate)): curve
            for (number, replicate), curve in pool.curves(folds).items()
            if replicate in replicates and (number is None or number in of_points)
        }
        of_number = dict(zip(numbers, pool.truths(grid).mean(axis=1), strict=True))
        means = np.array([of_number[number] for number in self.order])
        self.values: NDArray[np.float64] = means - means.mean()
        """Truth of each point above the mean of all, in points of mAP."""
        self._place = {_key(scalars): place for place, scalars in enumerate(self.points)}
        evaluated = sorted({iteration for curve in self._curves.values() for iteration in curve})
        self.iterations = evaluated[-1]
        self.first_evaluation = evaluated[0]
        self.first_rung = first_rung(self.iterations, self.first_evaluation)

    def _here(self, replicate: Replicate) -> Replicate:
        return Replicate(self._fold_here[replicate.fold], replicate.round)

    def value(self, scalars: Scalars) -> float:
        """Mean of the point's truth runs above that of all points, in points of mAP."""
        return float(self.values[self._place[_key(scalars)]])

    def train(self, scalars: Scalars | None, replicate: Replicate) -> Mapping[int, float]:
        """The recorded curve.

        Raises:
            KeyError: there is none.
        """
        return self._curves[None if scalars is None else self._place[_key(scalars)], replicate]

    def peers_replicates(self, count: int) -> list[Replicate]:
        """The first folds, here."""
        return self.replicates[:count]


def _key(scalars: Scalars) -> tuple[float, ...]:
    return tuple(scalars.values())


def ask_recorded(study: optuna.Study, surface: RecordedSurface, tried: set[int]) -> tuple[optuna.Trial, Scalars]:
    """A trial of a point that is not among ``tried``, which it is added to.

    Random until :data:`STARTUP` trials have been told; then what the study's sampler (:func:`choosing_among`) likes
    best of all points that are left.
    """
    left = [place for place in range(len(surface.points)) if place not in tried]
    searched = {name: FloatDistribution(item.low, item.high, log=item.log) for name, item in surface.ranges.items()}
    sampler = study.sampler
    told = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    if isinstance(sampler, RecordedTPE | RecordedGP) and told >= STARTUP:
        among = np.array([unit_place(surface.ranges, surface.points[place]) for place in left])
        sampler.left = [surface.points[place] for place in left]
        trial = study.ask(searched)
        place = left[int(np.abs(among - unit_place(surface.ranges, trial.params)).max(axis=1).argmin())]
    else:
        place = left[int(np.random.default_rng([surface.seed, 6, len(tried)]).integers(len(left)))]
        study.enqueue_trial(dict(surface.points[place]))
        trial = study.ask(searched)
    tried.add(place)
    return trial, surface.points[place]


class RecordedTPE(TPESampler):
    """Optuna's TPE, whose candidates are recorded points and not draws from its estimate of the good ones."""

    left: Sequence[Scalars] = ()
    """Points to choose from."""

    def _build_parzen_estimator(
        self,
        study: optuna.Study,
        search_space: dict[str, BaseDistribution],
        trials: list[optuna.trial.FrozenTrial],
        handle_below: bool,
    ) -> Any:
        estimator = super()._build_parzen_estimator(study, search_space, trials, handle_below)
        if handle_below:
            candidates = {name: np.array([scalars[name] for scalars in self.left]) for name in search_space}
            estimator.sample = lambda *_: candidates
        return estimator


class RecordedGP(GPSampler):
    """Optuna's Gaussian process, whose acquisition is looked at in recorded points only."""

    left: Sequence[Scalars] = ()
    """Points to choose from."""

    def _optimize_acqf(self, acqf: Any, best_params: Any) -> NDArray[np.float64]:
        searched = acqf.search_space._optuna_search_space  # by name, in an order of its own
        trials = [optuna.trial.create_trial(params=dict(one), distributions=searched, value=0.0) for one in self.left]
        places = acqf.search_space.get_normalized_params(trials)
        return np.asarray(places[int(np.argmax(acqf.eval_acqf_no_grad(places)))])


def choosing_among(sampler: BaseSampler, seed: int) -> BaseSampler:
    """The sampler that has the same settings and chooses among recorded points.

    Raises:
        TypeError: for a sampler that none is written for.
    """
    if isinstance(sampler, RandomSampler):
        return sampler
    if isinstance(sampler, TPESampler):
        return RecordedTPE(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP)
    if isinstance(sampler, GPSampler):
        return RecordedGP(seed=seed, deterministic_objective=True, n_startup_trials=STARTUP)
    raise TypeError(f"{type(sampler).__name__}: no way to choose among recorded points is written for it")
