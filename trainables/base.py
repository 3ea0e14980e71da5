"""The trainable that all baselines share: one evaluation period of a run per Tune step.

What Ray carries to the worker is the run's record, and what it carries back are readings and, of a run on test, the
table: the experiment folder is written where the search runs. The worker only keeps checkpoints, one folder per
attempt (:mod:`dce_ray.train.attempts`), through ``dce_ray.train.driver``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from dce_ray.trainables.keeping import attempts_for, forget, is_own, parcel_of, require_digest
from dce_ray.trainables.system import SystemMeter, gpu_of
from ray import tune

from dce_ray.errors import DceError, NonFiniteError, NonFiniteOutputError, StorageError
from dce_ray.experiment.record import RunRecord
from dce_ray.files import finite
from dce_ray.session.whereabouts import attempt_name, note_here
from dce_ray.train.attempts import Attempts
from dce_ray.train.driver import Driver
from dce_ray.train.run_files import Reading

if TYPE_CHECKING:
    from dce_ray.data.resident import ResidentVideos
    from dce_ray.train import Run


class RunTrainable(tune.Trainable):  # type: ignore[misc]
    """One run, step by step.

    The Tune configuration is what ``RunFolder.for_worker`` gives, and ``threads`` (CPU threads), ``share`` (the run's
    CPU, GPU and memory), ``nodes`` (where it may go) and ``system`` (whether to tell what the process takes of its
    machine); these four may be left out. Results carry ``node`` (Ray's id of it), ``iteration``, ``score`` (None while
    nothing is selected), ``readings`` (those that no result told before; of a run that goes on, all up to its
    checkpoint), ``finished``, at the end of a run on test its ``table`` (JSON: Tune takes mappings apart) and, where
    only this process sees its files, these as ``files`` (a list of one object of Ray's), ``lacks`` (what of the machine
    cannot be told, and why), and for what the same process cannot mend ``fault``, ``fault_kind`` and, of a place that
    did not answer or refused, its address as ``fault_place``. Other exceptions are raised: the run goes on in another
    process, up to ``search.max_failures`` times. Where the process is, it notes in Ray's store of the cluster first.
    """

    baseline: str
    """Name of the baseline, set by each subclass."""
    attempts: Attempts | None = None
    _untold: Sequence[Reading] = ()

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

        return Run(run_config_from_mapping(record.config, kept=True))

    def _begin(self, config: dict[str, Any]) -> None:
        note_here(attempt_name(config))  # before anything that may end this process
        import torch  # here, so that who only hands the class to Tune does not load it

        if config.get("threads"):
            torch.set_num_threads(int(config["threads"]))
        self.record = _on_its_device(RunRecord.from_mapping(config["record"]), config.get("share"))
        self.cleanup()
        self.fault: DceError | None = None
        self.meter: SystemMeter | None = None
        self._forgotten = False
        resident = self._forget()
        try:
            self.attempts = attempts_for(config)
            self.run = self.make_run(self.record)
            if store := getattr(self.run, "store", None):
                require_digest(store.digest, config.get("digest"))
            self._untold = self.attempts.resume(self.run, self.record.attempt)
            files = self.attempts.of(self.record.attempt)
            self.driver = Driver(self.run, files, keep_last=self.record.on_test)
            if config.get("system"):
                self.meter = SystemMeter(gpu_of(getattr(self.run, "device", torch.device("cpu"))))
        except DceError as fault:  # told with the first result: Tune would retry what an exception ends
            self.fault = fault
        del resident  # until here, for the new run to find

    def _forget(self) -> ResidentVideos | None:
        """Drop the run before, so that never two are held; what it had resident is returned, for the next to find."""
        run: Run | None = self.__dict__.pop("run", None)
        self.__dict__.pop("driver", None)
        return run.source.shared if run is not None else None

    def step(self) -> dict[str, Any]:
        """Train up to the next evaluation and evaluate; a run on test ends with its table."""
        return {"node": _node()} | self._step()

    def _step(self) -> dict[str, Any]:
        try:
            if self.fault:
                raise self.fault
            attempts = self.attempts
            assert attempts is not None, "no fault, so they were found"
            step = self.driver.step()
            score, ended = step.score, dict[str, Any]()
            if step.finished and self.record.on_test:
                table = self.driver.test()
                score, ended = self.run.score(table), {"table": json.dumps(finite(table.to_mapping()))}
                if is_own(attempts):
                    ended["files"] = [parcel_of(self.driver.files)]
            if not self._forgotten and self.driver.files.checkpoint.is_file():
                attempts.forget_before(self.record.attempt)
                self._forgotten = True
        except DceError as fault:
            own = isinstance(fault, NonFiniteError | NonFiniteOutputError)
            place = {"fault_place": fault.address} if isinstance(fault, StorageError) and fault.address else {}
            what = {"fault": f"{type(fault).__name__}: {fault}", "fault_kind": "run" if own else "environment", **place}
            return {"done": True, "finished": False, **what}
        told = [asdict(reading) for reading in (*self._untold, *([step.reading] if step.reading else []))]
        self._untold = ()
        if self.meter and step.reading:
            told[-1]["metrics"] = {**told[-1]["metrics"], **self.meter.read()}
        return {
            "done": step.finished,
            "finished": step.finished,
            "iteration": step.iteration,
            "score": score,
            "readings": told,
            **({"lacks": self.meter.lacks} if self.meter and self.meter.lacks else {}),
            **ended,
        }

    def cleanup(self) -> None:
        """Remove what only this process sees; the run has ended, or another process goes on with it."""
        if self.attempts:
            forget(self.attempts)
            self.attempts = None

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """For Tune's own checkpoints, which the search does not use."""
        self.run.save(Path(checkpoint_dir) / "checkpoint.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """For Tune's own checkpoints, which the search does not use."""
        self.run.restore(Path(checkpoint_dir) / "checkpoint.pt")


def _on_its_device(record: RunRecord, share: Mapping[str, float] | None) -> RunRecord:
    """The record; without a share of a GPU ``device=auto`` is the CPU, since Ray hides no GPU from such a process."""
    if share is None or share["GPU"] or record.config.get("device") != "auto":
        return record
    return record.replace(config={**record.config, "device": "cpu"})


def _node() -> str | None:
    """Ray's id of this node; None without Ray."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else None
