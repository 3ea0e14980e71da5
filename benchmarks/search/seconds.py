"""Where the core seconds of a whole search go, from the command to its verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from benchmarks.provenance import provenance
from benchmarks.search.clocked import START, VARIABLE

LOOK_EVERY_S = 0.5
TICKS = os.sysconf("SC_CLK_TCK")
RUNS = ("training", "evaluation")
"""Parts of a worker that a search is there for."""
PROGRAM = "import sys; from benchmarks.search.clocked import main; sys.exit(main(sys.argv[1:]))"
DAEMONS = (
    "raylet",
    "gcs_server",
    "/ray/dashboard/",
    "/ray/_private/",
    "ray-dashboard",
    "ray::Dashboard",
    "ray::Runtime",
)
MIRROR = """
import time
import dce_ray.tracking.__main__, dce_ray.tracking.writer
import mlflow, mlflow.store.tracking.sqlalchemy_store
print(time.process_time())
"""
"""What the mirror into MLflow imports, and prints how long that took."""


def seconds(arguments: list[str]) -> None:
    """Run a search and print a table; its own output goes to standard error.

    Args:
        arguments: of ``python -m dce_ray.search``.

    Raises:
        SystemExit: the search failed.
    """
    print(provenance("ray", "optuna"))
    print(f"python -m dce_ray.search {' '.join(arguments)}; load average before: {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path, VARIABLE: place}
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=sys.stderr, env=environment)
        found = followed(process)
        took = time.monotonic() - began
        if process.returncode:
            raise SystemExit(f"the search ended with status {process.returncode}")
        clocks = {int(file.stem): json.loads(file.read_text()) for file in Path(place).glob("*.json")}
    parts = parted(found, clocks, process.pid, mirror_start())
    print(f"{took:.0f} s from the command to its end; {len(clocks) - 1} workers ran something; core seconds:\n")
    print("\n".join(table(parts)))


def mirror_start() -> float:
    """Core seconds of the mirror's start and imports, taken of a process that does nothing else."""
    done = subprocess.run([sys.executable, "-c", MIRROR], capture_output=True, text=True, check=True)
    return float(done.stdout)


def followed(process: subprocess.Popen[bytes]) -> dict[int, tuple[str, float]]:
    """Command line and core seconds of a process and all that it started, by process id, watched until it ends."""
    known: dict[int, tuple[str, float]] = {}
    while process.poll() is None:
        look(process.pid, known)
        time.sleep(LOOK_EVERY_S)
    return known


def look(root: int, known: dict[int, tuple[str, float]]) -> None:
    """Bring ``known`` up to date: ``root``, its descendants, and whatever was known and has lost its parent."""
    parents, spent = {}, {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            parents[int(entry.name)] = int(fields[1])
            spent[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    for number, core_s in spent.items():
        ancestor: int | None = number
        while ancestor is not None and ancestor != root and ancestor not in known:
            ancestor = parents.get(ancestor)
        if ancestor is None:
            continue
        try:
            line = Path("/proc", str(number), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        known[number] = (line or known.get(number, ("", 0.0))[0], core_s)


def parted(
    found: Mapping[int, tuple[str, float]],
    clocks: Mapping[int, Mapping[str, float]],
    driver: int,
    mirror: float,
) -> dict[str, float]:
    """Core seconds by what they were spent on.

    Args:
        found: command line and core seconds of each process.
        clocks: what processes wrote down themselves.
        driver: the search's process.
        mirror: what the start and imports of the process that sends to MLflow take.
    """
    parts: dict[str, float] = defaultdict(float)
    for number, (line, spent) in found.items():
        clock = clocks.get(number, {})
        where = "driver" if number == driver else "workers"
        for name, part in clock.items():
            parts[f"{where}: {name}" if name == START else name] += part
        rest = max(0.0, spent - sum(clock.values()))
        if number == driver:
            parts["driver: rest"] += rest
        elif clock:
            parts["workers: Ray's part"] += rest
        elif "dce_ray.tracking" in line:
            parts[f"MLflow mirror: {START}"] += min(rest, mirror)
            parts["MLflow mirror"] += max(0.0, rest - mirror)
        elif any(name in line for name in DAEMONS):
            parts["Ray's processes"] += rest
        elif "ray::" in line or "default_worker" in line:
            parts["workers that never ran"] += rest
        else:
            parts["other"] += rest
    return dict(parts)


def table(parts: Mapping[str, float]) -> list[str]:
    """Lines: every part, the largest first, and the share of the runs."""
    total, runs = sum(parts.values()), sum(parts.get(name, 0.0) for name in RUNS)
    imports = sum(spent for name, spent in parts.items() if name.endswith(START))
    lines = [
        f"{name:40}{spent:9.1f}{spent / total:8.1%}" for name, spent in sorted(parts.items(), key=lambda item: -item[1])
    ]
    lines.append(f"{'in all':40}{total:9.1f}")
    lines.append(f"training and evaluation of runs: {runs / total:.1%}, imports apart {runs / (total - imports):.1%}")
    return lines
