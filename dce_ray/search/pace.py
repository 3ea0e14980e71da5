"""How long runs take, and seconds as people say them."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field


@dataclass
class Pace:
    """How long runs take, from those that have ended."""

    _first: list[float] = field(default_factory=list)
    """Of each slot's first run, which starts the slot's process as well; believed while there is nothing better."""
    _later: list[float] = field(default_factory=list)
    """Sorted: the median is asked for at every event of every run."""

    def add(self, seconds: float, *, first: bool = False) -> None:
        """A run ended.

        Args:
            seconds: that it took.
            first: whether it was its slot's first.
        """
        bisect.insort(self._first if first else self._later, seconds)

    @property
    def firsts(self) -> int:
        """First runs of slots that have ended."""
        return len(self._first)

    @property
    def steady(self) -> bool:
        """Whether a run is known that started no process."""
        return bool(self._later)

    @property
    def run_s(self) -> float | None:
        """Seconds of a run, the median so far; None before one ended."""
        known = self._later or self._first
        return (known[len(known) // 2] + known[(len(known) - 1) // 2]) / 2 if known else None

    @property
    def mean_s(self) -> float | None:
        """Seconds of a run on average, those that were stopped early counted; None before one ended."""
        known = self._later or self._first
        return sum(known) / len(known) if known else None

    @property
    def text(self) -> str:
        """Seconds of a run, and between which they lay where several ended."""
        known = self._later or self._first
        ends = [duration_text(known[0]), duration_text(known[-1])] if known else []
        between = f" ({ends[0]} to {ends[1]} so far)" if len(set(ends)) > 1 else ""
        return f"about {duration_text(self.run_s or 0.0)}{between}"


def duration_text(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration_text(8.4), duration_text(200), duration_text(9000), duration_text(200_000)
    ('8 s', '3.3 min', '2.5 h', '2.3 days')
    """
    for limit, unit, text in ((100, 1, "{:.0f} s"), (6000, 60, "{:.1f} min"), (48 * 3600, 3600, "{:.1f} h")):
        if seconds < limit:
            return text.format(seconds / unit)
    return f"{seconds / 86400:.1f} days"
