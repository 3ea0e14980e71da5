"""What a search costs beside its trials, and how many iterations it needs.

``python -m benchmarks.search [variants=ours,optuna] [repeats=1]`` measures the overhead: a trivial objective of three
steps, 50 trials, 2 CPUs, against Ray Tune with a function trainable and OptunaSearch (its default, and with reused
actors and without loggers), and against Optuna alone. Each runs in a process of its own, one after the other.

``python -m benchmarks.search idle [runs=1000] [slots=4] [seconds=2]`` measures how long slots wait for a proposal of
``policy=replicates`` while that many runs of so many seconds go through them. The runs only sleep; no Ray.

``python -m benchmarks.search efficiency [quick]`` measures the iterations that TPE with successive halving needs to
reach the best of 64 full-length random trials, on the synthetic data, for three seeds. One process, no Ray.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.provenance import provenance

TRIALS = 50
CPUS, FOLDS = 2, 5
REPEATS = 3
VARIANTS = {
    "ours": "dce_ray.search (study in a journal, records, progress, noise model)",
    "ours-single": "the same with policy=single, as the others: TPE, one run per point",
    "tune": "Ray Tune, function trainable, OptunaSearch, defaults",
    "tune-tuned": "Ray Tune, the same with reuse_actors and without loggers",
    "optuna": "Optuna alone, study.optimize(n_jobs=2)",
}
BORN = time.monotonic()


def main(arguments: list[str]) -> None:
    """Overhead, or efficiency."""
    if arguments[:1] == ["one"]:
        print(json.dumps(MEASURE[arguments[1]]()))
    elif arguments[:1] == ["idle"]:
        given = dict(argument.split("=", 1) for argument in arguments[1:])
        idle(int(given.get("runs", 1000)), int(given.get("slots", 4)), float(given.get("seconds", 2)))
    elif arguments[:1] == ["efficiency"]:
        efficiency(quick="quick" in arguments)
    else:
        chosen = dict(argument.split("=", 1) for argument in arguments)
        overhead(chosen.get("variants", ",".join(VARIANTS)).split(","), int(chosen.get("repeats", REPEATS)))


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
    from dce_ray.search.policy import Policy
    from dce_ray.search.replicates import ReplicateLedger
    from dce_ray.search.single import SingleLedger
    from dce_ray.search.space import load_space
    from dce_ray.search.study import make_pruner, recover_study
    from dce_ray.search.tune_hooks import Observer
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

        def configure(params: Any) -> dict[str, Any]:
            both = {"scs": True, "mcm": True, "method": dict(params), "sampling": {"fold": 0}}
            return {"seed": 0, "protocol": "holdout", **both}

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
    from dce_ray.search.space import load_space

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
    from dce_ray.search.space import load_space
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


def idle(runs: int, slots: int, run_s: float) -> None:
    """A table: the share of their time that slots wait, by how many runs had ended."""
    import heapq

    from benchmarks.trivial import STEPS, quality
    from dce_ray.experiment.folder import ExperimentFolder
    from dce_ray.search.policy import Policy
    from dce_ray.search.replicates import ReplicateLedger
    from dce_ray.search.space import load_space
    from dce_ray.search.study import recover_study

    print(provenance("optuna", "scipy"))
    print(f"{runs} runs of {run_s:g} s in {slots} slots; load average before: {os.getloadavg()[0]:.1f}\n")
    print(f"{'runs ended':>10} {'waiting':>8} {'longest wait':>13} {'driver CPU':>11}")

    def configure(params: Any) -> dict[str, Any]:
        both = {"scs": True, "mcm": True, "method": dict(params), "sampling": {"fold": 0}}
        return {"seed": 0, "protocol": "holdout", **both}

    with tempfile.TemporaryDirectory() as place:
        folder = ExperimentFolder.create(Path(place) / "experiment", {}, {})
        space = load_space("delu", "default", {})
        policy = Policy(space.searched, [], FOLDS, 0)
        ledger = ReplicateLedger(folder, recover_study(folder.study), space, configure, "", runs, policy=policy)
        began, ends, free = time.monotonic(), [], slots
        since, waits, ended, cpu = [began] * slots, [], 0, time.process_time()
        while ended < runs:
            while free and (run := ledger.ask()) is not None:
                now = time.monotonic()
                waits.append(now - since.pop())
                heapq.heappush(ends, (now + run_s, run.key, run))
                free -= 1
            due, _, run = heapq.heappop(ends)
            time.sleep(max(0.0, due - time.monotonic()))
            record = run.record()
            noise = hash((record.seed, record.fold, record.number)) % 997 / 997 - 0.5
            score = (quality(record.params, STEPS) if record.params else 0.5) + noise
            ledger.report(run.key, STEPS, score)
            ledger.finish(run.key)
            since.append(due)
            free, ended = free + 1, ended + 1
            if ended in (runs // 10, runs // 4, runs // 2, runs):
                share = sum(waits) / (sum(waits) + run_s * len(waits))
                print(f"{ended:10} {share:8.1%} {max(waits):11.2f} s {time.process_time() - cpu:9.1f} s", flush=True)
                waits, cpu = [], time.process_time()


@dataclass
class Curve:
    """Best full-length score after so many iterations in all."""

    iterations: list[int]
    best: list[float]

    def reaches(self, score: float) -> int | None:
        """Iterations after which ``score`` was reached, None if never."""
        return next((n for n, best in zip(self.iterations, self.best, strict=True) if best >= score), None)


def efficiency(quick: bool) -> None:
    """Iterations that TPE + ASHA needs to reach the best of random search's full-length trials."""
    trials, seeds, size = (16, 2, "tiny") if quick else (64, 3, "small")
    print(provenance("optuna"))
    print(f"DELU on synthetic-{size}, {trials} random full-length trials against tpe + asha, {seeds} seeds\n")
    shares = []
    for seed in range(seeds):
        random = search_curve("random", "none", trials, seed=seed, size=size)
        target, spent = random.best[-1], random.iterations[-1]
        ours = search_curve("tpe", "asha", 4 * trials, seed=seed, size=size, budget=spent)
        needed = ours.reaches(target)
        reached = random.reaches(target)
        shares.append(needed / spent if needed else float("inf"))
        print(
            f"seed {seed}: best of random {100 * target:.2f} (first reached after {reached} of {spent} iterations); "
            f"tpe + asha {'needs ' + str(needed) if needed else 'does not reach it'}; "
            f"its best within the same budget {100 * ours.best[-1]:.2f}"
        )
        for part in (1, 2, 4, 8, 16):
            at = spent * part // 16
            print(
                f"   after {at:7d} iterations: random {value_at(random, at):6.2f}, tpe + asha {value_at(ours, at):6.2f}"
            )
    print(
        f"\niterations needed / random's whole budget: {', '.join(f'{share:.2f}' for share in shares)}; "
        f"median {statistics.median(shares):.2f} (expected at most 0.25)"
    )


