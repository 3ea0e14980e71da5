"""Precision and recall of a confounder set, by hand; the record survives the disk."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dce_ray.data.context import ACTION, SnippetContext, context_path, load_context, scs_precision_recall
from dce_ray.errors import DataError


def test_precision_and_recall_by_hand():
    # kinds: background, visual context, motion context, action
    kinds = np.array([0, 1, 2, 3, 1, 0])
    psi = np.array([1, 1, 0, 1, 1, 0])  # four marked, two of them context, of three
    score = scs_precision_recall(psi, kinds)
    assert score == (pytest.approx(2 / 4), pytest.approx(2 / 3), pytest.approx(3 / 6))
    soft = scs_precision_recall(torch.tensor([[0.5, 0.25], [0.0, 0.25]]), np.array([[1, 2], [2, 3]]))
    assert soft == (pytest.approx(0.75), pytest.approx(0.25), pytest.approx(0.75))


def test_nothing_marked_and_nothing_to_find():
    assert math.isnan(scs_precision_recall(np.zeros(3), np.array([1, 0, 3])).precision)
    assert scs_precision_recall(np.zeros(3), np.array([1, 0, 3])).recall == 0
    assert math.isnan(scs_precision_recall(np.ones(2), np.array([0, 3])).recall)


@pytest.mark.parametrize(
    ("psi", "kinds", "message"),
    [([1, 0], [1, 0, 3], "one kind per weight"), ([1.5], [1], r"lie in \[0, 1\]"), ([math.nan], [1], "lie in")],
)
def test_impossible_weights(psi, kinds, message):
    with pytest.raises(DataError, match=message):
        scs_precision_recall(psi, kinds)


def record():
    return SnippetContext(
        kinds=np.array([0, 1, 3, 3, 2], np.int8),
        strengths=np.array([0, 1, 0.5, 1, 0.8], np.float32),
        classes=np.array([-1, 0, 0, 0, 1], np.int16),
        starts=np.array([0, 3, 5]),
        video_names=("one", "two"),
    )


def test_record_comes_back(tmp_path):
    store = tmp_path / "store"
    record().save(context_path(store))
    found = load_context(store)
    assert found.video_names == ("one", "two")
    for name in ("kinds", "strengths", "classes", "starts"):
        assert getattr(found, name).dtype == getattr(record(), name).dtype
        assert (getattr(found, name) == getattr(record(), name)).all()
    two = found.of(1)
    assert two.kinds.tolist() == [ACTION, 2]
    assert two.starts.tolist() == [0, 2]
    assert two.video_names == ("two",)
    assert [path.name for path in tmp_path.iterdir()] == ["store.context.npz"]


def test_absent_and_damaged_records(tmp_path):
    with pytest.raises(DataError, match="only synthetic data knows"):
        load_context(tmp_path / "real")
    path = context_path(tmp_path / "broken")
    record().save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="damaged"):
        load_context(tmp_path / "broken")
