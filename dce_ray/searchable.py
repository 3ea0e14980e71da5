"""What a search may vary beyond the six scalars: numbers of ``training`` and ``sampling`` that decide what is trained.

The keys are those of a run (``training.learning_rate``). Everything else of a run is refused with the reason: a search
that tuned how runs are measured, or what replicates differ in, would choose the luckiest measurement.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dce_ray.commandline import flatten, nest
from dce_ray.config import SCALARS, MethodConfig, RunConfig, SamplingConfig, TrainingConfig
from dce_ray.config_base import Config, key_of
from dce_ray.errors import unknown_among_many
from dce_ray.former import LISTED

ITERATIONS = "training.iterations"
"""The one key whose values have curves of different length; see :func:`evaluations_of`."""
SEARCHABLE = (
    *("training.learning_rate", "training.weight_decay", ITERATIONS),
    *("sampling.segments", "sampling.batch", "sampling.pairs"),
)
"""Keys that may be searched beside the six scalars, which always are unless they are fixed."""
BOUNDS = ("low", "high", "log", "step")
"""Parts of a range."""
OTHER_BOUNDS = {"min": "low", "max": "high", "lower": "low", "upper": "high", "start": "low", "end": "high"}
"""What other programs call its ends, and our names."""
REASONS: Mapping[str, str] = {
    "seed": "the replicates of a point differ in it; search.folds says how many there are, seed= where seeds begin",
    "training.stop_at": "the iteration is chosen from the runs' curves; search training.iterations",
    "training.eval_every": "it decides when a run is looked at and not what it trains; give it as training.eval_every=",
    "training.log_every": "it decides when a run is looked at and not what it trains; give it as training.log_every=",
    "sampling.folds": "the search goes through the folds itself; say search.folds=<how many>",
    "sampling.fold": "the search goes through the folds itself; say search.folds=<how many>",
    "sampling.fold_seed": "all points meet the same folds; give it as sampling.fold_seed=",
    "sampling.min_snippets": "it decides which videos are measured; give it as sampling.min_snippets=",
}
"""Why a number of a run is not searched, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What values of a key a run takes."""

    low: float
    high: float
    whole: bool
    """Whether they are whole numbers."""


def _limits() -> dict[str, Limits]:
    records: dict[str, type[Config]] = {"": MethodConfig, "training.": TrainingConfig, "sampling.": SamplingConfig}
    found = {}
    for prefix, record in records.items():
        hints = typing.get_type_hints(record)
        for item in dataclasses.fields(record):
            key = prefix + key_of(item.name)
            if key in SCALARS or key in SEARCHABLE:
                found[key] = Limits(item.metadata["low"], item.metadata["high"], hints[item.name] is int)
    return found


LIMITS = _limits()
"""By name, of the six scalars and :data:`SEARCHABLE`."""


def split_bound(key: str) -> tuple[str, str]:
    """Name and part of a dotted key of the space; the part is empty where the whole range is given.

    >>> split_bound("delta.high"), split_bound("training.learning_rate"), split_bound("training.iterations.low")
    (('delta', 'high'), ('training.learning_rate', ''), ('training.iterations', 'low'))
    """
    name, _, last = key.rpartition(".")
    return (name, last) if name and last in BOUNDS else (key, "")


def refusal(key: str) -> str | None:
    """Why a key of the space cannot be searched and what to do instead; None where it is not known at all.

    Args:
        key: as in :func:`split_bound`, neither one of the six scalars nor of :data:`SEARCHABLE`.
    """
    name, _ = split_bound(key)
    allowed = f"beside the six scalars these can be searched: {', '.join(SEARCHABLE)}"
    if name in REASONS:
        return REASONS[name]
    group, _, _ = name.partition(".")
    if group == "evaluation":
        return f"it would tune how runs are measured; give one value as {name}=; {allowed}"
    keys = _run_keys()
    if name in keys or name in flatten(keys) or group == "objective":
        return f"only numbers of training and sampling that decide what is trained can be; {allowed}"
    return None


def _run_keys() -> dict[str, Any]:
    """Keys of a run, nested: of all but its objective, which is the baseline's."""
    hints = typing.get_type_hints(RunConfig)
    keys: dict[str, Any] = {}
    for item in dataclasses.fields(RunConfig):
        kind = hints[item.name]
        nested = isinstance(kind, type) and issubclass(kind, Config) and item.name != "objective"
        keys[key_of(item.name)] = {key_of(part.name): None for part in dataclasses.fields(kind)} if nested else None
    return keys


def unknown_space_key(key: str) -> str:
    """One line for a key that the space does not take: why, or the nearest one that it does."""
    why = refusal(key)
    if why is not None:
        return f"space.{split_bound(key)[0]}: cannot be searched: {why}"
    names = [*SCALARS, *SEARCHABLE]
    above, _, last = key.rpartition(".")
    if above in names and last in OTHER_BOUNDS:
        return f"space.{key}: the ends of a range are called low and high: space.{above}.{OTHER_BOUNDS[last]}"
    known = [*names, *(f"{one}.{part}" for one in names for part in BOUNDS), "first_points"]
    return unknown_among_many("search space key", f"space.{key}", [f"space.{one}" for one in known], LISTED)


def typed(name: str, value: float) -> float:
    """A value as a run's configuration holds it: whole numbers are of type int."""
    return int(value) if LIMITS[name].whole else float(value)


def changes_of(values: Mapping[str, float], evaluations: int) -> dict[str, Any]:
    """What values of the space change of a run, nested.

    A run of another length is evaluated as often as all others are: at the same shares of its length.

    >>> changes_of({"delta": 0.7, "training.iterations": 400}, evaluations=4)
    {'method': {'delta': 0.7}, 'training': {'iterations': 400, 'eval_every': 100}}

    Args:
        values: by name, typed.
        evaluations: of a run, from its start to its end.
    """
    dotted: dict[str, Any] = {f"method.{name}" if name in SCALARS else name: value for name, value in values.items()}
    if ITERATIONS in values:
        dotted["training.eval_every"] = int(values[ITERATIONS]) // evaluations
    return nest(dotted)


def evaluations_of(run: RunConfig) -> int:
    """How often a run is evaluated until its end.

    Lengths that are searched are whole multiples of it, so that all runs are evaluated at the same shares of theirs:
    that is what :mod:`dce_ray.points.scores` compares them at.
    """
    return -(-run.training.iterations // run.training.eval_every)
