"""``python -m benchmarks.scale``: how far one driver carries, from 1,000 to 10,000 runs on 8 to 512 workers.

What is real: the ledger of runs with its study in Optuna's journal, the folder with its records and readings, what Ray
Tune calls of ours (``LedgerSearcher``, ``LedgerScheduler``, ``LedgerCallback``), display and cost, the mirror into
MLflow, and what a search does at its end (study of points, choice, tables and pages). What is simulated: the workers,
which answer at once with made readings, in a shuffled order; there is no Ray here, and so not Tune's own controller
(``python -m benchmarks.search`` measures that, 0.06 s a run). Who runs next is not asked of the model but read off a
list, three replicates a point: suggestions are measured apart, with the same runs as history.

Printed: processor time of the driver's thread per ended run, for each fifth of the search (a quadratic pass shows as
growth), memory per run, files read per ended run, files kept per run; then the end's parts, a resume, and a suggestion.
Expected: 30 ended runs a second of driver time at 1,000 runs, and fifths that do not grow.

  runs=1000 workers=8,64,512   several searches; work=<folder> (a temporary one), tracking=off|on
  suggestions=100,300,1000     a suggestion with so many runs as history; empty: none
  finish=on                    the end of the search as well, with the model of all its runs (cubic in them by nature)
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.provenance import provenance
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, SEARCHED
from dce_ray.points.runs import PointRun, replicate_of
from dce_ray.presets import merge, run_config
from dce_ray.search.cost import Clock, Cost
from dce_ray.search.display import Display
from dce_ray.search.fleet import Fleet
from dce_ray.search.in_flight import RunsInFlight
from dce_ray.search.observers import Observers
from dce_ray.search.policy import Policy, Proposal
from dce_ray.search.replicates import ReplicateLedger
from dce_ray.search.space import SearchSpace
from dce_ray.search.space_file import load_space
from dce_ray.search.study import recover_study
from dce_ray.search.tune_hooks import LedgerCallback, LedgerScheduler, LedgerSearcher
from dce_ray.searchable import changes_of, evaluations_of
from dce_ray.session.resources import Node, Resources
from dce_ray.train.run_files import Reading

OPTIONS = {"runs": "1000", "workers": "8,64,512", "work": "", "tracking": "off"}
OPTIONS |= {"suggestions": "100,300,1000", "finish": "on"}
FOLDS, REPLICATES, EVALUATIONS = 5, 3, 5
PARTS = 5


@dataclass
class Listed:
    """Proposals off a list: the plain baseline on every fold, then points, three replicates each."""

    space: SearchSpace
    seed: int = 0
    folds: int = FOLDS
    begun: int = 0

    def propose(self, runs: Sequence[PointRun]) -> Proposal:
        """The next one; what has run does not matter."""
        number, self.begun = self.begun, self.begun + 1
        if number < self.folds:
            return Proposal(None, False, {}, replicate_of(0, number, self.folds), PLAIN)
        point, replicate = divmod(number - self.folds, REPLICATES)
        draw = random.Random(self.seed * 10**6 + point)
        scalars = {name: item.from_unit(draw.random()) for name, item in self.space.searched.items()}
        return Proposal(point, replicate == 0, scalars, replicate_of(point, replicate, self.folds), SEARCHED)


@dataclass
class Simulated:
    """A search whose runs are answered by nobody."""

    path: Path
    runs: int
    workers: int
    run: Any = field(default_factory=lambda: run_config("delu", "nowhere", data_set="synthetic"))
    ended: int = 0

    def __post_init__(self) -> None:
        space, run = load_space("delu", "default", {}), self.run
        config = {"baseline": "delu", "policy": "replicates", "data_set": "synthetic", "space": space.to_mapping()}
        config |= {"run": run.to_mapping(), "confirm": {"seeds": 0}, "digest": "digest", "metric": "detection"}
        config |= {"protocol": "holdout", "search": {"seed": 0, "num_runs": self.runs, "folds": FOLDS}}
        self.folder = ExperimentFolder.create(self.path, config, {"commit": "none", "host": "none"})
        self.space, mapping, evaluations = space, run.to_mapping(), evaluations_of(run)
        self.configure = lambda values: merge(mapping, changes_of(values, evaluations))
        self.in_flight = self.open()

    def open(self) -> RunsInFlight:
        """The ledger and all that hears of runs, as a search that begins or goes on has them."""
        ledger = ReplicateLedger(
            *(self.folder, recover_study(self.folder.study), self.space, self.configure, "digest", self.runs),
            policy=Listed(self.space),
        )
        with Path(os.devnull).open("w") as nowhere:
            display = Display("scale", self.runs, 100, stream=nowhere, standing=lambda: "")
        display._line = lambda text: None  # type: ignore[method-assign]
        clock = Clock(self.folder, budget_s=1e9)
        cost = Cost(self.runs, 0, 0, self.workers, 1.0, 0.0)
        observers = Observers([display, cost, clock])
        time_is_up = lambda: clock.left_s <= cost.confirmation_s  # noqa: E731
        nodes = [Node(float(self.workers))]
        return RunsInFlight(ledger, Fleet(Resources(1.0, 0.0), lambda: nodes), observers, time_is_up)

    def drive(self, until: int) -> None:
        """Answer for the workers until so many runs have ended."""
        searcher, scheduler = LedgerSearcher(self.in_flight), LedgerScheduler(self.in_flight)
        callback, draw = LedgerCallback(self.in_flight), random.Random(self.ended)
        steps = self.__dict__.setdefault("_steps", {})
        while self.ended < until:
            while len(steps) < self.workers:
                number = self.__dict__.setdefault("_next", 0)
                config = searcher.suggest(str(number))
                if not isinstance(config, dict):
                    break
                steps[str(number)], self.__dict__["_next"] = (config["record"], 0), number + 1
            name = draw.choice(list(steps))
            record, step = steps[name]
            result = self._result(record, step + 1)
            trial = SimpleNamespace(trial_id=name)
            if result["finished"]:
                callback.on_trial_result(0, [], trial, result)
                searcher.on_trial_complete(name, result)
                del steps[name]
                self.ended += 1
            else:
                scheduler.on_trial_result(None, trial, result)
                callback.on_trial_result(0, [], trial, result)
                steps[name] = (record, step + 1)

    def _result(self, record: Mapping[str, Any], step: int) -> dict[str, Any]:
        """What a worker would tell: a curve with noise, 14 numbers a reading."""
        iteration = step * self.run.training.eval_every
        draw = random.Random(f"{record['key']} {step}")
        level = 0.4 - 0.1 * (record["config"]["method"]["delta"] - 0.8) ** 2 + 0.01 * draw.gauss(0, 1)
        metrics = {f"mAP/{tiou / 10}": level * (1 - tiou / 10) for tiou in range(1, 8)}
        metrics |= {f"loss/part{part}": draw.random() for part in range(5)} | {"mAP/avg_0.1:0.7": level, "score": level}
        reading = asdict(Reading(iteration, time.time(), metrics))
        told = {"iteration": iteration, "score": level, "readings": [reading], "hostname": f"node{hash(record['key'])}"}
        return told | {"finished": step == EVALUATIONS, "done": step == EVALUATIONS, "hostname": record["host"]}


@dataclass
class FilesRead:
    """Counts the files below a folder that this process opens to read."""

    root: Path
    names: list[str] = field(default_factory=list)
    on: bool = True

    def __post_init__(self) -> None:
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event == "open" and str(arguments[0]).startswith(str(self.root)) and arguments[1] != "wb":
            self.names.append(str(arguments[0]))

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.names)


def resident_bytes() -> int:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def search(path: Path, runs: int, workers: int, *, tracking: bool) -> tuple[Simulated, str]:
    """Drive one search; its line of the table."""
    from dce_ray.tracking import start_mirror

    simulated = Simulated(path, runs, workers)
    reads, parts, began = FilesRead(path), [], time.perf_counter()
    mirror = (
        start_mirror(simulated.folder, f"sqlite:///{path.parent / 'mlflow.db'}", limit_s=3600) if tracking else None
    )
    if mirror:
        mirror.__enter__()
    memory = 0
    for part in range(PARTS):
        spent = time.thread_time()
        simulated.drive(runs * (part + 1) // PARTS)
        parts.append((time.thread_time() - spent) / (runs / PARTS))
        memory = memory or resident_bytes()
    grown = (resident_bytes() - memory) / (runs * (PARTS - 1) / PARTS)
    wall_s, reads.on = time.perf_counter() - began, False
    told = ""
    if mirror:
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        mirror.__exit__(None, None, None)
        spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - children
        told = f" | mirror {1000 * spent / runs:.0f} ms"
    kept = sum(len(files) for _, _, files in os.walk(path))
    mean = sum(parts) / PARTS
    fifths = " ".join(f"{1000 * one:.1f}" for one in parts)
    return simulated, (
        f"| {runs} | {workers} | {1000 * mean:.1f} ms ({1 / mean:.0f} runs/s) | {fifths} | {wall_s:.0f} s | "
        f"{grown / 1024:.1f} KiB | {reads.count / runs:.1f} | {kept / runs:.1f}{told} |"
    )


def end(simulated: Simulated) -> Iterator[str]:
    """The parts of a search's end, and going on with it, one line each."""
    from dce_ray.points.standing import read_standing
    from dce_ray.report.page import write_outputs
    from dce_ray.search.points_study import write_points_study
    from dce_ray.search.selection import select

    folder = simulated.folder
    parts = {
        "resume: study, ledger": simulated.open,
        "model of all runs": lambda: read_standing(folder),
        "study of points": lambda: write_points_study(folder),
        "choice": lambda: select(folder, 3),
        "tables, figures, page": lambda: write_outputs(folder),
    }
    for name, do in parts.items():
        spent = time.process_time()
        do()
        yield f"{name}: {time.process_time() - spent:.2f} s"


