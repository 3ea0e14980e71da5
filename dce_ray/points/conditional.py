r"""What the scores say once the components are given: exact, by the rules of the multivariate normal.

With u a point's own part (f + nugget), k its covariance with the scores and H the arms' means under a flat prior
(universal kriging; Rasmussen and Williams 2006, Eq. 2.42):

.. math:: E = h^\top \hat m + k^\top V^{-1} (y - H \hat m),
          \quad \hat m = (H^\top V^{-1} H)^{-1} H^\top V^{-1} y
"""

from __future__ import annotations

import numpy as np

from dce_ray.points.components import inverse, project
from dce_ray.points.covariance import Array, Hyper, Layout, covariance, matern, process_variance, scales_of


class Conditional:
    """Levels and surface, given the components.

    Args:
        layout: who ran what.
        scores: (n,) fractions in the layout's order.
        hyper: the components.

    Raises:
        SearchError: the components were fitted for other scalars.
    """

    def __init__(self, layout: Layout, scores: Array, hyper: Hyper) -> None:
        self.layout, self.hyper = layout, hyper
        of_runs, self.of_points = covariance(layout, hyper)
        inverted, _ = inverse(of_runs)
        self.q, self.means_covariance, _ = project(inverted, layout.arms_nA)
        self.to_means = self.means_covariance @ layout.arms_nA.T @ inverted
        middle = float(scores.mean())  # taken out before multiplying with large numbers
        self.weighed = self.q @ (scores - middle)
        self.means = self.to_means @ (scores - middle) + middle

    def levels(self) -> tuple[Array, Array]:
        """Mean and covariance of the levels: points in the layout's order, then plain where it has runs."""
        count, plain = len(self.layout.points), bool(self.layout.plain.any())
        own = np.zeros((count + plain, count + plain))
        own[:count, :count] = self.of_points
        arms = np.zeros((count + plain, self.layout.arms_nA.shape[1]))
        arms[:count, 0] = 1
        arms[count:, -1] = 1
        return self._given(arms, self.layout.to_runs(own[:, :count]), own)

    def surface(self, units_md: Array) -> tuple[Array, Array]:
        """Mean and covariance of the points' mean + f at (m, d) places; the layout has points and scalars."""
        known, variance, scales = self._known(units_md)
        arms = np.zeros((len(units_md), self.layout.arms_nA.shape[1]))
        arms[:, 0] = 1
        return self._given(arms, known, variance * matern(units_md, units_md, scales))

    def surface_mean(self, units_md: Array) -> Array:
        """The mean of :meth:`surface` alone, for many places."""
        known, _, _ = self._known(units_md)
        return np.asarray(self.means[0] + known @ self.weighed)

    def shared(self) -> Array:
        """(n,) estimated effect of each run's fold and seed, which all points have in common."""
        layout = self.layout
        return (self.hyper.fold**2 * layout.same_fold + self.hyper.seed**2 * layout.same_replicate) @ self.weighed

    def _known(self, units_md: Array) -> tuple[Array, float, Array]:
        """(m, n) covariance of f at places with the scores, the variance of the process and its length scales."""
        scales = scales_of(self.layout, self.hyper)
        variance = process_variance(self.hyper.smooth, scales)
        return self.layout.to_runs(variance * matern(units_md, self.layout.units_Pd, scales)), variance, scales

    def _given(self, arms: Array, known: Array, own: Array) -> tuple[Array, Array]:
        """Mean and covariance of ``arms @ means + u``, u having covariance ``known`` with the runs and ``own``."""
        mean = arms @ self.means + known @ self.weighed
        both = known @ self.to_means.T @ arms.T
        spread = own - known @ self.q @ known.T + arms @ self.means_covariance @ arms.T - both - both.T
        # Rounding may leave a variance of -1e-20 where nothing is unknown.
        np.fill_diagonal(spread, np.maximum(np.diag(spread), 0.0))
        return mean, spread
