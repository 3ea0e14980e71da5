"""Which settings are confirmed, chosen on the selecting split alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState

from dce_ray.experiment.candidate import Candidate, top_setting
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import OWN_VALUES, PLAIN, SEARCHED, WINNERS_VALUES, WITHOUT_METHOD, RunRecord, values_in
from dce_ray.experiment.study import REPEATS, read_study
from dce_ray.points.arms import PlainArm, plain_runs
from dce_ray.points.model import PointEstimate
from dce_ray.points.scores import chosen_iteration, pooled_iteration
from dce_ray.points.standing import Standing, read_standing
from dce_ray.presets import merge
from dce_ray.searchable import ITERATIONS


def select(folder: ExperimentFolder, top: int) -> list[Candidate]:
    """The best ``top`` points, the published ones that are not among them, and the plain baseline, as the policy ranks.

    A baseline whose runs all failed is absent.

    Args:
        folder: of the search.
        top: how many of the best.
    """
    if folder.config["policy"] == "single":
        return _by_best_run(folder, top)
    standing = read_standing(folder)
    own = folder.config["run"]  # a point's first run need not be on the search's first seed and fold
    common = {"seed": own["seed"]} | ({"sampling": {"fold": own["sampling"]["fold"]}} if "sampling" in own else {})
    found = _by_model(standing, top) if standing else []
    if standing and standing.plain_arm:
        found += plain_candidates(standing, standing.plain_arm, found[0] if found else None)
    return [replace(one, config=merge(one.config, common)) for one in found]


def _by_model(standing: Standing, top: int) -> list[Candidate]:
    """Ranked by the model's mean: what a point is worth, shrunken by how much of its runs is noise."""
    named = [(top_setting(rank), point) for rank, point in enumerate(standing.ranked[:top], start=1)]
    published = sorted(standing.ranked[top:], key=lambda point: point.point or 0)
    origins = [(standing.record_of(point.point).origin, point) for point in published]
    named += [(origin, point) for origin, point in origins if origin != SEARCHED]
    if standing.plain is not None and standing.plain_arm is None:
        named.append((PLAIN, standing.plain))
    return [_candidate(standing, setting, point) for setting, point in named]


def plain_candidates(standing: Standing, arm: PlainArm, winner: Candidate | None) -> list[Candidate]:
    """The plain baseline at the best values of its own search, and at the winner's; the better one by its arm's model,
    which has not seen test, is the one to compare with and comes last.

    Args:
        standing: of the search.
        arm: the plain baseline's.
        winner: None where no point has a usable run.
    """
    own = _candidate(standing, PLAIN, arm.best)
    if winner is None:
        return [own]
    values = values_in(winner.config, arm.ranges)
    known = arm.known(values)
    if known is not None and known.point == own.point:
        return [own]
    if known is not None:
        winners = _candidate(standing, PLAIN, known)
    else:
        mean, deviation = arm.expected(values)
        length = int(values.get(ITERATIONS, 1))
        iteration = pooled_iteration(plain_runs(standing.runs), length)
        config = merge(winner.config, WITHOUT_METHOD)
        winners = Candidate(PLAIN, config, mean, iteration, PLAIN, None, 0, deviation, own.searched)
    if winners.value > own.value:
        return [replace(own, setting=OWN_VALUES), winners]
    return [replace(winners, setting=WINNERS_VALUES), own]


def _candidate(standing: Standing, setting: str, estimate: PointEstimate) -> Candidate:
    record = standing.record_of(estimate.point)
    return Candidate(
        setting,
        record.config,
        estimate.mean,
        chosen_iteration(standing.runs, estimate.point),
        record.origin,
        estimate.point,
        estimate.runs,
        estimate.deviation,
        record.searched,
    )


def _by_best_run(folder: ExperimentFolder, top: int) -> list[Candidate]:
    """Ranked by the best evaluation of full-length trials; equal values go to the earlier trial."""
    trials = read_study(folder.study).get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    trials = [trial for trial in trials if REPEATS not in trial.user_attrs]  # a point is ranked once
    ranked = sorted(trials, key=lambda trial: (-_value(trial), trial.number))
    chosen = [(top_setting(rank), trial) for rank, trial in enumerate(ranked[:top], start=1)]
    chosen += [
        (trial.user_attrs["origin"], trial)
        for trial in sorted(ranked[top:], key=lambda trial: trial.number)
        if "origin" in trial.user_attrs
    ]
    candidates = [_of_run(name, folder.trial(trial.user_attrs["key"]).record()) for name, trial in chosen]
    return candidates + [_of_run(PLAIN, record) for record in _finished_plain(folder) if record.value is not None]


def _finished_plain(folder: ExperimentFolder) -> Sequence[RunRecord]:
    records = [item.record() for item in folder.trials()]
    return [record for record in records if record.role == "plain" and record.state == "finished"]


def _of_run(setting: str, record: RunRecord) -> Candidate:
    assert record.value is not None, "a finished run has a value"
    assert record.iteration is not None, "and where it was reached"
    return Candidate(setting, record.config, record.value, record.iteration, record.origin, record.point)


def _value(trial: FrozenTrial) -> float:
    value: float | None = trial.value
    assert value is not None, "a trial is told COMPLETE with a value only"
    return value
