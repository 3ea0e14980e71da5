"""Runs drawn from the model itself, with components that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dce_ray.config import ScalarRange
from dce_ray.points.covariance import Hyper, Layout, covariance_of_points
from dce_ray.points.runs import PointRun, Replicate, replicate_of


def ranges(scalars: int) -> dict[str, ScalarRange]:
    return {f"s{column}": ScalarRange(0.0, 1.0) for column in range(scalars)}


def run(number: int, point: int | None, curve, scalars=(), fold=0, round_=0, state="finished") -> PointRun:
    named = {f"s{column}": float(value) for column, value in enumerate(scalars)}
    curve = curve if isinstance(curve, dict) else {1: float(curve)}
    return PointRun(number, point, named if point is not None else {}, Replicate(fold, round_), state, curve)


def smooth_surface(
    scalars: int, length_scale: float, random: np.random.Generator
) -> Callable[[np.ndarray], np.ndarray]:
    """A random function on the unit cube, of mean 0 and deviation 1 over it."""
    waves = random.normal(0, 1 / length_scale, (300, scalars))
    phases, weights = random.uniform(0, 2 * np.pi, 300), random.normal(0, 1, 300)
    drawn = np.cos(random.random((2000, scalars)) @ waves.T + phases) @ weights
    return lambda places: (np.cos(places @ waves.T + phases) @ weights - drawn.mean()) / drawn.std()


class Planted:
    """A search whose truth is known.

    Args:
        counts: runs of each point.
        plain_runs: of the baseline.
        hyper: deviations of the components; its length scale of the first scalar is the surface's in all of them.
        folds: K.
        scalars: how many.
        seed: of everything.
    """

    def __init__(
        self, counts: Sequence[int], plain_runs: int, hyper: Hyper, folds: int = 3, scalars: int = 2, seed: int = 0
    ) -> None:
        random = np.random.default_rng(seed)
        self.ranges = ranges(scalars)
        places = random.random((len(counts), scalars))
        surface = smooth_surface(scalars, hyper.length_scales["s0"], random)
        self.levels = (
            0.5 + hyper.smooth * surface(places) + random.normal(0, hyper.nugget, len(counts)) if len(counts) else []
        )
        self.plain = 0.5 + random.normal(0, hyper.smooth)
        shared: dict[object, float] = {}

        def effect(key: object, deviation: float) -> float:
            if key not in shared:
                shared[key] = random.normal(0, deviation)
            return shared[key]

        self.runs: list[PointRun] = []
        for point, count in [*enumerate(counts), (None, plain_runs)]:
            for number in range(count):
                replicate = replicate_of(point or 0, number, folds)
                level = self.plain if point is None else self.levels[point]
                noise = random.normal(0, hyper.noise_plain if point is None else hyper.noise)
                score = (
                    level
                    + noise
                    + effect(replicate.fold, hyper.fold)
                    + effect(replicate, hyper.seed)
                    + effect((point, replicate.fold), hyper.point_fold)
                )
                scalars_ = places[point] if point is not None else ()
                self.runs.append(run(len(self.runs), point, score, scalars_, replicate.fold, replicate.round))


def covariance(layout: Layout, hyper: Hyper) -> np.ndarray:
    """(n, n) covariance of the scores given the arms' means, built as it is written."""

    def same(labels: np.ndarray) -> np.ndarray:
        return np.equal.outer(labels, labels).astype(float)

    total = hyper.fold**2 * (same(layout.fold_of_run) - 1 / layout.folds)
    total += hyper.seed**2 * (same(layout.replicate_of_run) - 1 / layout.replicates)
    total += hyper.point_fold**2 * same(layout.cell_of_run) * (layout.folds > 1)
    total += np.diag(np.where(layout.plain, hyper.noise_plain, hyper.noise) ** 2)
    runs, rows = len(layout.point_of_run), layout.point_of_run
    total[:runs, :runs] += covariance_of_points(layout, hyper)[np.ix_(rows, rows)]
    return total
