"""Folds: every video is held out once, every class as evenly as its videos allow, and nothing but labels decides."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dce_ray.data.folds import TRAINS, balanced_folds, held_counts, imbalance
from dce_ray.errors import DataError


def one_hot(*counts):
    return np.repeat(np.eye(len(counts), dtype=bool), counts, axis=0)


def matrices(most_videos, most_classes):
    """Multi-hot labels with many and few labels per video."""
    return st.integers(1, most_classes).flatmap(
        lambda classes: st.lists(
            st.lists(st.booleans(), min_size=classes, max_size=classes), min_size=1, max_size=most_videos
        ).map(lambda rows: np.array(rows, dtype=bool))
    )


def test_imbalance_by_hand():
    # Class 0 lies wholly in fold 0, class 1 in both folds, class 2 in fold 1 and in the video that always trains.
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]], dtype=bool)
    fold = np.array([0, 0, 1, TRAINS])
    assert held_counts(labels, fold, 2).tolist() == [[2, 1, 0], [0, 1, 1]]
    # Class 0 could be in two folds and is in one; class 2 has one video that can be held out, and it is.
    assert imbalance(labels, fold, 2) == (1, 1, 4 + 1 + 1 + 1 + 4 + 1)


def test_single_label_classes_are_dealt_evenly_and_so_are_the_videos():
    labels = one_hot(7, 3, 11)
    counts = held_counts(labels, balanced_folds(labels, 3, 0), 3)
    assert [sorted(column) for column in counts.T.tolist()] == [[2, 2, 3], [1, 1, 1], [3, 4, 4]]
    assert counts.sum(axis=1).tolist() == [7, 7, 7]


def test_videos_without_a_class_fill_up_the_numbers():
    labels = np.concatenate([one_hot(4), np.zeros((8, 1), dtype=bool)])
    fold = balanced_folds(labels, 3, 0)
    assert np.bincount(fold).tolist() == [4, 4, 4]


def test_the_sole_video_of_a_class_is_in_no_fold():
    labels = np.concatenate([one_hot(1, 6, 1), [[False, True, True]]])  # the third class has two videos
    fold = balanced_folds(labels, 2, 0)
    assert fold[0] == TRAINS
    assert sorted(np.bincount(fold[1:]).tolist()) == [4, 4]
    assert {fold[7], fold[8]} == {0, 1}


def test_one_video_of_all_classes_does_not_take_a_class_into_one_fold():
    labels = np.concatenate([np.ones((1, 6), dtype=bool), np.eye(6, dtype=bool)])
    for seed in range(30):
        assert imbalance(labels, balanced_folds(labels, 2, seed), 2)[:2] == (0, 0)


@settings(max_examples=60, deadline=None)
@given(labels=matrices(7, 4), folds=st.integers(2, 3), seed=st.integers(0, 3))
def test_no_dealing_leaves_fewer_classes_in_one_fold(labels, folds, seed):
    """Against all ways of dealing few videos."""
    free = np.flatnonzero(~(labels & (labels.sum(axis=0) == 1)).any(axis=1))
    if len(free) < folds:
        return
    fold = np.full(len(labels), TRAINS)
    least = None
    for places in itertools.product(range(folds), repeat=len(free)):
        fold[free] = places
        if len(set(places)) == folds:
            found = imbalance(labels, fold, folds)[:2]
            least = found if least is None else min(least, found)
    assert imbalance(labels, balanced_folds(labels, folds, seed), folds)[:2] == least


@settings(max_examples=200, deadline=None)
@given(labels=matrices(40, 6), folds=st.integers(2, 6), seed=st.integers(0, 5))
def test_every_video_is_held_out_once_but_sole_ones(labels, folds, seed):
    counts = labels.sum(axis=0)
    sole = (labels & (counts == 1)).any(axis=1)
    if (~sole).sum() < folds:
        with pytest.raises(DataError, match=rf"{(~sole).sum()} of {len(labels)} train videos can be held out"):
            balanced_folds(labels, folds, seed)
        return
    fold = balanced_folds(labels, folds, seed)
    assert ((fold == TRAINS) == sole).all()
    sizes, held = np.bincount(fold[~sole], minlength=folds), held_counts(labels, fold, folds)
    assert sizes.sum() == (~sole).sum()
    assert (sizes >= 1).all()
    if labels.sum(axis=1).max() <= 1:  # no two classes pull at one video: as even as numbers can be
        assert np.ptp(sizes) <= 1
        assert (np.ptp(held, axis=0) <= 1).all()
    else:
        even = labels[~sole].sum(axis=0) / folds
        assert np.abs(held - even).max() <= 3
        assert np.abs(sizes - (~sole).sum() / folds).max() <= 3
    # whatever the classes pull at, no single move makes the folds more alike
    reached = imbalance(labels, fold, folds)
    for video, other in itertools.product(np.flatnonzero(~sole), range(folds)):
        moved = fold.copy()
        moved[video] = other
        assert imbalance(labels, moved, folds) >= reached


def test_a_large_multi_label_set_keeps_every_class_within_two_of_even():
    labels = np.random.default_rng(0).random((2000, 50)) < 0.03
    fold = balanced_folds(labels, 5, 0)
    free = fold != TRAINS
    assert np.ptp(np.bincount(fold[free])) <= 1
    assert np.abs(held_counts(labels, fold, 5) - labels[free].sum(axis=0) / 5).max() <= 2


def test_the_seed_decides_and_the_same_one_gives_the_same():
    labels = np.random.default_rng(5).random((80, 6)) < 0.3
    first, again, other = (balanced_folds(labels, 4, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert imbalance(labels, first, 4)[:2] == imbalance(labels, other, 4)[:2] == (0, 0)


def test_folds_do_not_depend_on_the_process():
    code = (
        "import numpy as np; from dce_ray.data.folds import balanced_folds;"
        "labels = np.random.default_rng(5).random((80, 6)) < 0.3;"
        "print(balanced_folds(labels, 4, 3).tolist())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for hash_seed in ("1", "2")
    }
    labels = np.random.default_rng(5).random((80, 6)) < 0.3
    assert runs == {f"{balanced_folds(labels, 4, 3).tolist()}\n"}
