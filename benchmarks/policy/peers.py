"""The peers: one trial per point, Optuna's samplers and pruners, chosen by the best observed score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import optuna
from optuna.distributions import FloatDistribution

from benchmarks.policy.recorded import RecordedSurface, ask_recorded, choosing_among
from benchmarks.policy.surfaces import Chosen, Search, Surface
from dce_ray.search.study import make_pruner, make_sampler


def peer(
    make: Callable[[int], optuna.samplers.BaseSampler],
    scheduler: str = "none",
    seeds: int = 1,
    equal_training: bool = False,
) -> Search:
    """One trial per point on fold 0, chosen by the best observed score.

    A trial is the mean of ``seeds`` runs: of as many seeds, and on a recorded surface, which has few seeds per fold, of
    as many folds.
    """

    def search(surface: Surface, budgets: Sequence[int], seed: int) -> Chosen:
        sampler, length = make(seed), surface.iterations
        recorded = isinstance(surface, RecordedSurface)
        first = surface.first_evaluation if scheduler == "hyperband" else surface.first_rung
        study = optuna.create_study(
            study_name=str(seed),  # Hyperband shares trials out to its brackets by the study's name
            direction="maximize",
            sampler=choosing_among(sampler, seed) if recorded else sampler,
            pruner=make_pruner(scheduler, first, length),
        )
        replicates = surface.peers_replicates(seeds)
        spent, best, value = 0.0, -math.inf, 0.0
        chosen: Chosen = {}
        tried: set[int] = set()
        while spent < max(budgets):
            if isinstance(surface, RecordedSurface):
                if len(tried) == len(surface.points):
                    break
                trial, scalars = ask_recorded(study, surface, tried)
            else:
                trial = study.ask(_searched(surface))
                scalars = trial.params
            curves = [surface.train(scalars, replicate) for replicate in replicates]
            curve = _mean_curve(curves)
            end = _follow(trial, curve, length) if scheduler != "none" else length
            score = max(curve.values(), default=-math.inf)
            _tell(study, trial, score, end == length)
            spent += seeds * (end / length if equal_training else 1)
            chosen |= {budget: value for budget in budgets if budget < spent - 1e-9 and budget not in chosen}
            if end == length and score > best:
                best, value = score, surface.value(scalars)
        return chosen | {budget: value for budget in budgets if budget not in chosen}

    return search


def _searched(surface: Surface) -> dict[str, FloatDistribution]:
    return {name: FloatDistribution(item.low, item.high, log=item.log) for name, item in surface.ranges.items()}


def _mean_curve(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Over the runs; empty where one of them failed."""
    if not all(curves):
        return {}
    return {iteration: float(np.mean([one[iteration] for one in curves])) for iteration in curves[0]}


def _follow(trial: optuna.Trial, curve: Mapping[int, float], length: int) -> int:
    """The iteration at which the pruner ends the trial."""
    for iteration, score in curve.items():
        trial.report(score, iteration)
        if trial.should_prune():
            return iteration
    return length


def _tell(study: optuna.Study, trial: optuna.Trial, score: float, full: bool) -> None:
    if not math.isfinite(score):
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    elif full:
        study.tell(trial, score)
    else:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def random_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Uniform over the space."""
    return make_sampler("random", seed, 0)


def tpe(seed: int) -> optuna.samplers.BaseSampler:
    """As ``policy=single`` makes it."""
    return make_sampler("tpe", seed, 0)


def gaussian_process(seed: int) -> optuna.samplers.BaseSampler:
    """As Optuna recommends it for a function without noise, which it takes the objective for by default."""
    return optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)