def suggestion_s(simulated: Simulated, known: int) -> float:
    """Processor time of one suggestion that was not asked for before, with so many runs as history."""
    ledger = simulated.in_flight.ledger
    assert isinstance(ledger, ReplicateLedger)
    policy = Policy(simulated.space.searched, [], FOLDS, 0, "gp", replicate_every=0)
    history = [run for run in ledger.runs if run.state == "finished"][:known]
    spent = time.process_time()
    policy.propose(history)
    return time.process_time() - spent


def main(arguments: list[str]) -> None:
    """Print the table."""
    options = OPTIONS | dict(argument.split("=", 1) for argument in arguments)
    if unknown := sorted(options.keys() - OPTIONS.keys()):
        raise SystemExit(f"unknown {', '.join(unknown)}; known: {', '.join(OPTIONS)}")
    work = Path(options["work"] or tempfile.mkdtemp(prefix="dce-ray-scale-")).resolve()
    print(provenance("optuna", "ray"))
    print(
        "| runs | workers | driver per ended run | by fifths [ms] | wall | memory per run | files read | files kept |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for runs in map(int, options["runs"].split(",")):
        for workers in map(int, options["workers"].split(",")):
            place = work / "synthetic" / "delu" / f"{runs}-{workers}"
            simulated, line = search(place, runs, workers, tracking=options["tracking"] == "on")
            print(line, flush=True)
        for known in map(int, filter(None, options["suggestions"].split(","))):
            if known <= runs:
                print(f"a suggestion after {known} runs: {1000 * suggestion_s(simulated, known):.0f} ms", flush=True)
        if options["finish"] == "on":
            for line in end(simulated):
                print(line, flush=True)
    if not options["work"]:
        shutil.rmtree(work)


if __name__ == "__main__":
    main(sys.argv[1:])
