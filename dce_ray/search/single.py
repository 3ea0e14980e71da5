"""``policy=single``: one run per point, stopped early by a pruner, judged by its best evaluation: today's usual way.

A trial that is RUNNING in the study but not in this process was interrupted; it goes on as itself, so that a kill makes
no second trial. Scores are selected from noise here, which is why ``policy=replicates`` is the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from optuna.trial import Trial, TrialState

from dce_ray.experiment.folder import RunFolder
from dce_ray.experiment.record import SEARCHED, RunRecord
from dce_ray.search.ledger import StudyLedger, finite_score, fold_of, run_key
from dce_ray.search.study import make_sampler
from dce_ray.train.run_files import best_of

STOPPED = "stopped_at"
"""Attribute of a trial that the pruner has stopped: the iteration. It is written before the trial is told."""


@dataclass
class SingleLedger(StudyLedger):
    """One trial per point; the study's pruner decides who stops.

    Args:
        sampler: name in :data:`dce_ray.search.study.SAMPLERS`.
        seed: of the suggestions.
    """

    sampler: str = "tpe"
    seed: int = 0

    def enqueue(self, points: Mapping[str, Mapping[str, float]]) -> list[str]:
        """Queue the published points, equal ones once; what was changed or left out, one line each."""
        notes = []
        for origin, point in points.items():
            searched, differences = self.space.project(point)
            notes += [f"first point {origin}: {line}" for line in differences]
            if searched:
                name = f"{origin}-altered" if differences else origin
                self.study.enqueue_trial(searched, user_attrs={"origin": name}, skip_if_exists=True)
        self._look_again()
        return notes

    def _again(self, number: int) -> Trial:
        self.study.sampler = make_sampler(self.sampler, self.seed, number)
        return super()._again(number)

    def _next(self) -> RunFolder:
        self.study.sampler = make_sampler(self.sampler, self.seed, self.started)
        return self._start(self._ask())

    def _record(self, trial: Trial) -> RunRecord:
        for name, item in self.space.searched.items():  # a known value stays, where the trial has one
            trial.suggest_float(name, item.low, item.high, log=item.log)
        config = self.configure(self.space.complete(trial.params))
        return RunRecord(
            run_key(config, self.digest),
            "trial",
            f"trial {trial.number}",
            trial.number,
            "running",
            config,
            config["seed"],
            fold=fold_of(config),
            origin=trial.user_attrs.get("origin", SEARCHED),
            point=trial.number,
        )

    def _catch_up(self, trial: Trial, folder: RunFolder) -> bool:
        """Report what the worker had written when the driver was killed before it could; whether the trial ends here.

        One score after the other, each with its decision, as they would have come: a rung that is decided with a later
        score than its own stops other trials than an unbroken search does.
        """
        if STOPPED in trial.user_attrs:  # decided, and killed before it was told
            return True
        noted = self.trial(trial.number).intermediate_values
        scores = {iteration: score for iteration, score in folder.scores().items() if iteration not in noted}
        if noted:
            scores[max(noted)] = noted[max(noted)]  # its decision may not have been taken
        return any(self.report(folder.key, iteration, scores[iteration]) for iteration in sorted(scores))

    def report(self, key: str, iteration: int, score: float | None) -> bool:
        """Put a score into the study; whether the pruner stops the trial here (never a first point)."""
        if score is None or not finite_score(score):
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
        best = best_of(self.trial(trial.number).intermediate_values)
        if best is None:
            self.fail(key, "no evaluation gave a finite score")
            return
        iteration, value = best
        trial.set_user_attr("iteration", iteration)
        self._end(key, TrialState.COMPLETE, value)

    def _outcome(self, trial: optuna.trial.FrozenTrial) -> tuple[int | None, float | None]:
        return best_of(trial.intermediate_values) or (None, None)
