"""Where a number comes from: machine, commit, versions, command."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dce_ray.words import masked

CORE = ("dce-ray", "torch", "numpy", "pyarrow")
COMMIT_VARIABLE = "DCE_RAY_COMMIT"
"""Carries the commit of code that was brought to another machine without its repository."""
SEARCH = ("ray", "optuna", "mlflow", "hydra-core")
TIME = "%Y-%m-%dT%H:%M:%SZ"
"""How a process says when it started: UTC, to the second."""


def processor() -> str:
    """The processor's name as the kernel tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit() -> str:
    """Short hash of the working copy this runs from, marked where it differs; ``unknown`` where it is none.

    Code that ``dce_ray.cluster submit`` brought says the commit it was brought from.
    """
    if brought := os.environ.get(COMMIT_VARIABLE):
        return brought
    here = Path(__file__).resolve().parent
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the core's packages and of ``packages``; absent ones are left out."""
    found = {}
    for name in (*CORE, *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def given_command() -> str:
    """The command of this process as it can be pasted, without passwords.

    A module that was run with ``-m`` is called by its name, and no file of it.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    words = sys.argv if spec is None else ["python", "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]]
    return shlex.join(map(masked, words))


def environment() -> dict[str, str | int]:
    """What a number depends on besides its configuration: what every results folder holds."""
    return {
        "host": platform.node(),
        "processor": processor(),
        "cores": cores(),
        "python": platform.python_version(),
        "commit": commit(),
        "command": given_command(),
        "started": time.strftime(TIME, time.gmtime()),
        **versions(*SEARCH),
    }
