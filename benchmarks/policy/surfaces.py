"""What a policy searches on, and simulated surfaces, of which the truth is known.

A setting is a smooth random function f of six scalars (random Fourier features of a length scale), of standard
deviation s over the space, and the noise of a run in units of s: the residual, and effects of the fold and of the seed
that all runs on it share, each 0.75 times the residual (as measured on the embedded data). Scores rise to the end;
the score at a third of the length correlates with the one at the end by 0.1, so that stopping there takes the better
half about as often as the worse, as measured too. With ``curves`` a run has twelve noisy evaluations, highest on
average shortly before the end: the peers take the best of them, as they do, and the fair iteration has to be found.
Values are in units of s above the mean of the space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dce_ray.config import SCALARS, ScalarRange
from dce_ray.points.runs import Replicate

RANGES = {name: ScalarRange(0.0, 1.0) for name in SCALARS}
FOLDS = 5
ITERATIONS = 300
THIRD = 100
SPREAD = 0.005
"""s: half a point of mAP."""
LEVEL = 0.3
"""Mean score of the space at the end of training."""
RISE = 0.1
"""How much lower the score is at a third of the length."""
SHARED = 0.75
"""Standard deviation of the folds' effects, and of the seeds', in residuals."""
EARLY_CORRELATION = 0.1
"""Of the score at a third of the length with the one at the end."""
PEAK = 250
"""Iteration at which the mean curve is highest, with ``curves``."""
EVALUATION = 0.5
"""Noise of one evaluation in residuals, with ``curves``."""
FEATURES = 400
Array = NDArray[np.float64]


class Surface(Protocol):
    """What a policy searches on."""

    ranges: Mapping[str, ScalarRange]
    """The searched scalars."""
    folds: int
    """K."""
    iterations: int
    """Length of a run."""
    first_rung: int
    """Iteration at which early stopping begins to look."""
    first_evaluation: int
    """Iteration at which Hyperband's first bracket may begin."""

    def value(self, scalars: Mapping[str, float]) -> float:
        """The truth of a point, above the mean of the space."""

    def train(self, scalars: Mapping[str, float] | None, replicate: Replicate) -> Mapping[int, float]:
        """The curve of a run, of the plain baseline where the scalars are None; empty where the run fails."""

    def peers_replicates(self, count: int) -> list[Replicate]:
        """What a policy that knows no folds runs each of its points on."""


Chosen = dict[int, float]
"""Value of the point that would be chosen, by budget."""
Search = Callable[[Surface, Sequence[int], int], Chosen]
"""One search on a surface: budgets, seed."""


@dataclass(frozen=True)
class Setting:
    """A kind of surface."""

    name: str
    residual: float
    """Standard deviation of a run's own noise in units of s."""
    length_scale: float
    """In widths of a scalar's range; 0.4 is rough in six dimensions."""
    curves: bool = False


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("smooth 3.2", 3.2, 0.8),
        Setting("smooth 1", 1.0, 0.8),
        Setting("smooth 0.4", 0.4, 0.8),
        Setting("rough 3.2", 3.2, 0.4),
        Setting("rough 1", 1.0, 0.4),
        Setting("rough 0.4", 0.4, 0.4),
        Setting("curves 1", 1.0, 0.8, curves=True),
    )
}


class World:
    """One surface with its noise; the noise of a run depends on how many ran before."""

    ranges: Mapping[str, ScalarRange] = RANGES
    folds, iterations, first_rung = FOLDS, ITERATIONS, THIRD

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting = setting
        self.first_evaluation = ITERATIONS // 12 if setting.curves else THIRD
        random = np.random.default_rng([seed, 1])
        size = len(RANGES)
        self.waves = random.normal(size=(FEATURES, size)) / setting.length_scale
        self.phases = random.uniform(0, 2 * math.pi, FEATURES)
        self.weights = random.normal(size=FEATURES) * math.sqrt(2 / FEATURES)
        raw = self._raw(random.uniform(size=(4000, size)))
        self.middle, self.deviation = float(raw.mean()), float(raw.std())
        self.effects: dict[tuple[int, ...], float] = {}
        self.seed = seed
        self.noise = np.random.default_rng([seed, 2])

    def _raw(self, places: Array) -> Array:
        return np.asarray(np.cos(places @ self.waves.T + self.phases) @ self.weights)

    def value(self, scalars: Mapping[str, float]) -> float:
        """f in units of s above the mean of the space."""
        return float((self._raw(np.array([[scalars[name] for name in RANGES]]))[0] - self.middle) / self.deviation)

    def effect(self, *of: int) -> float:
        """Of a fold, or of a fold and a round, in units of s."""
        if of not in self.effects:
            self.effects[of] = SHARED * self.setting.residual * np.random.default_rng([self.seed, 3, *of]).normal()
        return self.effects[of]

    def peers_replicates(self, count: int) -> list[Replicate]:
        """Seeds on one fold."""
        return [Replicate(0, number) for number in range(count)]

    def train(self, scalars: Mapping[str, float] | None, replicate: Replicate) -> dict[int, float]:
        """The curve of a run; the plain baseline (None) lies at the mean of the space."""
        residual = self.setting.residual
        own = (0.0 if scalars is None else self.value(scalars)) + residual * self.noise.normal()
        shared = self.effect(replicate.fold) + self.effect(replicate.fold, replicate.round)
        total = math.hypot(1.0, residual)
        rest = math.sqrt(1 - EARLY_CORRELATION**2)
        early = EARLY_CORRELATION * own + rest * total * self.noise.normal()
        if not self.setting.curves:
            return {THIRD: _score(early + shared) - RISE, ITERATIONS: _score(own + shared)}
        curve = {}
        for iteration in range(ITERATIONS // 12, ITERATIONS + 1, ITERATIONS // 12):
            late = max(0.0, (iteration - THIRD) / (ITERATIONS - THIRD))
            level = shared + late * own + (1 - late) * early + EVALUATION * residual * self.noise.normal()
            curve[iteration] = _score(level) - RISE * (iteration / PEAK - 1) ** 2
        return curve


def _score(level: float) -> float:
    return LEVEL + SPREAD * level
