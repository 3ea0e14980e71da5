"""The folder that all ablations of a baseline on a data set share, and its runs on Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dce_ray.config import RunConfig
from dce_ray.errors import SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.presets import EMBEDDED, data_set_of
from dce_ray.provenance import environment
from dce_ray.search.display import Display
from dce_ray.search.options import TrackingOptions
from dce_ray.search.plan import PlanLedger, Planned
from dce_ray.search.tune_run import Stop, Workers
from dce_ray.session.demand import resources_for
from dce_ray.session.nodes import check_nodes
from dce_ray.session.ray_session import ray_session
from dce_ray.session.resources import Node
from dce_ray.store import FeatureStore
from dce_ray.tracking import start_mirror
from dce_ray.tracking.address import address_of
from dce_ray.tracking.connection import silent_server
from dce_ray.trainables import trainable_named


def ablation_folder(
    options: Mapping[str, Any], run: RunConfig, data: str, store: FeatureStore | None
) -> ExperimentFolder:
    """The shared folder of all ablations on the same data, made where there is none.

    Args:
        options: the command's own, of which ``results`` and ``name`` are read.
        run: what the settings depart from.
        data: name of the data set's folder below the results.
        store: the data; None for a study that draws data of its own.

    Raises:
        SearchError: the folder holds a search, or ablations on other data, or was written by another version.
        TrackingError: MLflow's address is none; before the folder is made.
        OutputError: it cannot be written.
    """
    path = Path(options["results"]) / data / run.baseline / options["name"]
    _check_mlflow(options, path)
    digest = {} if store is None else {"digest": store.digest}
    if not path.exists():
        data_set = EMBEDDED if store is None else data_set_of(store.name)
        shared = {"kind": "ablation", "baseline": run.baseline, "data_set": data_set, **digest}
        return ExperimentFolder.create(path, {**shared, "run": run.to_mapping()}, environment())
    folder = ExperimentFolder.open(path)
    if folder.config.get("kind") != "ablation":
        raise SearchError(f"{path} holds a search; give another name=")
    before = folder.config.get("digest")
    if store is not None and before not in (None, store.digest):
        raise SearchError(
            f"{path} holds ablations on other data (digest {before[:12]}, now {store.digest[:12]}); numbers of "
            f"different data cannot be compared: give another name="
        )
    if store is not None and before is None:  # the first study here drew its own data
        folder.keep_config(folder.config | digest | {"run": folder.config["run"] | {"data": run.data}})
    return folder


def _check_mlflow(options: Mapping[str, Any], path: Path) -> None:
    tracking, planned = tracking_of(options), ExperimentFolder(path.resolve())
    if tracking.enabled:
        for line in silent_server(planned, address_of(planned, tracking.uri), tracking.uri):
            print(line)


def tracking_of(options: Mapping[str, Any]) -> TrackingOptions:
    """Whether and where MLflow is told.

    Raises:
        ConfigError: naming what is wrong.
    """
    return TrackingOptions.from_mapping(options["tracking"], "tracking.")


@contextmanager
def at_work(options: Mapping[str, Any], folder: ExperimentFolder) -> Iterator[None]:
    """Keep others out of the folder while the block runs, and MLflow behind it; then print where it is shown.

    Raises:
        SearchError: another process works in the folder.
    """
    tracking, mirror = tracking_of(options), None
    with folder.lock():
        folder.note_session(environment())
        try:
            with start_mirror(folder, tracking.uri) if tracking.enabled else nullcontext() as mirror:
                yield
        finally:  # also when a run failed: what is done is in MLflow, or waits to be sent
            if mirror is not None:
                print(mirror.message)


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs plans on the cluster of a session."""

    options: Mapping[str, Any]
    """The command's own, of which ``cpus_per_run``, ``gpus_per_run`` and ``max_failures`` are read."""
    nodes: Sequence[Node]
    keys: tuple[str, ...] = ("data",)
    """``data`` where the command takes another store instead; a remedy for nodes that do not reach it says so."""

    def run(self, title: str, plan: Sequence[Planned], run: RunConfig, store: FeatureStore) -> Stop | None:
        """Run what is not finished of a plan; None when all was run, else why not."""
        ledger = PlanLedger(plan)
        left = len(ledger.waiting)
        if left:
            mark = ExperimentFolder(plan[0].folder.path.parents[1]).mark
            check_nodes(mark, run.data, store.digest, keys=self.keys)
        wish = {"cpus": self.options["cpus_per_run"], "gpus": self.options["gpus_per_run"]}
        resources = resources_for(run, store, self.nodes, runs=left, **wish)
        system = tracking_of(self.options).system_metrics
        workers = Workers(trainable_named(run.baseline), resources, self.options["max_failures"], system=system)
        return workers.run(ledger, Display(title, left, run.training.iterations))


@contextmanager
def runner(options: Mapping[str, Any], folder: ExperimentFolder, keys: tuple[str, ...] = ("data",)) -> Iterator[Runner]:
    """A Ray session with what runs plans in it.

    Args:
        options: the command's own.
        folder: whose log Ray's workers write.
        keys: as of :class:`Runner`.

    Raises:
        SearchError: Ray cannot be had, with the remedy.
    """
    with ray_session(options["ray"]["address"], folder.log, options["ray"]["num_cpus"]) as nodes:
        yield Runner(options, nodes, keys)


def told(stop: Stop | None) -> int:
    """The command's exit status, with a word to the user where runs were left over."""
    if stop is None:
        return 0
    print(f"stopped: {stop.reason}\nWhat is done is kept. Go on by giving the same command again.")
    return 130 if stop.interrupted else 2
