"""Which values a run starts from: published ones per baseline and data set, ours for the small data sets.

``run_config`` lays them over each other, later ones winning:
defaults (config.py) < the baseline's variant (baselines) < the data set's training (here) < evaluation (evaluation)
< the six scalars and readings of ``preset`` (method) < ``overrides``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dce_ray.baselines import baseline_named
from dce_ray.config import SCALARS, ObjectiveConfig, RunConfig
from dce_ray.errors import ConfigError, unknown_name
from dce_ray.evaluation.presets import evaluation_preset
from dce_ray.method.presets import METHOD_PRESETS
from dce_ray.store import known

PRESETS = ("paper", "released")


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is known of a data set before it is opened."""

    variant: str
    """Published variant of network, objective, scalars and evaluation: ``thumos14`` or ``activitynet12``."""
    title: str = ""
    """As papers write it; empty where its name will do."""
    store_names: tuple[str, ...] = ()
    """Names that stores of this data set carry (the prefix of the released files)."""
    training: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    objective: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Further values per baseline, nested like a run configuration."""


THUMOS14 = DataSet(
    variant="thumos14",
    title="THUMOS14",
    store_names=(known.THUMOS14,),
    training={"learning_rate": 5e-5, "weight_decay": 1e-3, "iterations": 5000, "eval_every": 50},
    sampling={"segments": 320},
    baselines={"co2net": {"sampling": {"segments": 500}, "training": {"eval_every": 200}}},
)
"""Published by the baselines' authors; the scripts with SCS and MCM train 7,500 iterations (``preset=released``)."""

ACTIVITYNET12 = DataSet(
    variant="activitynet12",
    title="ActivityNet-1.2",
    store_names=(known.ACTIVITYNET12,),
    training={"learning_rate": 3e-5, "weight_decay": 5e-4, "iterations": 22_000, "eval_every": 200},
    sampling={"segments": 60, "min_snippets": 11},
)
"""Published by the baselines' authors."""

HAPT = DataSet(
    variant="thumos14",
    title="HAPT",
    store_names=("HAPT",),
    training={"learning_rate": 5e-4, "weight_decay": 1e-3, "iterations": 800, "eval_every": 100},
    sampling={"segments": 160},
)
"""128 channels and 9 classes: a small network. Learning rate and iterations were chosen on holdout with the plain
baselines, from {1e-4, 3e-4, 5e-4, 1e-3, 3e-3} and up to 1,500 iterations; segments are near the mean length."""

SYNTHETIC = DataSet(
    variant="thumos14",
    store_names=("synthetic",),
    training={"learning_rate": 1e-3, "weight_decay": 1e-3, "iterations": 200, "eval_every": 50},
    sampling={"segments": 64},
)
"""The embedded data: short enough for a search of 80 runs in minutes on two cores (``data.synthetic`` says what such
runs tell apart); not tuned for the level of the scores."""

EMBEDDED = "synthetic"
"""Name of the embedded data, which come in several sizes."""
DATA_SETS: dict[str, DataSet] = {
    "thumos14": THUMOS14,
    "activitynet12": ACTIVITYNET12,
    "hapt": HAPT,
    EMBEDDED: SYNTHETIC,
    "default": DataSet(variant="thumos14", training=THUMOS14.training, sampling=THUMOS14.sampling),
}


def data_set_named(name: str) -> DataSet:
    """The entry ``name`` of the table.

    Raises:
        ConfigError: for an unknown name, with the nearest known one.
    """
    if name not in DATA_SETS:
        raise ConfigError(unknown_name("data set preset", name, DATA_SETS))
    return DATA_SETS[name]


def data_set_of(store_name: str) -> str:
    """Name of the data set that a store of this name holds; ``default`` where it is none of the table's."""
    for name, entry in DATA_SETS.items():
        if any(store_name == one or store_name.startswith(f"{one}-") for one in entry.store_names):
            return name
    return "default"


