r"""How large each source of noise is: restricted maximum likelihood with weak priors.

.. math:: \ell(\theta) = -\tfrac12\left(\log|V| + \log|H^\top V^{-1} H| + y^\top Q y\right) + \log p(\theta),
          \quad Q = V^{-1} - V^{-1} H (H^\top V^{-1} H)^{-1} H^\top V^{-1}

with H the arms' means under a flat prior (Patterson and Thompson 1971). The gradient of a parameter is
:math:`\tfrac12 \mathrm{tr}\left((Q y y^\top Q - Q)\,\partial V\right)`, so that one inverse serves all of them.

Written on NumPy and SciPy rather than on scikit-learn's ``GaussianProcessRegressor``: that has neither flat means
(which must be integrated out, or the components come out too small) nor priors on its parameters (without which few
runs, or scores that are all equal, send them to their bounds), and its kernels build one dense gradient per parameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import ndtri

from dce_ray.errors import SearchError
from dce_ray.points.covariance import (
    SPREAD_PLACES,
    Array,
    Hyper,
    Layout,
    cube,
    matern,
    matern_slope,
    off_diagonal_mean,
    scales_of,
)

USUAL_DEVIATION = 0.015
"""Deviation of one run's mAP that is expected before any was seen (measured: 0.008 to 0.022)."""
USUAL_WEIGHT = 2.0
"""How many runs that expectation counts as."""
MEDIANS = {"smooth": 0.4, "nugget": 0.15, "fold": 0.5, "seed": 0.6, "point_fold": 0.15, "noise": 0.8}
"""Prior medians of the components, in units of the deviation between runs of one arm and fold."""
SPREADS = {"smooth": 1.0, "nugget": 0.75, "fold": 1.5, "seed": 0.75, "point_fold": 0.75, "noise": 1.0}
"""Prior standard deviations of the components' logarithms: 1 is a factor of 2.7 either way."""
PLAIN_SPREAD = 0.35
"""The same for the ratio of plain's noise to the points': few runs of plain borrow from the points."""
LENGTH_MEDIAN = 0.4
"""Prior median of a length scale, in widths of the range, times the root of the number of scalars: distances in the
cube grow so (Hvarfner et al. 2024, the prior that BoTorch took over; narrower here, for noisier scores)."""
LENGTH_SPREAD = 1.0
"""Prior standard deviation of a length scale's logarithm."""
BOUND = 4.0
"""How many prior standard deviations a parameter may go from its median."""
SMALLEST_NOISE = 0.01
"""Least deviation of a run's noise, in units of the deviation between runs: keeps V invertible."""
STEPS = 100
"""At most so many steps of L-BFGS."""

DRAWS = 16
"""Components that stand for how uncertain they are; a power of two."""
DIFFERENCE = 0.05
"""Step of the second derivative, in prior standard deviations."""
WIDEST = 1.4
"""Times the prior's standard deviation: what the curvature may at most say."""

SOURCES = tuple(MEDIANS)


@dataclass(frozen=True, slots=True)
class Prior:
    """Normal prior of the parameters: logarithms of the components and of plain's ratio, then of the length scales."""

    mean: Array
    deviation: Array
    names: tuple[str, ...]
    """Searched scalars, in the order of the last parameters."""

    def parameters(self, hyper: Hyper, layout: Layout) -> Array:
        """Of components: what to start from.

        Raises:
            SearchError: the components were fitted for other scalars.
        """
        sources = [math.log(getattr(hyper, name)) for name in SOURCES]
        ratio = math.log(hyper.noise_plain / hyper.noise)
        return np.array([*sources, ratio, *np.log(scales_of(layout, hyper))])

    def components(self, parameters: Array) -> Hyper:
        """The reverse of :meth:`parameters`."""
        values = dict(zip(SOURCES, np.exp(parameters).tolist(), strict=False))
        scales = np.exp(parameters[len(SOURCES) + 1 :]).tolist()
        plain = values["noise"] * math.exp(parameters[len(SOURCES)])
        return Hyper(**values, noise_plain=plain, length_scales=dict(zip(self.names, scales, strict=True)))


