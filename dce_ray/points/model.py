"""What the runs of a search say of its points: one model of the scores, with all noise accounted for.

The model is :mod:`dce_ray.points.covariance`'s: a point's *level* is its arm's mean, plus a smooth function of its
scalars, plus what is its own; effects of folds and seeds are shared by all points that ran on them, and so cancel where
two points are compared. :mod:`dce_ray.points.components` estimates how large each of these is, and
:mod:`dce_ray.points.conditional` is exact given that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from dce_ray.config import ScalarRange
from dce_ray.errors import SearchError
from dce_ray.points.averaged import Averaged
from dce_ray.points.components import Estimate
from dce_ray.points.covariance import Array, Hyper, Layout, lay_out, ordered_runs
from dce_ray.points.estimates import WIDTH, PointEstimate, Shares
from dce_ray.points.runs import PointRun
from dce_ray.points.scores import DIGITS, Scored, fair_scores
from dce_ray.points.surface import flat_interval, sensitivities, surface_signal

__all__ = ["Hyper", "PointEstimate", "Posterior", "Shares", "fit"]

DRAWS = 4096
"""Of the joint posterior, from which the chance of being best is counted."""
FLAT_PLACES = 101
"""Places of a range at which :meth:`Posterior.flat_range` looks."""


class Posterior:
    """What the scores say.

    Means are those of the most probable components. Deviations and chances also hold how uncertain the components
    are, where there are others that could be the true ones: with few runs that is a good part of it.

    Args:
        layout: who ran what.
        scores: (n,) fractions in the layout's order.
        ranges: of the searched scalars.
        hyper: the most probable components.
        others: gives those drawn from how uncertain they are, asked for once where a deviation is; by default ``hyper``
            is taken as certain.
    """

    def __init__(
        self,
        layout: Layout,
        scores: Array,
        ranges: Mapping[str, ScalarRange],
        hyper: Hyper,
        others: Callable[[], Sequence[Hyper]] = tuple,
    ) -> None:
        self.hyper = hyper
        """The components; pass them as ``fitted_with`` to fit more runs at once, as ``start`` to fit them anew soon."""
        self._layout, self._scores, self._ranges = layout, scores, ranges
        self._known = Averaged(layout, scores, hyper, others)

    @cached_property
    def means(self) -> dict[int, float]:
        """Expected score of each point with usable runs, by number: as ``points`` say, at a fraction of their cost."""
        return dict(zip(self._layout.points, self._known.means.tolist(), strict=False))

    @cached_property
    def points(self) -> tuple[PointEstimate, ...]:
        """All points with usable runs, by number."""
        mean, spread = self._known.levels
        count = len(self._layout.points)
        best = _chance_of_best(mean[:count], spread[:count, :count])
        return tuple(
            PointEstimate(
                point, float(mean[row]), math.sqrt(spread[row, row]), runs, self._better(row), float(best[row])
            )
            for row, (point, runs) in enumerate(zip(self._layout.points, self._runs_of_points, strict=True))
        )

    @cached_property
    def plain(self) -> PointEstimate | None:
        """The plain baseline; None where it has no usable run."""
        if not self._has_plain:
            return None
        mean, spread = self._known.levels
        runs = int(self._layout.plain.sum())
        return PointEstimate(None, float(mean[-1]), math.sqrt(spread[-1, -1]), runs, None, None)

    @property
    def best_point(self) -> int:
        """Number of the point with the highest mean, the first of equals.

        Raises:
            SearchError: no point has a usable run.
        """
        self._need_points()
        return self._layout.points[self._best_row]

    @cached_property
    def shares(self) -> Shares:
        """Where the differences between runs come from."""
        hyper, layout = self.hyper, self._layout
        return Shares(
            points=math.hypot(hyper.smooth if layout.names else 0.0, hyper.nugget),
            fold=hyper.fold if layout.folds > 1 else 0.0,
            seed=hyper.seed if layout.replicates > 1 else 0.0,
            point_fold=hyper.point_fold if layout.folds > 1 else 0.0,
            noise=hyper.noise,
            noise_plain=hyper.noise_plain,
        )

    @property
    def length_scales(self) -> dict[str, float]:
        """By searched scalar, in widths of its range (on the scale that is searched uniformly)."""
        return dict(self.hyper.length_scales)

    @cached_property
    def adjusted(self) -> dict[int, float]:
        """Score of each usable run by its number, less the estimated effects of its fold and seed."""
        rest = self._scores - self._known.likely.shared()
        return dict(sorted(zip(self._layout.numbers, rest.tolist(), strict=True)))

    def difference(self, point: int, other: int | None = None) -> tuple[float, float]:
        """Mean and standard deviation of how much higher a point's level is than another's.

        Args:
            point: number of a point with usable runs.
            other: the same; None for plain.

        Raises:
            SearchError: one of them has no usable run.
        """
        if other is None and not self._has_plain:
            raise SearchError("the plain baseline has no finished run to compare with; run it")
        return self._difference(self._row(point), -1 if other is None else self._row(other))

    def predict(self, units: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the points' surface (arm's mean + f), in fractions.

        A point that lies there differs from it by its own nugget (``hyper.nugget``).

        Args:
            units: (m, d) places in the unit cube, scalars in the order of ``ranges`` without constant ones.

        Raises:
            SearchError: no point has a usable run, or the number of scalars differs.
        """
        mean, spread = self.surface(units)
        return mean, np.sqrt(np.diag(spread))

    def slice(self, name: str, places: Array) -> tuple[Array, Array, Array]:
        """The surface along one scalar, the others as in the best point: mean, and ends of the 95 % interval.

        Args:
            name: a searched scalar that has a range.
            places: (m,) in the scalar's own unit.

        Raises:
            SearchError: no point has a usable run, or the scalar is not searched.
        """
        column = self._column(name)
        units = np.array([self._ranges[name].to_unit(float(place)) for place in places])
        mean, deviation = self.predict(self._along(column, units))
        return mean, mean - WIDTH * deviation, mean + WIDTH * deviation

    def sensitivity(self, total: bool = True) -> dict[str, float] | None:
        """Share of the surface's variance over the space that each scalar explains.

        Taken of the posterior mean (Saltelli et al. 2010). None where there is no signal: the mean varies less over
        the space than it is uncertain.

        Args:
            total: with all interactions (shares add up to 1 or more); else alone (to 1 or less).

        Raises:
            SearchError: no point has a usable run.
        """
        self._need_points()
        names = self._layout.names
        if not names or not surface_signal(self.surface, len(names)):
            return None
        return dict(zip(names, sensitivities(self._known.likely.surface_mean, len(names), total), strict=True))

    def flat_range(self, name: str) -> tuple[float, float]:
        """In which range of a scalar, others as in the best point, nothing can be told from the best point.

        The largest interval around the best point's value in which the surface is nowhere below the surface at the
        best point by more than one posterior standard deviation of that difference, looked at in 101 places.

        Args:
            name: a searched scalar that has a range.

        Returns:
            Its ends, in the scalar's own unit.

        Raises:
            SearchError: no point has a usable run, or the scalar is not searched.
        """
        column = self._column(name)
        self._need_points()
        here = float(self._layout.units_Pd[self._best_row, column])
        units = np.union1d(np.linspace(0.0, 1.0, FLAT_PLACES), [here])
        mean, spread = self.surface(self._along(column, units))
        low, high = flat_interval(mean, spread, int(np.searchsorted(units, here)))
        item = self._ranges[name]
        return item.from_unit(float(units[low])), item.from_unit(float(units[high]))

    @cached_property
    def _best_row(self) -> int:
        return int(np.round(self._known.means[: len(self._layout.points)], DIGITS).argmax())

    def surface(self, units: Array) -> tuple[Array, Array]:
        """Mean (m,) and joint covariance (m, m) of the points' surface, for differences between places.

        Args:
            units: (m, d) places, as of :meth:`predict`.

        Raises:
            SearchError: no point has a usable run, or the number of scalars differs.
        """
        self._check_places(units)
        return self._known.surface(units)

    def surface_beside(self, first: Array, units: Array) -> tuple[Array, Array, Array, Array]:
        """The surface at places that are compared with some first ones, and not with each other.

        Args:
            first: (k, d) places, as of :meth:`predict`.
            units: (m, d) others.

        Returns:
            Means (k + m,), the first ones' before; covariance (k, k) of the first ones, (m, k) of the others with them,
            and variance (m,) of the others.

        Raises:
            SearchError: no point has a usable run, or the number of scalars differs.
        """
        self._check_places(first)
        self._check_places(units)
        return self._known.surface_beside(first, units)

    def _check_places(self, units: Array) -> None:
        self._need_points()
        names = self._layout.names
        if not names:
            raise SearchError("no scalar is searched (every range is one value), so there is no surface to look at")
        if units.ndim != 2 or units.shape[1] != len(names):
            raise SearchError(f"places of shape {units.shape} for {len(names)} scalars; give (places, {len(names)})")

    def _difference(self, row: int, other: int) -> tuple[float, float]:
        mean, spread = self._known.levels
        variance = spread[row, row] + spread[other, other] - 2 * spread[row, other]
        return float(mean[row] - mean[other]), math.sqrt(max(variance, 0.0))

    def _better(self, row: int) -> float | None:
        if not self._has_plain:
            return None
        mean, deviation = self._difference(row, -1)
        return float(ndtr(mean / deviation)) if deviation > 0 else 0.5 * (1 + float(np.sign(mean)))

    def _along(self, column: int, units: Array) -> Array:
        self._need_points()
        places = np.tile(self._layout.units_Pd[self._best_row], (len(units), 1))
        places[:, column] = units
        return places

    def _column(self, name: str) -> int:
        """Place of a scalar among those that are searched."""
        if name not in self._layout.names:
            raise SearchError(f"{name} has no range to look along; searched: {', '.join(self._layout.names) or 'none'}")
        return self._layout.names.index(name)

    def _row(self, point: int) -> int:
        if point not in self._layout.points:
            raise SearchError(
                f"point {point} has no finished run that was evaluated; known: {list(self._layout.points)}"
            )
        return self._layout.points.index(point)

    @property
    def _has_plain(self) -> bool:
        return bool(self._layout.plain.any())

    @cached_property
    def _runs_of_points(self) -> list[int]:
        counts = Counter(self._layout.point_of_run.tolist())
        return [counts[row] for row in range(len(self._layout.points))]

    def _need_points(self) -> None:
        if not self._layout.points:
            raise SearchError("no point has a finished run that was evaluated, so there is no surface to look at")


