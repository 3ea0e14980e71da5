"""Proposals worked out by hand, the published quirks, and an obvious twin in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dce_ray.config import EvaluationConfig
from dce_ray.errors import EvaluationError
from dce_ray.localize import drop_ambiguous, observe, propose, propose_from, propose_videos, to_snippets
from dce_ray.records import Proposals

ONE = EvaluationConfig(proposal_thresholds=1)  # linspace(0.1, 0.9, 1) is 0.1


def test_score_by_hand():
    attention = np.array([0, 0, 0.5, 0.5, 0.5, 0.5, 0, 0, 0.05, 0.05])
    logits = np.zeros((10, 2))
    logits[:, 0] = [1, 1, 4, 6, 6, 4, 1, 1, 20, 20]
    found = propose(logits, attention, ONE)
    # z = [0, 0, 2, 3, 3, 2, 0, 0, 1, 1]; run [2, 6), margin 1: outer {1, 6}; class: max z = 3 against background 0.
    score = math.exp(3) / (math.exp(3) + 1)
    assert (found.start.tolist(), found.end.tolist(), found.label.tolist()) == ([2.0], [6.0], [0])
    assert found.score[0] == pytest.approx(2.5 - 0.0 + 0.2 * score)


def test_outer_margin_is_cut_at_the_ends_of_the_video():
    attention = np.array([0.2, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.05])
    logits = np.ones((10, 2)) * np.array([10.0, 0.0])
    found = propose(logits, attention, ONE)
    # run [0, 9), z: 2, 5 x 8, then 0.5 outside; margin 2.25 to the right ends at the last snippet.
    score = math.exp(5) / (math.exp(5) + 1)
    assert found.score[0] == pytest.approx(42 / 9 - 0.5 + 0.2 * score)


def test_whole_video_has_no_outside():
    found = propose(np.ones((4, 2)) * np.array([2.0, 0.0]), np.full(4, 0.5), ONE)
    assert found.score[0] == pytest.approx(1.0 + 0.2 * math.exp(1) / (math.exp(1) + 1))


def test_first_snippet_alone_is_lost_as_published():
    logits = np.ones((6, 3))
    assert len(propose(logits, np.array([0.9, 0, 0, 0, 0, 0]), ONE)) == 0
    assert propose(logits, np.array([0.9, 0, 0, 0.9, 0, 0]), ONE).start.tolist() == [0.0, 3.0, 0.0, 3.0]


def test_one_snippet_never_gives_a_proposal():
    assert len(propose(np.ones((1, 3)), np.ones(1), EvaluationConfig())) == 0


def test_attention_at_the_threshold_is_outside():
    assert len(propose(np.ones((5, 3)), np.array([0, 0.1, 0.1, 0, 0]), ONE)) == 0


def test_copies_of_several_thresholds_stay():
    found = propose(np.ones((8, 2)), np.array([0, 0, 0.95, 0.95, 0, 0, 0, 0]), EvaluationConfig(nms_parameter=1e-6))
    assert len(found) == 10
    assert set(zip(found.start, found.end, strict=True)) == {(2.0, 4.0)}


def test_min_length_acts_behind_suppression():
    attention = np.array([0, 0.5, 0, 0.95, 0.95, 0.5, 0])
    logits = np.arange(14.0).reshape(7, 2)
    every = propose(logits, attention, EvaluationConfig())
    long = propose(logits, attention, EvaluationConfig(min_length=2))
    kept = every.end - every.start >= 2
    assert 0 < kept.sum() < len(every)
    np.testing.assert_array_equal(long.score, every.score[kept])


def test_no_video_and_a_video_without_high_attention():
    assert len(propose_videos([], ONE)) == 0
    assert len(propose_from([], ONE)) == 0
    found = propose_videos([(np.ones((5, 3)), np.zeros(5)), (np.ones((5, 3)), np.full(5, 0.5))], ONE)
    assert set(found.video.tolist()) == {1}


@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["logits", "attention"])
def test_outputs_that_are_not_finite_are_refused(poison, where):
    logits, attention = np.ones((20, 3)), np.full(20, 0.5)
    (logits[3] if where == "logits" else attention)[1] = poison
    with pytest.raises(EvaluationError, match="NaN or infinite"):
        observe(logits, attention, ONE)


@pytest.mark.parametrize(("logits", "attention"), [((0, 3), (0,)), ((4, 3), (5,)), ((4,), (4,)), ((4, 3), (4, 1))])
def test_shapes_that_do_not_fit_are_refused(logits, attention):
    with pytest.raises(EvaluationError, match="same T"):
        observe(np.ones(logits), np.ones(attention), ONE)


@pytest.mark.parametrize("outer_ratio", [0.0, 0.25, 3.7])
def test_equals_loops(outer_ratio):
    random = np.random.default_rng(4)
    config = EvaluationConfig(proposal_thresholds=7, nms="linear", nms_parameter=1.0, outer_ratio=outer_ratio)
    outputs = [(random.normal(size=(n, 5)) * 2, random.random(n)) for n in (2, 3, 9, 40, 41, 600)]
    found = propose_videos(outputs, config)  # linear from tIoU 1: suppression changes nothing
    expected = [row for video, pair in enumerate(outputs) for row in loops(video, *pair, config)]
    order = np.lexsort((found.end, found.start, found.label, found.video))
    ours = np.stack([getattr(found, name)[order] for name in ("video", "label", "start", "end", "score")], axis=1)
    np.testing.assert_allclose(ours, sorted(expected), rtol=1e-9, atol=1e-9)


def loops(video, logits, attention, config):
    """The rule, sentence by sentence."""
    length = len(attention)
    z = logits * attention[:, None]
    means = np.sort(z, axis=0)[-max(1, length // 10) :].mean(axis=0)
    scores = np.exp(means) / np.exp(means).sum()
    classes = [c for c in range(z.shape[1] - 1) if scores[c] >= config.class_threshold] or [int(scores[:-1].argmax())]
    for threshold in np.linspace(0.1, 0.9, config.proposal_thresholds):
        inside = [t for t in range(length) if attention[t] > threshold]
        if inside in ([], [0]):
            continue
        for start in (t for t in inside if t - 1 not in inside):
            end = start
            while end in inside:
                end += 1
            margin = config.outer_ratio * (end - start)
            left, right = max(0, int(start - margin)), min(length - 1, int(end - 1 + margin))
            outside = [*range(left, start), *range(end, right + 1)]
            for c in classes:
                outer = float(np.mean(z[outside, c])) if outside else 0.0
                score = z[start:end, c].mean() - outer + config.class_score_weight * scores[c]
                yield (video, c, start, end, score)


def test_ambiguous_by_hand():
    rows = Proposals(*(np.array(c) for c in ([0, 0, 0, 1], [0.0, 4, 6, 4], [4.0, 6, 9, 6], [0, 0, 0, 0], [1.0] * 4)))
    left = drop_ambiguous(rows, np.array([0, 0]), np.array([4.0, 8.0]), np.array([6.0, 8.0]))
    # [0, 4) only touches [4, 6); [6, 9) holds the empty [8, 8); the other video is not meant.
    assert left.start.tolist() == [0.0, 6.0, 4.0]
    assert left.video.tolist() == [0, 0, 1]
    assert len(drop_ambiguous(rows, np.array([], int), np.array([]), np.array([]))) == 4


def test_rounding_is_half_to_even_in_the_given_rate():
    assert to_snippets(np.array([0.32, 0.96, 1.6]), 25 / 16).tolist() == [0.0, 2.0, 2.0]  # 0.5, 1.5, 2.5
    assert to_snippets(np.array([1.0]), 3.125).tolist() == [3.0]