def estimate(layout: Layout, scores: Array, start: Hyper | None = None) -> tuple[Hyper, tuple[Hyper, ...]]:
    """The most probable components, and :data:`DRAWS` that are as probable as they are uncertain.

    The draws are from the normal around the most probable components that has the curvature there (Laplace), in the
    parameters of :class:`Prior`; the same ones each time.

    Args:
        layout: who ran what.
        scores: (n,) in fractions, in the layout's order.
        start: components to begin from, such as those of fewer runs; the prior's medians by default.

    Raises:
        SearchError: ``start`` is for other scalars.
    """
    prior = prior_of(layout, scores)
    unit = deviation_within(layout, scores)
    evaluate = _Objective(layout, (scores - scores.mean()) / unit, unit, prior)
    begin = prior.mean if start is None else prior.parameters(start, layout)
    low, high = prior.mean - BOUND * prior.deviation, prior.mean + BOUND * prior.deviation
    low[SOURCES.index("noise")] = max(low[SOURCES.index("noise")], math.log(SMALLEST_NOISE * unit))
    found = minimize(
        evaluate,
        np.clip(begin, low, high),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"maxiter": STEPS, "ftol": 1e-8, "gtol": 1e-4},
    )
    root = _root_of_covariance(evaluate, found.x, prior.deviation)
    steps = ndtri(cube(DRAWS // 2, len(found.x)))
    drawn = [np.clip(found.x + root @ step, low, high) for step in (*steps, *-steps)]
    return prior.components(found.x), tuple(prior.components(parameters) for parameters in drawn)


def deviation_within(layout: Layout, scores: Array) -> float:
    """Standard deviation of scores around the mean of their arm and fold, drawn to :data:`USUAL_DEVIATION`.

    What is added to all scores of an arm or of a fold does not change it.
    """
    columns = np.concatenate([layout.arms_nA, np.unique(layout.same_fold, axis=1)], axis=1)
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    basis = left[:, values > 1e-9 * values[0]]
    rest = scores - scores.mean()
    rest = rest - basis @ (basis.T @ rest)
    freedom = len(scores) - basis.shape[1]
    return math.sqrt((USUAL_WEIGHT * USUAL_DEVIATION**2 + float(rest @ rest)) / (USUAL_WEIGHT + freedom))


def prior_of(layout: Layout, scores: Array) -> Prior:
    """The prior of the parameters, whose unit is that of the scores."""
    unit = math.log(deviation_within(layout, scores))
    scales = len(layout.names)
    length = math.log(LENGTH_MEDIAN * math.sqrt(scales)) if scales else 0.0
    mean = [*(unit + math.log(MEDIANS[name]) for name in SOURCES), 0.0, *[length] * scales]
    spread = [*(SPREADS[name] for name in SOURCES), PLAIN_SPREAD, *[LENGTH_SPREAD] * scales]
    return Prior(np.array(mean), np.array(spread), layout.names)


def inverse(square: Array) -> tuple[Array, float]:
    """Inverse and log determinant of a symmetric positive definite matrix, by Cholesky.

    Raises:
        SearchError: it is not positive definite in double precision.
    """
    factor, fault = lapack.dpotrf(square, lower=1)
    if fault:
        raise SearchError(
            f"the covariance of {len(square)} runs cannot be inverted (pivot {fault}); "
            "give the noise a deviation above 0, or fit the components anew"
        )
    logarithm = 2 * float(np.log(np.diag(factor)).sum())
    found, _ = lapack.dpotri(factor, lower=1)
    found = np.tril(found)
    return found + np.tril(found, -1).T, logarithm


def project(inverse_nn: Array, arms_nA: Array) -> tuple[Array, Array, float]:
    """Q of the module's formula, the covariance (A, A) of the arms' estimated means, and log |H' V^-1 H|."""
    weighed = inverse_nn @ arms_nA
    information = arms_nA.T @ weighed
    means = np.linalg.inv(information).astype(np.float64)
    return inverse_nn - weighed @ means @ weighed.T, means, float(np.linalg.slogdet(information)[1])


def _root_of_covariance(evaluate: _Objective, parameters: Array, deviation: Array) -> Array:
    """Square root of the inverse second derivative; no direction is wider than :data:`WIDEST` times the prior's."""
    second = np.empty((len(parameters), len(parameters)))
    for row, step in enumerate(np.diag(DIFFERENCE * deviation)):
        ahead, behind = evaluate(parameters + step)[1], evaluate(parameters - step)[1]
        second[row] = (ahead - behind) * deviation / (2 * DIFFERENCE)
    values, vectors = np.linalg.eigh((second + second.T) / 2)
    return np.asarray(deviation[:, None] * vectors / np.sqrt(np.maximum(values, WIDEST**-2)))


class _Objective:
    """Minus the restricted log likelihood and log prior of scores in units of ``unit``, with gradient.

    Parameters are :class:`Prior`'s.
    """

    def __init__(self, layout: Layout, scores: Array, unit: float, prior: Prior) -> None:
        self.layout, self.scores, self.unit, self.prior = layout, scores, unit, prior
        self.scalars = len(layout.names)
        self.shared = {
            "fold": layout.same_fold,
            "seed": layout.same_replicate,
            "point_fold": layout.same_cell,
            "nugget": layout.same_point,
        }
        if self.scalars:
            places = cube(SPREAD_PLACES, self.scalars)
            self.places = places
            self.squares_place = (places[:, None, :] - places[None, :, :]) ** 2
            self.squares_point = (layout.units_Pd[:, None, :] - layout.units_Pd[None, :, :]) ** 2

    def __call__(self, parameters: Array) -> tuple[float, Array]:
        shifted = (parameters - self.prior.mean) / self.prior.deviation
        value = 0.5 * float(shifted @ shifted)
        gradient = shifted / self.prior.deviation
        variances = dict(zip(SOURCES, np.exp(2 * parameters[: len(SOURCES)]) / self.unit**2, strict=True))
        ratio = math.exp(2 * parameters[len(SOURCES)])
        scales = np.exp(parameters[len(SOURCES) + 1 :])
        noise = np.where(self.layout.plain, variances["noise"] * ratio, variances["noise"])

        total = np.diag(noise)
        for name, shared in self.shared.items():
            total += variances[name] * shared
        smooth = self._smooth(variances["smooth"], scales)
        if smooth is not None:
            runs, rows = len(self.layout.point_of_run), self.layout.point_of_run
            total[:runs, :runs] += smooth[np.ix_(rows, rows)]

        inverted, logarithm = inverse(total)
        q, _, of_means = project(inverted, self.layout.arms_nA)
        weighed = q @ self.scores
        value += 0.5 * (logarithm + of_means + float(self.scores @ weighed))
        pull = np.outer(weighed, weighed) - q  # d value = -tr(pull dV) / 2

        for name, shared in self.shared.items():
            gradient[SOURCES.index(name)] -= variances[name] * np.vdot(pull, shared)
        diagonal = np.diag(pull) * noise
        gradient[SOURCES.index("noise")] -= diagonal.sum()
        gradient[len(SOURCES)] -= diagonal[self.layout.plain].sum()
        if smooth is not None:
            gradient_smooth, gradient_scales = self._smooth_gradient(smooth, pull, variances["smooth"], scales)
            gradient[SOURCES.index("smooth")] += gradient_smooth
            gradient[len(SOURCES) + 1 :] += gradient_scales
        return value, gradient

    def _smooth(self, variance: float, scales: Array) -> Array | None:
        """(P, P) covariance of f between the points; None where there is no f."""
        if not self.scalars or not self.layout.points:
            return None
        mean = off_diagonal_mean(matern(self.places, self.places, scales))
        return variance / (1 - mean) * matern(self.layout.units_Pd, self.layout.units_Pd, scales)

    def _smooth_gradient(self, smooth: Array, pull: Array, variance: float, scales: Array) -> tuple[float, Array]:
        """Of the logarithms of f's deviation and of its length scales, through the variance of the process too."""
        starts, runs = self.layout.starts, len(self.layout.point_of_run)
        of_points = np.add.reduceat(np.add.reduceat(pull[:runs, :runs], starts, axis=0), starts, axis=1)
        along = float(np.vdot(of_points, smooth))

        near = self.places / scales
        distance = math.sqrt(5) * cdist(near, near)
        room = 1 - off_diagonal_mean((1 + distance + distance**2 / 3) * np.exp(-distance))
        pairs = len(near) * (len(near) - 1)
        spread = np.tensordot(matern_slope(distance), self.squares_place, 2) / scales**2 / pairs / room

        places = self.layout.units_Pd / scales
        slope = of_points * matern_slope(math.sqrt(5) * cdist(places, places)) * (variance / room)
        scale = np.tensordot(slope, self.squares_point, 2) / scales**2
        return -along, -0.5 * (scale + along * spread)
