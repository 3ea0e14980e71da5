"""Ask and tell on the study: which trial runs next, whether it goes on, and how it ended.

The study in the journal is the truth. A trial that is RUNNING there but not in this process was interrupted; it goes
on as itself from its last checkpoint, so that a kill makes no second trial and every trial counts exactly once.
Ray is not needed here.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna
from optuna.trial import Trial, TrialState

from dce_ray.experiment.folder import ExperimentFolder, RunFolder
from dce_ray.experiment.record import SEARCHED, RunRecord, decisive
from dce_ray.experiment.study import STATE_OF
from dce_ray.search.space import SearchSpace
from dce_ray.search.study import make_sampler
from dce_ray.train.run_files import best_of

STOPPED = "stopped_at"
"""Attribute of a trial that the pruner has stopped: the iteration. It is written before the trial is told."""


class Ledger(Protocol):
    """What the Tune side needs to know of runs: a study's trials or a plan's confirmation runs."""

    def ask(self) -> RunFolder | None:
        """The next run, its record written; None where there is nothing left to start."""

    def report(self, key: str, iteration: int, score: float | None) -> bool:
        """Take note of a score; whether the run shall stop here."""

    def finish(self, key: str) -> None:
        """The run reached its full length."""

    def prune(self, key: str) -> None:
        """The run was stopped early because :meth:`report` said so."""

    def fail(self, key: str, error: str) -> None:
        """The run cannot go on."""


def run_key(config: Mapping[str, Any], digest: str) -> str:
    """Name of a run: decided by all that decides its numbers, parameters and seed included.

    Args:
        config: the RunConfig as a mapping.
        digest: of the feature store, in place of its path.
    """
    text = json.dumps([decisive(config), digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fold_of(config: Mapping[str, Any]) -> int | None:
    """Fold that a run of this configuration holds out; None where it trains on all of train.

    There is one holdout today, fold 0: ``sampling.holdout_seed`` decides which videos are in it.
    """
    return 0 if config["protocol"] == "holdout" else None


@dataclass
class StudyLedger:
    """Trials of one study.

    Args:
        folder: the experiment, locked by the caller.
        study: opened with :func:`dce_ray.search.study.recover_study`; its pruner decides who stops.
        space: what varies.
        configure: the RunConfig mapping of six scalars.
        digest: of the feature store.
        num_trials: trials in all, the first points included.
    """

    folder: ExperimentFolder
    study: optuna.Study
    space: SearchSpace
    configure: Callable[[Mapping[str, float]], dict[str, Any]]
    digest: str
    sampler: str = "tpe"
    seed: int = 0
    num_trials: int = 32
    live: dict[str, Trial] = field(default_factory=dict)
    """Trials that run in this process, by key."""

    def __post_init__(self) -> None:
        self._interrupted = [t.number for t in self._trials() if t.state == TrialState.RUNNING]
        self._mend_records()

    def enqueue(self, points: Mapping[str, Mapping[str, float]]) -> list[str]:
        """Queue the published points, equal ones once; what was changed or left out, one line each."""
        notes = []
        for origin, point in points.items():
            searched, differences = self.space.project(point)
            notes += [f"first point {origin}: {line}" for line in differences]
            if searched:
                self.study.enqueue_trial(searched, user_attrs={"origin": origin}, skip_if_exists=True)
        return notes

    @property
    def started(self) -> int:
        """Trials that were ever started."""
        return sum(trial.state != TrialState.WAITING for trial in self._trials())

    @property
    def exhausted(self) -> bool:
        """Whether no trial is left to start."""
        return not self._interrupted and self.started >= self.num_trials

    @property
    def complete(self) -> bool:
        """Whether every trial has ended."""
        ended = sum(trial.state.is_finished() for trial in self._trials())
        return self.exhausted and ended >= self.num_trials

    def ask(self) -> RunFolder | None:
        """The next trial: an interrupted one, a first point, or a new suggestion."""
        while self._interrupted:
            number = self._interrupted.pop(0)
            self.study.sampler = make_sampler(self.sampler, self.seed, number)
            trial = Trial(self.study, self._trials()[number]._trial_id)  # what Optuna's own ask does with a new one
            folder = self._start(trial)
            if not self._catch_up(trial, folder):
                return folder
            self.prune(folder.key)
        if self.started >= self.num_trials:
            return None
        self.study.sampler = make_sampler(self.sampler, self.seed, self.started)
        return self._start(self.study.ask())

    def _start(self, trial: Trial) -> RunFolder:
        for name, item in self.space.searched.items():  # returns the known value where the trial has one
            trial.suggest_float(name, item.low, item.high, log=item.log)
        params = self.space.complete(trial.params)
        config = self.configure(params)
        key = run_key(config, self.digest)
        folder = self.folder.trial(key)
        if folder.exists():
            record = folder.record()
        else:
            origin = trial.user_attrs.get("origin", SEARCHED)
            setting, fold = f"trial {trial.number}", fold_of(config)
            record = RunRecord(
                key, "trial", setting, trial.number, "running", config, config["seed"], fold=fold, origin=origin
            )
        started = record.started or time.time()
        folder.write(record.replace(state="running", started=started, ended=None, error=None))
        if "key" not in trial.user_attrs:
            trial.set_user_attr("params", params)
            trial.set_user_attr("key", key)
        self.live[key] = trial
        return folder

    def _catch_up(self, trial: Trial, folder: RunFolder) -> bool:
        """Report what the worker had written when the driver was killed before it could; whether the trial ends here.

        One score after the other, each with its decision, as they would have come: a rung that is decided with a later
        score than its own stops other trials than an unbroken search does.
        """
        if STOPPED in trial.user_attrs:  # decided, and killed before it was told
            return True
        noted = self._trials()[trial.number].intermediate_values
        scores = {iteration: score for iteration, score in folder.scores().items() if iteration not in noted}
        if noted:
            scores[max(noted)] = noted[max(noted)]  # its decision may not have been taken
        return any(self.report(folder.key, iteration, scores[iteration]) for iteration in sorted(scores))

    def _note(self, trial: Trial, iteration: int, score: float) -> None:
        if iteration not in self._trials()[trial.number].intermediate_values:
            trial.report(score, iteration)

    def report(self, key: str, iteration: int, score: float | None) -> bool:
        """Put a score into the study; whether the pruner stops the trial here (never a first point)."""
        if score is None or not math.isfinite(score):
            return False
        trial = self.live[key]
        self._note(trial, iteration, score)
        stops = trial.should_prune() and trial.user_attrs.get("origin") is None
        if stops:
            trial.set_user_attr(STOPPED, iteration)
        return stops

    def finish(self, key: str) -> None:
        """Tell COMPLETE with the best score over the evaluations; FAIL where there is no finite one."""
        trial = self.live[key]
        best = best_of(self._trials()[trial.number].intermediate_values)
        if best is None:
            self.fail(key, "no evaluation gave a finite score")
            return
        iteration, value = best
        trial.set_user_attr("iteration", iteration)
        self._end(key, TrialState.COMPLETE, value)

    def prune(self, key: str) -> None:
        """Tell PRUNED; the scores stay as intermediate values."""
        self._end(key, TrialState.PRUNED)

    def fail(self, key: str, error: str) -> None:
        """Tell FAIL, with the reason."""
        self.live[key].set_user_attr("error", error)
        self._end(key, TrialState.FAIL)

    def _end(self, key: str, state: TrialState, value: float | None = None) -> None:
        trial = self.live.pop(key)
        self.study.tell(trial.number, value, state)
        self._write_end(self._trials()[trial.number])

    def _write_end(self, trial: optuna.trial.FrozenTrial) -> None:
        """Bring ``record.json`` to what the study says of an ended trial."""
        iteration, value = best_of(trial.intermediate_values) or (None, None)
        home = self.folder.trial(trial.user_attrs["key"])
        home.discard_checkpoint()
        home.update(
            state=STATE_OF[trial.state],
            value=value,
            iteration=iteration,
            error=trial.user_attrs.get("error"),
            ended=trial.datetime_complete.timestamp() if trial.datetime_complete else time.time(),
        )

    def _mend_records(self) -> None:
        """Records whose trial ended in the study just before the driver was killed."""
        for trial in self._trials():
            if trial.state.is_finished() and "key" in trial.user_attrs:
                record = self.folder.trial(trial.user_attrs["key"]).record()
                if record.state != STATE_OF[trial.state]:
                    self._write_end(trial)

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        trials: list[optuna.trial.FrozenTrial] = self.study.get_trials(deepcopy=False)
        return trials
