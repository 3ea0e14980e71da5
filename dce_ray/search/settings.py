"""What a search may be asked: its own settings, the run that all trials share, and the space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dce_ray.commandline import apply, flatten
from dce_ray.config import COMPONENT_OF, LARGEST_SEED, SCALARS, RunConfig
from dce_ray.config_base import Config, choice
from dce_ray.datasets import ImportOptions
from dce_ray.errors import ConfigError, SearchSpaceError
from dce_ray.experiment.candidate import CONFIRMATION_SEEDS_FROM, search_seed
from dce_ray.experiment.record import ALTERED, PLAIN, components_of, values_in
from dce_ray.former import FORMER_KEYS, unknown_key
from dce_ray.presets import PRESETS, merge, run_config, run_config_from_mapping
from dce_ray.search.first_points import known_points
from dce_ray.search.options import ConfirmOptions, RayOptions, SearchOptions, TrackingOptions
from dce_ray.search.space import SearchSpace
from dce_ray.search.space_checks import check_space, largest_run
from dce_ray.search.space_file import load_space
from dce_ray.searchable import SEARCHABLE, changes_of, evaluations_of
from dce_ray.words import counted, is_name

POLICIES = ("replicates", "single")
ALIASES = {"search.num_trials": "search.num_runs"}
"""Other names of keys."""
CHANGEABLE = (
    *("search.num_runs", "search.time_budget", "search.max_failures", "search.cpus_per_trial"),
    *("search.gpus_per_trial", "confirm.top", "confirm.seeds", "confirm.precision", "confirm.max_seeds"),
    *("ray.address", "ray.num_cpus"),
    *("tracking.enabled", "tracking.uri", "tracking.system"),
)
"""Keys that may be given again with ``resume=``: they change how much is run and where, not what a trial is."""
BUDGET = frozenset({"search.num_runs", "confirm.seeds", "confirm.precision", "confirm.max_seeds"})
"""Those of them that decide how many runs there are, and which seeds they have."""


def unaliased(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key, under the keys' own names.

    Raises:
        ConfigError: a key and its other name are both given.
    """
    twice = [(other, key) for other, key in ALIASES.items() if other in changes and key in changes]
    if twice:
        raise ConfigError(f"{twice[0][0]} is another name of {twice[0][1]}; give one of them")
    return {ALIASES.get(key, key): value for key, value in changes.items()}


