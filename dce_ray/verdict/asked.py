"""With how many seeds a confirmation was begun, and of which winner: from its first result on that is not undone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import read_json, write_json
from dce_ray.verdict.stein import SeedPlan

FIXED = ("seeds", "precision", "max_seeds")
"""Keys of ``confirm`` that decide how many pairs there are."""


def keep_asked(folder: ExperimentFolder, options: Any, identity: str) -> None:
    """Note with which numbers a confirmation begins; they are those of before where something of it was seen.

    Args:
        folder: of the search.
        options: with the attributes :data:`FIXED`.
        identity: of winner and plain baseline; another one after something was seen is another look at test.
    """
    numbers = {name: getattr(options, name) for name in FIXED}
    known, former = read_json(_file(folder)) if _file(folder).is_file() else {}, confirmed_identity(folder)
    if not (known and looked_at_test(folder)):
        write_json(_file(folder), {**numbers, "identity": identity, "looks": 1})
    elif former is None:  # written before winners were told apart: nobody knows of another look
        write_json(_file(folder), {**known, "identity": identity, "looks": known.get("looks", 1)})
    elif former != identity:
        write_json(_file(folder), {**known, "identity": identity, "looks": begun_looks(folder) + 1})


def confirmed_identity(folder: ExperimentFolder) -> str | None:
    """Of the winner and plain baseline that the confirmation was last begun with; None where nobody noted it."""
    noted = read_json(_file(folder)).get("identity") if _file(folder).is_file() else None
    plan = SeedPlan.read(folder)
    return noted or (plan.identity if plan else "") or None


def begun_looks(folder: ExperimentFolder) -> int:
    """How many winners were confirmed so far while something was seen, the present one included."""
    return int(read_json(_file(folder)).get("looks", 1)) if _file(folder).is_file() else 1


def numbers_that_hold(folder: ExperimentFolder) -> Mapping[str, Any] | None:
    """The numbers of a confirmation of which something was seen; None where nothing was, or nobody can tell."""
    plan = SeedPlan.read(folder)
    if plan is not None:
        return {name: getattr(plan, name) for name in FIXED}
    if not looked_at_test(folder):
        return None
    if _file(folder).is_file():
        found: Mapping[str, Any] = read_json(_file(folder))
        return {name: found[name] for name in FIXED}
    kept: Mapping[str, Any] = folder.config["confirm"]  # it began before the numbers were noted
    return {name: kept[name] for name in FIXED} if kept["seeds"] else None


def looked_at_test(folder: ExperimentFolder) -> bool:
    """Whether any run of the confirmation has its table: what comes after may be chosen by what it says."""
    return any(run.table.is_file() for run in (*folder.confirmations(), *folder.set_aside_runs()))


def _file(folder: ExperimentFolder) -> Path:
    return folder.path / "seeds_asked.json"
