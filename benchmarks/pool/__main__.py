"""``python -m benchmarks.pool record`` trains a pool's runs, ``write`` puts them into one Parquet file."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from benchmarks.pool.plan import PoolSource, Size, planned_runs
from benchmarks.pool.record import record

OPTIONS = {
    "baseline": "delu",
    "data": "synthetic",
    "folds": "5",
    "points": "122",
    "replicates": "6",
    "truths": "4",
    "work": "",
    "minutes": "0",
}


def main(arguments: list[str]) -> None:
    """Read the arguments and do it."""
    given = dict(argument.split("=", 1) for argument in arguments[1:])
    options = OPTIONS | given
    size = Size(*(int(options[name]) for name in ("folds", "points", "replicates", "truths")))
    source = PoolSource(options["baseline"], options["data"], size)
    torch.set_num_threads(1)
    minutes = float(options["minutes"])
    until = time.time() + 60 * minutes if minutes else None
    trained = record(source, planned_runs(size), Path(options["work"]), until=until)
    print(f"{trained} runs trained")


if __name__ == "__main__":
    main(sys.argv[1:])
