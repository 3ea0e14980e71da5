"""What ``python -m dce_ray.search`` may be asked: its own keys, and those of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dce_ray.commandline import apply, flatten
from dce_ray.config import RunConfig
from dce_ray.config_base import Config, choice, number
from dce_ray.errors import ConfigError, SearchSpaceError
from dce_ray.search.space import COMPONENT, NAMES, SearchSpace, load_space

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
    """Name of the experiment folder; None takes the time."""
    results: str = "results"
    """Where experiment folders lie."""
    search: SearchOptions = SearchOptions()
    confirm: ConfirmOptions = ConfirmOptions()
    ray: RayOptions = RayOptions()
    tracking: TrackingOptions = TrackingOptions()


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

    @property
    def components(self) -> str:
        """``scs``, ``mcm``, ``scs+mcm`` or ``baseline``."""
        return "+".join(name for name in ("scs", "mcm") if getattr(self.run, name)) or "baseline"

    def to_mapping(self) -> dict[str, Any]:
        """What config.json holds."""
        own = self.settings.to_mapping()
        shared = {"baseline": self.run.baseline, "protocol": self.run.protocol, "metric": self.run.metric}
        return {
            **shared,
            **own,
            "data_set": self.data_set,
            "components": self.components,
            "space": self.space.to_mapping(),
            "first_points": {name: dict(point) for name, point in self.first_points.items()},
            "run": self.run.to_mapping(),
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> Experiment:
        """What config.json holds, with the changes of a resumed search by dotted key.

        Raises:
            ConfigError: for changes that would make other trials of it.
        """
        from dce_ray.presets import run_config_from_mapping

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
        )


def split_values(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The command line's values and, apart, those of the search space without their prefix.

    ``tracking=off`` is ``tracking.enabled=off``; ``method.delta=0.8`` fixes the scalar like ``space.delta=0.8``.
    """
    own, space = {}, {}
    for key, value in values.items():
        prefix, _, rest = key.partition(".")
        if key == "tracking":
            own["tracking.enabled"] = value
        elif prefix == "space" or (prefix == "method" and rest in NAMES):
            space[rest] = value
        else:
            own[key] = value
    return own, space


def build_experiment(values: Mapping[str, Any], store: str, data_set: str) -> Experiment:
    """Check all keys and build what they ask for.

    Args:
        values: by dotted key, as typed.
        store: folder of the feature store.
        data_set: name in ``presets.DATA_SETS``.

    Raises:
        ConfigError: naming everything that is unknown or out of range.
    """
    from dce_ray.presets import run_config, run_config_from_mapping

    own, changes = split_values(values)
    baseline, preset = str(own.get("baseline", "delu")), own.get("preset")
    base = run_config(baseline, store, data_set=data_set, preset=preset)
    merged = apply(base.to_mapping() | Settings().to_mapping(), own | {"data": store})
    settings = Settings.from_mapping({key: merged.pop(key) for key in Settings().to_mapping()})
    run = run_config_from_mapping(merged | {"preset": base.preset})
    if run.protocol == "confirm":
        raise ConfigError("protocol=confirm: is for single runs; a search selects on holdout (default) or paper")
    method = run.method.to_mapping()
    unused = {name: float(method[name]) for name in NAMES if not getattr(run, COMPONENT[name])}
    clash = [name for name in unused if any(key.partition(".")[0] == name for key in changes)]
    if clash:
        raise SearchSpaceError(
            f"space.{', space.'.join(clash)}: no run reads this, its component is switched off (scs=off, mcm=off)"
        )
    space = load_space(baseline, data_set, changes, unused)
    return Experiment(settings, run, space, data_set, _first_points(space, baseline, store, data_set))


def _first_points(space: SearchSpace, baseline: str, store: str, data_set: str) -> dict[str, dict[str, float]]:
    """The six scalars of each preset that is published for the data set."""
    from dce_ray.presets import run_config

    points = {}
    for preset in space.first_points:
        try:
            method = run_config(baseline, store, data_set=data_set, preset=preset).method.to_mapping()
        except ConfigError:  # nothing of that name is published for this data set
            continue
        points[preset] = {name: float(method[name]) for name in NAMES}
    return points


def known_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """All keys and their defaults, for ``python -m dce_ray.search keys``."""
    from dce_ray.presets import run_config

    baseline = str(values.get("baseline", "delu"))
    base = run_config(baseline, "synthetic", data_set="synthetic").to_mapping()
    space = load_space(baseline, "default", {}).to_mapping()
    return flatten(base | Settings().to_mapping() | {"space": space})
