"""A search with ``policy=replicates`` in its folder, made run by run through the real ledger, to a script of scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dce_ray.config import MethodConfig
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, RunRecord
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.presets import merge
from dce_ray.search.arms import TwoArms
from dce_ray.search.points_study import write_points_study
from dce_ray.search.policy import Policy
from dce_ray.search.replicates import ReplicateLedger
from dce_ray.search.space import SearchSpace
from dce_ray.search.study import recover_study
from dce_ray.searchable import changes_of

ITERATIONS = (100, 200, 300)
PAPER = {"delta": 0.8, "theta_rep": 0.9, "theta_pro": 0.6, "beta": 0.5, "gamma": 0.5, "lambda": 1.0}
SPACE: Mapping[str, Any] = {
    "delta": {"low": 0.3, "high": 0.95},
    "theta_rep": {"low": 0.5, "high": 0.95},
    "theta_pro": {"low": 0.3, "high": 0.9},
    "beta": {"low": 0.05, "high": 2.0, "log": True},
    "gamma": "beta",
    "lambda": 1.0,
    "first_points": ["paper"],
}
RUN: Mapping[str, Any] = {
    "baseline": "delu",
    "data": "/nowhere/store",
    "protocol": "holdout",
    "metric": "detection",
    "seed": 0,
    "scs": True,
    "mcm": True,
    "method": MethodConfig().to_mapping(),
    "training": {"iterations": 300, "eval_every": 100},
    "sampling": {"folds": 3, "fold": 0},
    "evaluation": {"averages": ["0.1:0.5", "0.1:0.7"]},
}
Score = Callable[[RunRecord, int], float | None]


def noisy(record: RunRecord, iteration: int) -> float | None:
    """A smooth surface in delta and beta, effects of fold and seed, and noise; the best iteration is 200."""
    params = record.params or {"delta": 0.4, "beta": 0.1}
    quality = 0.40 - 0.2 * (params["delta"] - 0.7) ** 2 - 0.01 * math.log(params["beta"] / 0.6) ** 2
    quality -= 0.03 if not record.params else 0.0
    shared = 0.02 * (record.fold or 0) - 0.01 * record.seed
    number = 7 if record.point is None else record.point
    noise = np.random.default_rng([number, record.fold or 0, record.seed, iteration]).normal(0, 0.008)
    return float(quality + shared - 0.02 * abs(iteration - 200) / 100 + noise)


def replicate_ledger(folder: ExperimentFolder, num_runs: int, folds: int = 3, startup: int = 4) -> ReplicateLedger:
    """The ledger of a folder; made again, it is what a resumed search has."""
    space = SearchSpace.from_mapping(SPACE)
    run = folder.config["run"]

    def configure(scalars: Mapping[str, float]) -> dict[str, Any]:
        return merge(run, {"method": dict(scalars)})

    policy = Policy(space.searched, [("paper", space.project(PAPER)[0])], folds, 0, "random", startup=startup)
    study = recover_study(folder.study)
    return ReplicateLedger(folder, study, space, configure, "5f1c" * 16, num_runs, policy=policy)


def new_points(path: Path, protocol: str = "holdout") -> ExperimentFolder:
    """An empty folder ``<data>/<baseline>/<name>``."""
    decided = {"baseline": path.parent.name, "protocol": protocol, "metric": "detection"}
    config = {
        **decided,
        "policy": "replicates",
        "data_set": path.parent.parent.name,
        "digest": "5f1c" * 16,
        "confirm": {"top": 1, "seeds": 2},
        "space": dict(SPACE),
        "search": {"num_runs": 24, "folds": 3},
        "run": {**RUN, **decided},
    }
    return ExperimentFolder.create(path, config, {"commit": "abc1234", "host": "node-1"})


def step(ledger: ReplicateLedger, score: Score = noisy, fail: bool = False) -> RunFolder | None:
    """One run from its start to its end; it fails where it is told to, and where it has no score."""
    run = ledger.ask()
    if run is None:
        return None
    for iteration in ITERATIONS:
        value = None if fail else score(run.record(), iteration)
        readings = {} if value is None else {"score": value, "mAP/0.5": 1.2 * value, "mAP/avg_0.1:0.7": value}
        run.append(iteration, {**readings, "loss/total": 100.0 / iteration, "psi_share": 0.2, "mcm_share": 0.1})
        ledger.report(run.key, iteration, value)
    if fail:
        ledger.fail(run.key, "loss/mil is not finite")
    else:
        ledger.finish(run.key)
    return run


def made_points(
    path: Path, num_runs: int = 24, score: Score = noisy, failing: tuple[int, ...] = (), protocol: str = "holdout"
) -> ExperimentFolder:
    """A search of ``num_runs`` runs; those whose number is in ``failing`` fail."""
    folder = new_points(path, protocol)
    ledger = replicate_ledger(folder, num_runs, 3 if protocol == "holdout" else 1)
    for number in range(num_runs):
        step(ledger, score, number in failing)
    ledger.settle()
    write_points_study(folder)
    return folder


RATE = "training.learning_rate"


def rated(record: RunRecord, iteration: int) -> float:
    """Higher with the learning rate; the method adds three points."""
    base = noisy(record.replace(searched=()), iteration) or 0.0
    return base + 20 * float(record.config["training"]["learning_rate"])


def made_arms(path: Path, num_runs: int = 14) -> ExperimentFolder:
    """A search that varies the learning rate, too, so that the plain baseline has a search of its own."""
    folder = new_points(path)
    space = {**SPACE, RATE: {"low": 1e-5, "high": 1e-3, "log": True}}
    run = merge(RUN, {"baseline": path.parent.name, "training": {"learning_rate": 1e-4}})
    folder.keep_config({**folder.config, "space": space, "run": run})
    searched = SearchSpace.from_mapping(space)
    own = {RATE: 1e-4}

    def configure(values: Mapping[str, float]) -> dict[str, Any]:
        return merge(run, changes_of(values, evaluations=3))

    common = (3, 0, "random")
    policy = TwoArms(
        Policy(searched.searched, [("paper", searched.project(PAPER | own)[0])], *common, startup=3, with_plain=False),
        Policy(searched.further, [(PLAIN, own)], *common, startup=3, with_plain=False),
    )
    study = recover_study(folder.study)
    ledger = ReplicateLedger(folder, study, searched, configure, "5f1c" * 16, num_runs, policy=policy)
    for _ in range(num_runs):
        step(ledger, rated)
    ledger.settle()
    write_points_study(folder)
    return folder
