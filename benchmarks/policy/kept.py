"""Searches of a benchmark kept on disk, one file each: it goes on after any kill, and several processes share the work.

What a file holds depends on the setting, the policy, the seed and the pool that is read, and nothing else; code that
changes a result needs another folder. Policies that take long can be searched for with small budgets alone: what the
folder does not hold is then left out of the table and the figure.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

from dce_ray.files import read_json, write_json
from dce_ray.provenance import commit

Found = tuple[list[float], float]
"""Values of the chosen points by budget, and CPU seconds."""


def kept(folder: Path, asked: dict[str, str], budgets: tuple[int, ...], search: Callable[[], Found]) -> Found:
    """A search's result, searched for where the folder does not hold it for all of ``budgets``.

    A smaller budget is the beginning of a larger one, so that a result answers for all the budgets that it names.

    Args:
        folder: of the files; it belongs outside of the repository.
        asked: what decides the result beside the budgets.
        budgets: in runs, ascending.
        search: makes it.
    """
    file = file_of(folder, asked)
    known = read_json(file) if file.is_file() else {"values": {}}
    values: dict[str, float] = known["values"]
    if not {str(budget) for budget in budgets} <= values.keys():
        found, seconds = search()
        values |= {str(budget): value for budget, value in zip(budgets, found, strict=True)}
        known = {"asked": asked, "values": values, "seconds": seconds, "commit": commit(), "load": os.getloadavg()[0]}
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, known)
    return [values[str(budget)] for budget in budgets], known["seconds"]


def held(folder: Path, asked: dict[str, str], budgets: tuple[int, ...]) -> Found:
    """A search's result as far as the folder holds it; not a number for the budgets that it does not."""
    file = file_of(folder, asked)
    known = read_json(file) if file.is_file() else {"values": {}, "seconds": math.nan}
    return [known["values"].get(str(budget), math.nan) for budget in budgets], known["seconds"]


def file_of(folder: Path, asked: dict[str, str]) -> Path:
    """Where the search that is asked for is kept."""
    return folder / f"{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]}.json"


def told(folder: Path) -> str:
    """Where the kept searches come from: their commits and the load of the machine while they ran."""
    found = [read_json(file) for file in sorted(folder.glob("*.json"))]
    commits = ", ".join(sorted({one["commit"] for one in found}))
    loads = [one["load"] for one in found]
    return f"{len(found)} searches kept, made at {commits}; load average {min(loads):.1f} to {max(loads):.1f}"
