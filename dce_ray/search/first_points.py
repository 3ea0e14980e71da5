"""The points that a search knows beforehand: published values, and what earlier searches found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dce_ray.commandline import flatten
from dce_ray.config import SCALARS, RunConfig
from dce_ray.errors import ConfigError, SearchSpaceError
from dce_ray.experiment.record import PLAIN, components_of, values_in
from dce_ray.files import parse_yaml
from dce_ray.presets import published, run_config, run_config_from_mapping
from dce_ray.search.space import SearchSpace, is_path
from dce_ray.searchable import SEARCHABLE

FOUND_BY = "best-of-"
"""Before the name of the search that a point comes from: no preset and no setting of ours is called so."""


def known_points(space: SearchSpace, run: RunConfig, data_set: str) -> dict[str, dict[str, float]]:
    """What the space's ``first_points`` name, by origin.

    Published points have the six scalars, and the preset's values of the further keys that are searched. With neither
    component there are none: what a preset then says is the plain baseline. Points of a file have all that could be
    searched, so that what this search holds fixed is told too.

    Args:
        space: whose first points they are.
        run: what all trials share.
        data_set: name in ``presets.DATA_SETS``.

    Raises:
        SearchSpaceError: a file is no ``best.yaml``.
    """
    points: dict[str, dict[str, float]] = {}
    for name in space.first_points:
        if is_path(name):
            points[_free_name(points, name)] = _read(Path(name), run)
        elif published(name, run.baseline, data_set) and components_of(run.to_mapping()) != PLAIN:
            preset = run_config(run.baseline, run.data, data_set=data_set, preset=name).to_mapping()
            points[name] = values_in(preset, (*SCALARS, *space.further))
    return points


def _free_name(points: dict[str, dict[str, float]], path: str) -> str:
    """The origin of a file's point: named after the search, which is the folder that the file lies in."""
    name = FOUND_BY + Path(path).resolve().parent.name
    free, number = name, 1
    while free in points:
        number += 1
        free = f"{name}-{number}"
    return free


def _read(path: Path, run: RunConfig) -> dict[str, float]:
    """Values of a ``best.yaml``.

    Raises:
        SearchSpaceError: it cannot be read, is none, or was chosen by what this search must not see.
    """
    remedy = "give the best.yaml of an earlier search"
    try:
        content: Any = parse_yaml(path.read_text())
    except OSError as fault:
        raise SearchSpaceError(f"space.first_points: {path}: cannot be read ({fault.strerror}); {remedy}") from fault
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise SearchSpaceError(f"space.first_points: {path}: not YAML; {remedy}") from fault
    if not isinstance(content, dict):
        raise SearchSpaceError(f"space.first_points: {path}: holds no configuration of a run; {remedy}")
    for key, seen, what in (("protocol", "paper", "test"), ("metric", "detection", "temporal labels")):
        if content.get(key) == seen != getattr(run, key):
            raise SearchSpaceError(
                f"space.first_points: {path}: {key}={seen}: it was chosen by {what}, which a search with "
                f"{key}={getattr(run, key)} does not see; leave it out, or give {key}={seen}"
            )
    names = (*SCALARS, *SEARCHABLE)
    missing = [name for name in names if (f"method.{name}" if name in SCALARS else name) not in flatten(content)]
    if missing:
        raise SearchSpaceError(f"space.first_points: {path}: lacks {', '.join(missing)}; {remedy}")
    try:
        return values_in(run_config_from_mapping(content, kept=True).to_mapping(), names)
    except ConfigError as fault:
        raise SearchSpaceError(f"space.first_points: {path}: {fault}; {remedy}") from fault
