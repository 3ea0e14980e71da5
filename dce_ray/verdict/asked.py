"""With how many seeds a confirmation was begun: from its first result on nobody may change that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import read_json, write_json
from dce_ray.verdict.stein import SeedPlan

FIXED = ("seeds", "precision", "max_seeds")
"""Keys of ``confirm`` that decide how many pairs there are."""


def keep_asked(folder: ExperimentFolder, options: Any) -> None:
    """Note with which numbers a confirmation begins; they are those of before where something of it was seen.

    Args:
        folder: of the search.
        options: with the attributes :data:`FIXED`.
    """
    if not (_file(folder).is_file() and looked_at_test(folder)):
        write_json(_file(folder), {name: getattr(options, name) for name in FIXED})


def numbers_that_hold(folder: ExperimentFolder) -> Mapping[str, Any] | None:
    """The numbers of a confirmation of which something was seen; None where nothing was, or nobody can tell."""
    plan = SeedPlan.read(folder)
    if plan is not None:
        return {name: getattr(plan, name) for name in FIXED}
    if not looked_at_test(folder):
        return None
    if _file(folder).is_file():
        found: Mapping[str, Any] = read_json(_file(folder))
        return found
    kept: Mapping[str, Any] = folder.config["confirm"]  # it began before the numbers were noted
    return {name: kept[name] for name in FIXED} if kept["seeds"] else None


def looked_at_test(folder: ExperimentFolder) -> bool:
    """Whether any run of the confirmation has its table: what comes after may be chosen by what it says."""
    return any(run.table.is_file() for run in (*folder.confirmations(), *folder.set_aside_runs()))


def _file(folder: ExperimentFolder) -> Path:
    return folder.path / "seeds_asked.json"
