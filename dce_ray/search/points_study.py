"""The study ``points``, made of the runs: one trial per point, valued by the model and not by its luckiest run.

It is there to be looked at (``optuna-dashboard study.journal``); the study ``runs`` beside it stays the truth. Optuna
changes no value that was told, so the whole study is made anew whenever the search ends or stops.
"""

from __future__ import annotations

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.study import POINTS_STUDY, open_journal
from dce_ray.points.standing import read_standing, searched_ranges


def write_points_study(folder: ExperimentFolder) -> None:
    """Make the study anew; the caller holds the folder's lock. Nothing is written before a run has ended."""
    standing = read_standing(folder)
    if standing is None:
        return
    storage = open_journal(folder.study)
    if POINTS_STUDY in [study.study_name for study in storage.get_all_studies()]:
        optuna.delete_study(study_name=POINTS_STUDY, storage=storage)
    study = optuna.create_study(storage=storage, study_name=POINTS_STUDY, direction="maximize")
    ranges = {
        name: FloatDistribution(item.low, item.high, log=item.log)
        for name, item in searched_ranges(folder.config).items()
    }
    study.add_trials(
        create_trial(
            state=TrialState.COMPLETE,
            params=dict(standing.runs_of(point.point)[0].scalars),
            distributions=ranges,
            value=point.mean,
            user_attrs={
                "point": point.point,
                "runs": point.runs,
                "low": point.low,
                "high": point.high,
                "better_than_plain": point.better,
                "best_of_all": point.best,
                "origin": standing.record_of(point.point).origin,
            },
        )
        for point in standing.posterior.points
    )
