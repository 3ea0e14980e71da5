"""What a search says of what it was asked: whose schedule it uses, how few videos a fold holds out, how few
seeds; and what is another number than before."""

from __future__ import annotations

import shlex

from dce_ray.commandline import flatten
from dce_ray.data.splits import holdout_sizes
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.presets import run_config
from dce_ray.search.settings import Experiment, Request
from dce_ray.searchable import ITERATIONS, evaluations_of
from dce_ray.store import FeatureStore
from dce_ray.words import argument, runnable

FEW_SEEDS = 4
"""Fewer seeds than this are confirmed with a warning."""
BUDGETS = ("search", "confirm")
"""Groups that say how much is run."""
LEARNING_RATE = "training.learning_rate"
RATE_SPAN = (0.2, 20.0)
"""Ends of the offered range of the learning rate, as multiples of the preset's."""
LENGTH_SPAN = (0.2, 2.0)
"""The same of the length."""


def changed_lines(folder: ExperimentFolder, experiment: Experiment) -> list[str]:
    """A line for everything of ``search.*`` and ``confirm.*`` that ``resume=`` changes.

    Args:
        folder: of the search, with what was asked before.
        experiment: what is asked now.
    """
    before, now = ({name: one.get(name, {}) for name in BUDGETS} for one in (folder.config, experiment.to_mapping()))
    old, new = flatten(before), flatten(now)
    return [
        f"{key}: {_shown(old[key])} before, {_shown(value)} now"
        for key, value in new.items()
        if key in old and old[key] != value  # one that the folder lacks is newer than it
    ]


def _shown(value: object) -> object:
    return "none" if value is None else value


def schedule_note(request: Request, experiment: Experiment) -> str | None:
    """What to tell of the schedule; None where a preset knows the data, or rate and length are the user's own.

    Args:
        request: as the user asked.
        experiment: what came of it.
    """
    decided = flatten(request.run).keys() | experiment.space.further.keys()
    if experiment.data_set != "default" or {LEARNING_RATE, ITERATIONS} <= decided:
        return None
    training = experiment.run.training
    return (
        f"note: no preset knows this data, so its schedule is THUMOS14's ({LEARNING_RATE}={training.learning_rate:g}, "
        f"{ITERATIONS}={training.iterations}). To search rate and length first, with the plain baseline and without "
        f"reading test:\n  {schedule_command(request, experiment)}\n"
        f"  then give the {LEARNING_RATE} and {ITERATIONS} of its best.yaml to this command"
    )


def seeds_note(seeds: int) -> str | None:
    """What to tell of so few seeds of the confirmation; None where they suffice, or where there is none."""
    if seeds == 1:
        return "confirm.seeds=1 gives no interval, so the verdict will be undecided; take 2 or more (default 5)"
    if 1 < seeds < FEW_SEEDS:
        return (
            f"confirm.seeds={seeds}: the spread of so few pairs is itself chance, and the interval wide or, with luck, "
            f"deceptively narrow; take 5 or more (default 5)"
        )
    return None


def schedule_command(request: Request, experiment: Experiment) -> str:
    """The line that searches learning rate and length of the plain baseline."""
    training, kept = experiment.run.training, dict(flatten(request.run))
    for key in (LEARNING_RATE, ITERATIONS, "training.eval_every", "scs", "mcm"):
        kept.pop(key, None)
    own = run_config(request.baseline, experiment.run.data, data_set=experiment.data_set, preset=request.preset)
    evaluations = evaluations_of(own)  # of the line that is offered, which leaves length and evaluations as they are
    rates = [f"{factor * training.learning_rate:g}" for factor in RATE_SPAN]
    lengths = [evaluations * max(1, round(factor * training.iterations / evaluations)) for factor in LENGTH_SPAN]
    words = [f"baseline={request.baseline}", f"data={request.data}"]
    words += [argument(key, value, pasted=False) for key, value in request.importing.given.items()]
    words += [] if request.preset is None else [f"preset={request.preset}"]
    words += [f"{key}={'null' if value is None else value}" for key, value in kept.items()]
    words += ["scs=off", "mcm=off", "confirm.seeds=0", f"search.folds={request.settings.search.folds}"]
    words += [f"space.{LEARNING_RATE}={{low: {rates[0]}, high: {rates[1]}, log: true}}"]
    words += [f"space.{ITERATIONS}={{low: {lengths[0]}, high: {lengths[1]}, log: true}}"]
    return runnable(f"python -m dce_ray.search {shlex.join(words)}")


def holdout_videos(experiment: Experiment, store: FeatureStore) -> list[int]:
    """How many videos the folds hold out on which runs are scored: all of them, or the one of ``policy=single``."""
    sampling = experiment.run.sampling
    if experiment.run.protocol != "holdout":
        return []
    if experiment.settings.policy == "single":
        return [holdout_sizes(store, sampling)[sampling.fold]]
    return holdout_sizes(store, sampling.replace(folds=experiment.folds))
