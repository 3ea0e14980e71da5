"""Experiment folders with a real study in a journal, made trial by trial to a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from dce_ray.config import MethodConfig
from dce_ray.evaluation import MapTable, map_table
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, SEARCHED, WITHOUT_METHOD, RunRecord
from dce_ray.files import write_json

RANGES = {
    "delta": (0.3, 0.95, False),
    "theta_rep": (0.5, 0.95, False),
    "theta_pro": (0.3, 0.9, False),
    "beta": (0.05, 2.0, True),
    "gamma": (0.05, 2.0, True),
    "lambda": (0.0, 1.0, False),
}
STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
AVERAGES = ("0.1:0.5", "0.3:0.7", "0.1:0.7")
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
BOTH: Mapping[str, Any] = {"scs": True, "mcm": True, "method": MethodConfig().to_mapping()}
"""As much of a RunConfig mapping as a record reads."""


@dataclass
class Script:
    """What one trial does."""

    state: str = "finished"
    scores: Mapping[int, float] = field(default_factory=dict)
    """By iteration; the best one is told where the trial finishes."""
    params: Mapping[str, float] = field(default_factory=dict)
    """Searched values that the study is to suggest."""
    origin: str | None = None
    error: str | None = None
    psi_shares: Sequence[float] = ()


def make_experiment(
    path: Path, scripts: Sequence[Script], *, fixed: Mapping[str, float] | None = None, protocol: str = "holdout"
) -> ExperimentFolder:
    """A folder ``<data>/<baseline>/<name>`` whose study ran ``scripts``; parameters in ``fixed`` are not searched."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    decided = {"baseline": path.parent.name, "protocol": protocol, "metric": "detection", "policy": "single"}
    run = {**decided, "evaluation": {"averages": list(AVERAGES)}}
    config = {**decided, "data_set": path.parent.parent.name, "confirm": {"seeds": 3}, "run": run}
    folder = ExperimentFolder.create(path, config, {"commit": "0" * 40, "cpu": "test"})
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder.study)))
    study = optuna.create_study(
        storage=storage, study_name="runs", direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    for number, script in enumerate(scripts):
        run_script(folder, study, number, script, fixed or {})
    return folder


def run_script(folder, study, number, script, fixed) -> None:
    searched = {name: RANGES[name] for name in RANGES if name not in fixed}
    study.enqueue_trial(dict(script.params), user_attrs={"origin": script.origin} if script.origin else None)
    trial = study.ask()
    params = {name: trial.suggest_float(name, low, high, log=log) for name, (low, high, log) in searched.items()}
    params |= fixed
    key = f"trial{number:03d}"
    trial.set_user_attr("params", params)
    trial.set_user_attr("key", key)
    place = folder.trial(key)
    config = {**BOTH, "method": {**BOTH["method"], **params}}
    origin = script.origin or SEARCHED
    place.write(RunRecord(key, "trial", f"trial {number}", number, script.state, config, 0, origin=origin, started=1.0))
    for index, (iteration, score) in enumerate(script.scores.items()):
        trial.report(score, iteration)
        metrics = {"score": score}
        if index < len(script.psi_shares):
            metrics["psi_share"] = script.psi_shares[index]
        place.append(iteration, metrics)
    if script.error:
        trial.set_user_attr("error", script.error)
    if script.state in STATES:
        best = float(np.nanmax(list(script.scores.values()))) if script.state == "finished" else None
        study.tell(trial, best, STATES[script.state])


def made_table(base: float, seed: int) -> MapTable:
    """A mAP table of two classes whose average precision falls with the threshold."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (len(THRESHOLDS), 2))
    class_ap = base - 0.4 * np.array(THRESHOLDS)[:, None] + noise
    return map_table(
        class_ap,
        thresholds=THRESHOLDS,
        averages=AVERAGES,
        class_names=("walk", "run"),
        videos=7,
        instances=21,
        classification_map=0.8,
    )


def add_confirmation(
    folder: ExperimentFolder, setting: str, seed: int, table: MapTable | None, *, number: int = 0, **changes: Any
) -> None:
    """A confirmation run ``<setting>-<seed>``; it failed where ``table`` is None."""
    place = folder.confirm(f"{setting}-{seed}")
    record = RunRecord(
        place.key,
        "confirm",
        setting,
        number,
        "finished" if table else "failed",
        {**BOTH, **(WITHOUT_METHOD if setting == PLAIN else {}), "seed": seed},
        seed,
        origin=PLAIN if setting == PLAIN else SEARCHED,
        value=table.ranking if table else None,
        error=None if table else "loss/mil is not finite",
    )
    place.write(record.replace(**changes))
    if table:
        write_json(place.table, table.to_mapping())
