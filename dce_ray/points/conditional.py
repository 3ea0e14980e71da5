r"""What the scores say once the components are given: exact, by the rules of the multivariate normal.

The arms' means have a flat prior (universal kriging; Rasmussen and Williams 2006, Eq. 2.42). With the effects of folds
and replicates and the means written :math:`b`, of which the scores say :math:`N(\hat b, \Phi)`, a point's own part u
and the surface f at a place with covariance k to the points are, in the letters of
:mod:`dce_ray.points.elimination`:

.. math:: u \mid b, y \sim N(\Psi Z^\top B^{-1} (y - X b), \Psi), \quad
          f \mid b, y \sim N(k^\top Z^\top V_1^{-1} (y - X b), k(0) - k^\top J k)
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dce_ray.points.covariance import Array, Hyper, Layout, covariance_of_points, matern, process_variance, scales_of
from dce_ray.points.elimination import Design, Elimination


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
        middle = float(scores.mean())  # taken out before multiplying with large numbers
        self.design = Design(layout, scores - middle)
        self.known = Elimination(
            self.design,
            covariance_of_points(layout, hyper),
            fold=hyper.fold,
            seed=hyper.seed,
            cell=hyper.point_fold**2 * (layout.folds > 1),
            noise=hyper.noise**2,
            noise_plain=hyper.noise_plain**2,
        )
        self.means = self.known.effects_k[-layout.arms_nA.shape[1] :] + middle

    def levels(self) -> tuple[Array, Array]:
        """Mean and covariance of the levels: points in the layout's order, then plain where it has runs."""
        count, plain = len(self.layout.points), bool(self.layout.plain.any())
        own, given = np.zeros(count + plain), np.zeros((count + plain, len(self.known.effects_k)))
        of_points = self.known.given_PK
        own[:count] = of_points @ np.append(-self.known.effects_k, 1.0)
        given[:count] = -of_points[:, :-1]
        given[:count, -len(self.means)] += 1
        given[count:, -1] = 1
        own[:count] += self.means[0]
        own[count:] += self.means[-1]
        spread = given @ self.known.taken_kk @ given.T
        spread[:count, :count] += self.known.left_PP
        return own, _without_negative(spread)

    def surface(self, units_md: Array) -> tuple[Array, Array]:
        """Mean and covariance of the points' mean + f at (m, d) places; the layout has points and scalars."""
        mean, near, given, variance, scales = self._near(units_md)
        own = variance * matern(units_md, units_md, scales)
        return mean, _without_negative(
            own - near @ self.known.inverse_PP @ near.T + given @ self.known.taken_kk @ given.T
        )

    def surface_beside(self, first_kd: Array, units_md: Array) -> tuple[Array, Array, Array, Array]:
        """The surface at (m, d) places that are compared with k first ones, and not with each other.

        Returns:
            Means (k + m,), the first ones' before; covariance (k, k) of the first ones, (m, k) of the others with them,
            and variance (m,) of the others.
        """
        count = len(first_kd)
        mean, near, given, variance, scales = self._near(np.concatenate([first_kd, units_md]))
        to_first = near @ (self.known.inverse_PP @ near[:count].T)
        among = variance * matern(np.concatenate([first_kd, units_md]), first_kd, scales)
        among += given @ (self.known.taken_kk @ given[:count].T) - to_first
        own = variance - np.einsum("mp,mp->m", near[count:] @ self.known.inverse_PP, near[count:])
        own += np.einsum("mk,mk->m", given[count:] @ self.known.taken_kk, given[count:])
        return mean, among[:count], among[count:], np.maximum(own, 0.0)

    def surface_mean(self, units_md: Array) -> Array:
        """The mean of :meth:`surface` alone, for many places."""
        variance, scales = self._process
        return np.asarray(
            self.means[0] + variance * matern(units_md, self.layout.units_Pd, scales) @ self.known.weighed_P
        )

    def shared(self) -> Array:
        """(n,) estimated effect of each run's fold and seed, which all points have in common."""
        effects = self.layout.folds + self.layout.replicates
        return np.asarray(self.design.shared_nk[:, :effects] @ self.known.effects_k[:effects])

    @cached_property
    def _process(self) -> tuple[float, Array]:
        """Variance of f's process, and its length scales."""
        scales = scales_of(self.layout, self.hyper)
        return process_variance(self.hyper.smooth, scales), scales

    def _near(self, units_md: Array) -> tuple[Array, Array, Array, float, Array]:
        """Of the surface at (m, d) places: mean (m,), covariance with the points times g^1/2 (m, P), what the shared
        effects make of it (m, k); and the process."""
        variance, scales = self._process
        near = variance * matern(units_md, self.layout.units_Pd, scales)
        given = -near @ self.known.solved_PK[:, :-1]
        given[:, -len(self.means)] += 1
        return self.means[0] + near @ self.known.weighed_P, near * self.known.root_P, given, variance, scales


def _without_negative(spread: Array) -> Array:
    """Rounding may leave a variance of -1e-20 where nothing is unknown."""
    np.fill_diagonal(spread, np.maximum(np.diag(spread), 0.0))
    return spread
