"""Optuna's samplers and pruners by our names, and the one study of an experiment."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna

from dce_ray.errors import ConfigError, unknown_name
from dce_ray.experiment.study import STUDY, open_journal
from dce_ray.files import cut_torn_line

REDUCTION = 3
"""Of the trials that reach a rung, one in three goes on to three times as many iterations."""


def recover_study(path: Path) -> optuna.Study:
    """The study of an experiment to go on with, made where there is none.

    The caller holds the folder's lock: what a killed writer left (half a line, a lock file) is removed first, because
    the next line would otherwise be appended to the half one and make the whole journal unreadable.
    """
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(logging.WARNING)
    cut_torn_line(path)
    for leftover in path.parent.glob(f"{path.name}.lock*"):
        leftover.unlink()
    return optuna.create_study(storage=open_journal(path), study_name=STUDY, direction="maximize", load_if_exists=True)


def make_sampler(name: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """A sampler for one trial.

    A fresh one per trial, seeded by the search's seed and the trial's number, makes a suggestion depend on the study
    alone: a search that was killed suggests what it would have, and never repeats its random stream.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in SAMPLERS:
        raise ConfigError(unknown_name("sampler", name, SAMPLERS))
    state = np.random.SeedSequence([seed, number]).generate_state(1)
    return SAMPLERS[name](int(state[0]) % 2**31)


def make_pruner(name: str, min_iterations: int, iterations: int) -> optuna.pruners.BasePruner:
    """A pruner on iterations.

    Args:
        name: key of :data:`SCHEDULERS`.
        min_iterations: no trial is stopped before; see :func:`first_resource`.
        iterations: length of a full trial.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in SCHEDULERS:
        raise ConfigError(unknown_name("scheduler", name, SCHEDULERS))
    return SCHEDULERS[name](min_iterations, iterations)


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    # constant_liar: trials that still run count as bad ones, so that parallel suggestions keep apart.
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _cmaes(seed: int) -> optuna.samplers.BaseSampler:
    # Stopped trials count with their last value: with early stopping hardly any others are left to learn from.
    return optuna.samplers.CmaEsSampler(seed=seed, consider_pruned_trials=True)


def _gp(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed)


def brackets(first: int, last: int) -> list[int]:
    """Hyperband's brackets: the iterations at which each begins to stop trials, up to the one that never does.

    Li et al., "Hyperband" (JMLR 2018), Algorithm 1: s_max = floor(log3(last / first)), and bracket s begins at a 3^s-th
    of the full length. The shortest is rounded up to a multiple of ``first``, so that rungs fall on evaluations; the
    last bracket begins at or behind the end, as the paper's bracket s = 0 trains everything in full.

    Args:
        first: iterations between two evaluations, or more: no bracket begins before.
        last: length of a full trial.

    >>> brackets(50, 5000), brackets(1, 27), brackets(100, 800), brackets(9, 10)
    ([100, 300, 900, 2700, 8100], [1, 3, 9, 27], [300, 900], [18])
    """
    most = 0
    while first * REDUCTION ** (most + 1) <= last:
        most += 1
    shortest = math.ceil(last / REDUCTION**most / first) * first
    return [shortest * REDUCTION**number for number in range(most + 1)]


def _hyperband(first: int, last: int) -> optuna.pruners.BasePruner:
    begins = brackets(first, last)
    # One more than the last bracket's beginning: Optuna counts brackets by a logarithm, which rounds 3^5 to below 5.
    return optuna.pruners.HyperbandPruner(
        min_resource=begins[0], max_resource=begins[-1] + 1, reduction_factor=REDUCTION
    )


SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}
SCHEDULERS: dict[str, Callable[[int, int], optuna.pruners.BasePruner]] = {
    "asha": lambda first, last: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=first, reduction_factor=REDUCTION, min_early_stopping_rate=0
    ),
    "hyperband": _hyperband,
    "median": lambda first, last: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=first),
    "none": lambda first, last: optuna.pruners.NopPruner(),
}


def default_scheduler(sampler: str) -> str:
    """Early stopping by halving, except for the Gaussian process, which learns from full-length trials only."""
    return "none" if sampler == "gp" else "asha"


def first_rung(iterations: int, eval_every: int) -> int:
    """Iterations before which no trial is stopped: a third of the full length, up to a multiple of ``eval_every``.

    Weakly-supervised localization learns nothing that detection mAP shows for a good part of its schedule: an earlier
    rung stops trials by chance (``search.min_iterations`` sets one nevertheless). Rounded up, so that the next rung
    lies at or behind the end: what passes the first one is trained to its full length and can be confirmed. As a
    multiple of ``eval_every`` the rung falls on an evaluation, so that trials are compared at equal iterations.
    """
    return math.ceil(iterations / REDUCTION / eval_every) * eval_every


def first_resource(scheduler: str, iterations: int, eval_every: int) -> int:
    """What a scheduler begins with where nobody says: the first rung, and Hyperband's brackets at the first evaluation.

    From a third of the length on Hyperband would have a single bracket and be nothing but ``asha``.

    >>> first_resource("hyperband", 5000, 50), first_resource("asha", 5000, 50)
    (50, 1700)
    """
    return eval_every if scheduler == "hyperband" else first_rung(iterations, eval_every)
