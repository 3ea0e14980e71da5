"""What is known of one run of an experiment: who it is, what it trains, how it stands."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from dce_ray.config import PLACES, SCALARS
from dce_ray.errors import SearchError
from dce_ray.files import finite

PLAIN = "baseline"
"""Name of the setting without SCS and MCM, which all others are compared with; also where its values come from."""
PLAIN_LABEL = "plain baseline"
"""What people read in its place."""
WITHOUT_METHOD: Mapping[str, Any] = {"scs": False, "mcm": False}
"""What makes a configuration the plain baseline's."""
SEARCHED = "search"
"""Origin of values that the sampler suggested."""
PUBLISHED = ("paper", "released")
"""Origins of published scalars, the one that is compared with first."""
STATES = ("running", "pruned", "failed", "finished")
ROLES = ("plain", "trial", "confirm", "ablation", "train")
"""``plain``: the plain baseline on the selecting split; ``trial``: a trial of the study, there too; ``confirm`` and
``ablation``: a setting measured on test; ``train``: a run by itself."""
ON_TEST = ("confirm", "ablation")
"""Roles whose runs read test, once, at their end."""


ALTERED = "-altered"
"""Ends the origin of published values that the space did not take as they are."""


OWN_VALUES, WINNERS_VALUES = f"{PLAIN}-own-values", f"{PLAIN}-winner-values"
"""The plain baseline that is not compared with, where there are two: at the best values of its own search, or at the
winner's."""
PLAIN_AT = {OWN_VALUES: f"{PLAIN}, own values", WINNERS_VALUES: f"{PLAIN}, winner's values"}
"""The same as people read them."""


def origin_label(origin: str) -> str:
    """An origin, or the setting named after it, as people read it.

    ``paper`` and ``released`` are published scalars alone: all else is the search's own.

    >>> origin_label("released"), origin_label("paper-altered"), origin_label("top1")
    ('released scalars', 'paper scalars, altered', 'top1')
    >>> origin_label(WINNERS_VALUES)
    "baseline, winner's values"
    """
    name = origin.removesuffix(ALTERED)
    if name not in PUBLISHED:
        return PLAIN_AT.get(origin, origin)
    return f"{name} scalars{', altered' if origin.endswith(ALTERED) else ''}"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of ``record.json``."""

    key: str
    """Name of the run's folder."""
    role: str
    """One of :data:`ROLES`."""
    setting: str
    """What is trained: ``trial 7``, ``top1``, ``paper``, ``released``, :data:`PLAIN`, or the name of an ablation's
    setting. Runs of one role and setting differ in fold and seed alone."""
    number: int
    """Order among the runs of its role: of the trial in the study, or the place in the plan."""
    state: str
    """One of :data:`STATES`."""
    config: Mapping[str, Any]
    """The whole RunConfig as a mapping."""
    seed: int
    fold: int | None = None
    """Fold of the train videos that is held out; None where the run trains on all of train."""
    origin: str = SEARCHED
    """``paper``, ``released``, :data:`SEARCHED` or :data:`PLAIN`: where the six scalars come from."""
    point: int | None = None
    """Number of the point, from 0, in the order in which points came up; None outside a search and for the plain
    baseline, unless that has a search of its own. Runs of one point differ in fold and seed alone."""
    value: float | None = None
    """What ranks, a fraction in [0, 1]: best score on the selecting split, or the test score (roles on test)."""
    iteration: int | None = None
    """Iteration at which ``value`` was reached."""
    error: str | None = None
    """Why it failed."""
    started: float | None = None
    """Unix time in seconds."""
    ended: float | None = None
    """Unix time in seconds; None while it runs."""
    host: str = field(default_factory=socket.gethostname)
    attempt: int = 0
    """How often it was begun or gone on with; see :mod:`dce_ray.train.attempts`."""
    searched: Sequence[str] = ()
    """Keys beside the six scalars that the search varies in runs like this one, such as ``training.learning_rate``."""

    def __post_init__(self) -> None:
        if self.state not in STATES or self.role not in ROLES:
            raise SearchError(
                f"run {self.key}: state={self.state!r} must be of {STATES}, role={self.role!r} of {ROLES}"
            )

    @property
    def on_test(self) -> bool:
        """Whether the run is measured on test."""
        return self.role in ON_TEST

    @property
    def components(self) -> str:
        """What of the method is on: :data:`PLAIN`, ``scs``, ``mcm`` or ``scs+mcm``."""
        return components_of(self.config)

    @property
    def params(self) -> dict[str, float]:
        """The six scalars, fixed and tied ones included, which the plain baseline does not read, and ``searched``."""
        return params_of(self.config, self.searched)

    @property
    def stop_at(self) -> int | None:
        """Iteration at which a run on test ends, chosen on the selecting split; None: it trains the full length."""
        stop_at: int | None = self.config.get("training", {}).get("stop_at")
        return stop_at

    @property
    def label(self) -> str:
        """How the run is called where people read."""
        if self.role == "plain":
            return PLAIN_LABEL if self.point is None else f"{PLAIN_LABEL}, point {self.point}"
        if self.role == "trial":
            return self.setting + (f" ({origin_label(self.origin)})" if self.origin != SEARCHED else "")
        return f"{self.role} {origin_label(self.setting)}, seed {self.seed}"

    def to_mapping(self) -> dict[str, Any]:
        """Plain mapping, ready for JSON."""
        return {item.name: finite(getattr(self, item.name)) for item in dataclasses.fields(self)}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """The record of a mapping; keys of later versions are ignored."""
        known = {item.name for item in dataclasses.fields(cls)}
        values = {name: value for name, value in mapping.items() if name in known}
        return cls(**{**values, "searched": tuple(values.get("searched", ()))})

    def replace(self, **changes: Any) -> RunRecord:
        """A copy with other values."""
        return dataclasses.replace(self, **changes)


def components_of(config: Mapping[str, Any]) -> str:
    """Components that a RunConfig mapping switches on.

    >>> components_of({"scs": True, "mcm": True}), components_of({"scs": False, "mcm": False})
    ('scs+mcm', 'baseline')
    """
    return "+".join(name for name in ("scs", "mcm") if config[name]) or PLAIN


def values_in(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    """Values of a RunConfig mapping by the names that a search has for them: the six scalars' are their own.

    >>> values_in({"method": {"delta": 0.7}, "training": {"iterations": 300}}, ["delta", "training.iterations"])
    {'delta': 0.7, 'training.iterations': 300}
    """
    found = {}
    for name in names:
        value: Any = config["method"] if name in SCALARS else config
        for part in name.split("."):
            value = value[part]
        found[name] = value
    return found


def searched_beside(config: Mapping[str, Any]) -> list[str]:
    """What a search varies beside the six scalars.

    Args:
        config: of the search, the content of its ``config.json``; one that says nothing of a space varies nothing.
    """
    return [name for name, item in config.get("space", {}).items() if "." in name and isinstance(item, Mapping)]


def params_of(config: Mapping[str, Any], searched: Sequence[str]) -> dict[str, float]:
    """The six scalars, where a component reads them, and the keys beside them that are searched."""
    read = () if components_of(config) == PLAIN else SCALARS
    return {name: float(value) for name, value in values_in(config, read).items()} | values_in(config, searched)


def decisive(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The part of a RunConfig mapping that decides what a run computes; two runs with equal ones are the same run.

    Args:
        config: the mapping, or a group of it.
        prefix: of a group's keys, such as ``training.``.
    """
    return {
        key: decisive(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in config.items()
        if f"{prefix}{key}" not in PLACES
    }
