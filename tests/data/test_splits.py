"""The holdout is one of K folds of the train videos, seeded and blind to the test labels."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import pytest

from dce_ray.config import SamplingConfig
from dce_ray.data.splits import holdout_sizes, make_splits
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
    store = store_of(one_hot(10, 20, 5, 15), test=1)
    for fold in range(5):
        splits = make_splits(store, SamplingConfig(fold=fold))
        assert store.labels_NC[splits.holdout].sum(axis=0).tolist() == [2, 4, 1, 3]
        assert splits.notices == ()


def test_the_folds_share_out_all_train_videos_but_sole_ones():
    store = store_of(one_hot(1, 9, 5), test=3)
    parts = [make_splits(store, SamplingConfig(folds=4, fold=fold)) for fold in range(4)]
    held = [video for splits in parts for video in splits.holdout.tolist()]
    sole = np.flatnonzero(store.labels_NC[:, 0])
    assert sorted([*held, *sole]) == parts[0].train_all.tolist()
    assert all(sole[0] in splits.train for splits in parts)
    assert all(not set(splits.train) & set(splits.holdout) for splits in parts)
    assert sorted(len(splits.holdout) for splits in parts) == [3, 3, 4, 4]
    assert holdout_sizes(store, SamplingConfig(folds=4)) == [len(splits.holdout) for splits in parts]


def test_a_class_of_few_videos_is_one_notice_whichever_fold_is_held_out():
    store = store_of(one_hot(2, 9, 3, 9))
    notices = {make_splits(store, SamplingConfig(fold=fold)).notices for fold in range(5)}
    assert notices == {
        (
            "2 of 4 classes have fewer than 5 videos that can be held out, so that some of the 5 folds hold out none: "
            "class0, class2",
        )
    }


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
        splits = make_splits(store, SamplingConfig(fold=seed % 5, fold_seed=seed))
        assert store.labels_NC[splits.holdout].sum(axis=0)[[0, 2]].tolist() == [0, 0]
        assert any("class0, class2" in notice and "single train video" in notice for notice in splits.notices)


def test_conflict_between_rare_classes_is_told(caplog):
    # Three classes of two videos each, every two of which share one: of two folds, one holds both videos of some class.
    labels = [[1, 0, 1], [1, 1, 0], [0, 1, 1]]
    with caplog.at_level(logging.WARNING):
        splits = make_splits(store_of(labels), SamplingConfig(folds=2))
    assert sorted([len(splits.train), len(splits.holdout)]) == [1, 2]
    assert [notice.partition(":")[0] for notice in splits.notices] == [
        "1 of 3 classes have all of their videos in one fold, because their videos carry other rare classes; training "
        "never sees them while it is held out",
    ]
    assert "all of their videos in one fold" in caplog.text
    assert make_splits(store_of(labels), SamplingConfig(folds=3)).notices[0].startswith("3 of 3 classes have fewer")


def test_a_class_that_others_keep_out_of_a_fold_is_told():
    # Class 2 has three videos, but two of them also carry a sole class each and always train.
    labels = [[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], *[[0, 0, 0, 1]] * 5]
    notices = make_splits(store_of(labels), SamplingConfig(folds=2)).notices
    assert len(notices) == 2
    assert notices[0].endswith("always trains, so that no fold holds it out: class0, class1")
    assert notices[1].endswith(
        "fewer than 2 videos that can be held out, so that some of the 2 folds hold out none: class2"
    )


def test_short_videos_are_left_out_with_a_notice():
    store = store_of(one_hot(4, 4), test=2, lengths=[10, 10, 11, *[30] * 7])
    splits = make_splits(store, SamplingConfig(min_snippets=11, folds=2))
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
    splits = make_splits(store_of(one_hot(1, 4)), SamplingConfig(), hold_out=False)
    assert splits.holdout.dtype == np.int64
    assert len(splits.holdout) == 0
    assert splits.train.tolist() == splits.train_all.tolist() == splits.part("train").tolist()
    assert splits.notices == ()
    with pytest.raises(DataError, match=r"'holdout' holds no video; only protocol=holdout"):
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


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (one_hot(2, 2), r"4 of 4 train videos can be held out, but 5 folds need 5: .* always trains; lower "
         r"sampling\.folds \(in a search: search\.folds\) to 4 or less, or import more"),
        (one_hot(3, 1, 1), r"3 of 5 train videos can be held out.* to 3 or less"),
        (one_hot(1, 1), r"0 of 2 train videos can be held out.*choose a protocol that holds nothing out"),
        ([[1, 0]], r"0 of 1 train videos"),
    ],
)  # fmt: skip
def test_too_few_videos_to_share_out(labels, message):
    with pytest.raises(DataError, match=message):
        make_splits(store_of(labels), SamplingConfig())
    assert len(make_splits(store_of(labels), SamplingConfig(), hold_out=False).train) == len(labels)


def test_seeds_decide_the_holdout_and_nothing_else_does():
    store = store_of(one_hot(30, 30), test=2)
    first = make_splits(store, SamplingConfig(fold_seed=1))
    again = make_splits(store, SamplingConfig(fold_seed=1, segments=7, batch=4, pairs=1))
    other = make_splits(store, SamplingConfig(fold_seed=2))
    assert first.holdout.tolist() == again.holdout.tolist()
    assert first.holdout.tolist() != other.holdout.tolist()
