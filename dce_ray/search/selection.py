"""Which settings are confirmed, chosen on the selecting split alone."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial, TrialState

from dce_ray.experiment.candidate import Candidate, top_setting
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN


def select(folder: ExperimentFolder, study: optuna.Study, top: int) -> list[Candidate]:
    """The best ``top`` trials that ran to their full length, the first points not among them, and the plain baseline.

    Equal values go to the earlier trial. A baseline whose run failed is absent.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ranked = sorted(trials, key=lambda trial: (-_value(trial), trial.number))
    chosen = [(top_setting(rank), trial) for rank, trial in enumerate(ranked[:top], start=1)]
    chosen += [
        (trial.user_attrs["origin"], trial)
        for trial in sorted(ranked[top:], key=lambda trial: trial.number)
        if "origin" in trial.user_attrs
    ]
    candidates = [Candidate(name, folder.trial(trial.user_attrs["key"]).record()) for name, trial in chosen]
    records = [item.record() for item in folder.trials()]
    plain = [record for record in records if record.role == "plain" and record.state == "finished"]
    return candidates + [Candidate(PLAIN, record) for record in plain if record.value is not None]


def _value(trial: FrozenTrial) -> float:
    value: float | None = trial.value
    assert value is not None, "a trial is told COMPLETE with a value only"
    return value
