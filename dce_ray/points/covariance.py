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
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from dce_ray.config import ScalarRange
from dce_ray.errors import SearchError
from dce_ray.points.runs import PointRun

if TYPE_CHECKING:
    from scipy.stats import qmc

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
    fold_of_run: NDArray[np.int64]
    """(n,) code of each run's fold, from 0."""
    replicate_of_run: NDArray[np.int64]
    """(n,) code of each run's pair of fold and round, from 0."""
    cell_of_run: NDArray[np.int64]
    """(n,) code of each run's pair of point (or plain) and fold, from 0, in the order of the points, plain's last."""
    folds: int
    """How many folds have a usable run."""
    replicates: int
    """How many pairs of fold and round have a usable run."""

    @property
    def plain(self) -> NDArray[np.bool_]:
        """(n,) which runs are the plain baseline's."""
        return np.arange(len(self.numbers)) >= len(self.point_of_run)


def lay_out(runs: Sequence[PointRun], ranges: Mapping[str, ScalarRange]) -> Layout:
    """The design of usable runs.

    Raises:
        SearchError: a run lacks a searched scalar, has one that its range cannot place, or two runs of one point
            differ in it.
    """
    names = tuple(name for name, item in ranges.items() if not item.constant)
    ordered = ordered_runs(runs)
    places: dict[int, tuple[float, ...]] = {}
    scalars: dict[int, Mapping[str, float]] = {}
    for run in ordered:
        if run.point is not None and scalars.get(run.point) != run.scalars:
            scalars[run.point] = run.scalars
            place = _place(run, names, ranges)
            if places.setdefault(run.point, place) != place:
                raise SearchError(f"runs of point {run.point} differ in their scalars; give each setting its own point")
    points = tuple(places)
    rows = {point: row for row, point in enumerate(points)}
    of_points = [run for run in ordered if run.point is not None]
    columns = [np.array([run.plain == plain for run in ordered], dtype=np.float64) for plain in (False, True)]
    folds, replicates = len({run.replicate.fold for run in ordered}), len({run.replicate for run in ordered})
    return Layout(
        names=names,
        points=points,
        units_Pd=np.array(list(places.values()), dtype=np.float64).reshape(len(points), len(names)),
        numbers=tuple(run.number for run in ordered),
        point_of_run=np.array([rows[run.point] for run in of_points if run.point is not None], dtype=np.int64),
        arms_nA=np.stack([column for column in columns if column.any()], axis=1),
        fold_of_run=_codes([run.replicate.fold for run in ordered]),
        replicate_of_run=_codes([run.replicate for run in ordered]),
        cell_of_run=_codes([(run.point, run.replicate.fold) for run in ordered]),
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
    return matern_of(math.sqrt(5) * cdist(from_md / scales_d, to_kd / scales_d))[0]


def matern_of(distance: Array) -> tuple[Array, Array]:
    r"""Correlation k, and the factor q of :math:`\partial k / \partial \log \ell_i = q (\Delta_i / \ell_i)^2`.

    Args:
        distance: :math:`\sqrt5 r`, any shape.
    """
    fading = np.exp(-distance)
    steep = (1 + distance) * fading
    return steep + distance**2 / 3 * fading, 5 / 3 * steep


def sobol(dimensions: int, random: np.random.Generator) -> qmc.Sobol:
    """A scrambled Sobol sequence in the unit cube.

    Args:
        dimensions: at least 1.
        random: decides the scrambling.
    """
    from scipy.stats import qmc  # takes the better part of a second, which a refused command need not wait for

    return qmc.Sobol(dimensions, scramble=True, rng=random)


@lru_cache(maxsize=16)
def cube(places: int, dimensions: int) -> Array:
    """(places, dimensions) evenly spread over the unit cube (scrambled Sobol), the same ones at each call, read-only.

    Args:
        places: a power of two.
        dimensions: at least 1.
    """
    found = np.asarray(sobol(dimensions, np.random.default_rng(0)).random(places))
    found.flags.writeable = False
    return found


def mean_correlation(scales_d: Array) -> tuple[float, Array]:
    """Mean of :func:`matern` over all pairs of :data:`SPREAD_PLACES` places, and its slopes (d,) in log scales."""
    squares = _squares(len(scales_d))
    correlation, slope = matern_of(np.sqrt(5 * (squares @ scales_d**-2)))
    return float(correlation.mean()), slope @ squares * scales_d**-2 / len(squares)


def process_variance(smooth: float, scales_d: Array) -> float:
    """Variance of the process that has standard deviation ``smooth`` between uniformly drawn places.

    A process with long length scales hardly varies inside of the space, however large its variance: its own variance
    says nothing of what a search can find.
    """
    return smooth**2 / (1 - mean_correlation(scales_d)[0])


def covariance_of_points(layout: Layout, hyper: Hyper) -> Array:
    """(P, P) covariance of the points' levels, given their arm's mean."""
    of_points = hyper.nugget**2 * np.eye(len(layout.points))
    if layout.names:
        scales = scales_of(layout, hyper)
        of_points += process_variance(hyper.smooth, scales) * matern(layout.units_Pd, layout.units_Pd, scales)
    return of_points


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


def _codes(labels: Sequence[Hashable]) -> NDArray[np.int64]:
    codes = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    return np.array([codes[label] for label in labels], dtype=np.int64)


@lru_cache(maxsize=4)
def _squares(dimensions: int) -> Array:
    """(pairs, d) squared differences of all pairs of the places of :func:`mean_correlation`, read-only."""
    places = cube(SPREAD_PLACES, dimensions)
    first, second = np.triu_indices(SPREAD_PLACES, 1)
    found: Array = (places[first] - places[second]) ** 2
    found.flags.writeable = False
    return found