@dataclass(frozen=True, slots=True)
class Settings(Config):
    """The search's own keys."""

    policy: str = choice("replicates", *POLICIES)
    """``replicates``: folds and seeds, a model of the noise chooses; ``single``: one run per point, the best one is
    chosen."""
    sampler: str = choice("auto", "auto", "gp", "tpe", "cmaes", "random")
    """Who suggests new points; ``auto``: gp, with ``policy=single`` tpe."""
    scheduler: str = choice("auto", "auto", "asha", "hyperband", "median", "none")
    """Early stopping, with ``policy=single`` alone; ``auto``: asha, with ``sampler=gp`` none."""
    name: str | None = None
    """Name of the experiment folder; None takes the time. A name and no path."""
    results: str = "results"
    """Where experiment folders lie."""
    storage: str | None = None
    """A folder, ``s3://`` or ``gs://`` that all nodes reach: what runs go on from lies there, and a copy of the
    experiment folder. None: in the experiment folder, which the nodes then must see."""
    search: SearchOptions = field(default_factory=SearchOptions)
    confirm: ConfirmOptions = field(default_factory=ConfirmOptions)
    ray: RayOptions = field(default_factory=RayOptions)
    tracking: TrackingOptions = field(default_factory=TrackingOptions)

    @property
    def suggested_by(self) -> str:
        """The sampler, ``auto`` resolved."""
        if self.sampler != "auto":
            return self.sampler
        return "gp" if self.policy == "replicates" else "tpe"

    def faults(self) -> list[str]:
        """Also: early stopping belongs to ``policy=single``, and the name is one part of a path."""
        lines = Config.faults(self)
        if not lines and self.policy == "replicates":
            if self.scheduler not in ("auto", "none"):
                lines.append(
                    f"scheduler={self.scheduler}: policy=replicates trains every run to its end, since half-trained "
                    f"runs say nothing of the noise; leave it out, or use policy=single"
                )
            if self.search.min_iterations is not None:
                lines.append(
                    f"search.min_iterations={self.search.min_iterations}: policy=replicates stops no run early; "
                    f"leave it out, or use policy=single"
                )
        if not lines and self.name is not None and not is_name(self.name):
            lines.append(f"name={self.name!r}: must be a name and no path; results=<folder> says where it lies")
        if not lines and self.storage is not None and not self.storage.strip():
            lines.append("storage=: names nothing; give a folder that all nodes reach or s3://..., or leave it out")
        return lines

    def refusals(self) -> list[str]:
        """Also: the results have a folder."""
        blank = ["results='': names no folder; give one, or leave it out for ./results"]
        return Config.refusals(self) + ([] if self.results.strip() else blank)


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
    importing: ImportOptions = field(default_factory=ImportOptions)
    """How the data is imported where it is no store yet."""
    space_file: str | None = None
    """The user's own YAML of the search space, below ``space``."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """All that decides a search."""

    settings: Settings
    run: RunConfig
    """What all trials share; its six scalars, and what is searched beside them, are replaced by each trial's."""
    space: SearchSpace
    data_set: str
    """Name in ``presets.DATA_SETS``."""
    first_points: Mapping[str, Mapping[str, float]]
    """Published values by preset name, and those of earlier searches by the search's."""
    digest: str = ""
    """Of the feature store: its content, wherever it lies."""
    holdout_videos: tuple[int, ...] = ()
    """How many videos each fold holds out that a run is scored on; none where nothing is held out."""
    campaign: str | None = None
    """Name of the campaign that the search belongs to: its searches share an experiment in MLflow."""

    def configure(self, values: Mapping[str, float]) -> dict[str, Any]:
        """The RunConfig mapping of a setting of what the space holds."""
        return merge(self.run.to_mapping(), changes_of(values, evaluations_of(self.run)))

    @property
    def two_arms(self) -> bool:
        """Whether the plain baseline has a search of its own: it reads keys that the points may choose."""
        return bool(self.space.further) and components_of(self.run.to_mapping()) != PLAIN

    @property
    def plain_values(self) -> dict[str, float]:
        """What the plain baseline's own search begins with: the run's own values, or the nearest that are searched."""
        own = values_in(self.run.to_mapping(), self.space.further)
        return {name: item.nearest(float(own[name])) for name, item in self.space.further.items()}

    @property
    def largest(self) -> RunConfig:
        """The run that takes most memory of all that may come up."""
        return largest_run(self.run, self.space)

    @property
    def folds(self) -> int:
        """Parts of the train videos that replicates go through; 1 where nothing is held out."""
        return self.settings.search.folds if self.run.protocol == "holdout" else 1

    @property
    def plain_runs(self) -> int:
        """Runs of the plain baseline that every search begins with: one on each fold."""
        return self.folds if self.settings.policy == "replicates" else 1

    def queued(self) -> tuple[list[tuple[str, dict[str, float]]], list[str]]:
        """The known points that the space can hold, equal ones once, as origin and searched values, and one line for
        each that was changed or left out."""
        points: list[tuple[str, dict[str, float]]] = []
        notes = []
        for origin, point in self.first_points.items():
            searched, differences = self.space.project(point, move=origin not in PRESETS)
            differences += self._held_fixed(point) if searched else []
            notes += [f"first point {origin}: {line}" for line in differences]
            if searched and searched not in [known for _, known in points]:
                points.append((f"{origin}{ALTERED}" if differences else origin, searched))
        return points, notes

    def _held_fixed(self, point: Mapping[str, float]) -> list[str]:
        """One line for each key that a point has another value of than all runs of this search."""
        names = [name for name in point if name in SEARCHABLE and name not in self.space.further]
        own = values_in(self.run.to_mapping(), names) if names else {}
        return [f"{name}={own[name]:g} in place of {point[name]:g}" for name in names if own[name] != point[name]]

    def check_budget(self, *, resumed: bool = False) -> None:
        """Refuse a budget that ends before anything was searched.

        Args:
            resumed: whether the folds are given.

        Raises:
            ConfigError: with what is needed at least.
        """
        known, runs = len(self.queued()[0]), self.settings.search.num_runs
        if self.two_arms and runs < 2 * max(self.folds, known):
            raise ConfigError(
                f"search.num_runs={runs}: the plain baseline is searched over {', '.join(self.space.further)} too and "
                f"gets half of the runs, so {counted(self.folds, 'fold')} and {counted(known, 'first point')} take "
                f"{2 * max(self.folds, known)} at least; give more{'' if resumed else ', or lower search.folds'}"
            )
        least = self.plain_runs + known
        if runs < least:
            raise ConfigError(
                f"search.num_runs={runs}: the plain baseline on {counted(self.plain_runs, 'fold')} and "
                f"{counted(known, 'published point')} alone are {counted(least, 'run')}; give "
                f"more{'' if resumed else ', or lower search.folds'}"
            )

    def check_seeds(self) -> None:
        """Refuse a seed that leaves no room behind it for those of all runs, the confirmation's second stage included.

        Raises:
            ConfigError: with the largest that does.
        """
        settings, last = self.settings, 0
        if settings.policy == "replicates":
            last = search_seed(0, (settings.search.num_runs - 1) // self.folds)  # one point in all rounds
        if settings.confirm.seeds:
            pairs = settings.confirm.seeds + settings.confirm.further_seeds
            last = max(last, CONFIRMATION_SEEDS_FROM + pairs - 1)
        if self.run.seed + last > LARGEST_SEED:
            raise ConfigError(
                f"seed={self.run.seed}: runs of this search train with seeds up to seed + {last} (the confirmation's "
                f"begin at seed + {CONFIRMATION_SEEDS_FROM}), and no seed may exceed {LARGEST_SEED}; give "
                f"seed={LARGEST_SEED - last} or less (with resume=: fewer confirm.seeds, confirm.max_seeds or "
                f"search.num_runs)"
            )

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
            "holdout_videos": list(self.holdout_videos),
            **({"campaign": self.campaign} if self.campaign else {}),
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
        experiment = cls(
            _changed(mapping, changes),
            run_config_from_mapping(mapping["run"], kept=True),
            SearchSpace.kept(mapping["space"]),
            mapping["data_set"],
            mapping["first_points"],
            mapping["digest"],
            tuple(mapping.get("holdout_videos", ())),  # not kept before
            mapping.get("campaign"),
        )
        if changes.keys() & BUDGET:  # what the folder says was accepted when it was written
            experiment.check_budget(resumed=True)
            experiment.check_seeds()
        return experiment


def _changed(mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> Settings:
    """A folder's settings with the changes put in; of what is refused only that which the changes bring.

    Raises:
        ConfigError: naming what is wrong with the changes.
    """
    known = Settings().to_mapping()
    own = merge(known, {key: mapping[key] for key in known if key in mapping})  # keys that it has not are newer
    changed = apply(own, changes)
    before = _wrong(own)
    if lines := [line for line in _wrong(changed) if line not in before]:
        raise ConfigError("\n".join(lines))
    return Settings.from_mapping(changed, kept=True)


def _wrong(settings: Mapping[str, Any]) -> list[str]:
    try:
        Settings.from_mapping(settings)
    except ConfigError as fault:
        return str(fault).split("\n")
    return []


def build_experiment(request: Request, store: str, data_set: str) -> Experiment:
    """Check all values and build what they ask for; the digest is the caller's to add.

    Args:
        request: what is asked for.
        store: folder of the feature store.
        data_set: name in ``presets.DATA_SETS``.

    Raises:
        ConfigError: naming everything that is unknown or out of range.
    """
    request.settings.refuse()  # those of the command line are checked already, those from Python are not
    own = [key for key in ("baseline", "data", "preset") if key in request.run]
    if own:
        raise ConfigError(f"run: {', '.join(own)} is the search's own argument, not one of its runs; give it there")
    method = request.run.get("method", {})
    fixed = {name: value for name, value in method.items() if name in SCALARS} if isinstance(method, Mapping) else {}
    space_changes = flatten(merge(request.space, fixed))
    sampling = request.run.get("sampling", {})
    folds = [key for key in ("folds", "fold") if isinstance(sampling, Mapping) and key in sampling]
    if folds:
        raise ConfigError(f"sampling.{folds[0]}: a search goes through the folds itself; say search.folds=<how many>")
    former = [f"sampling.{key}" for key in sampling if f"sampling.{key}" in FORMER_KEYS] if sampling else []
    if former:
        raise ConfigError("\n".join(unknown_key(key, ["search.folds"]) for key in former))
    folds_of_search = {"sampling": {"folds": request.settings.search.folds}}
    overrides = merge(request.run, folds_of_search)
    run = run_config(request.baseline, store, data_set=data_set, preset=request.preset, overrides=overrides)
    if run.protocol == "confirm":
        raise ConfigError("protocol=confirm: is for single runs; a search selects on holdout (default) or paper")
    unused = {name: float(run.method.to_mapping()[name]) for name in SCALARS if not getattr(run, COMPONENT_OF[name])}
    clash = [name for name in unused if any(key.partition(".")[0] == name for key in space_changes)]
    if clash:
        raise SearchSpaceError(
            f"space.{', space.'.join(clash)}: no run reads this, its component is switched off (scs=off, mcm=off)"
        )
    space = load_space(request.baseline, data_set, space_changes, unused, request.space_file)
    check_space(space, run, request.run, request.settings.policy)
    points = known_points(space, run, data_set)
    experiment = Experiment(request.settings, run, space, data_set, points)
    experiment.check_budget()
    experiment.check_seeds()
    return experiment
