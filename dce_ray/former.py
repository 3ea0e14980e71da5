"""Keys that former versions had: what takes their place, and how a former configuration is read all the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dce_ray.errors import unknown_name

FORMER_KEYS: Mapping[str, tuple[str, str]] = {
    "sampling.holdout_share": (
        "sampling.folds",
        "folds take its place: sampling.folds=5 holds out a fifth; protocol=confirm holds out nothing",
    ),
    "sampling.holdout_seed": (
        "sampling.fold_seed",
        "sampling.fold_seed takes its place, and sampling.fold says which fold is held out",
    ),
}
"""By dotted key: the key that does its work now, and the sentence that says so."""


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
    if key in FORMER_KEYS:
        instead, sentence = FORMER_KEYS[key]
        if instead in names:
            return f"{key}: {sentence}"
    return unknown_name("key", key, names)


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
