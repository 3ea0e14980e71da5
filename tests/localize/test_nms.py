"""Suppression of all groups at once equals the obvious loop, and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dce_ray.errors import ConfigError
from dce_ray.localize import suppress
from dce_ray.records import Proposals


def rows(*items: tuple[int, float, float, int, float]) -> Proposals:
    columns = np.array(items, float).reshape(-1, 5).T
    return Proposals(columns[0].astype(int), columns[1], columns[2], columns[3].astype(int), columns[4])


def obvious(proposals: Proposals, kind: str, parameter: float) -> np.ndarray:
    """Per video and class: take the best (first by start, end among equals), change the rest; NaN where dropped."""
    result = np.full(len(proposals), np.nan)
    extra = 1.0 if kind == "gaussian" else 0.0
    for group in {(v, c) for v, c in zip(proposals.video.tolist(), proposals.label.tolist(), strict=True)}:
        mine = np.flatnonzero((proposals.video == group[0]) & (proposals.label == group[1]))
        score = {int(row): float(proposals.score[row]) for row in mine}
        while score:
            best = max(score, key=lambda r: (score[r], -proposals.start[r], -proposals.end[r]))
            result[best] = score.pop(best)
            for other in list(score):
                s, e = proposals.start[[best, other]], proposals.end[[best, other]]
                shared = max(0.0, e.min() - s.max() + extra)
                union = (e - s + extra).sum() - shared
                tiou = shared / union if union > 0 else 0.0
                if kind == "gaussian":
                    score[other] *= math.exp(-(tiou**2) / parameter)
                elif kind == "linear" and tiou > parameter:
                    score[other] *= 1 - tiou
                elif kind == "hard" and tiou > parameter:
                    del score[other]
    return result


def test_gaussian_by_hand():
    # [0, 4) counts 5, [2, 4) counts 3, both share 3: tIoU 3/5; [9, 11) is apart.
    found = suppress(rows((0, 0, 4, 1, 1.0), (0, 2, 4, 1, 0.5), (0, 9, 11, 1, 0.9)), "gaussian", 0.3)
    assert found.score.tolist() == pytest.approx([1.0, 0.5 * math.exp(-(0.6**2) / 0.3), 0.9])


def test_touching_segments_overlap_by_the_added_one():
    # [0, 2) and [2, 4): lengths 3 and 3, shared 1, tIoU 1/5 in the gaussian kind alone.
    both = rows((0, 0, 2, 0, 1.0), (0, 2, 4, 0, 0.5))
    assert suppress(both, "gaussian", 0.3).score[1] == pytest.approx(0.5 * math.exp(-0.04 / 0.3))
    assert suppress(both, "linear", 0.0).score.tolist() == [1.0, 0.5]


def test_linear_and_hard_by_hand():
    three = rows((0, 0, 4, 0, 1.0), (0, 0, 3, 0, 0.8), (0, 3, 7, 0, 0.6))  # tIoU 3/4 and 1/7 with the best
    assert suppress(three, "linear", 0.5).score.tolist() == pytest.approx([1.0, 0.2, 0.6])
    assert suppress(three, "hard", 0.5).score.tolist() == pytest.approx([1.0, 0.6])
    assert len(suppress(three, "hard", 0.8)) == 3


def test_copies_decay_each_other_and_all_stay():
    found = suppress(rows((0, 1, 5, 0, 1.0), (0, 1, 5, 0, 1.0), (0, 1, 5, 0, 1.0)), "gaussian", 0.3)
    decay = math.exp(-1 / 0.3)
    assert found.score.tolist() == pytest.approx([1.0, decay, decay**2])


def test_other_videos_and_classes_do_not_interfere():
    found = suppress(rows((0, 0, 4, 0, 1.0), (1, 0, 4, 0, 0.9), (0, 0, 4, 1, 0.8)), "gaussian", 0.3)
    assert found.score.tolist() == [1.0, 0.9, 0.8]


def test_negative_scores_decay_towards_zero_as_published():
    found = suppress(rows((0, 0, 4, 0, -1.0), (0, 0, 4, 0, -2.0)), "gaussian", 0.3)
    assert found.score.tolist() == pytest.approx([-1.0, -2.0 * math.exp(-1 / 0.3)])


def test_nothing_in_nothing_out():
    assert len(suppress(Proposals.empty())) == 0


def test_unknown_kind():
    with pytest.raises(ConfigError, match="did you mean gaussian"):
        suppress(Proposals.empty(), "gausian")


segment = st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 12), st.integers(0, 1), st.integers(-20, 50))


@settings(max_examples=150, deadline=None)
@given(st.lists(segment, max_size=40), st.sampled_from(["gaussian", "linear", "hard"]), st.floats(0.05, 0.9))
def test_equals_the_obvious_loop(items, kind, parameter):
    proposals = rows(*((v, s, s + n, c, x / 7 + s / 1000 + n / 10000) for v, s, n, c, x in items))
    found, expected = suppress(proposals, kind, parameter), obvious(proposals, kind, parameter)
    kept = ~np.isnan(expected)
    np.testing.assert_array_equal(found.start, proposals.start[kept])
    np.testing.assert_array_equal(found.label, proposals.label[kept])
    np.testing.assert_allclose(found.score, expected[kept], rtol=1e-9, atol=1e-12)
