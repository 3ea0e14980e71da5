"""Which configurations are confirmed, chosen on the selecting split alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dce_ray.experiment.folder import ExperimentFolder, TrialFolder, TrialRecord
from dce_ray.presets import merge
from dce_ray.search.ledger import best_of, trial_key
from dce_ray.search.plan import Planned

PLAIN = "baseline"
"""Name of the plain baseline among the confirmed configurations."""
NOT_IN_THE_STUDY = -1
"""Number of the plain baseline's run on holdout."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration that is confirmed."""

    name: str
    """``top1`` (the winner), ``top2``, ..., ``paper``, ``released`` or :data:`PLAIN`."""
    origin: str
    components: str
    params: Mapping[str, float]
    config: Mapping[str, Any]
    """RunConfig mapping of the trial."""
    value: float
    """Best score on the selecting split, a fraction in [0, 1]."""
    iteration: int
    """Iteration at which it was reached, and up to which the confirmation trains."""
    number: int
    """Of the trial in the study; -1 for the plain baseline."""


def select(folder: ExperimentFolder, study: optuna.Study, top: int, components: str) -> list[Candidate]:
    """The best ``top`` trials that ran to their full length, the first points not among them, and the plain baseline.

    Equal values go to the earlier trial. A baseline whose run failed is absent.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ranked = sorted(trials, key=lambda trial: (-_value(trial), trial.number))
    chosen = [(f"top{rank}", trial) for rank, trial in enumerate(ranked[:top], start=1)]
    chosen += [
        (trial.user_attrs["origin"], trial)
        for trial in sorted(ranked[top:], key=lambda trial: trial.number)
        if "origin" in trial.user_attrs
    ]
    candidates = [_candidate(name, trial, folder, components) for name, trial in chosen]
    plain = [item.record() for item in folder.trials() if item.record().number == NOT_IN_THE_STUDY]
    return candidates + [
        Candidate(PLAIN, PLAIN, PLAIN, {}, record.config, record.value, record.iteration, record.number)
        for record in plain
        if record.state == "finished" and record.value is not None and record.iteration is not None
    ]


def plan_baseline(folder: ExperimentFolder, config: Mapping[str, Any], digest: str) -> Planned:
    """The plain baseline's run on the selecting split: it, too, must have its iteration chosen there."""
    config = merge(config, {"scs": False, "mcm": False})
    key = trial_key(config, digest)
    record = TrialRecord(
        key, NOT_IN_THE_STUDY, "trial", "running", {}, config, config["seed"], components=PLAIN, origin=PLAIN
    )
    return Planned(folder.trial(key), record)


def plan_confirmation(folder: ExperimentFolder, candidates: list[Candidate], seeds: int) -> list[Planned]:
    """Every candidate with every seed, seed by seed, so that pairs are complete early.

    By ``protocol=paper`` a run is evaluated on test along its full length and its best table counts, as published;
    else it trains on all of train up to the chosen iteration, and test is read once.
    """
    plan: list[Planned] = []
    for offset in range(seeds):
        for candidate in candidates:
            published = candidate.config["protocol"] == "paper"
            seed = candidate.config["seed"] + offset
            changes = {} if published else {"protocol": "confirm", "training": {"stop_at": candidate.iteration}}
            config = merge(candidate.config, changes | {"seed": seed})
            place = folder.confirm(f"{candidate.name}-{seed}")
            record = TrialRecord(
                place.key,
                len(plan),
                "confirm",
                "running",
                candidate.params,
                config,
                seed,
                components=candidate.components,
                origin=candidate.origin,
            )
            plan.append(Planned(place, record))
    return plan


def _value(trial: FrozenTrial) -> float:
    return trial.value if trial.value is not None else -1.0


def _candidate(name: str, trial: FrozenTrial, folder: ExperimentFolder, components: str) -> Candidate:
    home: TrialFolder = folder.trial(trial.user_attrs["key"])
    iteration, value = best_of(trial.intermediate_values)
    record = home.record()
    return Candidate(name, record.origin, components, record.params, record.config, value, iteration, trial.number)
