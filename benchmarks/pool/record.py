"""Train the runs of a pool, one file per run, so that a record goes on after any kill and in several processes.

A run's file is written as a whole when the run has ended. While it trains, its process holds a lock that ends with the
process: no run is trained twice at once, and none is left out because somebody died.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.pool.plan import PoolRun, PoolSource
from dce_ray.errors import NonFiniteError
from dce_ray.files import write_json
from dce_ray.presets import run_config_from_mapping
from dce_ray.provenance import commit
from dce_ray.train import Run


def record(source: PoolSource, plan: Sequence[PoolRun], folder: Path, *, until: float | None = None) -> int:
    """Train what of ``plan`` is neither recorded nor being trained by another process.

    Args:
        source: of the configurations.
        plan: in this order.
        folder: of the runs' files; it belongs outside of the repository.
        until: Unix time after which no run is begun; None: there is none.

    Returns:
        Runs trained here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state, trained = commit(), 0
    for run in plan:
        if until is not None and time.time() > until:
            break
        file = run_file(folder, source.key(run))
        with _claimed(file.with_suffix(".lock")) as mine:
            if mine and not file.is_file():
                write_json(file, train(source, run) | {"commit": state})
                trained += 1
    return trained


def run_file(folder: Path, key: str) -> Path:
    """Where the run of a key is kept."""
    return folder / f"{key}.json"


def train(source: PoolSource, planned: PoolRun) -> dict[str, Any]:
    """Train one run and score it at every evaluation: on its fold, or on test where it is a truth run.

    A run whose loss is not finite has failed: its curve ends before.
    """
    config, began = source.config(planned), time.process_time()
    run = Run(run_config_from_mapping(config))
    split, curve, error = "test" if planned.truth else "holdout", {}, None
    try:
        while not run.finished:
            run.advance(run.config.training.eval_every)
            curve[run.iteration] = run.score(run.evaluate(split).table)
    except NonFiniteError as fault:
        error = str(fault)
    return {
        "seed": config["seed"],
        "curve": curve,
        "error": error,
        "core_seconds": time.process_time() - began,
        "load": os.getloadavg()[0],
        "ended": time.time(),
    }


@contextmanager
def _claimed(lock: Path) -> Iterator[bool]:
    """Whether this process holds the lock; the lock file is left where another one holds it."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
