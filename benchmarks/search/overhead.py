"""The overhead of a search: a trivial objective through ours, through Ray Tune and through Optuna alone."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.provenance import provenance
from benchmarks.trivial import FOLDS, configure

TRIALS = 50
CPUS, REPEATS = 2, 3
VARIANTS = {
    "ours": "dce_ray.search (study in a journal, records, progress, noise model)",
    "ours-single": "the same with policy=single, as the others: TPE, one run per point",
    "tune": "Ray Tune, function trainable, OptunaSearch, defaults",
    "tune-tuned": "Ray Tune, the same with reuse_actors and without loggers",
    "optuna": "Optuna alone, study.optimize(n_jobs=2)",
}
BORN = time.monotonic()


def overhead(variants: list[str], repeats: int) -> None:
    """One table: fixed cost and cost per trial of each variant."""
    print(provenance("ray", "optuna"))
    print(f"{TRIALS} trials of 3 steps on {CPUS} CPUs, median of {repeats} runs (lowest - highest), seconds")
    print(f"load average before: {os.getloadavg()[0]:.1f} (a busy machine stretches all rows alike)\n")
    head = ("", "imports", "Ray start", "to first step", "after it, per trial", "whole process")
    print(f"{head[0]:62} {head[1]:>8} {head[2]:>10} {head[3]:>14} {head[4]:>26} {head[5]:>14}")
    per_trial: dict[str, float] = {}
    for name in variants:
        runs = [in_own_process(name) for _ in range(repeats)]
        costs = sorted((run["end"] - run["first"]) / TRIALS for run in runs)
        per_trial[name] = statistics.median(costs)
        middle = {key: statistics.median(run[key] for run in runs) for key in ("imports", "ray", "first", "whole")}
        print(
            f"{VARIANTS[name]:62} {middle['imports']:8.2f} {middle['ray']:10.2f} {middle['first']:14.2f} "
            f"{per_trial[name]:10.3f} ({costs[0]:.3f} - {costs[-1]:.3f}) {middle['whole']:14.2f}",
            flush=True,
        )
    for name in variants[1:]:
        print(f"per trial, {variants[0]} / {name}: {per_trial[variants[0]] / per_trial[name]:.2f}")


def in_own_process(name: str) -> dict[str, float]:
    """Times of one variant in a fresh process; ``whole`` counts from before its start to after its end."""
    began = time.monotonic()
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.search", "one", name],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times | {"whole": time.monotonic() - began}


def measure_ours(policy: str) -> dict[str, float]:
    from benchmarks.trivial import STEPS, TrivialTrainable
    from dce_ray.experiment.folder import ExperimentFolder
    from dce_ray.experiment.record import RunRecord
    from dce_ray.search.observers import Observer
    from dce_ray.search.policy import Policy
    from dce_ray.search.replicates import ReplicateLedger
    from dce_ray.search.single import SingleLedger
    from dce_ray.search.space_file import load_space
    from dce_ray.search.study import make_pruner, recover_study
    from dce_ray.search.tune_run import run_ledger
    from dce_ray.session.ray_session import ray_session
    from dce_ray.session.resources import Resources

    imported = time.monotonic()
    first: list[float] = []

    class Clock(Observer):
        def scored(self, record: RunRecord, iteration: int, score: float | None) -> None:
            first.append(time.monotonic())

    with tempfile.TemporaryDirectory() as place:
        folder = ExperimentFolder.create(Path(place) / "experiment", {}, {})
        study = recover_study(folder.study)
        study.pruner = make_pruner("asha", 1, STEPS)

        space = load_space("delu", "default", {})
        ledger: SingleLedger | ReplicateLedger
        if policy == "single":
            ledger = SingleLedger(folder, study, space, configure, "", num_runs=TRIALS)
        else:
            who = Policy(space.searched, [], FOLDS, 0)
            ledger = ReplicateLedger(folder, study, space, configure, "", num_runs=TRIALS, policy=who)
        with ray_session(None, folder.log, CPUS):
            ready = time.monotonic()
            run_ledger(ledger, TrivialTrainable, Resources(1.0, 0.0), observer=Clock())
            end = time.monotonic()
        assert ledger.complete
    return times(imported, ready, first[0], end)


def one(name: str) -> None:
    """Measure a variant in this process and print its times as JSON."""
    print(json.dumps(MEASURE[name]()))


def times(imported: float, ready: float, first: float, end: float) -> dict[str, float]:
    """Seconds since the interpreter reached this module."""
    return {"imports": imported - BORN, "ray": ready - imported, "first": first - BORN, "end": end - BORN}


def measure_tune(tuned: bool) -> dict[str, float]:
    if tuned:
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "3600"
    import ray
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler
    from ray.tune.search.optuna import OptunaSearch

    from benchmarks.trivial import STEPS, quality
    from dce_ray.config import SCALARS
    from dce_ray.search.space_file import load_space

    imported = time.monotonic()
    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ready = time.monotonic()
    first: list[float] = []

    class Clock(tune.Callback):  # type: ignore[misc]
        def on_trial_result(self, **information: Any) -> None:
            first.append(time.monotonic())

    def objective(config: dict[str, float]) -> None:
        for step in range(1, STEPS + 1):
            tune.report({"score": quality(config, step)})

    ranges = load_space("delu", "default", {}).searched
    space = {name: tune.uniform(ranges[name].low, ranges[name].high) for name in SCALARS}
    with tempfile.TemporaryDirectory() as place:
        tuner = tune.Tuner(
            tune.with_resources(objective, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=TRIALS,
                search_alg=OptunaSearch(seed=0),
                scheduler=AsyncHyperBandScheduler(max_t=STEPS, grace_period=1, reduction_factor=3),
                max_concurrent_trials=CPUS,
                reuse_actors=tuned,
            ),
            run_config=tune.RunConfig(storage_path=place, verbose=0, callbacks=[Clock()]),
        )
        result = tuner.fit()
        end = time.monotonic()
    assert len(result) == TRIALS
    ray.shutdown()
    return times(imported, ready, first[0], end)


def measure_optuna() -> dict[str, float]:
    import optuna

    from benchmarks.trivial import STEPS, quality
    from dce_ray.search.space_file import load_space
    from dce_ray.search.study import make_pruner, make_sampler, recover_study

    imported = time.monotonic()
    ranges = load_space("delu", "default", {}).searched
    first: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        params = {name: trial.suggest_float(name, item.low, item.high) for name, item in ranges.items()}
        for step in range(1, STEPS + 1):
            first.append(time.monotonic())
            trial.report(quality(params, step), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return quality(params, STEPS)

    with tempfile.TemporaryDirectory() as place:
        study = recover_study(Path(place) / "study.journal")
        study.sampler, study.pruner = make_sampler("tpe", 0, 0), make_pruner("asha", 1, STEPS)
        ready = time.monotonic()
        study.optimize(objective, n_trials=TRIALS, n_jobs=CPUS)
        end = time.monotonic()
    return times(imported, ready, first[0], end)


MEASURE: dict[str, Callable[[], dict[str, float]]] = {
    "ours": lambda: measure_ours("replicates"),
    "ours-single": lambda: measure_ours("single"),
    "tune": lambda: measure_tune(tuned=False),
    "tune-tuned": lambda: measure_tune(tuned=True),
    "optuna": measure_optuna,
}
