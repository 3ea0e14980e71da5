"""What a search may be asked: its own settings, the run that all trials share, and the space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dce_ray.commandline import apply, flatten
from dce_ray.config import COMPONENT_OF, SCALARS, RunConfig
from dce_ray.config_base import Config, choice, number
from dce_ray.errors import ConfigError, SearchSpaceError
from dce_ray.experiment.record import components_of
from dce_ray.presets import merge, published, run_config, run_config_from_mapping
from dce_ray.search.space import SearchSpace, load_space

UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
CHANGEABLE = (
    *("search.num_trials", "search.time_budget", "search.max_failures", "search.cpus_per_trial"),
    *("search.gpus_per_trial", "confirm.top", "confirm.seeds", "ray.address", "ray.num_cpus"),
    *("tracking.enabled", "tracking.uri"),
)
"""Keys that may be given again with ``resume=``: they change how much is run and where, not what a trial is."""


def seconds(text: str) -> float:
    """Seconds of a duration such as ``90m`` or ``1h30m``.

    Raises:
        ConfigError: when it is none.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        raise ConfigError(f"search.time_budget={text}: write a duration with units, such as 45s, 90m or 1h30m")
    return sum(float(amount) * UNIT_S[unit] for amount, unit in parts)


@dataclass(frozen=True, slots=True)
class SearchOptions(Config):
    """How much is searched."""

    num_trials: int = number(32, 1, 10**6)
    """Trials in all, the first points included."""
    time_budget: str | None = None
    """Time after which the search stops (``90m``); the confirmation comes on top."""
    max_failures: int = number(2, 0, 1000)
    """How often a trial's process may be lost before the trial counts as failed."""
    cpus_per_trial: float | None = number(None, 0.01, 10**4)
    gpus_per_trial: float | None = number(None, 0.0, 10**3)
    min_iterations: int | None = number(None, 1, 10**9)
    """No trial is stopped before; None: a third of the full length."""
    seed: int = number(0, 0, 2**31 - 1)
    """Of the suggestions; trials train with ``seed``."""

    def faults(self) -> list[str]:
        """Also: the time budget is a duration."""
        lines = Config.faults(self)
        if not lines and self.time_budget is not None:
            try:
                seconds(self.time_budget)
            except ConfigError as fault:
                lines.append(str(fault).removeprefix("search."))
        return lines


@dataclass(frozen=True, slots=True)
class ConfirmOptions(Config):
    """What is confirmed at the end."""

    top: int = number(3, 1, 1000)
    """Best configurations on the selecting split."""
    seeds: int = number(3, 0, 1000)
    """Seeds per configuration; 0 confirms nothing and never reads the test set."""


@dataclass(frozen=True, slots=True)
class RayOptions(Config):
    """Which Ray is used."""

    address: str | None = None
    """``auto``, ``host:port``; None starts a local Ray unless RAY_ADDRESS is set."""
    num_cpus: int | None = number(None, 1, 10**5)
    """CPUs of a local Ray; None takes what this process may use."""


