"""The trainable that all baselines share: one evaluation period of a ``dce_ray.train.Run`` per Tune step.

A trial's whole description lies in its folder (``trial.json``), so what Ray carries is a path. Progress and checkpoint
are written there by the worker, progress first: whatever the checkpoint knows, the progress file knows too.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from dce_ray.errors import CheckpointError, DceError, NonFiniteError
from dce_ray.experiment.folder import TrialFolder, TrialRecord
from dce_ray.files import write_json

if TYPE_CHECKING:
    from dce_ray.config import RunConfig
    from dce_ray.train import Run

CHECKPOINT_SHARE = 0.05
"""Part of the time that may go into writing checkpoints."""

log = logging.getLogger(__name__)


class RunTrainable(tune.Trainable):  # type: ignore[misc]
    """One run, step by step.

    The Tune configuration is ``{"folder": <trial folder>, "threads": <CPU threads>}``. Results carry ``iteration``,
    ``score`` (None while nothing is selected), ``finished``, and for what no retry can mend ``fault`` and
    ``fault_kind``. Other exceptions are raised, so that Tune tries again up to its ``max_failures``.
    """

    baseline: str
    """Name of the baseline, set by each subclass."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the run of a folder; the feature store is opened once per process and stays open."""
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on another run in the same process."""
        self._begin(new_config)
        return True

    def make_run(self, config: RunConfig) -> Run:
        """The run itself; what a test or a benchmark replaces."""
        from dce_ray.train import Run

        return Run(config)

    def read_config(self, record: TrialRecord) -> RunConfig:
        """The run's configuration from its record."""
        from dce_ray.presets import run_config_from_mapping

        return run_config_from_mapping(record.config)

    def _begin(self, config: dict[str, Any]) -> None:
        import torch  # here, so that who only hands the class to Tune does not load it

        if config.get("threads"):
            torch.set_num_threads(int(config["threads"]))
        self.folder = TrialFolder(Path(config["folder"]))
        self.fault: DceError | None = None
        self._writing_s = 0.0
        self._written = -math.inf
        try:
            self.record = self.folder.record()
            self.run = self.make_run(self.read_config(self.record))
            self.last_iteration = min(self.record.stop_at or math.inf, self.run.config.training.iterations)
            self._restore()
        except DceError as fault:  # told with the first result: Tune would retry what an exception ends
            self.fault = fault

    def _restore(self) -> None:
        try:
            self.run.restore(self.folder.checkpoint)
        except CheckpointError as fault:
            log.warning("%s; the run starts again at its first iteration", fault)

    def step(self) -> dict[str, Any]:
        """Train up to the next evaluation, evaluate, write progress and, where it is due, a checkpoint."""
        try:
            if self.fault:
                raise self.fault
            score = self._period()
            finished = self.run.iteration >= self.last_iteration
            if finished and self.record.kind == "confirm":
                score = self._conclude()
        except DceError as fault:
            kind = "run" if isinstance(fault, NonFiniteError) else "environment"
            return {"done": True, "finished": False, "fault": f"{type(fault).__name__}: {fault}", "fault_kind": kind}
        return {"done": finished, "finished": finished, "iteration": self.run.iteration, "score": score}

    def _period(self) -> float | None:
        every = self.run.config.training.eval_every
        period = min(every - self.run.iteration % every, self.last_iteration - self.run.iteration)
        metrics = dict(self.run.advance(int(period)))
        score = None
        if self.run.selection_split:
            outcome, improved = self.run.select()
            score = self.run.score(outcome.table)
            metrics |= outcome.table.metrics() | {"score": score}
            if improved and self.record.kind == "confirm":
                outcome.export(self.folder.detections)
        if metrics:
            self.folder.append(self.run.iteration, metrics)
        self._checkpoint_where_due()
        return score

    def _checkpoint_where_due(self) -> None:
        """Write a checkpoint unless that would take more than its share of the time."""
        before = time.monotonic()
        if before - self._written < self._writing_s / CHECKPOINT_SHARE or self.run.iteration >= self.last_iteration:
            return
        self.run.save(self.folder.checkpoint)
        self._written = time.monotonic()
        self._writing_s = self._written - before

    def _conclude(self) -> float:
        """The table of a confirmation run: test, read once; with ``protocol=paper`` the best over the evaluations."""
        self.run.save(self.folder.checkpoint)
        if self.run.best:
            table = self.run.best.table
        else:
            outcome = self.run.evaluate("test")
            outcome.export(self.folder.detections)
            table = outcome.table
        write_json(self.folder.table, table.to_mapping())
        return self.run.score(table)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """For Tune's own checkpoints, which the search does not use."""
        self.run.save(Path(checkpoint_dir) / "checkpoint.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """For Tune's own checkpoints, which the search does not use."""
        self.run.restore(Path(checkpoint_dir) / "checkpoint.pt")
