"""What two runs of a search have in common: the covariance of their scores, component by component.

.. math:: y = m_{arm} + f(x) + g_{point} + a_{fold} + b_{fold,round} + c_{point,fold} + e_{arm}

f is a Gaussian process with a Matern 5/2 kernel and one length scale per scalar; all other terms are independent
normal. Letters of shapes: n runs, P points, d scalars, A arms.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import qmc

from dce_ray.config import ScalarRange
from dce_ray.errors import SearchError
from dce_ray.points.runs import PointRun

Array = NDArray[np.float64]

SPREAD_PLACES = 128
"""Places of the unit cube over which the mean correlation of the process is taken."""


@dataclass(frozen=True, slots=True)
class Hyper:
    """The variance components, as standard deviations in fractions of mAP, and the length scales.

    A component of which the runs say nothing (of folds, where there is one) is what the prior expects.
    """

    smooth: float
    """Of f between places of the space that are drawn uniformly: what the searched scalars explain smoothly."""
    nugget: float
    """Of a point around f: what is the point's own, however close its neighbours are."""
    fold: float
    """Of the held-out folds, shared by all points and plain."""
    seed: float
    """Of a (fold, round), shared by all points and plain."""
    point_fold: float
    """Of a point on a fold, beyond the point's and the fold's own."""
    noise: float
    """Of a single run of a point, beyond all of the above."""
    noise_plain: float
    """Of a single run of the plain baseline."""
    length_scales: Mapping[str, float]
    """By searched scalar, in widths of its range: over which distance f forgets."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Who ran what: runs of points first, in the order of the points, then plain's."""

    names: tuple[str, ...]
    """Searched scalars that have a range."""
    points: tuple[int, ...]
    """Numbers of the points with usable runs, ascending."""
    units_Pd: Array
    """Places of the points in the unit cube."""
    numbers: tuple[int, ...]
    """Numbers of the runs, in the order of the rows."""
    point_of_run: NDArray[np.int64]
    """Row of ``units_Pd`` of each run of a point; shorter than n where plain has runs."""
    arms_nA: Array
    """Which arm's mean a run has: points' first, then plain's; only arms that have runs."""
    same_fold: Array
    """(n, n) 1 where two runs share the fold, less 1 / folds: effects sum to zero over the folds that ran, so that a
    level is the mean over them. What is common to all points is thereby no part of how uncertain a level is."""
    same_replicate: Array
    """(n, n) 1 where two runs share fold and round, less 1 / replicates: the same for seeds."""
    same_cell: Array
    """(n, n) 1 where two runs share point (or plain) and fold; 0 where there is one fold, and nothing to tell a point
    on it from the point."""
    same_point: Array
    """(n, n) 1 where two runs share the point; 0 for plain's."""
    folds: int
    """How many folds have a usable run."""
    replicates: int
    """How many pairs of fold and round have a usable run."""

    @property
    def plain(self) -> NDArray[np.bool_]:
        """(n,) which runs are the plain baseline's."""
        return np.arange(len(self.numbers)) >= len(self.point_of_run)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(P,) first row of each point's runs."""
        return np.searchsorted(self.point_of_run, np.arange(len(self.points)))

    def to_runs(self, of_points: Array) -> Array:
        """(m, P) covariances with points become (m, n) covariances with runs; plain's are 0."""
        spread = np.zeros((len(of_points), len(self.numbers)))
        spread[:, : len(self.point_of_run)] = of_points[:, self.point_of_run]
        return spread


def lay_out(runs: Sequence[PointRun], ranges: Mapping[str, ScalarRange]) -> Layout:
    """The design of usable runs.

    Raises:
        SearchError: a run lacks a searched scalar, has one that its range cannot place, or two runs of one point
            differ in it.
    """
    names = tuple(name for name, item in ranges.items() if not item.constant)
    ordered = ordered_runs(runs)
    places: dict[int, tuple[float, ...]] = {}
    for run in ordered:
        if run.point is not None:
            place = _place(run, names, ranges)
            if places.setdefault(run.point, place) != place:
                raise SearchError(f"runs of point {run.point} differ in their scalars; give each setting its own point")
    points = tuple(places)
    rows = {point: row for row, point in enumerate(points)}
    of_points = [run for run in ordered if run.point is not None]
    columns = [np.array([run.plain == plain for run in ordered], dtype=np.float64) for plain in (False, True)]
    folds, replicates = len({run.replicate.fold for run in ordered}), len({run.replicate for run in ordered})
    same_point = np.zeros((len(ordered), len(ordered)))
    same_point[: len(of_points), : len(of_points)] = _same([run.point for run in of_points])
    return Layout(
        names=names,
        points=points,
        units_Pd=np.array(list(places.values()), dtype=np.float64).reshape(len(points), len(names)),
        numbers=tuple(run.number for run in ordered),
        point_of_run=np.array([rows[run.point] for run in of_points if run.point is not None], dtype=np.int64),
        arms_nA=np.stack([column for column in columns if column.any()], axis=1),
        same_fold=_same([run.replicate.fold for run in ordered]) - 1 / folds,
        same_replicate=_same([run.replicate for run in ordered]) - 1 / replicates,
        same_cell=_same([(run.point, run.replicate.fold) for run in ordered]) * (folds > 1),
        same_point=same_point,
        folds=folds,
        replicates=replicates,
    )


