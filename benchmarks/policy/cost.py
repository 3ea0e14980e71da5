"""Seconds of the next proposal after so many runs: our policy's samplers, and Optuna's GPSampler told the same."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import optuna

from benchmarks.policy.surfaces import FOLDS, ITERATIONS, RANGES, SETTINGS, World
from dce_ray.points.runs import PointRun, replicate_of
from dce_ray.search.policy import Policy


def cost(counts: Sequence[int]) -> None:
    """Print the table."""
    rows: dict[str, list[float]] = {name: [] for name in ("gp, components fitted anew", "gp", "tpe", "GPSampler")}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for count in counts:
        runs = _random_runs(count + 1)
        ours, tpe = (Policy(RANGES, (), FOLDS, 0, sampler, replicate_every=0) for sampler in ("gp", "tpe"))
        rows["gp, components fitted anew"].append(_seconds(ours.propose, runs[:-2]))
        rows["gp"].append(_seconds(ours.propose, runs[:-1]))
        rows["tpe"].append(_seconds(tpe.propose, runs))
        rows["GPSampler"].append(_seconds(_ask_gp_sampler, runs[:-1]))
    print(f"{'CPU seconds of one proposal':32}" + "".join(f"{f'{count} runs':>12}" for count in counts))
    for name, seconds in rows.items():
        print(f"{name:32}" + "".join(f"{one:12.3f}" for one in seconds))


def _random_runs(count: int) -> list[PointRun]:
    """Finished runs of random points, one in three a second replicate."""
    world, random = World(SETTINGS["smooth 1"], 0), np.random.default_rng(0)
    runs: list[PointRun] = []
    for number in range(count):
        point = number % math.ceil(2 * count / 3)
        scalars = dict(zip(RANGES, random.uniform(size=len(RANGES)).tolist(), strict=True))
        scalars = dict(runs[point].scalars) if point < number else scalars
        replicate = replicate_of(point, int(point < number), FOLDS)
        runs.append(PointRun(number, point, scalars, replicate, "finished", world.train(scalars, replicate)))
    return runs


def _ask_gp_sampler(runs: Sequence[PointRun]) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.GPSampler(seed=0))
    searched = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in RANGES}
    for run in runs:
        value = run.curve[ITERATIONS]
        study.add_trial(optuna.trial.create_trial(params=dict(run.scalars), distributions=searched, value=value))
    study.ask(searched)


def _seconds(call: Callable[[Sequence[PointRun]], object], runs: Sequence[PointRun]) -> float:
    start = time.process_time()
    call(runs)
    return time.process_time() - start
