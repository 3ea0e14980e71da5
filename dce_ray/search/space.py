"""The search space: which of the six scalars vary, in which ranges, and which published points are tried first.

``search_spaces/<baseline>.yaml`` holds one section per data set (``default`` for all others). A scalar is a range
``{low, high, log}``, a number (fixed) or the name of another scalar (tied, as the paper ties beta and gamma).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from dce_ray.config import SCALARS, MethodConfig, ScalarRange
from dce_ray.config_base import key_of
from dce_ray.errors import SearchSpaceError, nearest, unknown_name
from dce_ray.presets import PRESETS

_LIMITS = {
    key_of(item.name): (item.metadata["low"], item.metadata["high"])
    for item in dataclasses.fields(MethodConfig)
    if key_of(item.name) in SCALARS
}

Dimension = ScalarRange | float | str


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The six scalars as searched, fixed or tied, and the presets whose values run first."""

    dimensions: Mapping[str, Dimension]
    """By name, all of :data:`SCALARS`."""
    first_points: tuple[str, ...] = PRESETS

    @property
    def searched(self) -> dict[str, ScalarRange]:
        """The scalars that vary on their own."""
        return {name: item for name, item in self.dimensions.items() if isinstance(item, ScalarRange)}

    def complete(self, suggested: Mapping[str, float]) -> dict[str, float]:
        """All six scalars, given the searched ones."""
        values: dict[str, float] = {}
        for name in SCALARS:
            source = name if not isinstance(self.dimensions[name], str) else str(self.dimensions[name])
            item = self.dimensions[source]
            values[name] = item if isinstance(item, float) else float(suggested[source])
        return values

    def project(self, point: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
        """The searched part of a published point, and what the space changes of it or why it cannot hold it.

        Returns:
            Values of the searched scalars (empty where one lies outside its range) and one line per difference.
        """
        inside: dict[str, float] = {}
        notes = []
        for name, item in self.searched.items():
            if item.low <= point[name] <= item.high:
                inside[name] = float(point[name])
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
            name: dataclasses.asdict(item) if isinstance(item, ScalarRange) else item
            for name, item in self.dimensions.items()
        }
        return plain | {"first_points": list(self.first_points)}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "space") -> SearchSpace:
        """Read and check a space.

        Raises:
            SearchSpaceError: naming everything that is wrong with it at once.
        """
        unread = [name for name in mapping if name not in SCALARS and name != "first_points"]
        if unread:
            raise SearchSpaceError("\n".join(_unread(unread, where)))
        faults: list[str] = [
            f"{name}: missing; give a range, a number or another scalar's name"
            for name in SCALARS
            if name not in mapping
        ]
        dimensions: dict[str, Dimension] = {}
        for name in SCALARS:
            if name in mapping:
                dimensions[name], wrong = _dimension(name, mapping[name])
                faults += wrong
        for name, item in dimensions.items():
            if isinstance(item, str) and isinstance(dimensions.get(item), str):
                faults.append(f"{name}={item}: tied to a scalar that is tied itself; tie it to a searched or fixed one")
        points = tuple(mapping.get("first_points") or ())
        faults += [unknown_name("first point", str(point), PRESETS) for point in points if point not in PRESETS]
        if faults:
            raise SearchSpaceError("\n".join([f"{where}:", *(f"  {line}" for line in faults)]))
        return cls(dimensions, points)


def load_space(
    baseline: str, data_set: str, overrides: Mapping[str, Any], unused: Mapping[str, float] | None = None
) -> SearchSpace:
    """The space of a baseline on a data set with the command line's changes.

    Args:
        baseline: name of a file in ``search_spaces``.
        data_set: section of the file; ``default`` where it has none of that name.
        overrides: values by dotted key without the prefix ``space.``: ``delta.high``, ``lambda``, ``first_points``.
        unused: scalars that no run reads because their component is switched off, at the value they stay.

    Raises:
        SearchSpaceError: unknown names, empty ranges, or nothing left to search.
    """
    where = f"search_spaces/{baseline}.yaml"
    sections = _sections(baseline, where)
    mapping = override(sections.get(data_set, sections["default"]), overrides)
    space = SearchSpace.from_mapping(mapping, where)
    space = dataclasses.replace(space, dimensions={**space.dimensions, **(unused or {})})
    if not space.searched:
        raise SearchSpaceError(
            f"{where}: nothing is left to search, all six scalars are fixed; free one, "
            f"or train this one setting: python -m dce_ray.train"
        )
    return space


def override(section: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A section of the file with the command line's changes.

    Raises:
        SearchSpaceError: naming every key that no run reads, with the nearest right one.
    """
    result = {name: dict(item) if isinstance(item, Mapping) else item for name, item in section.items()}
    faults = []
    for key, value in overrides.items():
        name, _, bound = key.partition(".")
        known = [*SCALARS, *(f"{one}.{part}" for one in SCALARS for part in ("low", "high", "log")), "first_points"]
        if key not in known:
            faults.append(unknown_name("search space key", f"space.{key}", [f"space.{one}" for one in known]))
        elif not bound:
            result[name] = value
        elif isinstance(result.get(name), dict):
            result[name][bound] = value
        else:
            result[name] = {bound: value}
    if faults:
        raise SearchSpaceError("\n".join(faults))
    return result


def _sections(baseline: str, where: str) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load((resources.files("search_spaces") / f"{baseline}.yaml").read_text())
    except FileNotFoundError as fault:
        raise SearchSpaceError(f"{where} does not exist; write it, like the ones beside it") from fault
    except yaml.YAMLError as fault:
        raise SearchSpaceError(f"{where} is not YAML: {' '.join(str(fault).split())}") from fault
    if not isinstance(content, dict) or "default" not in content:
        raise SearchSpaceError(f"{where} holds no section 'default'")
    return content


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
    low, high = _LIMITS[name]
    if isinstance(item, str):
        if item in SCALARS and item != name:
            return item, []
        return item, [f"{name}={item!r}: {unknown_name('scalar', item, [one for one in SCALARS if one != name])}"]
    if _is_number(item):
        fits = low <= item <= high
        return float(item), [] if fits else [f"{name}={item}: must lie in [{low:g}, {high:g}]"]
    if not isinstance(item, Mapping) or not {"low", "high"} <= item.keys() <= {"low", "high", "log"}:
        return 0.0, [f"{name}={item!r}: give {{low, high}} or {{low, high, log}}, a number or another scalar's name"]
    return _range(name, item, low, high)


def _range(name: str, item: Mapping[str, Any], low: float, high: float) -> tuple[Dimension, list[str]]:
    logarithmic = item.get("log", False)
    if not _is_number(item["low"]) or not _is_number(item["high"]) or not isinstance(logarithmic, bool):
        return 0.0, [f"{name}={dict(item)}: low and high must be numbers, log true or false"]
    dimension = ScalarRange(float(item["low"]), float(item["high"]), logarithmic)
    faults = []
    if not dimension.low < dimension.high:
        faults.append(
            f"{name}: the range [{dimension.low:g}, {dimension.high:g}] holds nothing to search; low must be below "
            f"high (a fixed value is written space.{name}={dimension.low:g})"
        )
    if dimension.low < low or dimension.high > high:
        faults.append(f"{name}: the range [{dimension.low:g}, {dimension.high:g}] leaves [{low:g}, {high:g}]")
    if logarithmic and dimension.low <= 0:
        faults.append(f"{name}: log needs low > 0, found {dimension.low:g}")
    return dimension, faults


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
