"""A whole search, top to bottom: Ray and its share for a run, the trials, the choice, the confirmation, the report.

What each stage needs lies one step below: the study and its trials in ``ledger``, the planned runs in ``plan``, the
choice in ``selection``, Ray Tune in ``tune_run``, tables and pictures in ``dce_ray.report``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from dce_ray.errors import SearchError
from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.report.confirmation import write_best, write_confirmation
from dce_ray.search.display import Display
from dce_ray.search.ledger import StudyLedger
from dce_ray.search.plan import ChainLedger, PlanLedger, drop_superseded, plan_confirmation, plan_plain
from dce_ray.search.selection import select
from dce_ray.search.settings import Experiment, seconds
from dce_ray.search.study import default_scheduler, first_rung, make_pruner, recover_study
from dce_ray.search.tune_run import Stop, Workers
from dce_ray.session.demand import resources_for
from dce_ray.session.ray_session import ray_session
from dce_ray.session.resources import Resources
from dce_ray.store import open_store
from trainables import RunTrainable, trainable_named


class Search:
    """A search in its folder.

    Args:
        experiment: what was asked.
        folder: created or opened, and locked, by the caller.
        trainable: what runs a trial; None takes the baseline's.
    """

    def __init__(
        self, experiment: Experiment, folder: ExperimentFolder, trainable: type[RunTrainable] | None = None
    ) -> None:
        self.experiment, self.folder = experiment, folder
        self.trainable = trainable or trainable_named(experiment.run.baseline)

    def run(self) -> Stop | None:
        """Search, choose, confirm; None when all was done, else why not. Given again, it goes on."""
        settings = self.experiment.settings
        with ray_session(settings.ray.address, self.folder.log, settings.ray.num_cpus) as cluster:
            workers = Workers(self.trainable, self.resources(cluster), settings.search.max_failures)
            ledger = self.study()
            stop = self.search(ledger, workers)
            if stop and (stop.failure or stop.interrupted):
                return stop
            if without_plain := self.plain_alone(workers):
                return without_plain
            return self.confirm(self.choose(ledger, stop), workers) or stop

    def resources(self, cluster: Mapping[str, float]) -> Resources:
        """What of the cluster one run gets."""
        config, wish = self.experiment.run, self.experiment.settings.search
        resources = resources_for(
            config,
            open_store(config.data),
            cluster,
            runs=wish.num_trials,
            cpus=wish.cpus_per_trial,
            gpus=wish.gpus_per_trial,
        )
        print(
            f"{resources.slots(cluster)} runs at once, each with {resources.cpus:g} CPUs and {resources.gpus:g} GPUs "
            f"(of {cluster.get('CPU', 0):g} and {cluster.get('GPU', 0):g})"
        )
        return resources

    def study(self) -> StudyLedger:
        """Optuna's study with its early stopping, as far as it has come; the published points are queued first."""
        settings, training = self.experiment.settings, self.experiment.run.training
        study = recover_study(self.folder.study)
        scheduler = settings.scheduler
        if scheduler == "auto":
            scheduler = default_scheduler(settings.sampler)
        elif settings.sampler == "gp" and scheduler != "none":
            print(
                f"note: the Gaussian process learns from full-length trials only; scheduler={scheduler} leaves it few"
            )
        first = settings.search.min_iterations or first_rung(training.iterations, training.eval_every)
        study.pruner = make_pruner(scheduler, first, training.iterations)
        ledger = StudyLedger(
            self.folder,
            study,
            self.experiment.space,
            self.experiment.configure,
            self.experiment.digest,
            sampler=settings.sampler,
            seed=settings.search.seed,
            num_trials=settings.search.num_trials,
        )
        for note in ledger.enqueue(self.experiment.first_points):
            print(f"note: {note}")
        return ledger

    def search(self, ledger: StudyLedger, workers: Workers) -> Stop | None:
        """The plain baseline, then the trials, until their number or the time is used up."""
        options = self.experiment.settings.search
        ended = [record for run in self.folder.trials() if (record := run.record()).state != "running"]
        display = self.display("search", options.num_trials + 1, ended)
        deadline = time.monotonic() + seconds(options.time_budget) if options.time_budget else None
        return workers.run(ChainLedger([self.plain(), ledger]), display, deadline)

    def plain(self) -> PlanLedger:
        """The plain baseline's run on the selecting split."""
        return PlanLedger([plan_plain(self.folder, self.experiment.run.to_mapping(), self.experiment.digest)])

    def plain_alone(self, workers: Workers) -> Stop | None:
        """The plain baseline where the time budget ended before it did: nothing can be compared without it."""
        plain = self.plain()
        unfinished = [run for run in plain.waiting if run.now.state != "failed"]
        return workers.run(plain, self.display("plain baseline", 1)) if unfinished else None

    def choose(self, ledger: StudyLedger, stop: Stop | None) -> list[Candidate]:
        """The settings to confirm, the winner first; ``best.yaml`` is the winner."""
        candidates = select(self.folder, ledger.study, self.experiment.settings.confirm.top)
        if not candidates or candidates[0].plain:
            why = stop.reason if stop else f"{self.folder.path / 'trials.csv'} says what failed"
            more = "search.time_budget" if stop else "search.num_trials"
            raise SearchError(
                f"no trial ran to its full length, so there is nothing to confirm: {why}; "
                f"to go on: python -m dce_ray.search resume={self.folder.path} {more}=<more>"
            )
        drop_superseded(self.folder, candidates)
        write_best(self.folder, candidates[0])
        return candidates

    def confirm(self, candidates: Sequence[Candidate], workers: Workers) -> Stop | None:
        """Train every candidate anew with every seed, read test once, and say what came of it."""
        plan = plan_confirmation(self.folder, candidates, self.experiment.settings.confirm.seeds)
        if not plan:
            return None
        stop = workers.run(PlanLedger(plan), self.display("confirmation", len(plan)))
        if stop is None:
            print(f"\n{write_confirmation(self.folder, candidates)}")
        return stop

    def display(self, what: str, total: int, ended: Sequence[RunRecord] = ()) -> Display:
        """What the user sees of one stage; ``ended`` are its runs of earlier sessions."""
        run = self.experiment.run
        title = f"{what} {run.baseline} on {self.experiment.data_set}, protocol={run.protocol}"
        return Display(title, total, run.training.iterations, ended)
