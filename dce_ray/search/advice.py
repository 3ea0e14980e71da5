"""What a search says of what it was asked: whose schedule it uses, how few videos a fold holds out, how few
seeds; and what is another number than before."""

from __future__ import annotations

import shlex

from dce_ray.commandline import flatten
from dce_ray.config import RunConfig
from dce_ray.data.splits import holdout_sizes
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.presets import run_config
from dce_ray.search.settings import Experiment, Request
from dce_ray.searchable import ITERATIONS, LIMITS, evaluations_of
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
    training = experiment.run.training
    used = {LEARNING_RATE: f"{training.learning_rate:g}", ITERATIONS: str(training.iterations)}
    borrowed = [f"{key}={value}" for key, value in used.items() if key not in decided]
    if experiment.data_set != "default" or not borrowed:
        return None
    whose = f"its schedule is THUMOS14's ({', '.join(borrowed)})"
    if len(borrowed) == 1:
        whose = f"{borrowed[0]} is THUMOS14's"
    return (
        f"note: no preset knows this data, so {whose}. To search rate and length first, with the plain baseline and "
        f"without reading test:\n  {schedule_command(request, experiment)}\n"
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
    evaluations = _evaluations(own, LENGTH_SPAN[0] * training.iterations)
    slowest, fastest = LIMITS[LEARNING_RATE].low, LIMITS[LEARNING_RATE].high
    rates = [f"{min(max(factor * training.learning_rate, slowest), fastest):g}" for factor in RATE_SPAN]
    longest = min(LENGTH_SPAN[1] * training.iterations, LIMITS[ITERATIONS].high)
    shortest = max(1, round(LENGTH_SPAN[0] * training.iterations / evaluations))
    lengths = [evaluations * shortest, evaluations * int(longest / evaluations)]
    if evaluations != evaluations_of(own):
        kept["training.eval_every"] = own.training.iterations // evaluations
    words = [f"baseline={request.baseline}", f"data={request.data}"]
    words += [argument(key, value, pasted=False) for key, value in request.importing.given.items()]
    words += [] if request.preset is None else [f"preset={request.preset}"]
    words += [f"{key}={'null' if value is None else value}" for key, value in kept.items()]
    words += ["scs=off", "mcm=off", "confirm.seeds=0", f"search.folds={request.settings.search.folds}"]
    words += [f"space.{LEARNING_RATE}={{low: {rates[0]}, high: {rates[1]}, log: true}}"]
    words += [f"space.{ITERATIONS}={{low: {lengths[0]}, high: {lengths[1]}, log: true}}"]
    return runnable(f"python -m dce_ray.search {shlex.join(words)}")


def _evaluations(own: RunConfig, shortest: float) -> int:
    """How often the runs of the offered line are evaluated: as often as its preset says, or as often as its shortest
    runs can be, which have to be of as many iterations at least.

    Args:
        own: what the line starts from; its length is no key of the line, for that is searched.
        shortest: iterations of the shortest runs, about.
    """
    usual, length = evaluations_of(own), own.training.iterations
    possible = [number for number in range(1, usual + 1) if number == usual or length % number == 0]
    return max([number for number in possible if number <= shortest], default=1)


def holdout_videos(experiment: Experiment, store: FeatureStore) -> list[int]:
    """How many videos the folds hold out on which runs are scored: all of them, or the one of ``policy=single``."""
    sampling = experiment.run.sampling
    if experiment.run.protocol != "holdout":
        return []
    if experiment.settings.policy == "single":
        return [holdout_sizes(store, sampling)[sampling.fold]]
    return holdout_sizes(store, sampling.replace(folds=experiment.folds))
