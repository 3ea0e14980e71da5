"""Experiments that a user may mean where a path is none: remedies of a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dce_ray.errors import nearest_names
from dce_ray.words import shown_path

BELOW = ("*", "*/*", "*/*/*", "*/*/*/*")
"""How far below a folder experiments are looked for, to name them."""
LEVELS = 3
"""Of an experiment below its results: data set, baseline, name."""
NAMED = 5


def those_near(path: Path) -> str:
    """What may be meant by a folder that does not exist: one of a like name, else the experiments beside it."""
    parent = next((one for one in path.parents if one.is_dir()), path.parent)
    missing = path.relative_to(parent).parts
    if parent == parent.parent:  # of the whole machine nothing is listed
        return "; give the folder of an experiment, <results>/<data>/<baseline>/<name>"
    names = nearest_names(missing[0], sorted(one.name for one in parent.glob("*")), 1)  # none where it may not be read
    if names and (meant := parent.joinpath(names[0], *missing[1:])).is_dir():
        return f"; did you mean {shown_path(meant)}?"
    far = len(BELOW) if parent == Path.cwd() else len(missing) if parent == Path.home() else max(LEVELS, len(missing))
    return those_below(parent, BELOW[:far], name=parent) or f", and no experiment lies below {parent}"


def those_below(path: Path, patterns: Sequence[str] = BELOW, name: object = "it") -> str:
    """Experiments below a folder that is none itself, the latest first; empty where there are none."""
    found = [file.parent for pattern in patterns for file in path.glob(f"{pattern}/config.json")]
    if not found:
        return ""
    found.sort(key=lambda folder: (folder / "config.json").stat().st_mtime, reverse=True)
    more = f"\n  and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"; below {name} lie:" + "".join(f"\n  {shown_path(folder)}" for folder in found[:NAMED]) + more
