"""The trainable that all baselines share: one evaluation period of a run per Tune step.

A run's whole description lies in its folder (``record.json``), so what Ray carries is a path. The worker writes
progress and checkpoint there through ``dce_ray.train.driver``.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from dce_ray.errors import CheckpointError, DceError, NonFiniteError
from dce_ray.experiment.folder import RunFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.files import write_json
from dce_ray.train.driver import Driver

if TYPE_CHECKING:
    from dce_ray.train import Run

log = logging.getLogger(__name__)


class RunTrainable(tune.Trainable):  # type: ignore[misc]
    """One run, step by step.

    The Tune configuration is ``{"folder": <run folder>, "threads": <CPU threads>}``. Results carry ``iteration``,
    ``score`` (None while nothing is selected), ``finished``, and for what no retry can mend ``fault`` and
    ``fault_kind``. Other exceptions are raised: the run then goes on in another process, up to ``search.max_failures``
    times.
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

    def make_run(self, record: RunRecord) -> Run:
        """The run of a record; what a test or a benchmark replaces."""
        from dce_ray.presets import run_config_from_mapping
        from dce_ray.train import Run

        return Run(run_config_from_mapping(record.config))

    def _begin(self, config: dict[str, Any]) -> None:
        import torch  # here, so that who only hands the class to Tune does not load it

        if config.get("threads"):
            torch.set_num_threads(int(config["threads"]))
        self.folder = RunFolder(Path(config["folder"]))
        self.fault: DceError | None = None
        try:
            self.record = self.folder.record()
            self.run = self.make_run(self.record)
            self.driver = Driver(self.run, self.folder, keep_last=self.record.on_test)
            self._resume()
        except DceError as fault:  # told with the first result: Tune would retry what an exception ends
            self.fault = fault

    def _resume(self) -> None:
        try:
            self.driver.resume()
        except CheckpointError as fault:
            log.warning("%s; the run starts again at its first iteration", fault)

    def step(self) -> dict[str, Any]:
        """Train up to the next evaluation and evaluate; a run on test ends with its table."""
        try:
            if self.fault:
                raise self.fault
            step = self.driver.step()
            score = step.score
            if step.finished and self.record.on_test:
                table = self.driver.test()
                write_json(self.folder.table, table.to_mapping())
                score = self.run.score(table)
        except DceError as fault:
            kind = "run" if isinstance(fault, NonFiniteError) else "environment"
            return {"done": True, "finished": False, "fault": f"{type(fault).__name__}: {fault}", "fault_kind": kind}
        return {"done": step.finished, "finished": step.finished, "iteration": step.iteration, "score": score}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """For Tune's own checkpoints, which the search does not use."""
        self.run.save(Path(checkpoint_dir) / "checkpoint.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """For Tune's own checkpoints, which the search does not use."""
        self.run.restore(Path(checkpoint_dir) / "checkpoint.pt")
