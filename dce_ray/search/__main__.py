"""``python -m dce_ray.search``: search the six scalars of SCS and MCM for a baseline, confirm the best on test."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dce_ray.commandline import command, parse
from dce_ray.errors import ConfigError, SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.search.settings import Experiment, build_experiment, known_keys, split_values

USAGE = """
python -m dce_ray.search key=value ...     tune SCS and MCM for a baseline, choose on holdout, confirm on test

  baseline=co2net|delu|ddgnet              the network (default delu)
  data=synthetic|thumos14|activitynet12|hapt|<folder>   named data set, feature store or released layout
  sampler=tpe|gp|cmaes|random              who suggests (default tpe)
  scheduler=asha|hyperband|median|none     who stops early (default asha; none with sampler=gp)
  protocol=holdout|paper                   rank on held-out train videos (default) or on test, as published
  metric=detection|classification          rank by detection mAP (default) or, strictly weakly supervised, by class

how much
  search.num_trials=32   search.time_budget=90m   search.max_failures=2   search.min_iterations=   search.seed=0
  confirm.top=3          confirm.seeds=3 (0: no confirmation, test is never read)

the search space (search_spaces/<baseline>.yaml)
  space.delta.high=0.95  change a range    space.lambda=1.0  fix    space.gamma=beta  tie
  space.first_points=[paper,released]      published values that run first

where
  search.cpus_per_trial=  search.gpus_per_trial=0.25  ray.address=auto|<host:port>  ray.num_cpus=  device=auto|cpu
  name=  results=results                   the folder results/<data>/<baseline>/<name>
  tracking=on|off  tracking.uri=           MLflow (default on, a local database beside the results)
  resume=<folder>                          go on after Ctrl-C, a kill or a crash; also with more search.num_trials=

All other keys are those of a run (training.iterations=, evaluation.*, scs=off, ...): python -m dce_ray.search keys
"""


def main(arguments: list[str]) -> int:
    """Search, confirm, report; the exit status."""
    if arguments == ["keys"]:
        print("\n".join(f"{key}={value}" for key, value in known_keys({}).items()))
        return 0
    values = parse(arguments)
    resume = values.pop("resume", None)
    experiment, folder, digest = _reopen(Path(str(resume)), values) if resume else _create(values)
    from dce_ray.search.stages import Search

    print(f"experiment folder: {folder.path}")
    with folder.lock(), _tracked(experiment, folder):
        try:
            stop = Search(experiment, folder, digest).run()
        finally:
            _write_outputs(folder)
    if stop is None:
        return 0
    print(f"stopped: {stop.reason}\nWhat is done is kept. Go on with: python -m dce_ray.search resume={_shown(folder)}")
    if stop.failure:
        raise SearchError(stop.reason)
    return 130 if stop.interrupted else 0


def _create(values: Mapping[str, Any]) -> tuple[Experiment, ExperimentFolder, str]:
    """Check everything, then make the folder: a misspelt key starts nothing and leaves nothing behind."""
    from dce_ray.datasets import resolve_data
    from dce_ray.presets import data_set_of
    from dce_ray.provenance import environment
    from dce_ray.store import open_store

    text = str(values.get("data", "synthetic"))
    build_experiment(values, text, "default")
    path = str(resolve_data(text).resolve())
    store = open_store(path)
    data_set = data_set_of(store.name)
    experiment = build_experiment(values, path, data_set)
    settings = experiment.settings
    parent = Path(settings.results) / (store.name if data_set == "default" else data_set) / experiment.run.baseline
    config = experiment.to_mapping() | {"digest": store.digest}
    if settings.name:
        return experiment, ExperimentFolder.create(parent / settings.name, config, environment()), store.digest
    for attempt in range(100):
        name = time.strftime("%Y%m%d-%H%M%S") + (f"-{attempt}" if attempt else "")
        with contextlib.suppress(FileExistsError):
            (parent / name).mkdir(parents=True)
            (parent / name).rmdir()
            return experiment, ExperimentFolder.create(parent / name, config, environment()), store.digest
    raise SearchError(f"{parent}: no free name; give name=")


def _reopen(path: Path, values: Mapping[str, Any]) -> tuple[Experiment, ExperimentFolder, str]:
    from dce_ray.store import open_store

    folder = ExperimentFolder.open(path)
    config = folder.config
    changes, space = split_values(values)
    experiment = Experiment.from_mapping(config, changes | {f"space.{key}": value for key, value in space.items()})
    store = open_store(experiment.run.data)
    if store.digest != config["digest"]:
        raise SearchError(
            f"{experiment.run.data} holds other data than {path} was searched on (digest {store.digest[:12]}, "
            f"expected {config['digest'][:12]}); restore the store, or start a new search"
        )
    return experiment, folder, store.digest


@contextlib.contextmanager
def _tracked(experiment: Experiment, folder: ExperimentFolder) -> Iterator[None]:
    tracking = experiment.settings.tracking
    if not tracking.enabled:
        yield
        return
    from dce_ray.tracking import start_mirror

    mirror = None
    try:
        with start_mirror(folder, tracking.uri) as mirror:
            yield
    finally:  # also when the search failed: what is done is in MLflow, or waits to be sent
        if mirror is not None:
            print(mirror.message)


def _write_outputs(folder: ExperimentFolder) -> None:
    """Tables, pictures and report of what is there; also after an interruption."""
    if folder.study.is_file():
        from dce_ray.report.page import write_outputs

        write_outputs(folder)


def _shown(folder: ExperimentFolder) -> str:
    here = Path.cwd()
    return str(folder.path.relative_to(here)) if folder.path.is_relative_to(here) else str(folder.path)


__all__ = ["ConfigError", "main"]

if __name__ == "__main__":
    command(main, USAGE)
