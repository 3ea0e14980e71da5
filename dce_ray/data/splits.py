"""Which videos a run trains on, which it selects on and which it never looks at before the end.

The published code picks checkpoints and scalars on the test set; the holdout made here takes that role, so that the
test set is touched once. Letters: N videos, C classes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dce_ray.config import SamplingConfig
from dce_ray.errors import DataError, unknown_name

log = logging.getLogger(__name__)

Rows = NDArray[np.int64]
_EMPTY_REMEDY = {
    "holdout": "set sampling.holdout_share above 0, or choose a protocol that selects nothing on it (paper, confirm)",
    "train": "lower sampling.holdout_share",
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
    """Train videos that selection sees and training does not; empty where ``holdout_share`` is 0."""
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


def make_splits(store: LabelledVideos, sampling: SamplingConfig) -> Splits:
    """Split a store into train, holdout and test.

    Only ``min_snippets``, ``holdout_share`` and ``holdout_seed`` of ``sampling`` are read. The holdout follows from
    the labels of the train videos and ``holdout_seed`` alone; labels of test videos are never read.

    Raises:
        DataError: no train or no test video is left, or a single train video cannot be shared with a holdout.
    """
    notices: list[str] = []
    train_all = _long_enough(store, "train", sampling.min_snippets, notices)
    test = _long_enough(store, "test", sampling.min_snippets, notices)
    labels_NC = np.asarray(store.labels(train_all)) > 0
    unlabelled = int((~labels_NC.any(axis=1)).sum())
    if unlabelled:
        notices.append(f"{unlabelled} of {len(train_all)} train videos carry no class; they train as background only")
    if sampling.holdout_share == 0:
        held_N = np.zeros(len(train_all), dtype=bool)
    else:
        held_N = stratified_part(labels_NC, sampling.holdout_share, sampling.holdout_seed)
        notices.extend(_one_sided(labels_NC, held_N, store.class_names))
    for notice in notices:
        log.warning("%s: %s", store.name, notice)
    return Splits(train_all[~held_N], train_all[held_N], train_all, test, tuple(notices))


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


def stratified_part(labels_NC: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.bool_]:
    """Draw about ``share`` of the videos so that every class keeps about its share.

    Iterative stratification for multi-label data (Sechidis et al., ECML PKDD 2011): the rarest class is dealt out
    first, each of its videos to the side that lacks it most. A video that is the only one of some class is never
    drawn. Afterwards classes that one side lost entirely are repaired (:func:`_repair`).

    Args:
        labels_NC: multi-hot labels, ``(N, C)``.
        share: part of the videos to draw, in (0, 1); at least one video is drawn and one is left.
        seed: decides ties and nothing else.

    Returns:
        Mask of the drawn videos, ``(N,)``.

    Raises:
        DataError: fewer than two videos, or each video is the only one of some class.
    """
    videos = len(labels_NC)
    if videos < 2:
        raise DataError(
            f"{videos} train video cannot be shared between training and holdout; set sampling.holdout_share=0 "
            f"or import more train videos"
        )
    counts_C = labels_NC.sum(axis=0)
    free_N = ~(labels_NC & (counts_C == 1)).any(axis=1)
    if not free_N.any():
        raise DataError(
            f"each of {videos} train videos is the only one of a class, and a holdout would hide that class from "
            f"training; set sampling.holdout_share=0 or import more train videos"
        )
    shuffled = np.random.default_rng(seed).permutation(videos)
    shuffled = shuffled[free_N[shuffled]]
    wanted_total = int(np.clip(round(share * videos), 1, videos - 1))
    # Any class of two videos or more gives at least one to each side.
    wanted_C = np.where(counts_C >= 2, np.clip(share * counts_C, 1, np.maximum(counts_C - 1, 1)), 0.0)
    held_N = _deal(labels_NC, shuffled, wanted_C, wanted_total)
    if not held_N.any() or held_N.all():
        held_N[shuffled[0]] ^= True
    _repair(labels_NC, held_N, shuffled, wanted_total)
    return held_N


def _deal(
    labels_NC: NDArray[np.bool_], shuffled: Rows, wanted_C: NDArray[np.float64], wanted_total: int
) -> NDArray[np.bool_]:
    """Deal the videos named in ``shuffled`` to two sides, rarest remaining class first; all others train."""
    open_N = np.zeros(len(labels_NC), dtype=bool)
    open_N[shuffled] = True
    held_N = np.zeros(len(labels_NC), dtype=bool)
    # Row 0: what training still wants of each class, row 1: what the holdout still wants.
    lacking_2C = np.stack([labels_NC.sum(axis=0) - wanted_C - labels_NC[~open_N].sum(axis=0), wanted_C])
    lacking_2 = np.array([len(shuffled) - wanted_total, wanted_total], dtype=float)
    while (labels_NC & open_N[:, None]).any():
        left_C = (labels_NC & open_N[:, None]).sum(axis=0)
        rarest = int(np.where(left_C > 0, left_C, np.iinfo(np.int64).max).argmin())
        for video in shuffled[(labels_NC[:, rarest] & open_N)[shuffled]]:
            side = _neediest(lacking_2C[:, rarest], lacking_2)
            held_N[video], open_N[video] = bool(side), False
            lacking_2C[side] -= labels_NC[video]
            lacking_2[side] -= 1
    for video in shuffled[open_N[shuffled]]:  # without any class: they only fill up the numbers
        side = int(lacking_2[1] > lacking_2[0])
        held_N[video] = bool(side)
        lacking_2[side] -= 1
    return held_N


def _neediest(of_class_2: NDArray[np.float64], of_all_2: NDArray[np.float64]) -> int:
    """Side that lacks most of a class; among equals the one that lacks most videos; 1 is the holdout."""
    if of_class_2[0] != of_class_2[1]:
        return int(of_class_2[1] > of_class_2[0])
    return int(of_all_2[1] > of_all_2[0])


def _penalty(labels_NC: NDArray[np.bool_], held_N: NDArray[np.bool_]) -> int:
    """How much of the classes one side lacks; a class that training never sees weighs most."""
    counts_C = labels_NC.sum(axis=0)
    held_C = (labels_NC & held_N[:, None]).sum(axis=0)
    unseen = int(np.count_nonzero((counts_C > 0) & (held_C == counts_C)))
    unselected = int(np.count_nonzero((counts_C >= 2) & (held_C == 0)))
    classes: int = labels_NC.shape[1]
    return unseen * (classes + 1) + unselected


def _repair(labels_NC: NDArray[np.bool_], held_N: NDArray[np.bool_], shuffled: Rows, wanted_total: int) -> None:
    """Move single videos, in place, while that leaves fewer classes on one side only.

    Videos with several classes can pull against each other; each round takes the best move, and of equally good ones
    that which keeps the size of the holdout closest to what was asked.
    """
    best = _penalty(labels_NC, held_N)
    while best:
        moves: list[tuple[int, int, int]] = []
        held_C = (labels_NC & held_N[:, None]).sum(axis=0)
        counts_C = labels_NC.sum(axis=0)
        lonely_C = (counts_C > 0) & ((held_C == counts_C) | ((held_C == 0) & (counts_C >= 2)))
        touched_N = (labels_NC & lonely_C).any(axis=1)
        for video in shuffled[touched_N[shuffled]]:
            held_N[video] ^= True
            inside = int(held_N.sum())
            if 0 < inside < len(held_N):
                moves.append((_penalty(labels_NC, held_N), abs(inside - wanted_total), int(video)))
            held_N[video] ^= True
        if not moves:
            return
        penalty, _, video = min(moves, key=lambda move: move[:2])
        if penalty >= best:
            return
        best, held_N[video] = penalty, not held_N[video]


def _one_sided(labels_NC: NDArray[np.bool_], held_N: NDArray[np.bool_], class_names: tuple[str, ...]) -> list[str]:
    """Notices for classes that only one side holds."""
    counts_C = labels_NC.sum(axis=0)
    held_C = (labels_NC & held_N[:, None]).sum(axis=0)
    cases = {
        "no train video": counts_C == 0,
        "holdout videos only, so that training never sees them": (counts_C > 0) & (held_C == counts_C),
        "a single train video, so that the holdout has none": counts_C == 1,
        "no video in the holdout, because their videos carry other rare classes": (counts_C >= 2) & (held_C == 0),
    }
    return [
        f"{int(mask_C.sum())} of {len(class_names)} classes have {text}: "
        + ", ".join(class_names[index] for index in np.flatnonzero(mask_C)[:10])
        + (", ..." if mask_C.sum() > 10 else "")
        for text, mask_C in cases.items()
        if mask_C.any()
    ]
