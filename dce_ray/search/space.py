"""The search space: which of the six scalars vary, in which ranges, what varies beside them, and what is tried first.

``search_spaces/<baseline>.yaml`` holds one section per data set (``default`` for all others). A scalar is a range
``{low, high, log}``, a number (fixed) or the name of another scalar (tied, as the paper ties beta and gamma). Further
keys of a run (:mod:`dce_ray.searchable`) are ranges alone; whole numbers may have a ``step``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from dce_ray.config import SCALARS, ScalarRange
from dce_ray.errors import SearchSpaceError, nearest, unknown_name
from dce_ray.files import parse_yaml
from dce_ray.presets import PRESETS
from dce_ray.searchable import BOUNDS, LIMITS, SEARCHABLE, split_bound, typed, unknown_space_key

Dimension = ScalarRange | float | str
SPACES = "dce_ray.search_spaces"
AS_CHANGED = "the search space as you changed it"
"""Whose the faults are that no file has."""
ANY_BASELINE = "default"
"""The file of a baseline that has none of its own."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The six scalars as searched, fixed or tied, what is searched beside them, and what runs first."""

    dimensions: Mapping[str, Dimension]
    """By name, all of :data:`SCALARS`, then ranges of further keys."""
    first_points: tuple[str, ...] = PRESETS
    """Names of presets, and paths of a ``best.yaml``."""

    @property
    def searched(self) -> dict[str, ScalarRange]:
        """The scalars that vary on their own, and the further keys."""
        return {name: item for name, item in self.dimensions.items() if isinstance(item, ScalarRange)}

    @property
    def further(self) -> dict[str, ScalarRange]:
        """What is searched beside the six scalars: keys that the plain baseline reads as well."""
        return {name: item for name, item in self.searched.items() if name not in SCALARS}

    def complete(self, suggested: Mapping[str, float]) -> dict[str, float]:
        """All six scalars and the further keys, given what is searched; whole numbers are of type int."""
        values: dict[str, float] = {}
        for name in SCALARS:
            source = name if not isinstance(self.dimensions[name], str) else str(self.dimensions[name])
            item = self.dimensions[source]
            values[name] = item if isinstance(item, float) else float(suggested[source])
        return values | {name: typed(name, suggested[name]) for name in self.further}

    def project(self, point: Mapping[str, float], *, move: bool = False) -> tuple[dict[str, float], list[str]]:
        """The searched part of a known point, and what the space changes of it or why it cannot hold it.

        Args:
            point: values of the six scalars and of the further keys.
            move: whether scalars outside their range go to its nearest end, as further keys always do.

        Returns:
            Values of what is searched (empty where a scalar lies outside its range) and one line per difference.
        """
        inside: dict[str, float] = {}
        notes = []
        for name, item in self.searched.items():
            if move or name not in SCALARS or item.low <= point[name] <= item.high:
                inside[name] = item.nearest(float(point[name]))
            else:
                notes.append(
                    f"{name}={point[name]:g} lies outside [{item.low:g}, {item.high:g}]; the point is left out"
                )
        if notes:
            return {}, notes
        for name, value in self.complete(inside).items():
            if value != point[name]:
                notes.append(f"{name}={value:g} in place of {point[name]:g}")
        return inside, notes

    def to_mapping(self) -> dict[str, Any]:
        """Plain mapping for config.json."""
        plain = {
            name: _plain_range(item) if isinstance(item, ScalarRange) else item
            for name, item in self.dimensions.items()
        }
        return plain | {"first_points": list(self.first_points)}

    @classmethod
    def kept(cls, mapping: Mapping[str, Any]) -> SearchSpace:
        """The space of a folder: the inverse of :meth:`to_mapping`. It was checked when the search was begun.

        Raises:
            SearchSpaceError: it names what this version does not read.
        """
        _refuse_unread(mapping, "config.json")
        names = [name for name in (*SCALARS, *SEARCHABLE) if name in mapping]
        ranges = {name: ScalarRange(**mapping[name]) for name in names if isinstance(mapping[name], Mapping)}
        return cls({name: ranges.get(name, mapping[name]) for name in names}, tuple(mapping["first_points"]))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "space") -> SearchSpace:
        """Read and check a space.

        Raises:
            SearchSpaceError: naming everything that is wrong with it at once.
        """
        _refuse_unread(mapping, where)
        space, faults = _read(mapping)
        if faults:
            raise SearchSpaceError(_told(where, faults))
        return space


