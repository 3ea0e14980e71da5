"""Which videos a run trains on, which it selects on and which it never looks at before the end.

The published code picks checkpoints and scalars on the test set; the holdout made here takes that role, so that the
test set is touched once. It is one of K class-balanced folds of the train videos (folds.py).
Letters: N videos, C classes, K folds.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dce_ray.config import SamplingConfig
from dce_ray.data.folds import balanced_folds, held_counts
from dce_ray.errors import DataError, unknown_name

log = logging.getLogger(__name__)

Rows = NDArray[np.int64]
_EMPTY_REMEDY = {
    "holdout": "only protocol=holdout holds videos out",
    "train": "import train videos",
    "train_all": "import train videos",
    "test": "import test videos",
}


class LabelledVideos(Protocol):
    """What splitting reads of a :class:`dce_ray.store.FeatureStore`."""

    @property
    def name(self) -> str:
        """Name of the data set, for messages."""

    @property
    def subsets(self) -> tuple[str, ...]:
        """``train`` or ``test`` of each video."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Snippets of each video, ``(N,)``."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C classes."""

    def labels(self, videos: Rows) -> NDArray[np.float32]:
        """Multi-hot labels of some videos, ``(len(videos), C)``."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Store rows of each part, ascending int64; ``train`` and ``holdout`` are disjoint and make up ``train_all``."""

    train: Rows
    """``train_all`` without the holdout."""
    holdout: Rows
    """Train videos that selection sees and training does not: one fold; empty where nothing is held out."""
    train_all: Rows
    """All train videos that are long enough."""
    test: Rows
    """All test videos that are long enough."""
    notices: tuple[str, ...] = field(default=())
    """What was left out or could not be balanced, one sentence each."""

    def part(self, name: str) -> Rows:
        """Rows of the part ``name``.

        Raises:
            DataError: no such part, or it holds no video.
        """
        if name not in _EMPTY_REMEDY:
            raise DataError(unknown_name("split", name, _EMPTY_REMEDY))
        rows: Rows = getattr(self, name)
        if not len(rows):
            raise DataError(f"split {name!r} holds no video; {_EMPTY_REMEDY[name]}")
        return rows


def make_splits(store: LabelledVideos, sampling: SamplingConfig, *, hold_out: bool = True) -> Splits:
    """Split a store into train, holdout and test.

    Only ``min_snippets``, ``folds``, ``fold`` and ``fold_seed`` of ``sampling`` are read. The folds follow from the
    labels of the train videos, ``folds`` and ``fold_seed`` alone; labels of test videos are never read. Every train
    video is in the holdout of exactly one fold, but for the only video of a class, which is in none.

    Args:
        store: the labelled videos.
        sampling: which fold of how many is held out.
        hold_out: False leaves the holdout empty: where all train videos train, there need not be enough to share out.

    Raises:
        DataError: no train or no test video is left, or fewer train videos can be held out than there are folds.
    """
    notices: list[str] = []
    train_all = _long_enough(store, "train", sampling.min_snippets, notices)
    test = _long_enough(store, "test", sampling.min_snippets, notices)
    labels_NC = np.asarray(store.labels(train_all)) > 0
    unlabelled = int((~labels_NC.any(axis=1)).sum())
    if unlabelled:
        notices.append(f"{unlabelled} of {len(train_all)} train videos carry no class; they train as background only")
    held_N = np.zeros(len(train_all), dtype=bool)
    if hold_out:
        fold_N = balanced_folds(labels_NC, sampling.folds, sampling.fold_seed)
        held_N = fold_N == sampling.fold
        notices.extend(_unbalanced(labels_NC, fold_N, sampling.folds, store.class_names))
    for notice in notices:
        log.warning("%s: %s", store.name, notice)
    return Splits(train_all[~held_N], train_all[held_N], train_all, test, tuple(notices))


def holdout_sizes(store: LabelledVideos, sampling: SamplingConfig) -> list[int]:
    """Videos that each fold holds out, ``(K,)``.

    Raises:
        DataError: as :func:`make_splits` does.
    """
    train = _long_enough(store, "train", sampling.min_snippets, [])
    fold_N = balanced_folds(np.asarray(store.labels(train)) > 0, sampling.folds, sampling.fold_seed)
    return [int((fold_N == fold).sum()) for fold in range(sampling.folds)]


def _long_enough(store: LabelledVideos, subset: str, min_snippets: int, notices: list[str]) -> Rows:
    rows = np.flatnonzero(np.asarray(store.subsets) == subset).astype(np.int64)
    if not len(rows):
        raise DataError(f"{store.name}: holds no {subset} video; import it again with {subset}_subset=<its name>")
    lengths = np.asarray(store.lengths)[rows]
    kept = rows[lengths >= max(min_snippets, 1)]
    if len(kept) < len(rows):
        notices.append(
            f"{len(rows) - len(kept)} of {len(rows)} {subset} videos have fewer than {max(min_snippets, 1)} snippets "
            f"(sampling.min_snippets) and are left out"
        )
    if not len(kept):
        raise DataError(
            f"{store.name}: none of {len(rows)} {subset} videos has {min_snippets} snippets (the longest has "
            f"{int(lengths.max())}); lower sampling.min_snippets"
        )
    return kept


def _unbalanced(labels_NC: NDArray[np.bool_], fold_N: Rows, folds: int, class_names: tuple[str, ...]) -> list[str]:
    """Notices for classes that not every fold holds out; they are the same whichever fold is held out."""
    counts_C = labels_NC.sum(axis=0)
    held_KC = held_counts(labels_NC, fold_N, folds)
    spread_C, free_C = (held_KC > 0).sum(axis=0), held_KC.sum(axis=0)
    wholly_C = (spread_C == 1) & (free_C == counts_C)
    few_C = (counts_C >= 2) & (free_C < folds)
    others = "because their videos carry other rare classes"
    cases = {
        "no train video": counts_C == 0,
        "a single train video, which always trains, so that no fold holds it out": counts_C == 1,
        f"all of their videos in one fold, {others}; training never sees them while it is held out": wholly_C,
        f"fewer than {folds} videos that can be held out, so that some of the {folds} folds hold out none": few_C,
        f"no video in some of the {folds} folds, {others}": (spread_C < folds) & (free_C >= folds) & ~wholly_C,
    }
    return [
        f"{int(mask_C.sum())} of {len(class_names)} classes have {text}: "
        + ", ".join(class_names[index] for index in np.flatnonzero(mask_C)[:10])
        + (", ..." if mask_C.sum() > 10 else "")
        for text, mask_C in cases.items()
        if mask_C.any()
    ]
