"""Mean, standard deviation and 95 % intervals of a few seeds, with Student's t.

One place, so that confirmation, reports and ablations count alike. Of SciPy only the functions behind its
distributions are imported: ``scipy.stats`` takes a second to load.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy.special import nctdtr, stdtrit

from dce_ray.errors import EvaluationError

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its interval, in the unit of the values."""

    mean: float
    deviation: float | None
    """Sample standard deviation (n - 1 below the root); None for a single value."""
    half_width: float | None
    """Half the width of the interval around the mean; None for a single value, and where none is to be shown."""
    count: int
    """Number of values."""

    @property
    def low(self) -> float | None:
        """Lower end of the interval, None where there is none."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end of the interval, None where there is none."""
        return None if self.half_width is None else self.mean + self.half_width

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit; 100 turns fractions into percent."""
        deviation = None if self.deviation is None else self.deviation * abs(factor)
        half_width = None if self.half_width is None else self.half_width * abs(factor)
        return Estimate(self.mean * factor, deviation, half_width, self.count)

    @property
    def described(self) -> Estimate:
        """Mean and deviation alone: what was not planned as a test gets no interval."""
        return replace(self, half_width=None)


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean, sample standard deviation and t interval: ``mean ± t(level, n - 1) * sd / sqrt(n)``.

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
    return float(stdtrit(freedom, probability))


def power_of(seeds: int, deviation: float, difference: float, level: float = LEVEL) -> float:
    """Probability that the paired t interval of ``seeds`` differences excludes 0, on either side.

    >>> round(power_of(34, 2.0, 1.0), 3)
    0.808

    Args:
        seeds: at least 2.
        deviation: of the differences, above 0, in the unit of ``difference``.
        difference: the true mean.
        level: coverage of the interval, in (0, 1).
    """
    shift, bound = difference * math.sqrt(seeds) / deviation, t_quantile(0.5 + level / 2, seeds - 1)
    return float(1 - nctdtr(seeds - 1, shift, bound) + nctdtr(seeds - 1, shift, -bound))


def seeds_for_power(deviation: float, difference: float, power: float = 0.8) -> int:
    """Fewest seeds whose paired t interval (95 %) excludes 0 with probability ``power``.

    >>> seeds_for_power(deviation=2.0, difference=1.0)
    34

    Args:
        deviation: of the paired differences, in the unit of ``difference``; 0 needs the two seeds of an interval.
        difference: the true mean, above 0.
        power: in (0, 1).
    """
    if deviation <= 0:
        return 2
    high = 2
    while power_of(high, deviation, difference) < power:
        high *= 2
    low = high // 2  # too few, or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power_of(middle, deviation, difference) < power else (low, middle)
    return high


def difference_for_power(deviation: float, seeds: int, power: float = 0.8) -> float:
    """Smallest true mean that the paired t interval (95 %) of ``seeds`` differences tells from 0 with ``power``.

    >>> round(difference_for_power(deviation=2.0, seeds=34), 2)
    0.99

    Args:
        deviation: of the paired differences, above 0; the result has its unit.
        seeds: at least 2.
        power: in (0, 1).
    """
    low, high = 0.0, deviation
    while power_of(seeds, deviation, high) < power:
        high *= 2
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if power_of(seeds, deviation, middle) < power else (low, middle)
    return high
