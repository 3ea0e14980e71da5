"""A whole search, top to bottom: Ray and its share for a run, the runs, the choice, the confirmation, the report.

What each stage needs lies one step below: the study and its runs in ``ledger``, ``replicates`` and ``single``, who
runs next in ``policy``, the planned runs in ``plan``, the choice in ``selection``, Ray Tune in ``tune_run``, time and
cost in ``cost``, tables and pictures in ``dce_ray.report``.
"""

from __future__ import annotations

from collections.abc import Sequence

from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.report.confirmation import write_best, write_confirmation
from dce_ray.search.cost import Clock, Cost, Runs
from dce_ray.search.display import Display
from dce_ray.search.in_flight import OUT_OF_TIME
from dce_ray.search.next_steps import nothing_to_confirm
from dce_ray.search.options import seconds
from dce_ray.search.plan import PlanLedger
from dce_ray.search.searching import Searching, searching
from dce_ray.search.seed_stages import confirmation_stages
from dce_ray.search.selection import select
from dce_ray.search.set_aside import GoesOn, set_aside_superseded
from dce_ray.search.settings import Experiment
from dce_ray.search.tune_run import Stop, Workers
from dce_ray.session.demand import resources_for
from dce_ray.session.nodes import check_nodes
from dce_ray.session.ray_session import ray_session
from dce_ray.session.resources import Node, Resources
from dce_ray.store import open_store
from dce_ray.trainables import RunTrainable, trainable_named
from dce_ray.words import command_line


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
        budget = experiment.settings.search.time_budget
        self.clock = Clock(folder, seconds(budget) if budget else None)

    def run(self) -> Stop | None:
        """Search, choose, confirm; None when all was done, else why not. Given again, it goes on."""
        settings = self.experiment.settings
        go_on = command_line("dce_ray.search", resume=self.folder.path)
        with ray_session(settings.ray.address, self.folder.log, settings.ray.num_cpus, go_on=go_on) as nodes:
            self.clock.begin()
            keys = () if self.folder.trials() else ("data", "storage")  # resume= takes neither
            data, digest = self.experiment.run.data, self.experiment.digest
            check_nodes(self.folder.mark, data, digest, settings.storage, keys=keys)
            resources = self.resources(nodes)
            print(resources.text(nodes))
            cost = self.cost(resources.slots(nodes), resources)
            told = (cost, self.clock), settings.tracking.system_metrics
            workers = Workers(self.trainable, resources, settings.search.max_failures, *told)
            runs = searching(self.experiment, self.folder)
            stop = self.search(runs, workers, cost)
            if stop and (stop.failure or stop.interrupted):
                return stop
            if without_plain := self.plain_alone(runs, workers):
                return without_plain
            return self.confirm(self.choose(runs, stop), workers) or stop

    def resources(self, nodes: Sequence[Node]) -> Resources:
        """What of the cluster one run gets."""
        config, wish = self.experiment.largest, self.experiment.settings.search
        return resources_for(
            config,
            open_store(config.data),
            nodes,
            runs=wish.num_runs,
            cpus=wish.cpus_per_trial,
            gpus=wish.gpus_per_trial,
        )

    def cost(self, slots: int, resources: Resources) -> Cost:
        """What there is to do, told before it starts."""
        runs = Runs.of(self.experiment)
        former = [run.record() for run in (*self.folder.trials(), *self.folder.confirmations())]
        cost = Cost(
            *(runs.search, runs.confirmation, runs.further), slots, resources.cpus, resources.gpus, former=former
        )
        print(cost.plan())
        return cost

    def search(self, runs: Searching, workers: Workers, cost: Cost) -> Stop | None:
        """The runs of the search, until their number is reached or the rest of the time is the confirmation's."""
        if self.clock.closed(runs.total):
            return Stop(OUT_OF_TIME, failure=False)
        display = self.display("search", runs.total, runs)
        display.cost = cost
        workers = workers.seen_by(GoesOn(self.folder))
        stop = workers.run(runs.ledger, display, lambda: self.time_is_up(cost))
        if stop is not None and stop.reason == OUT_OF_TIME:
            self.clock.close(runs.total)
        return stop

    def time_is_up(self, cost: Cost) -> bool:
        """Whether what is left of the time is the confirmation's; of the whole it gets no more than half."""
        return self.clock.left_s <= min(cost.confirmation_s, (self.clock.budget_s or 0.0) / 2)

    def plain_alone(self, runs: Searching, workers: Workers) -> Stop | None:
        """The plain baseline where the time budget ended before it did: nothing can be compared without it."""
        plain = runs.unfinished_plain()
        return workers.run(plain, self.display("plain baseline", 1)) if plain else None

    def choose(self, runs: Searching, stop: Stop | None) -> list[Candidate]:
        """The settings to confirm, the winner first; ``best.yaml`` is the winner."""
        runs.conclude()
        candidates = select(self.folder, self.experiment.settings.confirm.top)
        if not candidates or candidates[0].plain:
            raise nothing_to_confirm(self.folder, stop.reason if stop else None, runs.hopeless)
        set_aside_superseded(self.folder, candidates)
        write_best(self.folder, candidates[0])
        return candidates

    def confirm(self, candidates: Sequence[Candidate], workers: Workers) -> Stop | None:
        """Train every candidate anew, winner and plain baseline with as many seeds as they need, and judge."""
        for plan in confirmation_stages(self.folder, candidates, self.experiment.settings.confirm):
            done = [item.now for item in plan if item.finished]
            display = self.display("confirmation", len(plan), ended=done)
            stop = workers.run(PlanLedger(plan), display, lambda: self.clock.left_s <= 0)
            if stop and stop.reason == OUT_OF_TIME:
                print(f"\n{write_confirmation(self.folder, candidates)}")  # the time ended it, and not its outcome
            if stop:
                return stop
        print(f"\n{write_confirmation(self.folder, candidates)}")
        return None

    def display(self, what: str, total: int, runs: Searching | None = None, ended: Sequence[RunRecord] = ()) -> Display:
        """What the user sees of one stage; the runs of earlier sessions are counted."""
        run = self.experiment.run
        title = f"{what} {run.baseline} on {self.folder.data_name}, protocol={run.protocol}"
        ended = runs.ended if runs else ended
        return Display(title, total, run.training.iterations, ended, standing=runs.standing if runs else None)