def ordered_runs(runs: Sequence[PointRun]) -> list[PointRun]:
    """Runs of points by point and number, then plain's: the rows of a :class:`Layout`."""
    return sorted(runs, key=lambda run: (run.plain, run.point or 0, run.number))


def matern(from_md: Array, to_kd: Array, scales_d: Array) -> Array:
    r"""(m, k) correlation :math:`(1 + \sqrt5 r + 5r^2/3) e^{-\sqrt5 r}`, r the distance in length scales.

    Source: Rasmussen and Williams 2006, Eq. 4.17.
    """
    distance: Array = math.sqrt(5) * cdist(from_md / scales_d, to_kd / scales_d)
    return (1 + distance + distance**2 / 3) * np.exp(-distance)


def matern_slope(distance: Array) -> Array:
    r"""Factor q of :math:`\partial k / \partial \log \ell_i = q (\Delta_i / \ell_i)^2`.

    Args:
        distance: :math:`\sqrt5 r`, any shape.
    """
    return 5 / 3 * (1 + distance) * np.exp(-distance)


@lru_cache(maxsize=16)
def cube(places: int, dimensions: int) -> Array:
    """(places, dimensions) evenly spread over the unit cube (scrambled Sobol), the same ones at each call, read-only.

    Args:
        places: a power of two.
        dimensions: at least 1.
    """
    found = np.asarray(qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(0)).random(places))
    found.flags.writeable = False
    return found


def off_diagonal_mean(square: Array) -> float:
    """Mean over all pairs of two different places of a symmetric (m, m) matrix."""
    return float((square.sum() - np.trace(square)) / (square.size - len(square)))


def process_variance(smooth: float, scales_d: Array) -> float:
    """Variance of the process that has standard deviation ``smooth`` between uniformly drawn places.

    A process with long length scales hardly varies inside of the space, however large its variance: its own variance
    says nothing of what a search can find.
    """
    places = cube(SPREAD_PLACES, len(scales_d))
    return smooth**2 / (1 - off_diagonal_mean(matern(places, places, scales_d)))


def covariance(layout: Layout, hyper: Hyper) -> tuple[Array, Array]:
    """(n, n) covariance of the scores given the arms' means, and (P, P) of the points' levels in it."""
    of_points = hyper.nugget**2 * np.eye(len(layout.points))
    if layout.names:
        scales = scales_of(layout, hyper)
        of_points += process_variance(hyper.smooth, scales) * matern(layout.units_Pd, layout.units_Pd, scales)
    total = hyper.fold**2 * layout.same_fold + hyper.seed**2 * layout.same_replicate
    total += hyper.point_fold**2 * layout.same_cell
    total += np.diag(np.where(layout.plain, hyper.noise_plain, hyper.noise) ** 2)
    runs = len(layout.point_of_run)
    total[:runs, :runs] += of_points[np.ix_(layout.point_of_run, layout.point_of_run)]
    return total, of_points


def scales_of(layout: Layout, hyper: Hyper) -> Array:
    """(d,) length scales in the order of the layout's scalars.

    Raises:
        SearchError: the components were fitted for other scalars.
    """
    if set(hyper.length_scales) != set(layout.names):
        raise SearchError(
            f"components fitted for {sorted(hyper.length_scales)} cannot serve {sorted(layout.names)}; fit them anew"
        )
    return np.array([hyper.length_scales[name] for name in layout.names], dtype=np.float64)


def _place(run: PointRun, names: Sequence[str], ranges: Mapping[str, ScalarRange]) -> tuple[float, ...]:
    missing = [name for name in names if name not in run.scalars]
    if missing:
        raise SearchError(f"run {run.number} of point {run.point} lacks {missing}; a point sets all searched scalars")
    try:
        place = tuple(ranges[name].to_unit(run.scalars[name]) for name in names)
    except ValueError as fault:
        raise SearchError(
            f"run {run.number} of point {run.point} has {dict(run.scalars)}, which a logarithmic range cannot place; "
            "keep it above 0"
        ) from fault
    if not all(math.isfinite(unit) for unit in place):
        raise SearchError(f"run {run.number} of point {run.point} has {dict(run.scalars)}; scalars have to be numbers")
    return place


def _same(labels: Sequence[Hashable]) -> Array:
    codes = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    coded = np.array([codes[label] for label in labels])
    same: Array = np.equal.outer(coded, coded).astype(np.float64)
    return same
