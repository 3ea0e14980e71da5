"""``python -m dce_ray.train``: one run from the command line, into one folder."""

from __future__ import annotations

import datetime
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dce_ray.baselines import BASELINES
from dce_ray.commandline import command, flatten, nest, parse
from dce_ray.config import RunConfig
from dce_ray.datasets import ImportOptions, data_set_meant, results_name
from dce_ray.errors import ConfigError
from dce_ray.evaluation import MapTable
from dce_ray.evaluation.tables import TABLE_ENDINGS
from dce_ray.files import check_writable, held, write_json
from dce_ray.interrupts import stop_on_signal
from dce_ray.keys import chosen, keys_from, keys_of, listing
from dce_ray.presets import PRESETS, data_set_of, presets_line, run_config, run_config_from_mapping
from dce_ray.provenance import environment
from dce_ray.store import open_store
from dce_ray.train.checkpoint import load_latest
from dce_ray.train.configure import COMMAND_KEYS, COMMAND_MEANINGS, configure, scalars_given, spelled_out
from dce_ray.train.curves import draw_curves
from dce_ray.train.display import RunDisplay
from dce_ray.train.driver import Driver
from dce_ray.train.mirrored import MlflowOptions, check_mlflow, mirrored
from dce_ray.train.outcome import OPTIONS, keep_finished, outcome_kept
from dce_ray.train.run import Run
from dce_ray.train.run_files import LOCK, RunFiles
from dce_ray.words import command_line

