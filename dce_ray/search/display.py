"""What a user sees of a running search: a live table on a terminal, one line per event elsewhere."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from dce_ray.experiment.record import PLAIN, PLAIN_LABEL, RunRecord
from dce_ray.search.observers import Observer
from dce_ray.search.pace import Pace, duration_text

if TYPE_CHECKING:
    from rich.table import Table

    from dce_ray.search.cost import Cost

REFRESH_PER_S = 2
QUIET_S = 60.0
"""After so long without a line, one says what is running, where there is no live table."""


class Display(Observer):
    """Counts, best trial, rate and time left.

    Args:
        title: of the table.
        total: runs in all.
        iterations: length of a full run.
        ended: runs of an earlier session.
        stream: where to; a live table if it is a terminal.
        standing: who leads by the model, asked when all is over; None: the best single run leads.
    """

    def __init__(
        self,
        title: str,
        total: int,
        iterations: int,
        ended: Sequence[RunRecord] = (),
        *,
        stream: TextIO | None = None,
        standing: Callable[[], str] | None = None,
    ) -> None:
        self.title, self.total, self.iterations = title, total, iterations
        self.stream = stream or sys.stdout
        self.standing = standing
        self.cost: Cost | None = None
        """Of the whole search, where a confirmation comes after this stage: part of the time to go."""
        self.counts = Counter(record.state for record in ended)
        self.before = len(ended)
        self._former = {record.key: record.state for record in ended}
        self.began = time.monotonic()
        trials = [record for record in ended if _is_ranked(record) and not standing]
        self.best = max(trials, key=lambda record: record.value or 0.0, default=None)
        self.plain = next((record for record in ended if _is_plain(record)), None)
        """The plain baseline's one run, where single runs decide."""
        self.running: dict[str, tuple[RunRecord, int, float | None]] = {}
        self.notice = ""
        self.live = False
        self._told: float | None = None
        self._pace = Pace()
        self._slots = 1
        """Most runs that were seen at once."""
        self._first_end: float | None = None

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table for as long as the block runs, if there is a terminal."""
        if not self.stream.isatty():
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self.stream)
        with Live(get_renderable=self.table, console=console, refresh_per_second=REFRESH_PER_S, transient=True):
            self.live = True
            try:
                yield
            finally:
                self.live = False

    def started(self, record: RunRecord) -> None:
        """A run begins or goes on; one that had ended is tried again, and counts once."""
        if (state := self._former.pop(record.key, None)) is not None:
            self.counts[state] -= 1
            self.before -= 1
        self.running[record.key] = (record, 0, None)
        self._slots = max(self._slots, len(self.running))
        if self._told is None:
            self._line(f"{self.title}: the first run has started ({self._named(record)}); scores are mAP in percent")

    def scored(self, record: RunRecord, iteration: int, score: float | None) -> None:
        """A run went on."""
        self.running[record.key] = (record, iteration, score)
        if self._told is not None and time.monotonic() - self._told >= QUIET_S:
            runs = sorted(self.running.values(), key=lambda item: item[0].number)
            now = ", ".join(f"{called(run)} {done}/{self._length(run)}" for run, done, _ in runs)
            self._line(f"[{self.done}/{self.total}] running: {now}; {self.rate()}")

    def ended(self, record: RunRecord) -> None:
        """A run ended."""
        self.running.pop(record.key, None)
        self.counts[record.state] += 1
        self._timed(record)
        leads = self._leads(record)
        if leads:
            self.best = record
        if _is_plain(record):
            self.plain = record
        outcome = {
            "finished": f"{measured(record)} at iteration {record.iteration}" + (", best so far" if leads else ""),
            "pruned": f"best {measured(record)} at iteration {record.iteration}",
            "failed": record.error or "",
        }[record.state]
        self._line(f"[{self.done}/{self.total}] {self._named(record)} {record.state}: {outcome}  {parameters(record)}")

    def _timed(self, record: RunRecord) -> None:
        """Learn from a run how long one takes; those that began before any had ended started their processes, too."""
        if record.state == "failed" or record.started is None or record.ended is None:
            return
        self._first_end = self._first_end or record.ended
        self._pace.add(record.ended - record.started, first=record.started < self._first_end)

    def _named(self, record: RunRecord) -> str:
        shown = called(record)
        return shown if record.on_test or not self.standing else f"{shown}, {replicate_text(record)}"

    def _leads(self, record: RunRecord) -> bool:
        """Whether a run is the best so far, where single runs decide."""
        if self.standing or not _is_ranked(record):
            return False
        return self.best is None or (record.value or 0.0) > (self.best.value or 0.0)

    def retried(self, record: RunRecord, error: str) -> None:
        """A worker was lost."""
        self.running.pop(record.key, None)
        self._line(f"{called(record)} goes on in another process: {error}")

    def noted(self, text: str) -> None:
        """Something of no run in particular."""
        self.notice = text
        self._line(f"note: {text}")

    def _line(self, text: str) -> None:
        self._told = time.monotonic()
        if not self.live:
            print(text.rstrip(), file=self.stream, flush=True)

    @property
    def done(self) -> int:
        """Runs that ended."""
        return sum(self.counts.values())

    def table(self) -> Table:
        """The live table."""
        from rich.table import Table

        title = f"{self.title}: {len(self.running)} running, {self._counts()} of {self.total}"
        table = Table(title=title, title_justify="left")
        for column in ("run", "iteration", "score (%)", "parameters"):
            table.add_column(column)
        for record, iteration, score in sorted(self.running.values(), key=lambda item: item[0].number):
            table.add_row(called(record), f"{iteration}/{self._length(record)}", percent(score), parameters(record))
        if self.best:
            table.add_section()
            table.add_row(
                f"best: {self.best.label}", str(self.best.iteration), percent(self.best.value), parameters(self.best)
            )
        if self.best and self.plain:
            table.add_row(self.plain.label, str(self.plain.iteration), percent(self.plain.value))
        table.caption = "\n".join(filter(None, [self.rate(), self.notice]))
        return table

    def _length(self, record: RunRecord) -> int:
        """Iterations of a run: up to the chosen one, else its whole schedule."""
        searched: int = record.config.get("training", {}).get("iterations", self.iterations)
        return record.stop_at or searched

    def summary(self) -> str:
        """One line when all is over."""
        beside = f"plain baseline {measured(self.plain)}" if self.plain else "plain baseline not measured"
        best = f"best trial: {self.best.label} with {measured(self.best)}, {beside}" if self.best else ""
        leads = self.standing() if self.standing else best
        text = f"{self.title}: {self._counts()} of {self.total}"
        if self.done == self.before:
            text += ", nothing was run in this session" if self.done < self.total else ", all in earlier sessions"
        else:
            text += f" in {(time.monotonic() - self.began) / 60:.1f} min"
        return f"{text}; {leads}" if leads else text

    def _counts(self) -> str:
        """How many runs ended how; states that no run has are left out."""
        found = [f"{self.counts[state]} {state}" for state in ("finished", "pruned", "failed") if self.counts[state]]
        return ", ".join(found) or "0 finished"

    def rate(self) -> str:
        """Runs per minute so far, and the time left by how long runs take once their processes are there."""
        minutes = (time.monotonic() - self.began) / 60
        ended = self.done - self.before
        if not ended:
            return f"{minutes:.1f} min"
        per_minute = ended / minutes if minutes else math.inf
        progress = sum(min(1.0, now / self._length(record)) for record, now, _ in self.running.values())
        at_once = self._slots / self._pace.mean_s if self._pace.mean_s else per_minute / 60
        left_s = max(0.0, self.total - self.done - progress) / at_once
        then = self.cost.confirmation_s if self.cost else 0.0
        further = f" and about {duration_text(then)} or less for the confirmation" if then else ""
        return f"{minutes:.1f} min, {per_minute:.1f} per minute, about {duration_text(left_s)} left{further}"


def _is_ranked(record: RunRecord) -> bool:
    """Whether the run is a trial that ran to its full length."""
    return record.role == "trial" and record.state == "finished" and record.value is not None


def _is_plain(record: RunRecord) -> bool:
    """Whether the run is the plain baseline's on the selecting split, to its full length."""
    return record.role == "plain" and record.state == "finished" and record.value is not None


def called(record: RunRecord) -> str:
    """How a run is called while it runs: the plain baseline by the name that it has in every stage."""
    if record.on_test and record.setting == PLAIN:
        return f"{record.role} {PLAIN_LABEL}, seed {record.seed}"
    return record.label


def replicate_text(record: RunRecord) -> str:
    """Fold and seed of a run on the selecting split."""
    return f"seed {record.seed}" if record.fold is None else f"fold {record.fold}, seed {record.seed}"


def percent(value: float | None) -> str:
    """A fraction in percent."""
    return "-" if value is None else f"{100 * value:.2f}"


def measured(record: RunRecord) -> str:
    """A run's value in percent, with its measure where the search ranks by another one than test is measured in."""
    if record.config.get("metric") != "classification":
        return percent(record.value)
    return f"{percent(record.value)} ({'detection' if record.on_test else 'classification'} mAP)"


def parameters(record: RunRecord) -> str:
    """The six scalars, and what is searched beside them, in short."""
    return " ".join(
        f"{name}={value}" if isinstance(value, int) else f"{name}={value:.3g}" for name, value in record.params.items()
    )
