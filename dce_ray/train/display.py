"""What a person sees while one run trains: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dce_ray.interrupts import nobody_reads, tell_unread
from dce_ray.train.run import Run

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY_S = 5.0


class RunDisplay:
    """Loss terms, Psi share, best score so far and time left of a run.

    Args:
        run: the run that trains.
        folder: where it is written; named in the first line.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._run = run
        self._console = _console()
        self._bar = Progress(
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=24),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=run.last_iteration, completed=run.iteration)
        self._last_line = 0.0
        self._first = run.iteration
        self._started = time.monotonic()
        self._say(f"{run.caption('training')}, on {run.device} -> {folder}")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, metrics: Mapping[str, float]) -> None:
        """Show the newest reading."""
        run, total = self._run, self._run.last_iteration
        text = describe(metrics, None if run.best is None else run.best.score)
        self._bar.update(self._task, completed=run.iteration, description=text)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._last_line > LINE_EVERY_S or run.finished):
            self._last_line = now
            rate = (run.iteration - self._first) / max(now - self._started, 1e-9)
            left_s = (total - run.iteration) / rate
            self._say(f"{run.iteration}/{total}  {left_s:.0f} s left  {text}")

    def _say(self, text: str) -> None:
        """A line; where what reads the output has gone (``| head``), the run ends tidily instead."""
        try:
            self._console.print(text, highlight=False, soft_wrap=True)
        except BrokenPipeError:
            if not nobody_reads():
                raise
            self._run.request_stop()
            tell_unread()


def _console() -> Console:
    from rich.console import Console

    class Told(Console):
        """Its own way would end the process with status 1 and without a word."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    return Told()


def describe(metrics: Mapping[str, float], best: float | None) -> str:
    """One line: total loss, each term, share of snippets in Psi, best score so far in percent."""
    parts = [f"loss {metrics['loss/total']:.3f}"] if "loss/total" in metrics else []
    terms = {name.removeprefix("loss/"): value for name, value in metrics.items() if name.startswith("loss/")}
    parts += [f"{name} {value:.3f}" for name, value in terms.items() if name != "total"]
    if "psi_share" in metrics:
        parts.append(f"Psi {metrics['psi_share']:.0%}")
    if best is not None:
        parts.append(f"best mAP {100 * best:.1f}")
    return "  ".join(parts)
