"""What a surface over the unit cube depends on, and where it does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dce_ray.points.covariance import Array, cube

SIGNAL_PLACES = 256
"""Places at which the variation of a surface is held against its uncertainty."""
SENSITIVITY_PLACES = 1024
"""Pairs of places from which sensitivities are estimated."""


def surface_signal(surface: Callable[[Array], tuple[Array, Array]], dimensions: int) -> bool:
    """Whether the mean of a surface varies more over the cube than that variation is uncertain.

    Both are variances around the surface's own average over the cube, so that its level is of no account.

    Args:
        surface: (m, d) places to mean (m,) and covariance (m, m).
        dimensions: d.
    """
    mean, spread = surface(cube(SIGNAL_PLACES, dimensions))
    return bool(mean.var() > np.diag(spread).mean() - spread.mean())


def sensitivities(mean: Callable[[Array], Array], dimensions: int, total: bool) -> list[float]:
    """Share of a function's variance over the cube that each scalar explains.

    Source: Saltelli et al. 2010, Table 2: (f) Jansen for total effects, (b) for effects alone.

    Args:
        mean: (m, d) places to values (m,), not constant.
        dimensions: d.
        total: with all interactions, else alone.
    """
    pairs = cube(SENSITIVITY_PLACES, 2 * dimensions)
    first, second = pairs[:, :dimensions], pairs[:, dimensions:]
    of_first, of_second = mean(first), mean(second)
    variance = float(np.concatenate([of_first, of_second]).var())
    shares = []
    for column in range(dimensions):
        mixed = first.copy()
        mixed[:, column] = second[:, column]
        of_mixed = mean(mixed)
        if total:
            part = float(((of_first - of_mixed) ** 2).mean() / 2)
        else:
            part = float((of_second * (of_mixed - of_first)).mean())
        shares.append(min(max(part / variance, 0.0), 1.0))
    return shares


def flat_interval(mean: Array, spread: Array, here: int) -> tuple[int, int]:
    """First and last place of the run of places around ``here`` that are not lower by more than one deviation.

    Args:
        mean: (m,) along a line.
        spread: (m, m) covariance.
        here: the place to compare with.
    """
    variance = np.diag(spread) + spread[here, here] - 2 * spread[here]
    lower = mean[here] - mean > np.sqrt(np.maximum(variance, 0.0)) + 1e-12
    left, right = np.flatnonzero(lower[:here]), np.flatnonzero(lower[here:])
    return (int(left[-1]) + 1 if len(left) else 0), (here + int(right[0]) - 1 if len(right) else len(mean) - 1)
