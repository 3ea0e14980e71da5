"""What a search costs: runs and hours before it starts and while it goes, and whether its time budget is used up."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.files import read_json, write_json
from dce_ray.search.observers import Observer
from dce_ray.search.settings import Experiment
from dce_ray.words import counted


@dataclass(frozen=True, slots=True)
class Runs:
    """How many runs there are."""

    search: int
    """Of the search, the plain baseline's included."""
    confirmation: int
    """Of the confirmation's first stage."""
    further: int
    """At most so many more, where the first stage leaves the interval too wide."""

    @classmethod
    def of(cls, experiment: Experiment) -> Runs:
        """Of a whole search."""
        settings = experiment.settings
        plain = 2 if experiment.two_arms else 1  # at its own best values, and at the winner's
        confirmed = plain + settings.confirm.top + len(experiment.queued()[0])
        first = confirmed * settings.confirm.seeds
        return cls(settings.search.num_runs, first, 2 * settings.confirm.further_seeds)


@dataclass
class Clock(Observer):
    """How long the search has run, all its sessions together; written down whenever a run ends.

    Args:
        folder: where ``clock.json`` lies; a kill loses at most the time since the last run ended.
        budget_s: seconds for the whole search, its confirmation included; None: no end.
    """

    folder: ExperimentFolder
    budget_s: float | None = None

    def __post_init__(self) -> None:
        known = read_json(self.folder.clock) if self.folder.clock.is_file() else {}
        self.before_s = float(known.get("used_s", 0.0))
        self._closed: list[float | None] | None = known.get("closed")
        self._began = time.monotonic()

    @property
    def used_s(self) -> float:
        """Seconds of all sessions."""
        return self.before_s + time.monotonic() - self._began

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left; infinite without one."""
        return math.inf if self.budget_s is None else self.budget_s - self.used_s

    def keep(self) -> None:
        """Write the time down.

        Raises:
            OutputError: the folder cannot be written.
        """
        write_json(self.folder.clock, {"used_s": self.used_s, "closed": self._closed})

    def close(self, runs: int) -> None:
        """The search, with a budget of so many runs, has ended by time: what is left is the confirmation's."""
        self._closed = [runs, self.budget_s]
        self.keep()

    def closed(self, runs: int) -> bool:
        """Whether the search was ended by time, and neither more runs nor more time were given since."""
        return self._closed == [runs, self.budget_s]

    def ended(self, record: RunRecord) -> None:
        """A run ended."""
        self.keep()


@dataclass
class Cost(Observer):
    """What is still to come, from the first ended run's time on.

    Args:
        search_runs: runs of the search in all.
        confirmation_runs: runs of the confirmation's first stage.
        further_runs: at most so many more, where the first stage leaves the interval too wide.
        slots: runs at once.
        cpus: of one run.
        gpus: share of a GPU of one run.
    """

    search_runs: int
    confirmation_runs: int
    further_runs: int
    slots: int
    cpus: float
    gpus: float
    former: Sequence[RunRecord] = ()
    """Ended runs of earlier sessions."""
    _broken: set[str] = field(default_factory=set)
    _durations: list[float] = field(default_factory=list)
    """Sorted: the median is asked for at every event of every run."""
    _early: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._since = time.time()
        times = [(one.started, one.ended) for one in self.former if one.state == "finished"]
        self._durations += sorted(end - start for start, end in times if start is not None and end is not None)

    def retried(self, record: RunRecord, error: str) -> None:
        """A run goes on elsewhere."""
        self._broken.add(record.key)

    def ended(self, record: RunRecord) -> None:
        """A run ended: how long it took counts where it ran in one piece."""
        began, end = record.started, record.ended
        if record.state != "finished" or began is None or end is None:
            return
        if began < self._since or record.key in self._broken:
            return
        fresh = len(self._early) < self.slots  # a slot's first run starts its process too
        bisect.insort(self._early if fresh else self._durations, end - began)
        if len(self._early) == 1 and fresh and not self._durations:
            print(self.outlook(), flush=True)

    @property
    def run_s(self) -> float | None:
        """Seconds of a run, the median so far; None before one ended."""
        known = self._durations or self._early
        return (known[len(known) // 2] + known[(len(known) - 1) // 2]) / 2 if known else None

    def wall_s(self, runs: int) -> float:
        """Seconds that so many runs take side by side; 0 before one ended."""
        return math.ceil(runs / max(self.slots, 1)) * (self.run_s or 0.0)

    @property
    def confirmation_s(self) -> float:
        """Seconds that the confirmation's first stage will take; 0 before a run ended."""
        return self.wall_s(self.confirmation_runs)

    def plan(self) -> str:
        """The runs, in a line, before anything starts."""
        then = f", then {counted(self.confirmation_runs, 'run')} of the confirmation" if self.confirmation_runs else ""
        more = f" and at most {self.further_runs} more" if self.further_runs else ""
        return f"cost: {counted(self.search_runs, 'run')} of the search (the plain baseline's included){then}{more}"

    def outlook(self) -> str:
        """Minutes and hours, in a line, once a run has ended."""
        runs = self.search_runs + self.confirmation_runs
        hours = runs * (self.run_s or 0.0) / 3600
        device = f"{hours * self.gpus:.2g} GPU hours" if self.gpus else f"{hours * self.cpus:.2g} core hours"
        text = (
            f"cost: a run takes about {duration_text(self.run_s or 0.0)}; the search about "
            f"{duration_text(self.wall_s(self.search_runs))}"
        )
        if self.confirmation_runs:
            text += f", its confirmation about {duration_text(self.confirmation_s)}"
            if self.further_runs:
                text += f" and at most {duration_text(self.wall_s(self.further_runs))} more"
        return f"{text}; {device} in all"


def duration_text(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration_text(8.4), duration_text(200), duration_text(9000), duration_text(200_000)
    ('8 s', '3.3 min', '2.5 h', '2.3 days')
    """
    for limit, unit, text in ((100, 1, "{:.0f} s"), (6000, 60, "{:.1f} min"), (48 * 3600, 3600, "{:.1f} h")):
        if seconds < limit:
            return text.format(seconds / unit)
    return f"{seconds / 86400:.1f} days"
