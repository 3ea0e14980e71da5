r"""An emulator of the pool: a truth to search freely, and the noise of recorded runs.

The truth m(x) is the mean of our model's surface, fitted to all of the pool's runs: smoother and flatter than what it
was fitted to, since it holds neither a point's own part nor what the model takes for noise. A run of a point at x on a
replicate is

.. math:: y_t = a_t + b_t (m(x) - \bar m) + s_{replicate,t} + e_t

with the pool's mean curve a, the slope b of the recorded scores on the model's levels (how much of a point's level
shows at iteration t), the mean deviation s of a replicate, and the residual curve e of a recorded run, drawn at
random. All iterations of a residual curve stay together. Replicates that were not recorded take the deviation of a
recorded one.

With another K the truth is the same, m of the K with the most runs; a, b, s and e are that K's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from benchmarks.pool.table import Pool
from dce_ray.config import ScalarRange
from dce_ray.errors import DataError
from dce_ray.points.model import Posterior, fit
from dce_ray.points.runs import PointRun, Replicate
from dce_ray.points.threads import one_thread
from dce_ray.search.study import first_rung
from dce_ray.search.suggestion import unit_place

LEAST = 12
"""Runs of points from which noise is taken."""
PLACES = 4096
"""Of the space, over which the mean of the truth is taken."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """What the recorded runs of one K are made of."""

    iterations: tuple[int, ...]
    curve: Array
    """a, (T,)."""
    slope: Array
    """b, (T,)."""
    shared: Mapping[Replicate, Array]
    """s, (T,) each."""
    residuals: Array
    """e of every recorded run of a point, (runs, T)."""
    plain: Array
    """Mean deviation of the plain baseline from a, (T,)."""


def decompose(levels: Array, replicates: NDArray[np.int64], curves: Array) -> tuple[Array, Array, Array, Array]:
    """Mean curve a, slope b, deviations s and residuals e, by least squares.

    Args:
        levels: (n,) of the runs' points, less their mean.
        replicates: (n,) number of each run's replicate, from 0; each has a run.
        curves: (n, T) scores.

    Returns:
        a (T,), b (T,), s (R, T) and e (n, T): ``a + b levels + s + e`` is ``curves``, and s adds up to 0.
    """
    count = int(replicates.max()) + 1
    design = np.concatenate([levels[:, None], np.eye(count)[replicates]], axis=1)
    found = np.linalg.lstsq(design, curves, rcond=None)[0]
    mean = found[1:].mean(axis=0)
    return mean, found[0], found[1:] - mean, curves - design @ found


class Emulation:
    """What all emulators of a pool share.

    Args:
        pool: what was recorded.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        counts = Counter(one.run.folds for one in pool.runs if not one.run.truth)
        self.truth = _fitted(pool, counts.most_common(1)[0][0] or 0)
        """The model of the K with the most runs, its components taken as certain."""
        places = qmc.Sobol(len(pool.ranges), rng=np.random.default_rng(0)).random(PLACES)
        self.middle = float(np.mean([self.truth.predict(part)[0].mean() for part in np.split(places, 32)]))
        """Its mean over the space."""
        self._noise: dict[int, Noise] = {}

    def level(self, scalars: Mapping[str, float]) -> float:
        """m, a fraction."""
        return float(self.truth.predict(unit_place(self.pool.ranges, scalars)[None])[0][0])

    def noise(self, folds: int) -> Noise:
        """What one K's runs are made of, all that are recorded on a replicate that plain met too.

        Raises:
            DataError: too little was recorded of this K.
        """
        if folds not in self._noise:
            self._noise[folds] = self._made(folds)
        return self._noise[folds]

    def _made(self, folds: int) -> Noise:
        curves = {where: curve for where, curve in self.pool.curves(folds).items() if curve}
        plain = {replicate: curve for (point, replicate), curve in curves.items() if point is None}
        runs = [(point, replicate) for point, replicate in curves if point is not None and replicate in plain]
        known = sorted({replicate for _, replicate in runs}, key=lambda one: (one.round, one.fold))
        if len(runs) < LEAST:
            raise DataError(f"K={folds}: {len(runs)} runs of points are too few to emulate, {LEAST} are needed")
        iterations = tuple(sorted(curves[runs[0]]))
        levels = np.array([self.level(self.pool.points[point]) for point, _ in runs])
        mean, slope, shared, residuals = decompose(
            levels - levels.mean(),
            np.array([known.index(replicate) for _, replicate in runs]),
            np.array([[curves[run][iteration] for iteration in iterations] for run in runs]),
        )
        of_plain = np.array([[plain[replicate][iteration] for iteration in iterations] for replicate in known])
        return Noise(
            iterations,
            mean,
            slope,
            dict(zip(known, shared, strict=True)),
            residuals,
            (of_plain - shared).mean(axis=0) - mean,
        )


def _fitted(pool: Pool, folds: int) -> Posterior:
    """The model of all runs of one K that are recorded, with components that are fitted once."""
    found = pool.curves(folds).items()
    runs = [
        PointRun(
            number,
            point,
            {} if point is None else pool.points[point],
            replicate,
            "finished" if curve else "failed",
            curve,
        )
        for number, ((point, replicate), curve) in enumerate(found)
    ]
    with one_thread():
        return fit(runs, pool.ranges, fitted_with=fit(runs, pool.ranges).hyper)


class Emulator:
    """A surface made of a pool.

    Args:
        emulation: of the pool.
        folds: K of the noise.
        seed: of the residuals drawn.
    """

    def __init__(self, emulation: Emulation, folds: int, seed: int) -> None:
        self.ranges: Mapping[str, ScalarRange] = emulation.pool.ranges
        self.seed = seed
        self.emulation, self.made = emulation, emulation.noise(folds)
        self.folds = len({replicate.fold for replicate in self.made.shared})
        self.iterations = self.made.iterations[-1]
        self.first_evaluation = self.made.iterations[0]
        self.first_rung = first_rung(self.iterations, self.first_evaluation)
        self._random = np.random.default_rng([seed, 7])
        self._order = np.random.default_rng([seed, 8]).permutation(len(self.made.shared))

    def value(self, scalars: Mapping[str, float]) -> float:
        """m above its mean over the space, in points of mAP."""
        return 100 * (self.emulation.level(scalars) - self.emulation.middle)

    def train(self, scalars: Mapping[str, float] | None, replicate: Replicate) -> dict[int, float]:
        """A curve; the noise depends on how many were drawn before."""
        made = self.made
        own = made.plain if scalars is None else made.slope * self.value(scalars) / 100
        residual = made.residuals[int(self._random.integers(len(made.residuals)))]
        curve = made.curve + own + self._shared(replicate) + residual
        return dict(zip(made.iterations, curve.tolist(), strict=True))

    def peers_replicates(self, count: int) -> list[Replicate]:
        """Seeds on one fold."""
        return [Replicate(0, number) for number in range(count)]

    def _shared(self, replicate: Replicate) -> Array:
        """Deviation of a replicate; the recorded ones are shared out anew by every seed."""
        known = list(self.made.shared.values())
        place = replicate.round * self.folds + replicate.fold
        if place < len(known):
            return known[int(self._order[place])]
        return known[int(np.random.default_rng([self.seed, 9, place]).integers(len(known)))]
