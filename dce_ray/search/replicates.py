"""``policy=replicates``: points are tried on folds and seeds, and a model of the noise says which deserve more runs.

The study ``runs`` is the truth, the plain baseline's runs included: one trial per run, which carries its point, its
replicate and its scalars from the moment it is queued. What runs next is computed while the run before it trains, and
queued before that run is told: a search that is killed at any moment, with one run at a time, goes on with the very
proposal that it would have had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from dce_ray.config import SCALARS
from dce_ray.experiment.candidate import search_seed
from dce_ray.experiment.record import PLAIN, SEARCHED, WITHOUT_METHOD, RunRecord
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.experiment.study import STATE_OF
from dce_ray.points.runs import PointRun, Replicate
from dce_ray.points.scores import RunningScores
from dce_ray.points.threads import one_thread
from dce_ray.presets import merge
from dce_ray.search.ledger import StudyLedger, finite_score, fold_of, lost_runs, run_key
from dce_ray.search.policy import FAILURES, Proposal
from dce_ray.searchable import ITERATIONS, typed


def _anchors(trial: FrozenTrial) -> bool:
    """Whether a run is one that others are compared with: the plain baseline's, where it is a partner of every point's,
    and those of the published points, which are confirmed whoever wins."""
    return trial.user_attrs["origin"] != SEARCHED and not trial.user_attrs.get("own_search")


class Proposer(Protocol):
    """Who runs next: a policy, or two that take turns."""

    @property
    def folds(self) -> int:
        """K, from 1."""

    def propose(self, runs: Sequence[PointRun]) -> Proposal:
        """The next run, given all that were ever started."""


@dataclass
class ReplicateLedger(StudyLedger):
    """Runs of points and of the plain baseline, as the policy proposes them.

    Args:
        policy: who runs next.
    """

    policy: Proposer = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._lost, self._tried_again = lost_runs(self.trials(), _anchors)
        self.study.sampler = optuna.samplers.RandomSampler(seed=0)  # asked for nothing: proposals come queued
        started = [self._run(trial) for trial in self.trials() if trial.state != TrialState.WAITING]
        self._runs = {run.number: run for run in started}
        self._scores = RunningScores(started)
        self._plain = Counter(run.state for run in started if run.plain)
        self._last_point = max((run.point for run in started if run.point is not None), default=-1)
        self._thinker = ThreadPoolExecutor(1, thread_name_prefix="proposal")
        self._ahead: Future[Proposal] | None = None
        plain = [run for run in self._runs.values() if run.plain]
        failed = {run.number for run in plain if run.state == "failed"}
        self._forgiven = failed if len(failed) == len(plain) else set()

    @property
    def runs(self) -> list[PointRun]:
        """All runs that were started, by their number."""
        return [self._runs[number] for number in sorted(self._runs)]

    @property
    def started(self) -> int:
        """Runs that were ever started: one that was lost and is tried again counts once."""
        return super().started - len(self._tried_again)

    @property
    def _told(self) -> list[PointRun]:
        """What the policy hears of: without the plain baseline's failures of earlier sessions where it only failed, and
        without lost runs that are tried again.

        Nothing can be compared without the plain baseline, and who resumes has mended something.
        """
        return [run for run in self.runs if run.number not in self._forgiven | self._tried_again]

    def _try_lost_again(self) -> None:
        """Queue lost runs once more, before all else, each in its place of the budget."""
        lost, self._lost = self._lost, []
        if lost and self._chosen:
            return
        for trial in lost:
            attributes = trial.user_attrs
            replicate = Replicate(attributes["fold"], attributes["round"])
            self._enqueue(Proposal(attributes["point"], False, dict(trial.params), replicate, attributes["origin"]))
            self._tried_again.add(trial.number)

    @property
    def hopeless(self) -> str | None:
        """Why it makes no sense to go on: the plain baseline only fails; None while it does."""
        if self._plain["failed"] < self._plain.total():  # forgiven ones have failed
            return None
        plain = [run for run in self._told if run.plain]
        failed = [run.number for run in plain if run.state == "failed"]
        enough = self.policy.folds if any(run.own_search for run in plain) else min(FAILURES, self.policy.folds)
        if len(failed) < enough or len(failed) < len(plain):
            return None
        errors = {str(self.trials()[number].user_attrs.get("error")) for number in failed}
        return (
            f"{len(failed)} runs of the plain baseline failed and none ended, so nothing can be compared with it: "
            f"{'; '.join(sorted(errors))}"
        )

    def settle(self) -> None:
        """Put what was thought of ahead into the study: nobody asks any more."""
        self._queue()
        self._thinker.shutdown()

    def ask(self) -> RunFolder | None:
        """The next run; None also where nothing can be compared any more."""
        self._try_lost_again()
        if self.hopeless:
            return None
        folder = super().ask()
        if folder is not None and not self._interrupted:
            self._think_ahead()
        return folder

    def _think_ahead(self) -> None:
        if self._ahead is None and self.started < self.num_runs and not self._queued:
            self._ahead = self._thinker.submit(self._propose, self._told)

    def _propose(self, runs: list[PointRun]) -> Proposal:
        with one_thread():
            return self.policy.propose(runs)

    def _next(self) -> RunFolder | None:
        self._queue()
        if not self._queued:
            self._enqueue(self._propose(self._told))
        return self._start(self._ask())

    def _queue(self) -> None:
        """Put what was thought of ahead into the study."""
        if self._ahead is not None:
            proposal, self._ahead = self._ahead.result(), None
            self._enqueue(proposal)

    def _enqueue(self, proposal: Proposal) -> None:
        """Queue a run in one line of the journal, with all that it will ever be."""
        point = proposal.point
        if proposal.new and point is not None:  # runs that the policy does not hear of have numbers, too
            point = self._last_point + 1
        attributes: dict[str, Any] = {
            "point": point,
            "fold": proposal.replicate.fold,
            "round": proposal.replicate.round,
            "origin": proposal.origin,
            "own_search": proposal.own_search,
            "key": self._key(self._config(proposal.scalars, proposal.replicate, proposal.own_search), proposal.point),
            "params": self._params(proposal.scalars, proposal.own_search),
        }
        distributions = {
            name: FloatDistribution(item.low, item.high, log=item.log)
            for name, item in self.space.searched.items()
            if name in proposal.scalars
        }
        self.study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=dict(proposal.scalars),
                distributions=distributions,
                user_attrs=attributes,
            )
        )
        trials = len(self._ids)
        self._ids.append(self.study._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, trials))
        self._queued.append(trials)

    def _key(self, config: Mapping[str, Any], point: int | None) -> str:
        """Name of a run; where neither component is on, points and the plain baseline may compute the same."""
        apart = "-plain" if point is None and self.space.further else ""
        return run_key(config, self.digest) + apart

    def _params(self, scalars: Mapping[str, float], own_search: bool) -> dict[str, float]:
        """All that the space holds of a setting; of the plain baseline's what it reads."""
        if own_search:
            return {name: typed(name, value) for name, value in scalars.items()}
        return self.space.complete(scalars) if scalars else {}

    def _config(self, scalars: Mapping[str, float], replicate: Replicate, own_search: bool) -> dict[str, Any]:
        """The RunConfig mapping of a setting on a replicate; without scalars the plain baseline's."""
        if own_search:
            config = merge(self.configure(self._middle() | self._params(scalars, own_search)), WITHOUT_METHOD)
        elif scalars:
            config = self.configure(self.space.complete(scalars))
        else:
            config = merge(self.configure(self._middle()), WITHOUT_METHOD)
        config = merge(config, {"seed": search_seed(config["seed"], replicate.round)})
        if config["protocol"] == "holdout":
            config = merge(config, {"sampling": {"fold": replicate.fold}})
        return config

    def _record(self, trial: Trial) -> RunRecord:
        run = self._run(self.trial(trial.number))
        self._note_run(replace(run, state="running"))
        config = self._config(run.scalars, run.replicate, run.own_search)
        setting = f"{PLAIN} {run.point}" if run.own_search else PLAIN if run.plain else f"point {run.point}"
        return RunRecord(
            self._key(config, run.point),
            "plain" if run.plain else "trial",
            setting,
            trial.number,
            "running",
            config,
            config["seed"],
            fold=fold_of(config),
            origin=trial.user_attrs["origin"],
            point=run.point,
            searched=() if run.point is None else tuple(self.space.further),
        )

    def _note_run(self, run: PointRun) -> None:
        """Keep how a run stands, and what is asked of all of them."""
        former = self._runs.get(run.number)
        self._runs[run.number] = run
        if run.plain:
            self._plain[run.state] += 1
            if former is not None:
                self._plain[former.state] -= 1
        if run.point is not None:
            self._last_point = max(self._last_point, run.point)

    def _middle(self) -> dict[str, float]:
        """Six scalars for a baseline that reads none of them."""
        middle = self.space.complete({name: item.from_unit(0.5) for name, item in self.space.searched.items()})
        return {name: middle[name] for name in SCALARS}

    def _run(self, trial: FrozenTrial) -> PointRun:
        attributes: Mapping[str, Any] = trial.user_attrs
        length = 1
        if ITERATIONS in self.space.further:
            length = int(trial.params.get(ITERATIONS) or self.configure({})["training"]["iterations"])
        return PointRun(
            *(trial.number, attributes["point"], dict(trial.params)),
            Replicate(attributes["fold"], attributes["round"]),
            STATE_OF[trial.state],
            {step: score for step, score in trial.intermediate_values.items() if finite_score(score)},
            length=length,
            own_search=attributes.get("own_search", False),
        )

    def _catch_up(self, trial: Trial, folder: RunFolder) -> bool:
        """Report what the worker had written when the driver was killed before it could; no run ends early here."""
        for iteration, score in folder.scores().items():
            self.report(folder.key, iteration, score)
        return False

    def report(self, key: str, iteration: int, score: float | None) -> bool:
        """Put a score into the study; no run is stopped early."""
        if score is not None and finite_score(score):
            self._note(self.live[key], iteration, score)
        return False

    def finish(self, key: str) -> None:
        """Tell COMPLETE with the score at the iteration that other runs choose; FAIL where there is no finite one."""
        trial = self.live[key]
        run = replace(self._run(self.trial(trial.number)), state="finished")
        if not run.curve:
            self.fail(key, "no evaluation gave a finite score")
            return
        self._queue()
        self._note_run(run)
        self._scores.add(run)
        scored = self._scores.of(run)
        trial.set_user_attr("iteration", scored.iteration)
        self._end(key, TrialState.COMPLETE, scored.value)

    def fail(self, key: str, error: str, *, lost: bool = False) -> None:
        """Tell FAIL, with the reason; the run has had its place in the budget."""
        self._queue()
        number = self.live[key].number
        self._note_run(replace(self._runs[number], state="failed"))
        super().fail(key, error, lost=lost)

    def _outcome(self, trial: FrozenTrial) -> tuple[int | None, float | None]:
        return trial.user_attrs.get("iteration"), trial.value
