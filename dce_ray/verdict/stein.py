"""How many pairs of runs a confirmation takes, and what may be said of them: Stein's two stages, a fixed sequence.

Stein (1945), "A two-sample test for a linear hypothesis whose power is independent of the variance". The first n0 pairs
give the standard deviation s, and s alone decides how many pairs n there are in all; the mean of the n differences
then lies within ``t(n0 - 1) * s / sqrt(n)`` of the truth with 95 %, whatever the noise, because a mean of normal values
knows nothing of their spread. Looking at the mean before deciding on more pairs would break this, and so would a second
decision: what is decided is written down once, in a :class:`SeedPlan`.

All values are percentage points of mAP.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import decisive
from dce_ray.files import read_json, write_json
from dce_ray.verdict.statistics import LEVEL, Estimate, mean_interval, t_quantile

BETTER, UNDECIDED, WORSE, UNTESTED = "better", "undecided", "worse", "not tested"


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """How many pairs of the winner and the plain baseline there are; fixed when the first stage has ended."""

    seeds: int
    """Seeds of the first stage (``confirm.seeds``)."""
    precision: float | None
    """Wanted half-width (``confirm.precision``); None: no second stage."""
    max_seeds: int
    """Most pairs (``confirm.max_seeds``)."""
    pairs: int
    """Pairs of the first stage of which both runs finished, n0."""
    deviation: float | None
    """Of their differences, s; None for fewer than two pairs."""
    total: int
    """Pairs wanted in all, n."""
    identity: str
    """Of the two settings; see :func:`identity_of`."""
    looks: int = 1
    """Which look at test this is: a search that goes on after its verdict and finds another winner looks again."""

    @property
    def more(self) -> int:
        """Pairs of the second stage."""
        return self.total - self.pairs

    def write(self, folder: ExperimentFolder) -> None:
        """Keep the plan: a resumed confirmation goes on with it."""
        write_json(folder.seed_plan, asdict(self))

    @classmethod
    def read(cls, folder: ExperimentFolder) -> SeedPlan | None:
        """The plan that was fixed; None where none was."""
        return cls(**read_json(folder.seed_plan)) if folder.seed_plan.is_file() else None


def plan_seeds(
    differences: Sequence[float], *, seeds: int, precision: float | None, max_seeds: int, identity: str = ""
) -> SeedPlan:
    """What the first stage's differences ask for; see :class:`SeedPlan`.

    >>> plan_seeds([1.0, 2.0, 6.0], seeds=3, precision=4.0, max_seeds=20).total
    9
    """
    first = mean_interval(differences) if differences else None
    deviation = first.deviation if first else None
    total = len(differences)
    if deviation is not None and precision is not None:
        total = total_pairs(deviation, len(differences), precision, max_seeds)
    return SeedPlan(seeds, precision, max_seeds, len(differences), deviation, total, identity)


def total_pairs(deviation: float, pairs: int, precision: float, most: int) -> int:
    """``n = max(n0, min(most, ceil((t(n0 - 1) s / d)^2)))``: pairs after which half the interval is at most d.

    Args:
        deviation: s, of the first stage's differences.
        pairs: n0, at least 2.
        precision: d, above 0.
        most: bound on n, which may leave the interval wider.
    """
    needed = (t_quantile(0.5 + LEVEL / 2, pairs - 1) * deviation / precision) ** 2
    return max(pairs, min(most, math.ceil(needed)))


def stein_interval(differences: Sequence[float], deviation: float, pairs: int) -> Estimate:
    """Mean of all differences with ``t(n0 - 1) s / sqrt(n)``; its ``deviation`` is the first stage's.

    Without a second stage this is the ordinary t interval.

    Args:
        differences: of all n pairs, those of the first stage included.
        deviation: s, of the first stage's differences.
        pairs: n0, at least 2.
    """
    count = len(differences)
    half_width = t_quantile(0.5 + LEVEL / 2, pairs - 1) * deviation / math.sqrt(count)
    return Estimate(math.fsum(differences) / count, deviation, half_width, count)


def outcome_of(estimate: Estimate | None) -> str:
    """:data:`BETTER` or :data:`WORSE` where the interval excludes 0, else :data:`UNDECIDED`."""
    if estimate is None or estimate.low is None or estimate.high is None or estimate.low <= 0 <= estimate.high:
        return UNDECIDED
    return BETTER if estimate.low > 0 else WORSE


def fixed_sequence(first: Estimate | None, second: Callable[[], Estimate | None]) -> tuple[str, str]:
    """Outcomes of two comparisons, the second one made only where the first is decided.

    So both keep the full level, and the chance of any false claim stays at 5 %.

    Args:
        first: winner against the plain baseline.
        second: winner against the published values, worked out on demand; None where it cannot be made.
    """
    outcome = outcome_of(first)
    if outcome == UNDECIDED:
        return outcome, UNTESTED
    other = second()
    return outcome, UNTESTED if other is None else outcome_of(other)


def identity_of(winner: Candidate, plain: Candidate) -> str:
    """Names the two settings that are compared, by all that decides their numbers but the seed."""
    pair: list[Mapping[str, object]] = [decisive(one.configuration(0)) for one in (winner, plain)]
    return hashlib.sha256(json.dumps(pair, sort_keys=True).encode()).hexdigest()[:16]