USAGE: str = f"""
python -m dce_ray.train key=value ...        train one run, print its mAP table

groups
  baseline={"|".join(BASELINES)}        the network (default delu)
  data=synthetic|thumos14|activitynet12|hapt|<folder>   named data set, feature store or released layout
       or a folder of <video>.npy with annotations=<ActivityNet JSON>; while importing: fps= stride_frames=
       train_subset= test_subset=
  preset={"|".join(PRESETS)}               published values to start from (default: the paper's)
  protocol=holdout|paper|confirm       select on held-out train videos (default), on test as published, or not at all
  sampling.folds=5  sampling.fold=0    hold out a fifth of the train videos, every class alike: which fifth, 0 to 4
  scs=on|off  mcm=on|off               the two components
  config=<file.yaml>                   a nested configuration laid over the presets (best.yaml of a search)

the six scalars
  method.delta      disparity from which the streams disagree      method.beta    weight of the feature level
  method.theta_rep  attention of representative snippets           method.gamma   weight of the label level
  method.theta_pro  attention of proposals                         method.lambda  strength of the intervention

often used
  seed=0  device=auto|cpu|cuda:0  training.iterations=  training.learning_rate=  training.eval_every=
  test=on               evaluate the selected weights on the test set, once, at the end
  folder=<new folder>   where the run is written (default runs/<data>/<baseline>/<time>)
  tracking=on  tracking.uri=   MLflow is told of the run (default off), by default in a database beside the folder
  resume=<folder>       go on with a stopped run; takes no other key but device= and tracking=

All keys, with their defaults for a baseline and a data set, choices and meaning:
  python -m dce_ray.train keys [baseline=] [data=] [words to look for]
"""

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Train, evaluate and write one run; the exit status."""
    if arguments[:1] == ["keys"]:
        given, words = chosen(arguments[1:])
        own = keys_from({key: COMMAND_KEYS[key] for key in COMMAND_MEANINGS}, COMMAND_MEANINGS)
        print(listing([*own, *keys_of(ImportOptions()), *keys_of(_defaults(given))], words))
        return 0
    values = spelled_out(parse(arguments, lambda: flatten(_defaults({}).to_mapping() | COMMAND_KEYS)))
    if values.get("resume"):
        return _go_on(values)
    config, options = configure(values)
    mlflow = MlflowOptions.from_mapping(options["tracking"], "tracking.")
    store = open_store(config.data)
    name = results_name(str(values["data"]) if "data" in values else None, store)
    folder = Path(options["folder"] or _default_folder(name, config.baseline))
    _check_free(folder)
    print(presets_line(config, data_set_of(store.name), scalars_given(values)))
    check_mlflow(folder, mlflow)
    check_writable(folder)
    run = Run(config)
    asked = {"test": bool(options["test"]), "tracking": mlflow.to_mapping(), "started": time.time()}
    data = {"data_set": name, "digest": store.digest}
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _check_free(folder)  # another process may have begun one meanwhile
        write_json(folder / "environment.json", environment())
        write_json(folder / OPTIONS, asked | data)
        write_json(folder / "config.json", config.to_mapping())
        return _train(_driver(run, folder), folder, mlflow, test=bool(options["test"]))


def _check_free(folder: Path) -> None:
    """Refuse a folder that holds a run.

    Raises:
        ConfigError: with what to do.
    """
    if (folder / "config.json").exists():
        raise ConfigError(f"folder={folder}: holds a run already; go on with resume={folder} or choose another folder")


def _defaults(given: Mapping[str, Any]) -> RunConfig:
    """What a run is without further keys."""
    baseline, data = str(given.get("baseline", "delu")), str(given.get("data", "synthetic"))
    return run_config(baseline, data, data_set=data_set_meant(data), preset=given.get("preset"))


def _default_folder(data: str, baseline: str) -> Path:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / data / baseline / f"{now}-{os.getpid()}"


def _go_on(values: Mapping[str, Any]) -> int:
    folder = Path(str(values["resume"]))
    extra = sorted(set(values) - {"resume", "device", "tracking.enabled", "tracking.uri"})
    if extra:
        raise ConfigError(f"resume={folder}: takes no other key than device= and tracking=, found {', '.join(extra)}")
    if (folder / "study.journal").is_file():
        go_on = command_line("dce_ray.search", resume=folder)
        raise ConfigError(f"resume={folder}: is a search's folder, and no single run's; go on with {go_on}")
    try:
        mapping = json.loads((folder / "config.json").read_text())
        options = json.loads((folder / OPTIONS).read_text())
    except OSError as fault:
        raise ConfigError(f"resume={folder}: holds no run ({fault.filename}: {fault.strerror})") from fault
    except ValueError as fault:
        raise ConfigError(f"resume={folder}: config.json or options.json is damaged ({fault}); start anew") from fault
    config = _config_of(folder, mapping | {"device": str(values.get("device", mapping["device"]))})
    kept = {f"tracking.{key}": value for key, value in options.get("tracking", {}).items()}
    given = {key: value for key, value in values.items() if key.startswith("tracking.")}
    mlflow = MlflowOptions.from_mapping(nest(kept | given).get("tracking", {}), "tracking.")
    check_mlflow(folder, mlflow)
    with _alone(folder):
        write_json(folder / OPTIONS, options | {"tracking": mlflow.to_mapping()})
        driver = _driver(Run(config), folder)
        if not driver.resume():
            log.info("%s holds no checkpoint yet; starting at the first iteration", folder)
        driver.files.keep_until(driver.run.iteration)
        return _train(driver, folder, mlflow, test=bool(options["test"]))


def _config_of(folder: Path, mapping: Mapping[str, Any]) -> RunConfig:
    """The configuration of a run that goes on.

    Raises:
        DceError: it has keys of a former version; where there is a checkpoint, this names the version.
    """
    try:
        return run_config_from_mapping(mapping, kept=True)
    except ConfigError as fault:
        load_latest(RunFiles(folder).checkpoint)
        raise ConfigError(f"resume={folder}: config.json cannot be gone on with; start anew\n{fault}") from fault


def _driver(run: Run, folder: Path) -> Driver:
    return Driver(run, RunFiles(folder), read_every=run.config.training.log_every, keep_best=True)


def _alone(folder: Path) -> AbstractContextManager[None]:
    """Inside, no other process trains the run of this folder; whoever is refused has changed nothing in it."""
    return held(folder / LOCK, ConfigError(f"{folder}: another process trains this run; wait for it, or stop it first"))


def _train(driver: Driver, folder: Path, mlflow: MlflowOptions, *, test: bool) -> int:
    """Drive the run to its end, and MLflow behind it; the exit status."""
    with mirrored(folder, mlflow), outcome_kept(folder):
        return _drive(driver, folder, test=test)


def _drive(driver: Driver, folder: Path, *, test: bool) -> int:
    """Drive the run to its end; then the tables and the picture."""
    run = driver.run
    with stop_on_signal(run.request_stop), RunDisplay(run, folder) as display:
        while not run.finished and not run.stop_requested:
            display.update(driver.step().metrics)
    if not run.finished:
        driver.keep_stopped()
        go_on = command_line("dce_ray.train", resume=folder)
        print(f"stopped at iteration {run.iteration}; go on with: {go_on}")
        return 130
    draw_curves(driver.files.readings(), folder / "curves.png", title=run.caption("training"))
    selected, split = run.best, run.selection_split
    if selected and split:
        _show_and_write(selected.table, folder, split)
    if run.config.protocol == "confirm" or (test and run.config.protocol == "holdout"):
        _show_and_write(driver.test(), folder, "test")
    keep_finished(folder)
    print(f"written to {folder}")
    return 0


def _show_and_write(table: MapTable, folder: Path, split: str) -> None:
    print(table)
    for ending in TABLE_ENDINGS:
        table.write(folder / f"table-{split}{ending}")


if __name__ == "__main__":
    command(main, USAGE)
