"""``python -m dce_ray.cluster.entry``: how a submitted search begins, on the cluster's head.

A job's own working folder is a copy that Ray deletes; so the search runs in a folder that stays, where ``results/`` and
``resume=results/...`` mean what they mean at home. Standard library alone: this says what is missing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

PLACE = "folder on the cluster: "
"""Begins the line that tells where relative paths of the job count from."""
FILES = "files:"
"""Begins the argument before those of the search that holds files of the submitting machine: JSON, content by path."""
REFUSED = 2
"""Exit status of a user's mistake, as of every command here."""
NEEDED = ("torch", "ray", "optuna", "hydra", "pyarrow")


def refuse(fault: str) -> NoReturn:
    """End with one message, as every command here does."""
    print(f"ClusterError: {fault}", file=sys.stderr)
    sys.exit(REFUSED)


def python_differs(wanted: str, found: str) -> str | None:
    """What to do where the cluster has another Python than the machine that submits; None where it is the same.

    Args:
        wanted: major and minor version of the machine that submits, such as ``3.11``.
        found: the cluster's.
    """
    if found == wanted:
        return None
    return (
        f"the cluster runs Python {found}, the submitting machine Python {wanted}; both must be the same, since what "
        f"is checked and pinned there has to hold here. Remedy: submit from Python {found}, or start the cluster "
        f"with Python {wanted}; versions=any submits all the same"
    )


def missing_packages(found: Callable[[str], object]) -> str | None:
    """What to do where the head's Python lacks what a search needs; None where it has it.

    Args:
        found: tells of a package whether it is there.
    """
    absent = [name for name in NEEDED if not found(name)]
    if not absent:
        return None
    return (
        f"{sys.executable} on {platform.node()} has no {', '.join(absent)}; with runtime_env=none the nodes must have "
        f"all that dce_ray/cluster/requirements.txt lists. Remedy: start Ray on every node from the environment that "
        f"has it (activated, so that 'python' is its Python), name that Python with python=<path>, or submit with "
        f"runtime_env=lock"
    )


def main(arguments: list[str]) -> None:
    """Go to the folder and become the search.

    Args:
        arguments: ``<python version or any> <folder> [files:<JSON>] <argument of the search> ...``.
    """
    wanted, place, *search = arguments
    here = ".".join(platform.python_version_tuple()[:2])
    if wanted != "any" and (fault := python_differs(wanted, here)):
        refuse(fault)
    if fault := missing_packages(importlib.util.find_spec):
        refuse(fault)
    folder = Path(place).expanduser()
    if not folder.is_absolute():
        folder = Path.home() / folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        refuse(
            f"folder={place}: cannot be made on {platform.node()} ({reason.strerror}); give a folder "
            f"there that this user may write"
        )
    os.chdir(folder)
    if search and search[0].startswith(FILES):
        write_files(json.loads(search.pop(0).removeprefix(FILES)))
    print(f"{PLACE}{folder} on {platform.node()}", flush=True)
    os.execve(sys.executable, [sys.executable, "-m", "dce_ray.search", *search], with_own_code(os.environ))


def write_files(files: Mapping[str, str]) -> None:
    """Write what came with the job below the folder in which the search runs.

    Args:
        files: content by path from there.
    """
    try:
        for name, content in files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(content, encoding="utf-8")
    except OSError as reason:
        refuse(f"{Path.cwd()}: cannot be written on {platform.node()} ({reason.strerror}); give another folder=")


def with_own_code(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the code of this job first on Python's path: it was found in the folder that is left."""
    code = str(Path(__file__).resolve().parents[2])
    before = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part and part != code]
    return {**environment, "PYTHONPATH": os.pathsep.join([code, *before])}


if __name__ == "__main__":
    main(sys.argv[1:])
