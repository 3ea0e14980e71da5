"""The search space: which of the six scalars vary, in which ranges, what varies beside them, and what is tried first.

A scalar is a range ``{low, high, log}``, a number (fixed) or the name of another scalar (tied, as the paper ties beta
and gamma). Further keys of a run (:mod:`dce_ray.searchable`) are ranges alone; whole numbers may have a ``step``. Where
a space comes from is in :mod:`dce_ray.search.space_file`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dce_ray.config import SCALARS, ScalarRange
from dce_ray.errors import SearchSpaceError, nearest, unknown_name
from dce_ray.presets import PRESETS
from dce_ray.searchable import BOUNDS, LIMITS, SEARCHABLE, typed

Dimension = ScalarRange | float | str


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
        refuse_unread(mapping, "config.json")
        names = [name for name in (*SCALARS, *SEARCHABLE) if name in mapping]
        ranges = {name: ScalarRange(**mapping[name]) for name in names if isinstance(mapping[name], Mapping)}
        return cls({name: ranges.get(name, mapping[name]) for name in names}, tuple(mapping["first_points"]))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "space") -> SearchSpace:
        """Read and check a space.

        Raises:
            SearchSpaceError: naming everything that is wrong with it at once.
        """
        refuse_unread(mapping, where)
        space, faults = read(mapping)
        if faults:
            raise SearchSpaceError(told(where, faults))
        return space


def read(mapping: Mapping[str, Any]) -> tuple[SearchSpace, list[str]]:
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


def told(where: str, faults: Sequence[str]) -> str:
    """The message on what is wrong, and where."""
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


def refuse_unread(mapping: Mapping[str, Any], where: str) -> None:
    """Refuse names that no run reads.

    Raises:
        SearchSpaceError: with all of them, each with the nearest that is read.
    """
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
        faults.append(f"{name}: the range [{dimension.low:g}, {dimension.high:g}] must lie in [{low:g}, {high:g}]")
    if logarithmic and dimension.low <= 0:
        faults.append(f"{name}: log needs low > 0, found {dimension.low:g}; give one above 0, or log: false")
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
