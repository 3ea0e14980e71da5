"""The dial of confounding: levels of one generated data set that differ in their confounders alone.

The paper names two confounders, and the generator has a dial for each:

- *Context* (C -> V), which SCS is about: a stretch that looks like its class and does not move like it, or the reverse,
  in the videos of that class. Dials: ``chance`` and ``visual`` of
  :class:`~dce_ray.data.synthetic_script.Confounding`.
- *Content* (C -> I <- V), which MCM is about: an instance's weak snippets show what is its own more than what its
  class has in common. Dials: ``rim_strength``, and ``individuality`` of
  :class:`~dce_ray.data.synthetic_features.Clarity`, which this study needed and the generator lacked: all instances of
  a class in a video looked alike.

At one draw all levels have the same templates, instances and noise, so that differences between levels are paired by
draw. The values were set with the plain network alone (DELU, one seed, draws 1 and 2 of ``bench``, test), so that each
confounder takes about 15 to 35 of the 87 mAP that there are without any; the study begins at :data:`FIRST_DRAW`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dce_ray.data.context import context_path
from dce_ray.data.synthetic import GENERATOR, NAME, SIZES, SyntheticSize, generate_planned
from dce_ray.errors import ConfigError, unknown_name

FIRST_DRAW = 100
"""Seed of the study's first draw; the draws below 12 have served to choose sizes and levels."""


@dataclass(frozen=True, slots=True)
class Level:
    """One position of the dial."""

    title: str
    """What is there, in words."""
    confounding: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the size's :class:`~dce_ray.data.synthetic_script.Confounding`."""
    clarity: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the size's :class:`~dce_ray.data.synthetic_features.Clarity`."""

    def plan(self, size: SyntheticSize) -> SyntheticSize:
        """The data set ``size`` at this level."""
        return replace(
            size,
            confounding=replace(size.confounding, **self.confounding),
            clarity=replace(size.clarity, **self.clarity),
        )


_NO_CONTEXT: Mapping[str, Any] = {"chance": 0.0}
_CONTEXT: Mapping[str, Any] = {"chance": 1.0, "adjacent": 0.9, "foreign": 0.0, "visual": 0.5}
_CLEAR_CONTENT: Mapping[str, Any] = {"rim_strength": (0.5, 0.8)}
_WEAK_CONTENT: Mapping[str, Any] = {"rim_strength": (0.2, 0.4)}
_INDIVIDUAL: Mapping[str, Any] = {"individuality": 0.8}

LEVELS: dict[str, Level] = {
    "none": Level("no confounder", {**_NO_CONTEXT, **_CLEAR_CONTENT}),
    "half": Level("context on half of the sides, half of it visual", {**_CONTEXT, **_CLEAR_CONTENT, "chance": 0.5}),
    "strong": Level("context on all sides, half of it visual", {**_CONTEXT, **_CLEAR_CONTENT}),
    "visual": Level("context on all sides, all of it visual", {**_CONTEXT, **_CLEAR_CONTENT, "visual": 1.0}),
    "motion": Level("context on all sides, all of it motion", {**_CONTEXT, **_CLEAR_CONTENT, "visual": 0.0}),
    "content": Level("individual content, no context", {**_NO_CONTEXT, **_WEAK_CONTENT}, _INDIVIDUAL),
    "both": Level("context as in strong, and individual content", {**_CONTEXT, **_WEAK_CONTENT}, _INDIVIDUAL),
}
"""Positions of the dial by name; ``none`` is what the others are compared with."""
REFERENCE = "none"


def level_named(name: str) -> Level:
    """The entry ``name`` of :data:`LEVELS`.

    Raises:
        ConfigError: for an unknown name, with the nearest known one.
    """
    if name not in LEVELS:
        raise ConfigError(unknown_name("level of confounding", name, LEVELS))
    return LEVELS[name]


@dataclass(frozen=True, slots=True)
class LevelDraw:
    """One draw of a size at a level: a data set of its own."""

    size: str
    level: str
    draw: int
    """Seed of the generator."""

    @property
    def plan(self) -> SyntheticSize:
        """All that decides it but the draw."""
        return level_named(self.level).plan(SIZES[self.size])

    @property
    def name(self) -> str:
        """Of its store's folder; changes with everything that changes the data."""
        text = repr((GENERATOR, dataclasses.astuple(self.plan)))
        return f"{NAME}-{self.size}-{self.level}-draw{self.draw}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def ensure(self, folder: Path) -> Path:
        """Its store below ``folder``, generated where it is not there yet.

        Raises:
            StoreError: it cannot be written.
        """
        target = folder / self.name
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            generate_planned(target, self.plan, self.draw)
        return target

    def remove(self, folder: Path) -> None:
        """Remove its store and what lies beside it from ``folder``, as far as it is there."""
        target = folder / self.name
        shutil.rmtree(target, ignore_errors=True)
        for beside in (context_path(target), target.with_name(f".{target.name}.lock")):
            beside.unlink(missing_ok=True)