def _read(mapping: Mapping[str, Any]) -> tuple[SearchSpace, list[str]]:
    """A space, and what is wrong with it."""
    faults: list[str] = [
        f"{name}: missing; give a range, a number or another scalar's name" for name in SCALARS if name not in mapping
    ]
    dimensions: dict[str, Dimension] = {}
    for name in (*SCALARS, *SEARCHABLE):
        if name in mapping:
            dimensions[name], wrong = _dimension(name, mapping[name])
            faults += wrong
    for name, item in dimensions.items():
        if isinstance(item, str) and isinstance(dimensions.get(item), str):
            faults.append(f"{name}={item}: tied to a scalar that is tied itself; tie it to a searched or fixed one")
    points, wrong = _points(mapping.get("first_points"))
    faults += wrong
    faults += [
        f"{unknown_name('first point', point, PRESETS)}, and paths of a best.yaml"
        for point in points
        if point not in PRESETS and not is_path(point)
    ]
    return SearchSpace(dimensions, points), faults


def _told(where: str, faults: Sequence[str]) -> str:
    return "\n".join([f"{where}:", *(f"  {line}" for line in faults)])


def _points(given: Any) -> tuple[tuple[str, ...], list[str]]:
    """First points as they are written, a bare name being a list of one, and what is wrong with them."""
    if isinstance(given, str):
        return (given,), []
    if given is None or isinstance(given, list | tuple):
        return tuple(str(point) for point in given or ()), []
    return (), [f"first_points={given!r}: must be a list of presets and of paths of a best.yaml, such as [paper]"]


def is_path(first_point: str) -> bool:
    """Whether a first point is a file's path and no preset's name."""
    return "/" in first_point or first_point.endswith((".yaml", ".yml"))


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
    section = sections.get(data_set, sections["default"])
    _refuse_unread(section, where)
    if file is not None:
        where, section = file, override(section, read_space_file(file, data_set))
    space, faults = _read(override(section, overrides))  # the command line may mend what a file says
    of_file = [line for line in faults if line in _read(section)[1]]
    of_changes = [line for line in faults if line not in of_file]
    if faults:
        parts = ((where, of_file), (AS_CHANGED, of_changes))
        raise SearchSpaceError("\n".join(_told(whose, lines) for whose, lines in parts if lines))
    where = AS_CHANGED if overrides else where
    space = dataclasses.replace(space, dimensions={**space.dimensions, **(unused or {})})
    if not space.searched:
        raise SearchSpaceError(
            f"{where}: nothing is left to search, all six scalars are fixed; free one, "
            f"or train this one setting: python -m dce_ray.train"
        )
    return space


def read_space_file(path: str, data_set: str) -> dict[str, Any]:
    """What a user's own file says of the space, by name; what it does not name stays as it is.

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
    return _by_name(content)


def _by_name(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups as dotted names; a range stays whole, so that it takes the place of the one below."""
    names: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and not value.keys() & set(BOUNDS):
            names |= _by_name(value, f"{name}.")
        else:
            names[name] = dict(value) if isinstance(value, Mapping) else value
    return names


