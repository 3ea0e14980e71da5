"""Where a measured number comes from: hardware, commit, versions, date."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def cpu_model() -> str:
    """The processor's name as the kernel tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """Short hash of HEAD, marked where the working tree differs."""
    here = Path(__file__).resolve().parent
    command = ["git", "describe", "--always", "--dirty"]
    run = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown commit"


def provenance(*packages: str) -> str:
    """One line to print above every table.

    Args:
        packages: further distributions whose versions belong to the number.
    """
    names = ("torch", "numpy", "pyarrow", *packages)
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return (
        f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores; commit {commit()}; {today}; "
        f"Python {platform.python_version()}, {versions}"
    )
