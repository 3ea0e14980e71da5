"""Class-balanced folds of multi-label videos: each is held out once, and every class in as many folds as it can be.

Letters: N videos, C classes, K folds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import DataError

Whole = NDArray[np.int64]
Mask = NDArray[np.bool_]
TRAINS = -1
"""Fold of a video that no fold holds out."""
DEALS = 8
"""Orders of dealing that are tried while some class is not spread as widely as its videos allow."""


class Imbalance(NamedTuple):
    """How far folds are from balanced, worst first; compared from left to right."""

    unseen: int
    """Classes wholly held out in one fold: training without that fold never sees them."""
    missing: int
    """Pairs of a class and a fold without it, beyond those that the number of its videos makes unavoidable."""
    squares: int
    """Sum of squared numbers of videos, per fold and class and per fold: least where all folds are alike."""


def free_videos(labels_NC: Mask) -> Mask:
    """Videos that may be held out, ``(N,)``: all but the sole videos of a class."""
    free_N: Mask = ~(labels_NC & (labels_NC.sum(axis=0) == 1)).any(axis=1)
    return free_N


def balanced_folds(labels_NC: Mask, folds: int, seed: int) -> Whole:
    """Share the videos out to ``folds`` folds so that every fold holds about the same number of every class.

    Iterative stratification for multi-label data (Sechidis et al., ECML PKDD 2011), into all folds at once: the rarest
    class is dealt out first, each of its videos to the fold that lacks it most. Then single videos change their fold
    while that makes the folds more alike (:func:`imbalance`). A video that is the only one of some class is never held
    out.

    Args:
        labels_NC: multi-hot labels, ``(N, C)``.
        folds: K >= 2.
        seed: decides ties and nothing else.

    Returns:
        Fold of each video, ``(N,)`` in 0..K-1; :data:`TRAINS` for the sole videos of a class.

    Raises:
        DataError: fewer than K videos can be held out.
    """
    free_N = free_videos(labels_NC)
    free = int(free_N.sum())
    if free < folds:
        raise DataError(_too_few(len(labels_NC), free, folds))
    random = np.random.default_rng(seed)
    best: tuple[Imbalance, Whole] | None = None
    for _ in range(DEALS):
        order = random.permutation(len(labels_NC))
        fold_N = _deal(labels_NC, order[free_N[order]], folds)
        _level(labels_NC, fold_N, order[free_N[order]], folds)
        found = imbalance(labels_NC, fold_N, folds)
        if best is None or found < best[0]:
            best = found, fold_N
        if not best[0].unseen and not best[0].missing:
            break
    assert best is not None, "DEALS is at least 1"
    return best[1]


def _too_few(videos: int, free: int, folds: int) -> str:
    rule = f"{free} of {videos} train videos can be held out, but {folds} folds need {folds}"
    remedy = (
        f"lower sampling.folds (in a search: search.folds) to {free} or less"
        if free >= 2
        else "choose a protocol that holds nothing out (confirm, paper)"
    )
    return f"{rule}: the only video of a class always trains; {remedy}, or import more train videos"


def imbalance(labels_NC: Mask, fold_N: Whole, folds: int) -> Imbalance:
    """How far folds are from balanced.

    Args:
        labels_NC: multi-hot labels, ``(N, C)``.
        fold_N: as :func:`balanced_folds` returns it.
        folds: K.
    """
    counts_KC = held_counts(labels_NC, fold_N, folds)
    spread_C = (counts_KC > 0).sum(axis=0)
    reachable_C = np.minimum(counts_KC.sum(axis=0), folds)
    sizes_K = np.bincount(fold_N[fold_N != TRAINS], minlength=folds)
    unseen = int(np.count_nonzero(_always_free(labels_NC, fold_N) & (spread_C == 1)))
    return Imbalance(unseen, int((reachable_C - spread_C).sum()), int((counts_KC**2).sum() + (sizes_K**2).sum()))


def held_counts(labels_NC: Mask, fold_N: Whole, folds: int) -> Whole:
    """Videos of each class that each fold holds out, ``(K, C)``."""
    return np.stack([labels_NC[fold_N == fold].sum(axis=0, dtype=np.int64) for fold in range(folds)])


def _always_free(labels_NC: Mask, fold_N: Whole) -> Mask:
    """Classes without a video that trains in all folds, ``(C,)``: one fold could hold them out wholly."""
    without_C: Mask = ~labels_NC[fold_N == TRAINS].any(axis=0)
    return without_C


def _deal(labels_NC: Mask, order: Whole, folds: int) -> Whole:
    """Deal the videos named in ``order`` to the folds, rarest remaining class first; all others always train."""
    fold_N = np.full(len(labels_NC), TRAINS)
    open_N = np.zeros(len(labels_NC), dtype=bool)
    open_N[order] = True
    left_C = labels_NC[order].sum(axis=0, dtype=np.int64)
    # What each fold still wants, times K, so that equal wishes are equal numbers.
    lacking_KC = np.tile(left_C, (folds, 1))
    lacking_K = np.full(folds, len(order))
    while left_C.any():
        rarest = int(np.where(left_C > 0, left_C, np.iinfo(np.int64).max).argmin())
        for video in order[(labels_NC[:, rarest] & open_N)[order]]:
            of_class_K = lacking_KC[:, rarest]
            fold = int(np.where(of_class_K == of_class_K.max(), lacking_K, np.iinfo(np.int64).min).argmax())
            fold_N[video], open_N[video] = fold, False
            left_C -= labels_NC[video]
            lacking_KC[fold] -= folds * labels_NC[video]
            lacking_K[fold] -= folds
    for video in order[open_N[order]]:  # without any class: they only fill up the numbers
        fold = int(lacking_K.argmax())
        fold_N[video] = fold
        lacking_K[fold] -= folds
    return fold_N


def _level(labels_NC: Mask, fold_N: Whole, order: Whole, folds: int) -> None:
    """Move single videos to other folds, in place, always the best move, until none makes the folds more alike."""
    labels_MC = labels_NC[order].astype(np.float64)  # whole numbers below 2**53: exact in any order of summing
    risky_C = _always_free(labels_NC, fold_N)
    while True:
        gain_MK = _gains(labels_MC, fold_N[order], risky_C, folds)
        place, fold = np.unravel_index(int(gain_MK.argmax()), gain_MK.shape)
        if gain_MK[place, fold] <= 0:
            return
        fold_N[order[place]] = fold


def _gains(labels_MC: NDArray[np.float64], fold_M: Whole, risky_C: Mask, folds: int) -> NDArray[np.float64]:
    """By how much the imbalance falls when a video goes to a fold, ``(M, K)``; one number, unseen classes first.

    A video that goes from fold a to b changes, of each of its classes c, the counts n_ac and n_bc by one: c leaves a
    where n_ac = 1, reaches b where n_bc = 0, and the sum of squares grows by 2 (n_bc - n_ac + 1).
    """
    videos, classes = labels_MC.shape
    member_KM = fold_M == np.arange(folds)[:, None]
    counts_KC = member_KM @ labels_MC
    sizes_K = member_KM.sum(axis=1)
    spread_C = (counts_KC > 0).sum(axis=0)
    of_missing = 4.0 * (classes + 1) * (videos + 1)  # above all that one move can change the squares by
    of_unseen = of_missing * 2 * (classes + 1)
    gain_MK = np.zeros((videos, folds))
    for fold in range(folds):
        here_M = member_KM[fold]
        after_KC = spread_C - (counts_KC[fold] == 1) + (counts_KC == 0)
        unseen_KC = risky_C * (1.0 * (after_KC == 1) - (spread_C == 1))
        squares_KC = 2 * (counts_KC - counts_KC[fold] + 1)
        cost_KC = of_unseen * unseen_KC + of_missing * (spread_C - after_KC) + squares_KC
        cost_K = 2 * (sizes_K - sizes_K[fold] + 1)
        gain_MK[here_M] = -(labels_MC[here_M] @ cost_KC.T + cost_K)
        gain_MK[here_M, fold] = 0
    return gain_MK
