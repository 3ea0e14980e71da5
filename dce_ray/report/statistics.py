"""Mean, standard deviation and 95 % intervals of a few seeds, with Student's t.

One place, so that confirmation, reports and ablations count alike. No SciPy: for whole degrees of
freedom the distribution is a finite sum, and its quantile is found by bisection.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dce_ray.errors import EvaluationError

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its interval, in the unit of the values."""

    mean: float
    deviation: float | None
    """Sample standard deviation (n - 1 below the root); None for a single value."""
    half_width: float | None
    """Half the width of the interval around the mean; None for a single value."""
    count: int
    """Number of values."""

    @property
    def low(self) -> float | None:
        """Lower end of the interval, None for a single value."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end of the interval, None for a single value."""
        return None if self.half_width is None else self.mean + self.half_width

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit; 100 turns fractions into percent."""
        deviation = None if self.deviation is None else self.deviation * abs(factor)
        half_width = None if self.half_width is None else self.half_width * abs(factor)
        return Estimate(self.mean * factor, deviation, half_width, self.count)


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean, sample standard deviation and t interval: ``mean +- t(level, n - 1) * sd / sqrt(n)``.

    >>> estimate = mean_interval([1.0, 2.0, 6.0])
    >>> estimate.mean, round(estimate.deviation, 3), round(estimate.half_width, 3)
    (3.0, 2.646, 6.572)

    Args:
        values: one number per seed, finite, in any unit.
        level: coverage of the interval, in (0, 1).

    Raises:
        EvaluationError: no value, or one that is not finite (a failed seed must be named, not averaged away).
    """
    numbers = [float(value) for value in values]
    if not numbers:
        raise EvaluationError("an estimate of no values at all; pass the value of at least one seed")
    wrong = [value for value in numbers if not math.isfinite(value)]
    if wrong:
        raise EvaluationError(f"values {wrong} are not finite; leave failed seeds out and say how many remain")
    count = len(numbers)
    mean = math.fsum(numbers) / count
    if count == 1:
        return Estimate(mean, None, None, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in numbers) / (count - 1))
    half_width = t_quantile(0.5 + level / 2, count - 1) * deviation / math.sqrt(count)
    return Estimate(mean, deviation, half_width, count)


def paired_interval(ours: Mapping[int, float], theirs: Mapping[int, float], level: float = LEVEL) -> Estimate:
    """Interval of the difference ``ours - theirs`` over the seeds that both have.

    >>> gain = paired_interval({0: 43.0, 1: 44.0, 2: 48.0}, {0: 40.0, 1: 42.0, 2: 44.0})
    >>> f"{gain.mean:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]"
    '+3.0 [+0.5, +5.5]'

    Args:
        ours: value by seed.
        theirs: value by seed; what the two runs of a seed share (sampler, initial weights) cancels.
        level: coverage of the interval, in (0, 1).

    Raises:
        EvaluationError: no seed in common, or a value that is not finite.
    """
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        raise EvaluationError(f"seeds {sorted(ours)} and {sorted(theirs)} share none; run both with the same seeds")
    return mean_interval([ours[seed] - theirs[seed] for seed in shared], level)


def t_cumulative(value: float, freedom: int) -> float:
    """Probability that Student's t with ``freedom`` degrees of freedom is at most ``value``.

    With ``a = atan(|value| / sqrt(freedom))`` the mass between ``-value`` and ``value`` is a finite sum of powers of
    ``cos a`` (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    angle = math.atan2(abs(value), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(1 if odd else 0, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + math.copysign(inside / 2, value)


@functools.cache
def t_quantile(probability: float, freedom: int) -> float:
    """Value that Student's t with ``freedom`` degrees of freedom stays below with ``probability``.

    >>> round(t_quantile(0.975, 2), 4)
    4.3027

    Args:
        probability: in (0, 1).
        freedom: degrees of freedom, at least 1.

    Raises:
        EvaluationError: an argument out of range.
    """
    if not 0 < probability < 1 or freedom < 1:
        raise EvaluationError(
            f"t quantile of probability={probability}, freedom={freedom}; need 0 < probability < 1 and freedom >= 1"
        )
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while t_cumulative(high, freedom) < probability:
        low, high = high, 2 * high
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        low, high = (middle, high) if t_cumulative(middle, freedom) < probability else (low, middle)
