"""Levels and surface where the components themselves are uncertain: the law of total variance over several of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from dce_ray.points.conditional import Conditional
from dce_ray.points.covariance import Array, Hyper, Layout


class Averaged:
    """What :class:`Conditional` says, its uncertainty over other components that could be the true ones.

    Means are those of the most probable components; covariances are averaged over the others, plus how far their means
    lie from those.

    Args:
        layout: who ran what.
        scores: (n,) fractions in the layout's order.
        hyper: the most probable components.
        others: gives the other ones, asked for once where an uncertainty is; none: ``hyper`` is certain.
    """

    def __init__(
        self, layout: Layout, scores: Array, hyper: Hyper, others: Callable[[], Sequence[Hyper]] = tuple
    ) -> None:
        self.likely = Conditional(layout, scores, hyper)
        self._layout, self._scores, self._others = layout, scores, others

    @cached_property
    def means(self) -> Array:
        """Means of :attr:`levels`, which do not need the other components."""
        return self._likely_levels[0]

    @cached_property
    def levels(self) -> tuple[Array, Array]:
        """Mean and covariance of the levels: points in the layout's order, then plain where it has runs."""
        return self._widened(self._likely_levels, Conditional.levels)

    def surface(self, units_md: Array) -> tuple[Array, Array]:
        """Mean and covariance of the points' surface at (m, d) places."""
        return self._widened(self.likely.surface(units_md), lambda given: given.surface(units_md))

    def surface_beside(self, first_kd: Array, units_md: Array) -> tuple[Array, Array, Array, Array]:
        """See :meth:`Conditional.surface_beside`."""
        mean, among, beside, own = self.likely.surface_beside(first_kd, units_md)
        if not self._possible:
            return mean, among, beside, own
        spreads = []
        for given in self._possible:
            other, *within = given.surface_beside(first_kd, units_md)
            near, far = np.split(other - mean, [len(first_kd)])
            spreads.append((within[0] + np.outer(near, near), within[1] + np.outer(far, near), within[2] + far**2))
        among, beside, own = (np.mean(each, axis=0) for each in zip(*spreads, strict=True))
        return mean, among, beside, own

    def _widened(
        self, likely: tuple[Array, Array], look: Callable[[Conditional], tuple[Array, Array]]
    ) -> tuple[Array, Array]:
        mean, spread = likely
        if not self._possible:
            return mean, spread
        spread = np.zeros_like(spread)
        for given in self._possible:
            other, within = look(given)
            spread += (within + np.outer(other - mean, other - mean)) / len(self._possible)
        return mean, spread

    @cached_property
    def _likely_levels(self) -> tuple[Array, Array]:
        return self.likely.levels()

    @cached_property
    def _possible(self) -> list[Conditional]:
        return [Conditional(self._layout, self._scores, hyper) for hyper in self._others()]