def value_at(curve: Curve, iterations: int) -> float:
    """Best full-length score in percent after so many iterations, NaN before the first one ended."""
    values = [best for n, best in zip(curve.iterations, curve.best, strict=True) if n <= iterations]
    return 100 * values[-1] if values else float("nan")


def search_curve(
    sampler: str, scheduler: str, trials: int, *, seed: int, size: str, budget: int | None = None
) -> Curve:
    """One search in this process, trial after trial, until its trials or its budget of iterations are used up."""
    from dce_ray.datasets import resolve_data
    from dce_ray.experiment.folder import ExperimentFolder
    from dce_ray.presets import merge, run_config, run_config_from_mapping
    from dce_ray.search.single import SingleLedger
    from dce_ray.search.space import load_space
    from dce_ray.search.study import first_rung, make_pruner, recover_study
    from dce_ray.train import Run
    from dce_ray.train.driver import Driver

    base = run_config("delu", resolve_data(f"synthetic-{size}"), data_set="synthetic", overrides={"seed": seed})
    training = base.training
    curve, spent, best = Curve([], []), 0, 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = ExperimentFolder.create(Path(place) / "experiment", {}, {})
        study = recover_study(folder.study)
        study.pruner = make_pruner(scheduler, first_rung(training.iterations, training.eval_every), training.iterations)
        ledger = SingleLedger(
            folder,
            study,
            load_space("delu", "synthetic", {}),
            lambda params: merge(base.to_mapping(), {"method": dict(params)}),
            "",
            sampler=sampler,
            seed=seed,
            num_runs=trials,
        )
        while (budget is None or spent < budget) and (home := ledger.ask()) is not None:
            run, pruned = Run(run_config_from_mapping(home.record().config)), False
            driver = Driver(run, home, keep_last=False)
            while not run.finished and not pruned:
                step = driver.step()
                pruned = ledger.report(home.key, step.iteration, step.score) and not step.finished
            spent += run.iteration
            if pruned:
                ledger.prune(home.key)
            else:
                ledger.finish(home.key)
                assert run.best
                best = max(best, run.best.score)
            curve.iterations.append(spent)
            curve.best.append(best)
    return curve


if __name__ == "__main__":
    main(sys.argv[1:])
