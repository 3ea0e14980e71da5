"""One search from its first trial to its report: what happens in which order."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from dce_ray.errors import SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.presets import merge
from dce_ray.search.display import Display
from dce_ray.search.ledger import Ledger, StudyLedger
from dce_ray.search.plan import ChainLedger, PlanLedger
from dce_ray.search.selection import plan_baseline, plan_confirmation, select
from dce_ray.search.settings import Experiment, seconds
from dce_ray.search.study import default_scheduler, first_rung, make_pruner, open_study
from dce_ray.search.tune_run import Stop, run_ledger
from dce_ray.session.ray_session import ray_session
from dce_ray.session.resources import Resources, available_bytes, choose_resources
from trainables import RunTrainable, trainable_named

log = logging.getLogger(__name__)


class Search:
    """A search in its folder.

    Args:
        experiment: what was asked.
        folder: created or opened, and locked, by the caller.
        digest: of the feature store.
        trainable: what runs a trial; None takes the baseline's.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: ExperimentFolder,
        digest: str,
        trainable: type[RunTrainable] | None = None,
    ) -> None:
        self.experiment, self.folder, self.digest = experiment, folder, digest
        self.trainable = trainable or trainable_named(experiment.run.baseline)
        self.base = experiment.run.to_mapping()

    def run(self) -> Stop | None:
        """Search, confirm, write everything; None when all was done, else why not (see :class:`Stop`)."""
        settings = self.experiment.settings
        with ray_session(settings.ray.address, self.folder.log, settings.ray.num_cpus) as cluster:
            resources = self._resources(cluster)
            ledger = self._ledger()
            stop = self._search(ledger, resources)
            if stop is None or not (stop.failure or stop.interrupted):
                stop = self._confirm(ledger, resources) or stop
        return stop

    def _ledger(self) -> StudyLedger:
        settings, training = self.experiment.settings, self.experiment.run.training
        study = open_study(self.folder.study)
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
            self.configure,
            self.digest,
            sampler=settings.sampler,
            seed=settings.search.seed,
            num_trials=settings.search.num_trials,
            components=self.experiment.components,
        )
        for note in ledger.enqueue(self.experiment.first_points):
            print(f"note: {note}")
        return ledger

    def configure(self, params: Mapping[str, float]) -> dict[str, Any]:
        """The RunConfig mapping of six scalars."""
        return merge(self.base, {"method": dict(params)})

    def _search(self, ledger: StudyLedger, resources: Resources) -> Stop | None:
        settings = self.experiment.settings
        budget = settings.search.time_budget
        plain = self._plain()
        counts = Counter(record.state for record in self._records() if record.state != "running")
        display = Display(self._title("search"), settings.search.num_trials + 1, self._iterations, counts)
        deadline = time.monotonic() + seconds(budget) if budget else None
        return self._run(ChainLedger([plain, ledger]), resources, display, deadline)

    def _plain(self) -> PlanLedger:
        """The plain baseline's run on the selecting split."""
        return PlanLedger([plan_baseline(self.folder, self.base, self.digest)])

    def _confirm(self, ledger: StudyLedger, resources: Resources) -> Stop | None:
        """The confirmation; it says why it was left, if it was."""
        settings = self.experiment.settings
        plain = self._plain()
        if plain.waiting:  # the time budget ended before it did; nothing can be compared without it
            stop = self._run(plain, resources, Display(self._title("plain baseline"), 1, self._iterations, Counter()))
            if stop is not None:
                return stop
        candidates = select(self.folder, ledger.study, settings.confirm.top, self.experiment.components)
        if not candidates or candidates[0].number < 0:
            raise SearchError(
                f"no trial ran to its full length, so there is nothing to confirm; {self.folder.path / 'trials.csv'} "
                f"says what failed; to go on: resume={self.folder.path} search.num_trials=<more>"
            )
        from dce_ray.report.confirmation import write_best, write_confirmation

        write_best(self.folder, candidates[0])
        if not settings.confirm.seeds:
            return None
        plan = plan_confirmation(self.folder, candidates, settings.confirm.seeds)
        display = Display(self._title("confirmation"), len(plan), self._iterations, Counter())
        stop = self._run(PlanLedger(plan), resources, display)
        if stop is None:
            print(f"\n{write_confirmation(self.folder, candidates)}")
        return stop

    def _run(
        self, ledger: Ledger, resources: Resources, display: Display, deadline: float | None = None
    ) -> Stop | None:
        with display.shown():
            stop = run_ledger(
                ledger,
                self.trainable,
                resources,
                max_failures=self.experiment.settings.search.max_failures,
                deadline=deadline,
                observer=display,
            )
        print(display.summary())
        return stop

    def _resources(self, cluster: Mapping[str, float]) -> Resources:
        from dce_ray.session.demand import demand_of
        from dce_ray.store import open_store

        config, wish = self.experiment.run, self.experiment.settings.search
        on_cpu = config.device == "cpu"
        resources = choose_resources(
            cluster,
            demand_of(config, open_store(config.data)),
            runs=wish.num_trials,
            host_bytes=available_bytes(),
            device_bytes=device_bytes(),
            cpus=wish.cpus_per_trial,
            gpus=0.0 if on_cpu and wish.gpus_per_trial is None else wish.gpus_per_trial,
        )
        print(
            f"{resources.slots(cluster)} runs at once, each with {resources.cpus:g} CPUs and {resources.gpus:g} GPUs "
            f"(of {cluster.get('CPU', 0):g} and {cluster.get('GPU', 0):g})"
        )
        return resources

    def _records(self) -> Iterator[Any]:
        return (item.record() for item in self.folder.trials())

    @property
    def _iterations(self) -> int:
        return self.experiment.run.training.iterations

    def _title(self, what: str) -> str:
        run = self.experiment.run
        return f"{what} {run.baseline} on {self.experiment.data_set}, protocol={run.protocol}"


def device_bytes() -> float | None:
    """Memory of this machine's first GPU, None where it has none."""
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None