def override(section: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A section of the file with the command line's changes.

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
        raise SearchSpaceError("\n".join(faults))
    return result


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


def _refuse_unread(mapping: Mapping[str, Any], where: str) -> None:
    names = [name for name in mapping if name not in LIMITS and name != "first_points"]
    if names:
        raise SearchSpaceError("\n".join(_unread(names, where)))


def _unread(names: list[str], where: str) -> list[str]:
    """The message on names that no run reads."""
    count = "1 parameter" if len(names) == 1 else f"{len(names)} parameters"
    lines = [f"{where} searches {count} that no run reads:"]
    for name in names:
        guess = nearest(name.removeprefix("method."), SCALARS)
        lines.append(f"  {name}" + (f"   (did you mean {guess}?)" if guess else ""))
    return [*lines, f"Known parameters: {', '.join(SCALARS)}"]


def _dimension(name: str, item: Any) -> tuple[Dimension, list[str]]:
    """One scalar of the file and what is wrong with it."""
    if name in SEARCHABLE and not isinstance(item, Mapping):
        instead = "a fixed value is written without space." if _is_number(item) else "it cannot be tied"
        return 0.0, [f"{name}={item!r}: give {{low, high}} or {{low, high, log}}; {instead}"]
    low, high = LIMITS[name].low, LIMITS[name].high
    if isinstance(item, str):
        if item in SCALARS and item != name:
            return item, []
        return item, [f"{name}={item!r}: {unknown_name('scalar', item, [one for one in SCALARS if one != name])}"]
    if _is_number(item):
        fits = low <= item <= high
        return float(item), [] if fits else [f"{name}={item}: must lie in [{low:g}, {high:g}]"]
    parts = set(BOUNDS) if LIMITS[name].whole else set(BOUNDS) - {"step"}
    if not isinstance(item, Mapping) or not {"low", "high"} <= item.keys() <= parts:
        more = ", a number or another scalar's name" if name in SCALARS else ""
        step = "; whole numbers may have a step" if LIMITS[name].whole else ""
        return 0.0, [f"{name}={item!r}: give {{low, high}} or {{low, high, log}}{more}{step}"]
    return _range(name, item, low, high)


def _range(name: str, item: Mapping[str, Any], low: float, high: float) -> tuple[Dimension, list[str]]:
    logarithmic = item.get("log", False)
    if not _is_number(item["low"]) or not _is_number(item["high"]) or not isinstance(logarithmic, bool):
        return 0.0, [f"{name}={dict(item)}: low and high must be numbers, log true or false"]
    step = item.get("step", 1) if LIMITS[name].whole else None
    if step is not None and (not isinstance(step, int) or isinstance(step, bool) or step < 1):
        return 0.0, [f"{name}: step={step!r} must be a whole number from 1"]
    dimension = ScalarRange(float(item["low"]), float(item["high"]), logarithmic, step)
    faults = _steps_faults(name, dimension)
    if not dimension.low < dimension.high:
        fixed = f"space.{name}" if name in SCALARS else name
        faults.append(
            f"{name}: the range [{dimension.low:g}, {dimension.high:g}] holds nothing to search; low must be below "
            f"high (a fixed value is written {fixed}={dimension.low:g})"
        )
    if dimension.low < low or dimension.high > high:
        faults.append(f"{name}: the range [{dimension.low:g}, {dimension.high:g}] leaves [{low:g}, {high:g}]")
    if logarithmic and dimension.low <= 0:
        faults.append(f"{name}: log needs low > 0, found {dimension.low:g}")
    return dimension, faults


def _steps_faults(name: str, item: ScalarRange) -> list[str]:
    """What is wrong with the ends of a range of whole numbers."""
    if item.step is None:
        return []
    ends = {"low": item.low, "high": item.high}
    rule = "a whole number" if item.step == 1 else f"a multiple of step={item.step}"
    return [
        f"{name}: {end}={value:g} must be {rule}; {nearest_steps(value, item.step)}"
        for end, value in ends.items()
        if value % item.step
    ]


def nearest_steps(value: float, step: int) -> str:
    """The whole multiples on both sides of a value, as advice."""
    return f"take {step * math.floor(value / step) or step:g} or {step * math.ceil(value / step):g}"


def _plain_range(item: ScalarRange) -> dict[str, Any]:
    plain = dataclasses.asdict(item)
    return plain if item.step is not None else {key: value for key, value in plain.items() if key != "step"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
