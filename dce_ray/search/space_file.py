"""Where a search space comes from: the shipped file of a baseline, a user's own, and the command line above them.

``search_spaces/<baseline>.yaml`` holds one section per data set (``default`` for all others). A range means the same
in a file, on the command line and from Python: what it does not say (an end, the scale) stays as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from dce_ray.commandline import flatten
from dce_ray.config import SCALARS
from dce_ray.errors import SearchSpaceError
from dce_ray.files import parse_yaml
from dce_ray.search.space import SearchSpace, read, refuse_unread, told
from dce_ray.searchable import LIMITS, split_bound, unknown_space_key

SPACES = "dce_ray.search_spaces"
AS_CHANGED = "the search space as you changed it"
"""Whose the faults are that no file has."""
ANY_BASELINE = "default"
"""The file of a baseline that has none of its own."""


def load_space(
    baseline: str,
    data_set: str,
    overrides: Mapping[str, Any],
    unused: Mapping[str, float] | None = None,
    file: str | None = None,
) -> SearchSpace:
    """The space of a baseline on a data set with a file's and the command line's changes.

    Args:
        baseline: name of a file in ``search_spaces``; a baseline without one gets ``default.yaml``.
        data_set: section of the file; ``default`` where it has none of that name.
        overrides: values by dotted key without the prefix ``space.``: ``delta.high``, ``lambda``, ``first_points``,
            ``training.learning_rate.low``.
        unused: scalars that no run reads because their component is switched off, at the value they stay.
        file: a user's YAML, laid over the baseline's section and below ``overrides``; see :func:`read_space_file`.

    Raises:
        SearchSpaceError: unknown names, empty ranges, or nothing left to search.
    """
    where = f"search_spaces/{baseline if _has_file(baseline) else ANY_BASELINE}.yaml"
    sections = _sections(where)
    shipped = section = sections.get(data_set, sections["default"])
    refuse_unread(section, where)
    if file is not None:
        where, section = file, override(section, read_space_file(file, data_set), file)
    space, faults = read(_scaled(override(section, overrides), shipped))  # the command line may mend what a file says
    of_file = [line for line in faults if line in read(_scaled(section, shipped))[1]]
    of_changes = [line for line in faults if line not in of_file]
    if faults:
        parts = ((where, of_file), (AS_CHANGED, of_changes))
        raise SearchSpaceError("\n".join(told(whose, lines) for whose, lines in parts if lines))
    where = AS_CHANGED if overrides else where
    space = dataclasses.replace(space, dimensions={**space.dimensions, **(unused or {})})
    if not space.searched and set(unused or {}) == set(SCALARS):
        raise SearchSpaceError(
            "scs=off mcm=off: nothing is left to search, for no run reads the six scalars then; leave one of them on, "
            "search a key that the plain baseline reads (space.training.learning_rate={low: 1e-5, high: 1e-3, log: "
            "true}), or train this one setting: python -m dce_ray.train"
        )
    if not space.searched:
        raise SearchSpaceError(
            f"{where}: nothing is left to search, all six scalars are fixed; free one, "
            f"or train this one setting: python -m dce_ray.train"
        )
    return space


def read_space_file(path: str, data_set: str) -> dict[str, Any]:
    """What a user's own file says of the space, by dotted key as on the command line; all else stays as it is.

    It is written like ``search_spaces/*.yaml``, or as one section alone: ``delta: {low: 0.2, high: 0.9}``, a number, or
    another scalar's name; further keys dotted or nested (``training: {learning_rate: {...}}``).

    Raises:
        SearchSpaceError: the file cannot be read, or holds no names.
    """
    import yaml

    try:
        content = parse_yaml(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as fault:
        raise SearchSpaceError(f"space={path}: cannot be read ({fault.strerror}); give a YAML file") from fault
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise SearchSpaceError(f"space={path}: not YAML ({' '.join(str(fault).split())})") from fault
    if isinstance(content, dict) and isinstance(content.get("default"), dict):
        content = content.get(data_set, content["default"])
    if not isinstance(content, dict) or not content:
        raise SearchSpaceError(f"space={path}: holds no space; write lines such as delta: {{low: 0.2, high: 0.9}}")
    return flatten(content)


def override(section: Mapping[str, Any], overrides: Mapping[str, Any], file: str | None = None) -> dict[str, Any]:
    """A section of the file with changes by dotted key, which a user's ``file`` says or the command line.

    Raises:
        SearchSpaceError: naming every key that no run reads, with the nearest right one.
    """
    result = {name: dict(item) if isinstance(item, Mapping) else item for name, item in section.items()}
    faults = []
    for key, value in overrides.items():
        name, bound = split_bound(key)
        if name not in LIMITS and key != "first_points":
            faults += [line for line in [unknown_space_key(key)] if line not in faults]
        elif not bound:
            result[name] = value
        elif isinstance(result.get(name), dict):
            result[name][bound] = value
        else:
            result[name] = {bound: value}
    if faults:
        raise SearchSpaceError(told(file, faults) if file else "\n".join(faults))
    return result


def _scaled(section: Mapping[str, Any], shipped: Mapping[str, Any]) -> dict[str, Any]:
    """Ranges that say no scale with the shipped one's, also where something between fixed or tied the scalar."""
    scales = {name: item["log"] for name, item in shipped.items() if isinstance(item, Mapping) and "log" in item}
    return {
        name: {"log": scales[name], **item} if isinstance(item, Mapping) and name in scales else item
        for name, item in section.items()
    }


def _has_file(baseline: str) -> bool:
    return (resources.files(SPACES) / f"{baseline}.yaml").is_file()


def _sections(where: str) -> dict[str, Any]:
    import yaml

    try:
        content = parse_yaml((resources.files(SPACES) / where.rpartition("/")[2]).read_text())
    except yaml.YAMLError as fault:
        raise SearchSpaceError(f"{where} is not YAML: {' '.join(str(fault).split())}") from fault
    if not isinstance(content, dict) or "default" not in content:
        raise SearchSpaceError(f"{where} holds no section 'default'")
    return content