def run_config(
    baseline: str,
    data: str | Path,
    *,
    data_set: str,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The configuration of a run from presets.

    Args:
        baseline: name in ``BASELINES``.
        data: folder of the feature store.
        data_set: name in ``DATA_SETS`` (``data_set_of(store.name)``).
        preset: ``paper`` or ``released``; None takes the paper's values where it prints any, else the released ones.
            A baseline that nothing is published for gets its own values (``Baseline.method``), whichever is named.
        overrides: nested mapping with the user's keys, laid over all else.

    Raises:
        ConfigError: for unknown names and for every value out of range.
    """
    entry, parts = data_set_named(data_set), baseline_named(baseline)
    preset = preset or ("paper" if ("paper", entry.variant, baseline) in METHOD_PRESETS else "released")
    if preset not in PRESETS:
        raise ConfigError(unknown_name("preset", str(preset), PRESETS))
    if not _of_ones_own(baseline) and not published(preset, baseline, data_set):
        raise ConfigError(
            f"preset={preset}: nothing of that name is published for {baseline} on {entry.variant}; "
            f"use preset={'released' if preset == 'paper' else 'paper'}"
        )
    mapping: dict[str, Any] = {"baseline": baseline, "data": str(data), "preset": preset}
    layers = [
        dict(parts.variants.get(entry.variant, {})),
        *_schedule(entry, baseline, preset),
        {"evaluation": evaluation_preset(preset, entry.variant, baseline, entry.store_names)},
        {"method": METHOD_PRESETS.get((preset, entry.variant, baseline), parts.method)},
        overrides or {},
    ]
    for layer in layers:
        mapping = merge(mapping, layer)
    return run_config_from_mapping(mapping)


def presets_line(
    config: RunConfig, data_set: str, given: Mapping[str, str | None] | None = None, *, searched: bool = False
) -> str:
    """Whose values a run starts from, in a line: scalars, schedule and evaluation, and what came of the schedule.

    Args:
        config: of the run, with what the user changed.
        data_set: name in ``DATA_SETS``.
        given: scalars that no preset decided, by name: the file that holds them, None for the command itself.
        searched: whether the scalars are searched, so that a baseline's own ones are no run's.
    """
    entry, training = data_set_named(data_set), config.training
    known_as = (
        f"{data_set}'s schedule" if data_set != "default" else "THUMOS14's schedule, for want of one for this data"
    )
    own: dict[str, Any] = {}
    for layer in _schedule(entry, config.baseline, config.preset):
        own = merge(own, layer)
    found = (training.iterations, training.learning_rate, config.sampling.segments)
    known = (own["training"]["iterations"], own["training"]["learning_rate"], own["sampling"]["segments"])
    once = "; evaluated once, at the end, for training.eval_every is longer" if training.eval_every > found[0] else ""
    scalars = _scalars_text(config, entry.variant, given or {}, searched=searched)
    return (
        f"presets: {known_as}, {scalars}; "
        f"{'' if found == known else 'with your changes '}{found[0]} iterations at learning rate {found[1]:g}, "
        f"{found[2]} segments of a video{once}"
    )


def _scalars_text(config: RunConfig, variant: str, given: Mapping[str, str | None], *, searched: bool) -> str:
    """Whose the six scalars are: the preset's, the baseline's own where nothing is published, or the user's."""
    whose = f"{config.preset} scalars of {config.baseline} on {variant}"
    if _of_ones_own(config.baseline):
        whose = f"{config.baseline}'s own scalars (none are published for it)"
        if searched:
            whose = f"no published scalars of {config.baseline}"
    sources: dict[str | None, list[str]] = {}
    for name in SCALARS:
        if name in given:
            sources.setdefault(given[name], []).append(name)
    if len(given) == len(SCALARS):  # the preset has no part in it; whose most of them are is named alone
        most = max(sources, key=lambda source: len(sources[source]))
        del sources[most]
        whose = _owned("scalars", most)
    changes = [_owned(", ".join(names), source) for source, names in sources.items()]
    return f"{whose}, but {' and '.join(changes)}" if changes else whose


def _owned(what: str, file: str | None) -> str:
    return f"your {what}" if file is None else f"{what} of {file}"


def _of_ones_own(baseline: str) -> bool:
    """Whether nothing is published for a baseline on any data."""
    return not any(name == baseline for _, _, name in METHOD_PRESETS)


def published(preset: str, baseline: str, data_set: str) -> bool:
    """Whether scalars of that name are published for the baseline on the data set's variant."""
    return (preset, data_set_named(data_set).variant, baseline) in METHOD_PRESETS


def _schedule(entry: DataSet, baseline: str, preset: str) -> list[dict[str, Any]]:
    """What the data set says of a run, later layers winning."""
    return [
        {"training": entry.training, "sampling": entry.sampling, "objective": entry.objective},
        _released_training(entry) if preset == "released" else {},
        dict(entry.baselines.get(baseline, {})),
    ]


def _released_training(entry: DataSet) -> dict[str, Any]:
    return {"training": {"iterations": 7500}} if entry is THUMOS14 else {}


def run_config_from_mapping(mapping: Mapping[str, Any], *, kept: bool = False) -> RunConfig:
    """A run configuration from a nested mapping; ``objective`` is read by the baseline's own record.

    Args:
        mapping: values by key.
        kept: whether a folder or a checkpoint holds it, which was accepted when it was written.

    Raises:
        ConfigError: naming everything that is unknown, of the wrong type or out of range.
    """
    kind = baseline_named(str(mapping.get("baseline", ""))).objective_config
    given = mapping.get("objective", {})
    faults: list[str] = []
    objective: ObjectiveConfig = kind()
    if isinstance(given, Mapping):
        try:
            objective = kind.from_mapping(given, "objective.", kept=kept)
        except ConfigError as fault:
            faults.append(str(fault))
    else:
        objective = given
    try:
        config = RunConfig.from_mapping({**mapping, "objective": objective}, kept=kept)
    except ConfigError as fault:
        faults.append(str(fault))
    if faults:
        raise ConfigError("\n".join(faults))
    return config


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings laid over each other; the values of ``above`` win."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
