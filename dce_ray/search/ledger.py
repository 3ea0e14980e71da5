"""Ask and tell on the study: what every policy shares. Which run is next, :mod:`single` and :mod:`replicates` say.

The study in the journal is the truth. A trial that is RUNNING there but not in this process was interrupted; it goes
on as itself from its last checkpoint, so that a kill makes no second trial and every trial counts exactly once.
Ray is not needed here.
"""

from __future__ import annotations

import abc
import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna
from optuna.trial import Trial, TrialState

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord, decisive
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.experiment.study import STATE_OF, error_of
from dce_ray.search.space import SearchSpace
from dce_ray.verdict.asked import looked_at_test


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

    def fail(self, key: str, error: str, *, lost: bool = False) -> None:
        """The run cannot go on; ``lost`` where its process was lost too often, which is no fault of its own."""

    def again(self, key: str) -> None:
        """The run's process was lost: :meth:`ask` gives it before all others, and it goes on."""


LOST = "lost"
"""Attribute of a failed trial: whether its process was lost too often, which is no fault of its own."""


def run_key(config: Mapping[str, Any], digest: str) -> str:
    """Name of a run: decided by all that decides its numbers, parameters and seed included.

    Args:
        config: the RunConfig as a mapping.
        digest: of the feature store, in place of its path.
    """
    text = json.dumps([decisive(config), digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lost_runs(
    trials: Sequence[optuna.trial.FrozenTrial], counts: Callable[[optuna.trial.FrozenTrial], bool]
) -> tuple[list[optuna.trial.FrozenTrial], set[int]]:
    """Runs of earlier sessions whose processes were lost: those that are still to be tried again, and the numbers of
    the others, of which a later trial is the same run.

    Args:
        trials: of the study, by number.
        counts: whether it is to be tried again.
    """
    last = {trial.user_attrs.get("key"): trial.number for trial in trials}
    lost = [
        trial for trial in trials if trial.state == TrialState.FAIL and trial.user_attrs.get(LOST) and counts(trial)
    ]
    again = {trial.number for trial in lost if last[trial.user_attrs["key"]] > trial.number}
    return [trial for trial in lost if trial.number not in again], again


def fold_of(config: Mapping[str, Any]) -> int | None:
    """Fold that a run of this configuration holds out; None where it trains on all of train."""
    return int(config["sampling"]["fold"]) if config["protocol"] == "holdout" else None


@dataclass
class StudyLedger(abc.ABC):
    """The runs of a search as trials of one study.

    Args:
        folder: the experiment, locked by the caller.
        study: opened with :func:`dce_ray.search.study.recover_study`.
        space: what varies.
        configure: the RunConfig mapping of six scalars.
        digest: of the feature store.
        num_runs: trials in all.
    """

    folder: ExperimentFolder
    study: optuna.Study
    space: SearchSpace
    configure: Callable[[Mapping[str, float]], dict[str, Any]]
    digest: str
    num_runs: int = 32
    live: dict[str, Trial] = field(default_factory=dict)
    """Trials that run in this process, by key."""

    def __post_init__(self) -> None:
        self._look_again()
        self._interrupted = [trial.number for trial in self.trials() if trial.state == TrialState.RUNNING]
        self._mend_records()

    def _look_again(self) -> None:
        """Learn which trials there are; from then on every change goes through this ledger."""
        trials = self.trials()
        self._ids = [trial._trial_id for trial in trials]
        self._queued = deque(trial.number for trial in trials if trial.state == TrialState.WAITING)

    @abc.abstractmethod
    def _next(self) -> RunFolder | None:
        """Start a run that never ran; None where there is none to start."""

    @abc.abstractmethod
    def _record(self, trial: Trial) -> RunRecord:
        """What the record of a run says before it starts; its parameters are put into the trial."""

    @abc.abstractmethod
    def _catch_up(self, trial: Trial, folder: RunFolder) -> bool:
        """Report what the worker had written when the driver was killed before it could; whether the run ends here."""

    @abc.abstractmethod
    def report(self, key: str, iteration: int, score: float | None) -> bool:
        """Put a score into the study; whether the run stops here."""

    @abc.abstractmethod
    def finish(self, key: str) -> None:
        """Tell COMPLETE with the run's score; FAIL where there is none."""

    @abc.abstractmethod
    def _outcome(self, trial: optuna.trial.FrozenTrial) -> tuple[int | None, float | None]:
        """Iteration and value of an ended trial, for its record."""

    @property
    def started(self) -> int:
        """Trials that were ever started."""
        return len(self._ids) - len(self._queued)

    @property
    def exhausted(self) -> bool:
        """Whether no trial is left to start."""
        return not self._interrupted and self.started >= self.num_runs

    @property
    def complete(self) -> bool:
        """Whether every trial has ended."""
        states = [trial.state for trial in self.trials()]
        return self.exhausted and all(state.is_finished() or state == TrialState.WAITING for state in states)

    @property
    def _chosen(self) -> bool:
        """Whether all runs were had and test was read: until more runs are asked for what was lost stays lost, for the
        choice that the verdict is about would be made anew."""
        return self.started >= self.num_runs and looked_at_test(self.folder)

    def ask(self) -> RunFolder | None:
        """The next run: an interrupted one before all others."""
        while self._interrupted:
            number = self._interrupted.pop(0)
            trial = self._again(number)
            folder = self._start(trial)
            if folder is None:
                continue
            if not self._catch_up(trial, folder):
                return folder
            self.prune(folder.key)
        return None if self.started >= self.num_runs else self._next()

    def _again(self, number: int) -> Trial:
        return Trial(self.study, self._ids[number])  # what Optuna's own ask does with a new one

    def _ask(self) -> Trial:
        """A queued trial, else a new one, now RUNNING; Optuna's own ask looks through all trials for a queued one."""
        if not self._queued:
            trial = self.study.ask()
            self._ids.append(trial._trial_id)
            return trial
        number = self._queued.popleft()
        self.study._storage.set_trial_state_values(self._ids[number], state=TrialState.RUNNING)
        return Trial(self.study, self._ids[number])

    def trial(self, number: int) -> optuna.trial.FrozenTrial:
        """A trial as it stands, asked for by itself: there may be thousands of others."""
        found: optuna.trial.FrozenTrial = self.study._storage.get_trial(self._ids[number])
        return found

    def _start(self, trial: Trial) -> RunFolder | None:
        """Write the record of a run that begins or goes on; None where the trial takes no run of its own."""
        record = self._record(trial)
        assert record.key not in self.live, f"{record.key} runs already"
        folder = self.folder.trial(record.key)
        if folder.exists():
            if folder.record().number == record.number:
                record = folder.record()
            else:
                folder.clear()  # the same run failed before under another number
        started, attempt = record.started or time.time(), record.attempt + 1
        folder.write(record.replace(state="running", started=started, ended=None, error=None, attempt=attempt))
        if "key" not in trial.user_attrs:
            trial.set_user_attr("params", record.params)
            trial.set_user_attr("key", record.key)
        self.live[record.key] = trial
        return folder

    def _note(self, trial: Trial, iteration: int, score: float) -> None:
        if iteration not in self.trial(trial.number).intermediate_values:
            trial.report(score, iteration)

    def prune(self, key: str) -> None:
        """Tell PRUNED; the scores stay as intermediate values."""
        self._end(key, TrialState.PRUNED)

    def fail(self, key: str, error: str, *, lost: bool = False) -> None:
        """Tell FAIL, with the reason."""
        self.live[key].set_user_attr("error", error)
        self.live[key].set_user_attr(LOST, lost)
        self._end(key, TrialState.FAIL)

    def again(self, key: str) -> None:
        """The trial stays RUNNING and goes on as itself, as one that a killed driver left does."""
        self._interrupted.insert(0, self.live.pop(key).number)

    def _end(self, key: str, state: TrialState, value: float | None = None) -> None:
        trial = self.live.pop(key)
        self.study.tell(trial.number, value, state)
        self._write_end(self.trial(trial.number))

    def _write_end(self, trial: optuna.trial.FrozenTrial) -> None:
        """Bring ``record.json`` to what the study says of an ended trial."""
        iteration, value = self._outcome(trial)
        home = self.folder.trial(trial.user_attrs["key"])
        home.attempts.clear()
        home.update(
            state=STATE_OF[trial.state],
            value=value,
            iteration=iteration,
            error=error_of(trial),
            ended=trial.datetime_complete.timestamp() if trial.datetime_complete else time.time(),
        )

    def _mend_records(self) -> None:
        """Records whose trial ended in the study just before the driver was killed."""
        for trial in self.trials():
            if trial.state.is_finished() and "key" in trial.user_attrs:
                home = self.folder.trial(trial.user_attrs["key"])
                if not home.exists():  # a later trial of the same run had cleared it, and was killed before it wrote
                    continue
                record = home.record()
                if record.state != STATE_OF[trial.state] and record.number == trial.number:
                    self._write_end(trial)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials of the study by their number; a pass over all of them, which no event of a run may cost."""
        trials: list[optuna.trial.FrozenTrial] = self.study.get_trials(deepcopy=False)
        return trials


def finite_score(score: float | None) -> bool:
    """Whether an evaluation gave a number."""
    return score is not None and math.isfinite(score)