@dataclass(frozen=True, slots=True)
class TrackingOptions(Config):
    """Where MLflow is."""

    enabled: bool = True
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class Settings(Config):
    """The search's own keys."""

    sampler: str = choice("tpe", "tpe", "gp", "cmaes", "random")
    scheduler: str = choice("auto", "auto", "asha", "hyperband", "median", "none")
    """``auto``: asha, with ``sampler=gp`` none."""
    name: str | None = None
    """Name of the experiment folder; None takes the time. A name and no path."""
    results: str = "results"
    """Where experiment folders lie."""
    search: SearchOptions = SearchOptions()
    confirm: ConfirmOptions = ConfirmOptions()
    ray: RayOptions = RayOptions()
    tracking: TrackingOptions = TrackingOptions()

    def faults(self) -> list[str]:
        """Also: the name is one part of a path."""
        lines = Config.faults(self)
        if not lines and self.name is not None and self.name != Path(self.name).name:
            lines.append(f"name={self.name!r}: must be a name and no path; results=<folder> says where it lies")
        return lines


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for, before the data is looked at."""

    baseline: str = "delu"
    data: str = "synthetic"
    """Whatever ``dce_ray.datasets.resolve_data`` understands."""
    preset: str | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the run's configuration, nested. One of the six scalars in ``method`` is fixed, as in ``space``."""
    space: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the search space, nested."""
    settings: Settings = Settings()


@dataclass(frozen=True, slots=True)
class Experiment:
    """All that decides a search."""

    settings: Settings
    run: RunConfig
    """What all trials share; its six scalars are replaced by each trial's."""
    space: SearchSpace
    data_set: str
    """Name in ``presets.DATA_SETS``."""
    first_points: Mapping[str, Mapping[str, float]]
    """Published values by preset name."""
    digest: str = ""
    """Of the feature store: its content, wherever it lies."""

    def configure(self, scalars: Mapping[str, float]) -> dict[str, Any]:
        """The RunConfig mapping of a setting of the six scalars."""
        return merge(self.run.to_mapping(), {"method": dict(scalars)})

    def to_mapping(self) -> dict[str, Any]:
        """What config.json holds."""
        run = self.run.to_mapping()
        return {
            **{key: run[key] for key in ("baseline", "protocol", "metric")},
            **self.settings.to_mapping(),
            "data_set": self.data_set,
            "components": components_of(run),
            "space": self.space.to_mapping(),
            "first_points": {name: dict(point) for name, point in self.first_points.items()},
            "run": run,
            "digest": self.digest,
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> Experiment:
        """What config.json holds, with the changes of a resumed search by dotted key.

        Raises:
            ConfigError: for changes that would make other trials of it.
        """
        wrong = [key for key in changes if key not in CHANGEABLE]
        if wrong:
            raise ConfigError(
                f"resume= goes on with what was asked; {', '.join(wrong)} cannot be changed. "
                f"These may be: {', '.join(CHANGEABLE)}"
            )
        own = {key: mapping[key] for key in Settings().to_mapping()}
        return cls(
            Settings.from_mapping(apply(own, changes)),
            run_config_from_mapping(mapping["run"]),
            SearchSpace.from_mapping(mapping["space"], "config.json"),
            mapping["data_set"],
            mapping["first_points"],
            mapping["digest"],
        )


def build_experiment(request: Request, store: str, data_set: str) -> Experiment:
    """Check all values and build what they ask for; the digest is the caller's to add.

    Args:
        request: what is asked for.
        store: folder of the feature store.
        data_set: name in ``presets.DATA_SETS``.

    Raises:
        ConfigError: naming everything that is unknown or out of range.
    """
    own = [key for key in ("baseline", "data", "preset") if key in request.run]
    if own:
        raise ConfigError(f"run: {', '.join(own)} is the search's own argument, not one of its runs; give it there")
    method = request.run.get("method", {})
    fixed = {name: value for name, value in method.items() if name in SCALARS} if isinstance(method, Mapping) else {}
    space_changes = flatten(merge(request.space, fixed))
    run = run_config(request.baseline, store, data_set=data_set, preset=request.preset, overrides=request.run)
    if run.protocol == "confirm":
        raise ConfigError("protocol=confirm: is for single runs; a search selects on holdout (default) or paper")
    unused = {name: float(run.method.to_mapping()[name]) for name in SCALARS if not getattr(run, COMPONENT_OF[name])}
    clash = [name for name in unused if any(key.partition(".")[0] == name for key in space_changes)]
    if clash:
        raise SearchSpaceError(
            f"space.{', space.'.join(clash)}: no run reads this, its component is switched off (scs=off, mcm=off)"
        )
    space = load_space(request.baseline, data_set, space_changes, unused)
    points = _first_points(space, request.baseline, store, data_set)
    return Experiment(request.settings, run, space, data_set, points)


def _first_points(space: SearchSpace, baseline: str, store: str, data_set: str) -> dict[str, dict[str, float]]:
    """The six scalars of each preset that is published for the data set."""
    points = {}
    for preset in space.first_points:
        if published(preset, baseline, data_set):
            method = run_config(baseline, store, data_set=data_set, preset=preset).method.to_mapping()
            points[preset] = {name: float(method[name]) for name in SCALARS}
    return points
