"""Keys that former versions had: what takes their place, and how a former configuration is read all the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dce_ray.errors import unknown_among_many

FORMER_KEYS: Mapping[str, Mapping[str, str]] = {
    "sampling.holdout_share": {
        "search.folds": "folds take its place: search.folds=5 holds out a fifth at a time, every fifth once",
        "sampling.folds": "folds take its place: sampling.folds=5 holds out a fifth; protocol=confirm "
        "holds out nothing",
    },
    "sampling.holdout_seed": {
        "search.folds": "sampling.fold_seed takes its place; a search goes through all folds itself (search.folds)",
        "sampling.fold_seed": "sampling.fold_seed takes its place, and sampling.fold says which fold is held out",
    },
}
"""By dotted key: the keys that do its work now, each with the sentence that says so; the first that is known counts."""
LISTED = "python -m dce_ray.search keys lists those of runs and searches, --help the command's own"
"""Where a user finds all keys."""


def unknown_key(key: str, known: Iterable[str]) -> str:
    """One line for a dotted key that is not known: what takes a former key's place, or the nearest known one.

    >>> unknown_key("sampling.holdout_seed", ["sampling.fold", "sampling.fold_seed"])
    'sampling.holdout_seed: sampling.fold_seed takes its place, and sampling.fold says which fold is held out'
    >>> unknown_key("sampling.fodl", ["sampling.fold"])
    "unknown key 'sampling.fodl' (did you mean sampling.fold?); known: sampling.fold"

    Args:
        key: as the user wrote it.
        known: dotted keys of the command or record that was given it; a command that does not know the new key either
            does not speak of it.
    """
    names = list(known)
    for instead, sentence in FORMER_KEYS.get(key, {}).items():
        if instead in names:
            return f"{key}: {sentence}"
    return unknown_among_many("key", key, names, LISTED)


def without_former_keys(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A copy of a nested configuration that a former version wrote, without the keys that are gone.

    >>> without_former_keys({"seed": 1, "sampling": {"batch": 6, "holdout_seed": 0}})
    {'seed': 1, 'sampling': {'batch': 6}}
    """
    return {
        key: without_former_keys(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in mapping.items()
        if f"{prefix}{key}" not in FORMER_KEYS
    }
