"""``python -m dce_ray.train``: one run from the command line, into one folder."""

from __future__ import annotations

import datetime
import json
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from dce_ray.baselines import BASELINES
from dce_ray.commandline import command, flatten, parse
from dce_ray.config import RunConfig
from dce_ray.errors import ConfigError
from dce_ray.evaluation import MapTable
from dce_ray.files import append_line, whole_lines, write_atomically, write_json
from dce_ray.presets import PRESETS, run_config, run_config_from_mapping
from dce_ray.provenance import environment
from dce_ray.store import open_store
from dce_ray.train.configure import COMMAND_KEYS, configure
from dce_ray.train.curves import draw_curves
from dce_ray.train.display import RunDisplay
from dce_ray.train.run import Run

USAGE: str = f"""
python -m dce_ray.train key=value ...        train one run, print its mAP table

groups
  baseline={"|".join(BASELINES)}        the network (default delu)
  data=synthetic|thumos14|activitynet12|hapt|<folder>   named data set, feature store or released layout
  preset={"|".join(PRESETS)}               published values to start from (default: the paper's)
  protocol=holdout|paper|confirm       select on held-out train videos (default), on test as published, or not at all
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
  resume=<folder>       go on with a stopped run; takes no other key but device=

All keys: python -m dce_ray.train keys
"""

log = logging.getLogger(__name__)
CHECKPOINT_EVERY_S = 60.0


def main(arguments: list[str]) -> int:
    """Train, evaluate and write one run; the exit status."""
    if arguments == ["keys"]:
        defaults = run_config("delu", "synthetic", data_set="synthetic").to_mapping()
        print("\n".join(f"{key}={value}" for key, value in flatten(defaults | COMMAND_KEYS).items()))
        return 0
    values = parse(arguments)
    if values.get("resume"):
        return _go_on(values)
    config, options = configure(values)
    folder = Path(options["folder"] or _default_folder(config))
    if (folder / "config.json").exists():
        raise ConfigError(f"folder={folder}: holds a run already; go on with resume={folder} or choose another folder")
    run = Run(config)
    write_json(folder / "environment.json", environment())
    write_json(folder / "options.json", {"test": bool(options["test"])})
    write_json(folder / "config.json", config.to_mapping())
    return _train(run, folder, test=bool(options["test"]))


def _default_folder(config: RunConfig) -> Path:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / open_store(config.data).name / config.baseline / f"{now}-{os.getpid()}"


def _go_on(values: Mapping[str, Any]) -> int:
    folder = Path(str(values["resume"]))
    extra = sorted(set(values) - {"resume", "device"})
    if extra:
        raise ConfigError(f"resume={folder}: takes no other key than device=, found {', '.join(extra)}")
    try:
        mapping = json.loads((folder / "config.json").read_text())
        options = json.loads((folder / "options.json").read_text())
    except OSError as fault:
        raise ConfigError(f"resume={folder}: holds no run ({fault.filename}: {fault.strerror})") from fault
    except ValueError as fault:
        raise ConfigError(f"resume={folder}: config.json or options.json is damaged ({fault}); start anew") from fault
    config = run_config_from_mapping(mapping | {"device": str(values.get("device", mapping["device"]))})
    run = Run(config)
    if not run.restore(folder / "checkpoint.pt"):
        log.info("%s holds no checkpoint yet; starting at the first iteration", folder)
    return _train(run, folder, test=bool(options["test"]))


@dataclass
class Journal:
    """``progress.jsonl``: one line per reading; lines behind the checkpoint that a run goes on from are dropped."""

    path: Path

    def read(self) -> list[dict[str, Any]]:
        """All whole lines; what a kill tore off is not one."""
        return [json.loads(line) for line in whole_lines(self.path)]

    def keep_until(self, iteration: int) -> None:
        """Drop what is behind ``iteration``: a run that goes on from there writes it again."""
        lines = [json.dumps(line) + "\n" for line in self.read() if line["iteration"] <= iteration]
        write_atomically(self.path, "".join(lines))

    def add(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Append one reading."""
        append_line(self.path, {"iteration": iteration, "time": time.time(), "metrics": dict(metrics)})


def _train(run: Run, folder: Path, *, test: bool) -> int:
    """The loop: advance, read, evaluate, save; then the tables and the picture."""
    training, checkpoint = run.config.training, folder / "checkpoint.pt"
    journal = Journal(folder / "progress.jsonl")
    journal.keep_until(run.iteration)
    saved = time.monotonic()
    with stop_on_signal(run), RunDisplay(run, folder) as display:
        while not run.finished and not run.stop_requested:
            to_evaluation = training.eval_every - run.iteration % training.eval_every
            metrics = run.advance(min(training.log_every, to_evaluation))
            due = run.iteration % training.eval_every == 0 or run.finished
            if due and run.selection_split and not run.stop_requested:
                outcome, improved = run.select()
                metrics |= outcome.table.metrics()
                if improved:
                    run.save(folder / "best.pt")
            if metrics:
                journal.add(run.iteration, metrics)
                display.update(metrics)
            if due or run.stop_requested or time.monotonic() - saved > CHECKPOINT_EVERY_S:
                run.save(checkpoint)
                saved = time.monotonic()
    if not run.finished:
        print(f"stopped at iteration {run.iteration}; go on with: python -m dce_ray.train resume={folder}")
        return 130
    draw_curves(journal.read(), folder / "curves.png", title=run.caption("training"))
    _conclude(run, folder, test=test or run.config.protocol == "confirm")
    print(f"written to {folder}")
    return 0


def _conclude(run: Run, folder: Path, *, test: bool) -> None:
    """Print and write the table of the selected iteration, and the test table when it was asked for."""
    if run.best:
        write_table(run.best.table, folder, run.selection_split or "")
    if not test or run.config.protocol == "paper":
        return
    if run.best:
        run.restore(folder / "best.pt")
    outcome = run.evaluate("test")
    write_table(outcome.table, folder, "test")
    outcome.export(folder / "detections-test.json")


def write_table(table: MapTable, folder: Path, split: str) -> None:
    """Print a table and write it as JSON, Markdown, CSV and LaTeX."""
    print(table)
    write_json(folder / f"table-{split}.json", table.to_mapping())
    for suffix, text in (("md", table.markdown()), ("csv", table.csv()), ("tex", table.latex())):
        write_atomically(folder / f"table-{split}.{suffix}", text)


@contextmanager
def stop_on_signal(run: Run) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets the step in progress end and the run be saved; the second ends at once."""

    def request(number: int, frame: FrameType | None) -> None:
        if run.stop_requested:
            raise KeyboardInterrupt
        run.stop_requested = True

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    command(main, USAGE)
