"""The one loop of every run, whoever drives it: train up to the next reading, evaluate where it is due, keep it.

``python -m dce_ray.train`` and Ray's trainables both go through :class:`Driver`, so that a run writes the same files
and goes on after a kill in the same way wherever it runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dce_ray.train.run_files import Reading, RunFiles

if TYPE_CHECKING:
    from dce_ray.evaluation import MapTable
    from dce_ray.train.run import Run

CHECKPOINT_EVERY_S = 60.0
"""A checkpoint is due at every evaluation, and after so many seconds without one."""
CHECKPOINT_SHARE = 0.05
"""Part of the time that may go into writing checkpoints: what is due waits where disks are slow or periods short."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of the loop came to."""

    iteration: int
    """Iterations done."""
    metrics: Mapping[str, float]
    """Means since the last step and, where an evaluation was due, its table; what the reading holds."""
    score: float | None
    """What selection ranks by, in [0, 1]; None where nothing was evaluated."""
    finished: bool
    """Whether the run is at its end."""
    reading: Reading | None
    """What was written; None where there was nothing to say."""


class Driver:
    """Takes a run from reading to reading and keeps it in a folder.

    A reading is written before the checkpoint that knows of it: whatever a checkpoint knows, ``progress.jsonl`` says.

    Args:
        run: at its first iteration; :meth:`resume` goes on from the folder's checkpoint.
        files: where it is kept.
        read_every: iterations between readings; None reads at evaluations only.
        keep_best: whether the state of the best evaluation is kept (``best.pt``).
        keep_last: whether the state at the end is kept; a trial of a search needs none.
    """

    def __init__(
        self,
        run: Run,
        files: RunFiles,
        *,
        read_every: int | None = None,
        keep_best: bool = False,
        keep_last: bool = True,
    ) -> None:
        self.run, self.files = run, files
        self.read_every, self.keep_best, self.keep_last = read_every, keep_best, keep_last
        self._writing_s, self._written = 0.0, time.monotonic()
        self._kept: int | None = None
        """Iteration of the checkpoint that was written last."""

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False where it holds none.

        Raises:
            CheckpointError: no checkpoint can be read, or it belongs to another run.
        """
        return self.run.restore(self.files.checkpoint)

    def step(self) -> Step:
        """Train up to the next reading, evaluate and select where that is due, write the reading and the checkpoint.

        Raises:
            NonFiniteError: a loss term or gradient was NaN or infinite.
            DceError: the data or the folder are not what they should be.
        """
        run, every = self.run, self.run.config.training.eval_every
        metrics = dict(run.advance(min(_up_to(run.iteration, every), _up_to(run.iteration, self.read_every or every))))
        due = run.iteration % every == 0 or run.finished
        score = None
        if due and run.selection_split:  # also where the run stops here: it goes on behind this iteration
            score, table = self._select()
            metrics |= table.metrics() | {"score": score}
        reading = self.files.append(run.iteration, metrics) if metrics else None
        self._keep(due)
        return Step(run.iteration, metrics, score, run.finished, reading)

    def keep_stopped(self) -> None:
        """Write the checkpoint of a run that stops here, unless its last step did: it may be asked to behind that."""
        if self._kept != self.run.iteration:
            self._write()

    def test(self) -> MapTable:
        """The run's table on test; its detections are written.

        Test is read here, once: with the best weights where holdout chose them (:attr:`keep_best`), else with the
        last. With ``protocol=paper`` the best table over the evaluations is the result, as published.
        """
        run = self.run
        if run.config.protocol == "paper":
            assert run.best is not None, "a finished run was evaluated at its end"
            return run.best.table
        if run.best is not None:
            run.restore_exactly(self.files.best_checkpoint, run.best.iteration)
        outcome = run.evaluate("test")
        outcome.export(self.files.detections)
        self.files.publish()
        return outcome.table

    def _select(self) -> tuple[float, MapTable]:
        outcome, improved = self.run.select()
        if improved and self.keep_best:
            self.run.save(self.files.best_checkpoint)
        if improved and self.keep_last and self.run.config.protocol == "paper":
            outcome.export(self.files.detections)
        return self.run.score(outcome.table), outcome.table

    def _keep(self, evaluated: bool) -> None:
        """Write the checkpoint where it is due and affordable; always when the run stops here."""
        run, now = self.run, time.monotonic()
        if run.finished and not self.keep_last:
            return
        due = evaluated or now - self._written > CHECKPOINT_EVERY_S
        affordable = now - self._written >= self._writing_s / CHECKPOINT_SHARE
        if run.finished or run.stop_requested or (due and affordable):
            self._write()

    def _write(self) -> None:
        before = time.monotonic()
        self.run.save(self.files.checkpoint)
        self.files.publish()
        self._written, self._kept = time.monotonic(), self.run.iteration
        self._writing_s = self._written - before


def _up_to(iteration: int, every: int) -> int:
    """Iterations up to the next multiple of ``every``, wherever a stop has left the run."""
    return every - iteration % every
