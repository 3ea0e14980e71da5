"""Keys that former versions or other programs have: what they are here, and how a former configuration is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dce_ray.errors import nearest_names, unknown_among_many

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
ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("lr", "learning_rate"), ("training.learning_rate",)),
    **dict.fromkeys(("epochs", "epoch", "steps", "iters", "max_iter", "max_iters"), ("training.iterations",)),
    **dict.fromkeys(("batch_size", "bs"), ("sampling.batch",)),
    **dict.fromkeys(("wd", "decay"), ("training.weight_decay",)),
    **dict.fromkeys(("num_segments", "max_seqlen", "max_seq_len"), ("sampling.segments",)),
    **dict.fromkeys(("trials", "num_trials", "n_trials", "num_samples", "runs"), ("search.num_runs",)),
    **dict.fromkeys(("timeout", "budget", "time"), ("search.time_budget",)),
    **dict.fromkeys(("gpu", "gpus", "num_gpus"), ("search.gpus_per_trial", "gpus_per_run", "device")),
    **dict.fromkeys(("cpus", "num_cpus", "workers", "jobs"), ("ray.num_cpus",)),
    **dict.fromkeys(("dataset", "data_path", "path"), ("data",)),
    **dict.fromkeys(("model", "network", "model_name"), ("baseline",)),
    **dict.fromkeys(("output", "out", "output_dir", "out_dir", "exp_name", "log_dir"), ("results", "folder")),
    **dict.fromkeys(("ckpt", "weights", "pretrained"), ("checkpoint",)),
}
"""Words that other programs have for a key, and ours: the first that a command knows."""
UNITS: Mapping[str, str] = {"training.iterations": ", counted in optimisation steps, not in epochs"}
LISTED = "python -m dce_ray.search keys lists those of runs and searches, --help the command's own"
"""Where a user finds all keys."""


def our_words(key: str, known: Iterable[str]) -> list[str]:
    """The key that another program's word means here, or those that look like it, the nearest first."""
    names = list(known)
    meant = [ours for ours in ELSEWHERE.get(key.rpartition(".")[2].lower(), ()) if ours in names]
    return meant[:1] or nearest_names(key, names, 1)


def unknown_key(key: str, known: Iterable[str], listed: str = LISTED) -> str:
    """One line for a dotted key that is not known: what takes a former key's place, or the nearest known one.

    >>> unknown_key("sampling.holdout_seed", ["sampling.fold", "sampling.fold_seed"])
    'sampling.holdout_seed: sampling.fold_seed takes its place, and sampling.fold says which fold is held out'
    >>> unknown_key("sampling.fodl", ["sampling.fold"])
    "unknown key 'sampling.fodl' (did you mean sampling.fold?); known: sampling.fold"

    >>> unknown_key("lr", ["seed", "training.learning_rate"])
    "unknown key 'lr': here it is training.learning_rate"

    Args:
        key: as the user wrote it.
        known: dotted keys of the command or record that was given it; a command that does not know the new key either
            does not speak of it.
        listed: where the command lists its keys.
    """
    names = list(known)
    for instead, sentence in FORMER_KEYS.get(key, {}).items():
        if instead in names:
            return f"{key}: {sentence}"
    for ours in ELSEWHERE.get(key.rpartition(".")[2].lower(), ()):
        if ours in names:
            return f"unknown key {key!r}: here it is {ours}{UNITS.get(ours, '')}"
    return unknown_among_many("key", key, names, listed)


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