def fit(
    runs: Sequence[PointRun],
    ranges: Mapping[str, ScalarRange],
    fitted_with: Hyper | None = None,
    start: Hyper | None = None,
    scored: Mapping[int, Scored] | None = None,
) -> Posterior:
    """What runs say of their points.

    Args:
        runs: of the search, plain's included; those that are not usable are passed over.
        ranges: of the searched scalars, by name; constant ones are passed over.
        fitted_with: components to take as certain (fast, and the same means; deviations come out narrower); by default
            they are estimated from the runs.
        start: components to begin estimating from, such as those of fewer runs (sooner done).
        scored: fair scores by run, where more runs than these have chosen the iterations.

    Raises:
        SearchError: no run is usable, a score is not a number, or the points' scalars are incomplete.
    """
    scored = fair_scores(runs) if scored is None else scored
    usable = [run for run in runs if run.number in scored]
    if not usable:
        raise SearchError("no run has finished and was evaluated, so nothing is known of any point; run some first")
    layout = lay_out(usable, ranges)
    scores = np.array([scored[run.number].value for run in ordered_runs(usable)])
    if fitted_with is not None:
        return Posterior(layout, scores, ranges, fitted_with)
    found = Estimate(layout, scores, start)
    return Posterior(layout, scores, ranges, found.hyper, lambda: found.others)


def _chance_of_best(mean: Array, spread: Array) -> Array:
    """(P,) how often each is the highest among :data:`DRAWS` of the joint normal, with the same seed each time.

    Drawn through the symmetric root, which is the same on every processor.
    """
    if len(mean) == 0:
        return np.zeros(0)
    values, vectors = np.linalg.eigh(spread)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    draws = np.random.default_rng(0).standard_normal((DRAWS, len(mean))) @ root + mean
    return np.bincount(draws.argmax(axis=1), minlength=len(mean)) / DRAWS
