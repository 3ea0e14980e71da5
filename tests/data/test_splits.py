"""The holdout is stratified, seeded and blind to the test labels."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dce_ray.config import SamplingConfig
from dce_ray.data.splits import make_splits, stratified_part
from dce_ray.errors import DataError


@dataclass
class FakeStore:
    """A store of labels only; reading the labels of a test video is an error."""

    labels_NC: np.ndarray
    subsets: tuple[str, ...]
    lengths: np.ndarray
    name: str = "fake"
    asked: list[int] = field(default_factory=list)

    @property
    def class_names(self):
        return tuple(f"class{index}" for index in range(self.labels_NC.shape[1]))

    def labels(self, videos):
        for video in videos:
            assert self.subsets[video] == "train", f"labels of test video {video} were read"
            self.asked.append(int(video))
        return self.labels_NC[videos].astype(np.float32)


def store_of(labels, test=2, lengths=None):
    """Train and test videos alternate as far as they go, so that rows and positions differ."""
    labels = np.asarray(labels, dtype=np.float32)
    count = len(labels)
    subsets = ["train"] * count
    for index in range(test):
        subsets.insert(min(2 * index, len(subsets)), "test")
    rows = np.zeros((count + test, labels.shape[1]), dtype=np.float32)
    rows[[index for index, subset in enumerate(subsets) if subset == "train"]] = labels
    return FakeStore(rows, tuple(subsets), np.full(count + test, 20) if lengths is None else np.asarray(lengths))


def one_hot(*counts):
    return np.repeat(np.eye(len(counts)), counts, axis=0)


def test_parts_are_disjoint_and_complete():
    store = store_of(one_hot(10, 20, 5), test=4)
    splits = make_splits(store, SamplingConfig())
    train_rows = [row for row, subset in enumerate(store.subsets) if subset == "train"]
    assert splits.train_all.tolist() == train_rows
    assert sorted([*splits.train, *splits.holdout]) == train_rows
    assert not set(splits.train) & set(splits.holdout)
    assert splits.test.tolist() == [row for row, subset in enumerate(store.subsets) if subset == "test"]
    assert all(part.dtype == np.int64 for part in (splits.train, splits.holdout, splits.train_all, splits.test))
    assert splits.notices == ()


def test_each_class_gives_its_share():
    splits_labels = store_of(one_hot(10, 20, 5, 2), test=1)
    splits = make_splits(splits_labels, SamplingConfig(holdout_share=0.2))
    assert splits_labels.labels_NC[splits.holdout].sum(axis=0).tolist() == [2, 4, 1, 1]


def test_labels_of_test_videos_are_never_read():
    store = store_of(one_hot(4, 4), test=3)
    with pytest.raises(AssertionError, match="test video"):
        store.labels(np.array([0]))  # the trap works
    store.asked.clear()
    make_splits(store, SamplingConfig())
    assert store.asked


def test_class_of_one_video_stays_in_training():
    for seed in range(20):
        store = store_of(one_hot(1, 9, 1, 9))
        splits = make_splits(store, SamplingConfig(holdout_seed=seed))
        assert store.labels_NC[splits.holdout].sum(axis=0)[[0, 2]].tolist() == [0, 0]
        assert any("class0, class2" in notice and "single train video" in notice for notice in splits.notices)


def test_conflict_between_rare_classes_is_told(caplog):
    # Three classes of two videos each, every two of which share one: whatever is held out, some class has both of its
    # videos on one side. The repair must not leave a class unseen by training.
    labels = [[1, 0, 1], [1, 1, 0], [0, 1, 1]]
    with caplog.at_level(logging.WARNING):
        splits = make_splits(store_of(labels), SamplingConfig())
    assert len(splits.holdout) == 1
    assert any("no video in the holdout" in notice for notice in splits.notices)
    assert "no video in the holdout" in caplog.text


def test_repair_moves_what_dealing_left_on_one_side():
    # Video 0 carries all classes, the others one each, so both sides can have every class.
    labels = np.concatenate([np.ones((1, 6)), np.eye(6)])
    for seed in range(30):
        held = stratified_part(labels > 0, 0.2, seed)
        counts = labels[held].sum(axis=0)
        assert ((counts >= 1) & (counts <= 1)).all()


def test_short_videos_are_left_out_with_a_notice():
    store = store_of(one_hot(4, 4), test=2, lengths=[10, 10, 11, *[30] * 7])
    splits = make_splits(store, SamplingConfig(min_snippets=11))
    assert splits.test.tolist() == [2]
    assert splits.train_all.tolist() == list(range(3, 10))
    assert splits.notices == (
        "1 of 8 train videos have fewer than 11 snippets (sampling.min_snippets) and are left out",
        "1 of 2 test videos have fewer than 11 snippets (sampling.min_snippets) and are left out",
    )


def test_empty_videos_never_train():
    store = store_of(one_hot(4, 4), test=1, lengths=[20, 0, *[20] * 7])
    assert 1 not in make_splits(store, SamplingConfig(min_snippets=1)).train_all


def test_no_holdout_is_an_empty_part_that_says_so_when_it_is_needed():
    splits = make_splits(store_of(one_hot(4, 4)), SamplingConfig(holdout_share=0.0))
    assert splits.holdout.dtype == np.int64
    assert len(splits.holdout) == 0
    assert splits.train.tolist() == splits.train_all.tolist() == splits.part("train").tolist()
    with pytest.raises(DataError, match=r"sampling\.holdout_share"):
        splits.part("holdout")
    with pytest.raises(DataError, match=r"did you mean holdout"):
        splits.part("holduot")


@pytest.mark.parametrize("missing", ["train", "test"])
def test_missing_subset(missing):
    other = "test" if missing == "train" else "train"
    store = FakeStore(np.ones((3, 1)), (other,) * 3, np.full(3, 9))
    with pytest.raises(DataError, match=f"holds no {missing} video"):
        make_splits(store, SamplingConfig())


def test_all_videos_too_short():
    with pytest.raises(DataError, match=r"longest has 20.*min_snippets"):
        make_splits(store_of(one_hot(4, 4)), SamplingConfig(min_snippets=21))


def test_single_train_video():
    store = store_of([[1, 0]], test=1)
    with pytest.raises(DataError, match="holdout_share=0"):
        make_splits(store, SamplingConfig())
    assert len(make_splits(store, SamplingConfig(holdout_share=0.0)).train) == 1


def test_seeds_decide_the_holdout_and_nothing_else_does():
    store = store_of(one_hot(30, 30), test=2)
    first = make_splits(store, SamplingConfig(holdout_seed=1))
    again = make_splits(store, SamplingConfig(holdout_seed=1, segments=7, batch=4, pairs=1))
    other = make_splits(store, SamplingConfig(holdout_seed=2))
    assert first.holdout.tolist() == again.holdout.tolist()
    assert first.holdout.tolist() != other.holdout.tolist()


def test_holdout_does_not_depend_on_the_process():
    code = (
        "import numpy as np; from dce_ray.data.splits import stratified_part;"
        "labels = np.random.default_rng(5).random((80, 6)) < 0.3;"
        "print(np.flatnonzero(stratified_part(labels, 0.25, 3)).tolist())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "2")
    }
    labels = np.random.default_rng(5).random((80, 6)) < 0.3
    assert runs == {f"{np.flatnonzero(stratified_part(labels, 0.25, 3)).tolist()}\n"}


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    videos=st.integers(2, 40),
    classes=st.integers(1, 6),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 5),
)
def test_training_sees_all_it_can(data, videos, classes, share, seed):
    rows = st.lists(st.booleans(), min_size=classes, max_size=classes)
    labels = np.array(data.draw(st.lists(rows, min_size=videos, max_size=videos)))
    counts = labels.sum(axis=0)
    fixed = (labels & (counts == 1)).any(axis=1)
    if fixed.all():
        with pytest.raises(DataError, match="only one of a class"):
            stratified_part(labels, share, seed)
        return
    held = stratified_part(labels, share, seed)
    inside = labels[held].sum(axis=0)
    assert 0 < held.sum() < videos
    single_label = labels.sum(axis=1).max(initial=0) <= 1
    assert not held[fixed].any()
    if single_label:  # no two classes pull at one video: then the rule holds without exception
        assert ((inside >= 1) & (inside < counts))[counts >= 2].all()
    # at any rate no single move helps
    lonely = penalty(labels, held)
    for video in np.flatnonzero(~fixed):
        flipped = held.copy()
        flipped[video] ^= True
        if 0 < flipped.sum() < videos:
            assert penalty(labels, flipped) >= lonely


def penalty(labels, held):
    """What the repair reduces, counted class by class."""
    total = 0
    for column in labels.T:
        inside, outside = (column & held).sum(), (column & ~held).sum()
        total += (len(labels.T) + 1) * int(inside > 0 and outside == 0)
        total += int(inside == 0 and outside >= 2)
    return total


def test_large_multi_label_set_keeps_shares_within_one_video():
    random = np.random.default_rng(0)
    labels = random.random((2000, 50)) < 0.03
    held = stratified_part(labels, 0.2, 0)
    assert abs(held.sum() - 400) <= 60
    wanted = 0.2 * labels.sum(axis=0)
    assert np.abs(labels[held].sum(axis=0) - wanted).max() <= 4
