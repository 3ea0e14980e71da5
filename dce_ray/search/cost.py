"""What a search costs: runs and hours before it starts and while it goes, and whether its time budget is used up."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.files import read_json, write_json
from dce_ray.search.observers import Observer
from dce_ray.search.pace import Pace, duration_text
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

    A session's time begins with :meth:`begin`, when there are nodes to run on: what Ray takes to start, and the wait
    for a cluster's first node, are no time of the search.

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
        self._began: float | None = None

    def begin(self) -> None:
        """From now on this session's time counts."""
        self._began = time.monotonic()

    @property
    def used_s(self) -> float:
        """Seconds of all sessions."""
        return self.before_s + (0.0 if self._began is None else time.monotonic() - self._began)

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


RETOLD = 0.25
"""What is told is told again where it has changed by more than this part."""


@dataclass
class Cost(Observer):
    """What is still to come, from the first ended run's time on; told again as runs end and show it to be otherwise.

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
    """Runs of earlier sessions."""
    _broken: set[str] = field(default_factory=set)
    _search: Pace = field(default_factory=Pace)
    _confirmation: Pace = field(default_factory=Pace)
    _confirmed: int = 0
    """Runs of the confirmation that have ended."""
    _shares: list[float] = field(default_factory=list)
    """Parts of their full length up to which the confirmation's runs train."""
    _told: tuple[bool, float] | None = None
    """Of what was said last, whether it was the confirmation's, and the seconds of a run."""

    def __post_init__(self) -> None:
        self._since = time.time()
        ended = [one for one in self.former if one.state != "running"]
        self._confirmed = sum(one.on_test for one in ended)
        self._done = len(ended) - self._confirmed
        self._former = {one.key for one in ended}
        for one in ended:
            if one.state == "finished" and one.started is not None and one.ended is not None:
                (self._confirmation if one.on_test else self._search).add(one.ended - one.started)

    def started(self, record: RunRecord) -> None:
        """A run begins; with the confirmation's first it is known up to which iteration they train.

        One that had ended is tried again, and counts once.
        """
        if record.key in self._former:
            self._former.remove(record.key)
            self._done -= not record.on_test
            self._confirmed -= record.on_test
        if not record.on_test:
            return
        full = record.config.get("training", {}).get("iterations")
        self._shares.append(min(1.0, record.stop_at / full) if record.stop_at and full else 1.0)
        if len(self._shares) == 1 and self.run_s is not None:
            self._tell(confirmation=True)

    def retried(self, record: RunRecord, error: str) -> None:
        """A run goes on elsewhere."""
        self._broken.add(record.key)

    def ended(self, record: RunRecord) -> None:
        """A run ended: how long it took counts where it ran in one piece."""
        self._done += not record.on_test
        self._confirmed += record.on_test
        began, end = record.started, record.ended
        if record.state != "finished" or began is None or end is None:
            return
        if began < self._since or record.key in self._broken:
            return
        pace = self._confirmation if record.on_test else self._search
        pace.add(end - began, first=pace.firsts < self.slots)
        if self._changed(record.on_test):
            self._tell(confirmation=record.on_test)

    def _changed(self, confirmation: bool) -> bool:
        """Whether what was told is to be told otherwise."""
        pace = self._confirmation if confirmation else self._search
        if self._told is None:
            return True
        of, told = self._told
        if not pace.steady or (confirmation and self._confirmed >= self.confirmation_runs):
            return False  # first runs start their processes; of further runs the display says what is left
        return of is not confirmation or not 1 - RETOLD < (pace.run_s or 0.0) / told < 1 / (1 - RETOLD)

    def _tell(self, *, confirmation: bool) -> None:
        self._told = confirmation, (self.confirmation_run_s if confirmation else self.run_s) or 0.0
        print(self.confirming() if confirmation else self.outlook(), flush=True)

    @property
    def run_s(self) -> float | None:
        """Seconds of a run of the search, the median so far; None before one ended."""
        return self._search.run_s

    @property
    def confirmation_run_s(self) -> float | None:
        """Seconds of a run of the confirmation: the median so far, before the part of a search's run that it trains."""
        if self._confirmation.steady or self.run_s is None:
            return self._confirmation.run_s
        return self.run_s * (sum(self._shares) / len(self._shares) if self._shares else 1.0)

    def wall_s(self, runs: int, run_s: float | None = None) -> float:
        """Seconds that so many runs take side by side, by default of the search; 0 before one ended."""
        return math.ceil(max(0, runs) / max(self.slots, 1)) * (run_s or self.run_s or 0.0)

    @property
    def confirmation_s(self) -> float:
        """Seconds that the confirmation's first stage takes where its runs train as long as the search's; 0 before a
        run ended."""
        return self.wall_s(self.confirmation_runs)

    def plan(self) -> str:
        """The runs, in a line, before anything starts."""
        runs = counted(self.confirmation_runs, "run")
        then = f", then up to {runs} of the confirmation" if self.confirmation_runs else ""
        more = f" and at most {self.further_runs} more" if self.further_runs else ""
        return (
            f"cost: {counted(self.search_runs, 'run')} of the search (the plain baseline's included){then}{more}; how "
            f"long they take is told when the first has ended, and again where it turns out otherwise"
        )

    def outlook(self) -> str:
        """Minutes and hours that are left, in a line, once a run has ended."""
        left = max(0, self.search_runs - self._done)
        hours = (left + self.confirmation_runs) * (self.run_s or 0.0) / 3600
        device = f"{hours * self.gpus:.2g} GPU hours" if self.gpus else f"{hours * self.cpus:.2g} core hours"
        first = f"the first run took {duration_text(self.run_s or 0.0)}, its process's start included, at which pace"
        text = f"cost: {f'a run takes {self._search.text};' if self._search.steady else first} "
        text += f"the search takes about {duration_text(self.wall_s(left))} more"
        if self.confirmation_runs:
            text += f", its confirmation about {duration_text(self.confirmation_s)} or less"
            if self.further_runs:
                text += f" and at most {duration_text(self.wall_s(self.further_runs))} beyond that"
        return f"{text}; {device} in all that is left"

    def confirming(self) -> str:
        """Minutes that the confirmation's first stage takes, in a line, from its first run's start on."""
        left, run_s = max(0, self.confirmation_runs - self._confirmed), self.confirmation_run_s
        each = self._confirmation.text if self._confirmation.steady else f"about {duration_text(run_s or 0.0)}"
        text = f"cost: a run of the confirmation takes {each}, up to the iteration that was chosen; "
        text += f"they take about {duration_text(self.wall_s(left, run_s))} more"
        if self.further_runs:
            text += f", and at most {duration_text(self.wall_s(self.further_runs, run_s))} beyond that"
        return text
