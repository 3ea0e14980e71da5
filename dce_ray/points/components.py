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
from functools import cached_property

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import ndtri

from dce_ray.points.covariance import Array, Hyper, Layout, cube, matern_of, mean_correlation, scales_of
from dce_ray.points.elimination import Design, Elimination

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


class Estimate:
    """The most probable components, and how uncertain they are.

    Args:
        layout: who ran what.
        scores: (n,) in fractions, in the layout's order.
        start: components to begin from, such as those of fewer runs; the prior's medians by default.

    Raises:
        SearchError: ``start`` is for other scalars.
    """

    def __init__(self, layout: Layout, scores: Array, start: Hyper | None = None) -> None:
        self._prior = prior = prior_of(layout, scores)
        unit = deviation_within(layout, scores)
        self._evaluate = _Objective(layout, (scores - scores.mean()) / unit, unit, prior)
        begin = prior.mean if start is None else prior.parameters(start, layout)
        low, high = prior.mean - BOUND * prior.deviation, prior.mean + BOUND * prior.deviation
        low[SOURCES.index("noise")] = max(low[SOURCES.index("noise")], math.log(SMALLEST_NOISE * unit))
        self._low, self._high = low, high
        found = minimize(
            self._evaluate,
            np.clip(begin, low, high),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(low, high, strict=True)),
            options={"maxiter": STEPS, "ftol": 1e-8, "gtol": 1e-4},
        )
        self._parameters: Array = found.x
        self.hyper = prior.components(found.x)
        """The most probable components."""

    @cached_property
    def others(self) -> tuple[Hyper, ...]:
        """:data:`DRAWS` components that are as probable as they are uncertain; the same ones each time.

        Drawn from the normal around the most probable ones that has the curvature there (Laplace), in the parameters of
        :class:`Prior`.
        """
        root = _root_of_covariance(self._evaluate, self._parameters, self._prior.deviation)
        steps = ndtri(cube(DRAWS // 2, len(self._parameters)))
        drawn = [np.clip(self._parameters + root @ step, self._low, self._high) for step in (*steps, *-steps)]
        return tuple(self._prior.components(parameters) for parameters in drawn)


def deviation_within(layout: Layout, scores: Array) -> float:
    """Standard deviation of scores around the mean of their arm and fold, drawn to :data:`USUAL_DEVIATION`.

    What is added to all scores of an arm or of a fold does not change it.
    """
    columns = np.concatenate([layout.arms_nA, np.eye(layout.folds)[layout.fold_of_run]], axis=1)
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


def _root_of_covariance(evaluate: _Objective, parameters: Array, deviation: Array) -> Array:
    """Square root of the inverse second derivative; no direction is wider than :data:`WIDEST` times the prior's.

    The symmetric one, which is unique: with another, what is drawn would depend on the signs and rotations in which a
    processor's eigenvectors come out.
    """
    second = np.empty((len(parameters), len(parameters)))
    for row, step in enumerate(np.diag(DIFFERENCE * deviation)):
        ahead, behind = evaluate(parameters + step)[1], evaluate(parameters - step)[1]
        second[row] = (ahead - behind) * deviation / (2 * DIFFERENCE)
    values, vectors = np.linalg.eigh((second + second.T) / 2)
    root = vectors / np.sqrt(np.maximum(values, WIDEST**-2)) @ vectors.T
    return np.asarray(deviation[:, None] * root)


class _Objective:
    """Minus the restricted log likelihood and log prior of scores in units of ``unit``, with gradient.

    Parameters are :class:`Prior`'s.
    """

    def __init__(self, layout: Layout, scores: Array, unit: float, prior: Prior) -> None:
        self.layout, self.unit, self.prior = layout, unit, prior
        self.design = Design(layout, scores)
        self.smooth = bool(layout.names and layout.points)

    def __call__(self, parameters: Array) -> tuple[float, Array]:
        design = self.design
        shifted = (parameters - self.prior.mean) / self.prior.deviation
        variances = dict(zip(SOURCES, (np.exp(2 * parameters[: len(SOURCES)]) / self.unit**2).tolist(), strict=True))
        variances["point_fold"] *= self.layout.folds > 1
        plain = variances["noise"] * math.exp(2 * parameters[len(SOURCES)])
        f = _Surface(self.layout, variances["smooth"], np.exp(parameters[len(SOURCES) + 1 :])) if self.smooth else None
        own = np.zeros((len(self.layout.points),) * 2) if f is None else f.own_PP.copy()
        np.fill_diagonal(own, np.diag(own) + variances["nugget"])
        known = Elimination(
            design,
            own,
            fold=math.sqrt(variances["fold"]),
            seed=math.sqrt(variances["seed"]),
            cell=variances["point_fold"],
            noise=variances["noise"],
            noise_plain=plain,
        )
        value = 0.5 * float(shifted @ shifted) + 0.5 * (known.logarithm + known.misfit)

        # d value = -tr(pull dV) / 2, pull = Q y y' Q - Q; a deviation's logarithm has dV = 2 variance times its pattern
        of_points, of_shared = known.pull_of_points(), known.pull_of_shared()
        folds, seeds = slice(0, design.folds), slice(design.folds, design.folds + design.replicates)
        pulled = {
            "fold": variances["fold"] * _centred_trace(of_shared[folds, folds]),
            "seed": variances["seed"] * _centred_trace(of_shared[seeds, seeds]),
            "nugget": variances["nugget"] * float(np.trace(of_points)),
            "point_fold": variances["point_fold"] * known.pull_of_cells(),
            "smooth": 0.0 if f is None else float(np.vdot(of_points, f.own_PP)),
        }
        all_sources = known.misfit - (design.runs - design.arms)  # tr(pull V)
        pulled["noise"] = all_sources - sum(pulled.values())
        gradient = shifted / self.prior.deviation
        gradient[: len(SOURCES)] -= [pulled[name] for name in SOURCES]
        gradient[len(SOURCES)] -= plain * known.pull_of_plain()
        if f is not None:
            gradient[len(SOURCES) + 1 :] -= f.pull_of_scales(of_points, pulled["smooth"])
        return value, gradient


class _Surface:
    """Covariance of f between the points, and what a change of its length scales makes of it.

    Args:
        layout: with points and searched scalars.
        smooth: variance of f between places of the space.
        scales: (d,) of its process.
    """

    def __init__(self, layout: Layout, smooth: float, scales: Array) -> None:
        self.mean, self.slopes_d = mean_correlation(scales)
        self.near_Pd = layout.units_Pd / scales
        correlation, self.slope_PP = matern_of(math.sqrt(5) * cdist(self.near_Pd, self.near_Pd))
        self.variance = smooth / (1 - self.mean)
        self.own_PP = self.variance * correlation

    def pull_of_scales(self, pull_PP: Array, of_smooth: float) -> Array:
        """(d,) halves of tr(pull dV) for the logarithms of the scales, through the variance of the process too.

        Args:
            pull_PP: whose trace with the change of the covariance is taken.
            of_smooth: its trace with the covariance.
        """
        slope = pull_PP * self.slope_PP
        # Sum over pairs of slope times squared difference, column by column.
        squares = 2 * (slope.sum(axis=0) @ self.near_Pd**2 - (slope @ self.near_Pd * self.near_Pd).sum(axis=0))
        return np.asarray(0.5 * (self.variance * squares + of_smooth * self.slopes_d / (1 - self.mean)))


def _centred_trace(square: Array) -> float:
    """Trace with I - 1/m: of effects that sum to zero."""
    return float(np.trace(square) - square.sum() / len(square))
