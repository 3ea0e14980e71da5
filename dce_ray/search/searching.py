"""The searching half of a search, by policy: its ledger, what a user wants to know of it, and how it is concluded."""

from __future__ import annotations

import abc
from collections.abc import Callable
from functools import cached_property

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, RunRecord
from dce_ray.points.standing import read_standing
from dce_ray.search.arms import TwoArms
from dce_ray.search.ledger import Ledger
from dce_ray.search.plan import ChainLedger, PlanLedger, plan_plain
from dce_ray.search.points_study import write_points_study
from dce_ray.search.policy import Policy
from dce_ray.search.replicates import Proposer, ReplicateLedger
from dce_ray.search.settings import Experiment
from dce_ray.search.single import SingleLedger
from dce_ray.search.study import default_scheduler, first_resource, make_pruner, recover_study


class Searching(abc.ABC):
    """The runs of a search on the selecting split, in a folder that the caller has locked.

    Args:
        experiment: what was asked.
        folder: of the search.
    """

    def __init__(self, experiment: Experiment, folder: ExperimentFolder) -> None:
        self.experiment, self.folder = experiment, folder
        self.total = experiment.settings.search.num_runs
        """Runs in all, the plain baseline's included."""

    @property
    @abc.abstractmethod
    def ledger(self) -> Ledger:
        """Which runs there are, and who notes how they end."""

    @property
    def ended(self) -> list[RunRecord]:
        """Runs of earlier sessions that need no more work."""
        return [record for run in self.folder.trials() if (record := run.record()).state != "running"]

    @property
    def hopeless(self) -> str | None:
        """Why it makes no sense to go on; None while it does."""
        return None

    def unfinished_plain(self) -> Ledger | None:
        """The plain baseline's run where the time budget ended before it did, and no other will take its place."""
        return None

    @property
    def standing(self) -> Callable[[], str] | None:
        """Says who leads, in half a sentence; None where the best run does."""
        return None

    @abc.abstractmethod
    def conclude(self) -> None:
        """Write down what the search has come to, whether it reached its end or not."""


class ReplicateSearching(Searching):
    """Points on folds and seeds, chosen by a model of the noise."""

    @cached_property
    def ledger(self) -> ReplicateLedger:
        """The study ``runs``."""
        experiment, settings = self.experiment, self.experiment.settings
        points, notes = experiment.queued()
        for note in notes:
            print(f"note: {note}")
        common = (experiment.folds, settings.search.seed, settings.suggested_by)
        policy = Policy(experiment.space.searched, points, *common, with_plain=not experiment.two_arms)
        if experiment.two_arms:
            return self._ledger(
                self._two_arms(
                    policy,
                    Policy(experiment.space.further, [(PLAIN, experiment.plain_values)], *common, with_plain=False),
                )
            )
        start = experiment.folds + policy.startup
        if self.total <= start:
            print(
                f"note: search.num_runs={self.total}: replicates begin after about {start} runs ({experiment.folds} of "
                f"the plain baseline, {policy.startup} first points); with fewer, each point has a single run"
            )
        return self._ledger(policy)

    def _two_arms(self, points: Policy, plain: Policy) -> TwoArms:
        print(
            f"note: the plain baseline reads {', '.join(plain.ranges)} too, so it gets a search of its own and every "
            f"second of the {self.total} runs; the verdict compares with the better of its own values and the winner's"
        )
        arms = TwoArms(points, plain)
        if self.total <= arms.startup:
            print(
                f"note: search.num_runs={self.total}: replicates begin after about {arms.startup} runs (the first "
                f"{points.startup} points of each arm); with fewer, each point has a single run"
            )
        return arms

    def _ledger(self, policy: Proposer) -> ReplicateLedger:
        experiment = self.experiment
        study = recover_study(self.folder.study)
        return ReplicateLedger(
            *(self.folder, study, experiment.space, experiment.configure, experiment.digest, self.total), policy=policy
        )

    @property
    def hopeless(self) -> str | None:
        """Why it makes no sense to go on: every run of the plain baseline failed."""
        return self.ledger.hopeless

    @property
    def standing(self) -> Callable[[], str] | None:
        """Says which point leads by the model, beside the plain baseline."""
        return self._leads

    def _leads(self) -> str:
        standing = read_standing(self.folder)
        return standing.text() if standing else ""

    def conclude(self) -> None:
        """Write the study ``points``, made of the runs."""
        self.ledger.settle()
        write_points_study(self.folder)


class SingleSearching(Searching):
    """One run per point, stopped early, judged by its best evaluation."""

    @cached_property
    def plain(self) -> PlanLedger:
        """The plain baseline's one run."""
        return PlanLedger([plan_plain(self.folder, self.experiment.run.to_mapping(), self.experiment.digest)])

    @cached_property
    def ledger(self) -> ChainLedger:
        """The plain baseline, then the trials."""
        return ChainLedger([self.plain, self.trials])

    @cached_property
    def trials(self) -> SingleLedger:
        """Optuna's study with its early stopping; the published points are queued first."""
        experiment, settings, training = self.experiment, self.experiment.settings, self.experiment.run.training
        scheduler = settings.scheduler
        if scheduler == "auto":
            scheduler = default_scheduler(settings.suggested_by)
        elif settings.suggested_by == "gp" and scheduler != "none":
            print(
                f"note: the Gaussian process learns from full-length trials only; scheduler={scheduler} leaves it few"
            )
        study = recover_study(self.folder.study)
        first = settings.search.min_iterations or first_resource(scheduler, training.iterations, training.eval_every)
        study.pruner = make_pruner(scheduler, first, training.iterations)
        ledger = SingleLedger(
            *(self.folder, study, experiment.space, experiment.configure, experiment.digest, self.total - 1),
            sampler=settings.suggested_by,
            seed=settings.search.seed,
        )
        known, notes = experiment.queued()
        notes += ledger.enqueue({origin: experiment.space.complete(values) for origin, values in known})
        for note in notes:
            print(f"note: {note}")
        return ledger

    def unfinished_plain(self) -> Ledger | None:
        """The plain baseline's run where the time budget ended before it did."""
        plain = PlanLedger(self.plain.plan)
        return plain if [run for run in plain.waiting if run.now.state != "failed"] else None

    def conclude(self) -> None:
        """Say where the search ended before its number of runs; the study says all else already."""
        trials = vars(self).get("trials")  # none where the time was up before
        if trials is not None and trials.spent:
            print(f"note: {trials.spent}")


POLICIES: dict[str, type[Searching]] = {"replicates": ReplicateSearching, "single": SingleSearching}


def searching(experiment: Experiment, folder: ExperimentFolder) -> Searching:
    """The searching half of an experiment, as its policy says."""
    return POLICIES[experiment.settings.policy](experiment, folder)
