"""``policy=single``: one run per point, stopped early by a pruner, judged by its best evaluation: today's usual way.

A trial that is RUNNING in the study but not in this process was interrupted; it goes on as itself, so that a kill makes
no second trial. Scores are selected from noise here, which is why ``policy=replicates`` is the default.

A point has one run. Where the sampler proposes a point that has one (a Gaussian process often proposes the same
corner), the new trial is told how that run ended and takes none: it counts in the study, not in the budget. While the
run is still in flight there is nothing to tell, and the new trial is given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from optuna.trial import Trial, TrialState

from dce_ray.experiment.record import ALTERED, SEARCHED, RunRecord
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.experiment.study import REPEATS
from dce_ray.search.ledger import StudyLedger, finite_score, fold_of, lost_runs, run_key
from dce_ray.search.study import make_sampler
from dce_ray.train.run_files import best_of
from dce_ray.words import counted

STOPPED = "stopped_at"
"""Attribute of a trial that the pruner has stopped: the iteration. It is written before the trial is told."""
SAMPLED_TRIES, DRAWN_TRIES = 5, 45
"""After so many known points in a row points are drawn at random; after so many of those there is no new point."""


@dataclass
class SingleLedger(StudyLedger):
    """One trial per point; the study's pruner decides who stops.

    Args:
        sampler: name in :data:`dce_ray.search.study.SAMPLERS`.
        seed: of the suggestions.
    """

    sampler: str = "tpe"
    seed: int = 0

    def __post_init__(self) -> None:
        self._repeats = {trial.number for trial in self.trials() if REPEATS in trial.user_attrs}
        training = self.configure({})["training"]
        self._length = min(training["iterations"], training.get("stop_at") or training["iterations"])
        self._lost, self._tried_again = lost_runs(self.trials(), lambda trial: "origin" in trial.user_attrs)
        super().__post_init__()
        for number in self._interrupted:
            self._complete_point(number)

    def _complete_point(self, number: int) -> None:
        """Give a trial the point that a kill has cut off between two of its values, each a line of the journal.

        The point is suggested once more as a whole, to a study that knows what the first suggestion knew: a sampler
        that is asked for the rest alone would begin its random stream with another value.
        """
        left = self.trial(number)
        if "origin" in left.user_attrs or self.space.searched.keys() <= left.params.keys():
            return
        study, storage = self.study, self.study._storage
        before = optuna.create_study(
            study_name=study.study_name,
            direction=study.direction,
            sampler=self._sampler_of(number),
            pruner=study.pruner,
        )
        before.add_trials(self.trials()[:number])
        trial = before.ask()
        self._suggest(trial)
        whole = before.trials[number]
        for key, value in whole.system_attrs.items():  # what the sampler itself remembers
            storage.set_trial_system_attr(self._ids[number], key, value)
        for name in whole.params.keys() - left.params.keys():
            spread = whole.distributions[name]
            storage.set_trial_param(self._ids[number], name, spread.to_internal_repr(whole.params[name]), spread)

    @property
    def started(self) -> int:
        """Runs that were ever started: trials without those that repeat a known point; one that was lost and is tried
        again counts once."""
        return super().started - len(self._repeats) - len(self._tried_again)

    @property
    def exhausted(self) -> bool:
        """Whether no trial is left to start: their number is reached, or no new point is found any more."""
        return super().exhausted or (not self._interrupted and self.spent is not None)

    @property
    def spent(self) -> str | None:
        """Why the search ends before its number of runs: the space holds no other point; None while it may."""
        if self.started >= self.num_runs or self._known_before(len(self._ids)) < SAMPLED_TRIES + DRAWN_TRIES:
            return None
        return (
            f"the search ends after {counted(self.started, 'trial')} of {self.num_runs}: the last "
            f"{SAMPLED_TRIES + DRAWN_TRIES} points that were proposed, {DRAWN_TRIES} of them at random, were all tried "
            f"before; wider ranges (space.<name>.low=, .high=) hold more"
        )

    def _known_before(self, number: int) -> int:
        """How many trials in a row before this one repeat a known point; a resumed search counts the same."""
        first = number
        while first - 1 in self._repeats:
            first -= 1
        return number - first

    def _sampler_of(self, number: int) -> optuna.samplers.BaseSampler:
        """Who suggests a trial: the sampler, or chance where the sampler keeps to what is known."""
        drawn = self._known_before(number) >= SAMPLED_TRIES
        return make_sampler("random" if drawn else self.sampler, self.seed, number)

    def enqueue(self, points: Mapping[str, Mapping[str, float]]) -> list[str]:
        """Queue the published points, equal ones once; what was changed or left out, one line each."""
        notes = []
        for origin, point in points.items():
            searched, differences = self.space.project(point)
            notes += [f"first point {origin}: {line}" for line in differences]
            if searched:
                name = f"{origin}{ALTERED}" if differences else origin
                self.study.enqueue_trial(searched, user_attrs={"origin": name}, skip_if_exists=True)
        self._look_again()
        return notes

    def ask(self) -> RunFolder | None:
        """The next run; published points whose processes were lost before all others."""
        lost, self._lost = self._lost, []
        if lost and not self._chosen:
            for trial in lost:
                same = {name: trial.user_attrs[name] for name in ("origin", "params", "key")}
                self.study.enqueue_trial(trial.params, user_attrs=same)
                self._tried_again.add(trial.number)
            self._look_again()
        return super().ask()

    def _again(self, number: int) -> Trial:
        self.study.sampler = self._sampler_of(number)
        return super()._again(number)

    def _next(self) -> RunFolder | None:
        while self.spent is None:
            self.study.sampler = self._sampler_of(len(self._ids))
            folder = self._start(self._ask())
            if folder is not None:
                return folder
        return None

    def _start(self, trial: Trial) -> RunFolder | None:
        record = self._record(trial)
        folder = self.folder.trial(record.key)
        known = folder.record() if folder.exists() else record
        if known.number not in {record.number, *self._tried_again}:
            self._tell_known(trial, self.trial(known.number))
            return None
        return super()._start(trial)

    def _tell_known(self, trial: Trial, known: optuna.trial.FrozenTrial) -> None:
        """End a trial as the run of its point did; one whose run is in flight ends as failed, for there is no score."""
        trial.set_user_attr(REPEATS, known.number)
        self._repeats.add(trial.number)
        if known.state == TrialState.PRUNED:
            for iteration, score in known.intermediate_values.items():
                self._note(trial, iteration, score)
        state = known.state if known.state.is_finished() else TrialState.FAIL
        self.study.tell(trial.number, known.value if state == TrialState.COMPLETE else None, state)

    def _suggest(self, trial: Trial) -> None:
        """Give a trial its point; a known value stays, where it has one."""
        for name, item in self.space.searched.items():
            trial.suggest_float(name, item.low, item.high, log=item.log)

    def _record(self, trial: Trial) -> RunRecord:
        self._suggest(trial)
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
        if iteration >= self._length:  # a rung at the very end stops nothing
            return False
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
