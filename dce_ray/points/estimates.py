"""What a search knows of its points, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

WIDTH = 1.96
"""Half a 95 % interval in standard deviations."""


@dataclass(frozen=True, slots=True)
class PointEstimate:
    """What is known of a point, or of the plain baseline."""

    point: int | None
    """Number of the point; None for plain."""
    mean: float
    """Expected score on the folds and seeds that ran, each counting once, a fraction."""
    deviation: float
    """Standard deviation of that. Levels are correlated: compare two by ``Posterior.difference``."""
    runs: int
    """Usable runs."""
    better: float | None
    """Probability that its level is above plain's; None for plain itself, and where plain has no usable run."""
    best: float | None
    """Probability that its level is the highest of all points with usable runs; None for plain."""

    @property
    def low(self) -> float:
        """Lower end of the model's 95 % interval, a fraction."""
        return self.mean - WIDTH * self.deviation

    @property
    def high(self) -> float:
        """Upper end of the model's 95 % interval, a fraction."""
        return self.mean + WIDTH * self.deviation


@dataclass(frozen=True, slots=True)
class Shares:
    """Where the differences between runs come from: standard deviations in fractions, 0 for what did not vary."""

    points: float
    """Between points drawn uniformly from the space."""
    fold: float
    """Between held-out folds, the same for all points."""
    seed: float
    """Between rounds of one fold, the same for all points."""
    point_fold: float
    """Of a point on a fold, beyond both."""
    noise: float
    """Between runs, beyond all of these."""
    noise_plain: float
    """The same for runs of plain."""

    @property
    def signal_share(self) -> float:
        """Share of a single run's variance that is between points, in [0, 1]; effects of folds and seeds taken out.

        It is how far one run's score can be trusted: the correlation of two runs of the same points.
        """
        signal, rest = self.points**2, self.point_fold**2 + self.noise**2
        return signal / (signal + rest)
