"""Ray Tune's side of a search: a Searcher, a scheduler and a callback that only pass on to a ledger.

Ray's OptunaSearch tells early-stopped trials as COMPLETE and loses the last score; its scheduler's rungs do not
survive a kill. Here nothing is kept on Tune's side: the ledger (and behind it the study) knows everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from dce_ray.search.in_flight import RunsInFlight


class LedgerSearcher(Searcher):  # type: ignore[misc]
    """Asks the ledger for runs and tells it how they ended."""

    def __init__(self, runs: RunsInFlight) -> None:
        super().__init__()
        self.runs = runs

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Metric and direction are the study's."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next run's configuration; None while all slots are taken."""
        return self.runs.start(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Pass on; errors reach the callback, which knows their text."""
        if not error:
            self.runs.complete(trial_id, result or {})

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a resumed search reads the study."""


class LedgerScheduler(FIFOScheduler):  # type: ignore[misc]
    """Stops a trial where the study's pruner says so."""

    def __init__(self, runs: RunsInFlight) -> None:
        super().__init__()
        self.runs = runs

    def choose_trial_to_run(self, tune_controller: Any, **options: Any) -> Trial | None:
        """Asked all the time; what waits for nodes that are gone is taken back, for Ray would let it wait for ever."""
        for trial in [trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING]:
            if self.runs.stranded(trial.trial_id):
                self.runs.take_back(trial.trial_id)
                trial.init_local_path()  # which Tune asks for at its end of every trial, also of one that never began
                tune_controller.stop_trial(trial)
        chosen: Trial | None = super().choose_trial_to_run(tune_controller, **options)
        return chosen

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's question whether the trial goes on."""
        stop = self.runs.result(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class LedgerCallback(Callback):  # type: ignore[misc]
    """Hears of lost workers."""

    def __init__(self, runs: RunsInFlight) -> None:
        self.runs = runs

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A run's process has begun."""
        if trial.trial_id in self.runs.live:
            self.runs.began(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A run's node was taken back with notice: Tune counts no failure and starts the trial elsewhere by itself."""
        folder = self.runs.live[trial.trial_id].folder
        self.runs.observer.retried(folder.record(), what_happened(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A run's process was lost."""
        self.runs.lost(trial.trial_id, what_happened(trial))


class WholeStopper(Stopper):  # type: ignore[misc]
    """Ends the experiment when the runs in flight are to end."""

    def __init__(self, runs: RunsInFlight) -> None:
        self.runs = runs

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is stopped from here."""
        return False

    def stop_all(self) -> bool:
        """Whether everything ends."""
        return self.runs.stopping


def what_happened(trial: Trial) -> str:
    """The last exception of a trial in one line."""
    path = Path(trial.error_file) if trial.error_file else None
    text = path.read_text().split("Failure # ")[-1] if path and path.is_file() else ""
    lines = [line.strip() for line in text.splitlines()[1:] if line.strip()]
    if not lines:
        return "the worker process ended without a message"
    return lines[-1] if any(line.startswith('File "') for line in lines) else lines[0]
