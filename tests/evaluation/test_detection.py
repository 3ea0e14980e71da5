"""Average precision worked out by hand, an obvious twin, and every bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dce_ray.errors import EvaluationError
from dce_ray.evaluation import classification_ap, detection_ap, mean_ap, video_scores
from dce_ray.records import GroundTruth, Proposals

CLASSES = ("jump", "throw", "dive")


def found(*rows: tuple[int, float, float, int, float]) -> Proposals:
    columns = np.array(rows, float).reshape(-1, 5).T
    return Proposals(columns[0].astype(int), columns[1], columns[2], columns[3].astype(int), columns[4])


def truth(*rows: tuple[int, float, float, int], videos: int = 3) -> GroundTruth:
    columns = np.array(rows, float).reshape(-1, 4).T
    names = tuple(f"v{number}" for number in range(videos))
    return GroundTruth(columns[0].astype(int), columns[1], columns[2], columns[3].astype(int), names, CLASSES)


def test_by_hand():
    # Class 0: hit (0.9), false (0.8), hit (0.7); three instances. Precision 1, 1/2, 2/3 -> 1, 2/3, 2/3.
    wanted = truth((0, 0, 10, 0), (0, 20, 30, 0), (1, 0, 10, 0), (1, 5, 6, 1))
    ap = detection_ap(found((0, 0, 10, 0, 0.9), (0, 40, 50, 0, 0.8), (0, 20, 30, 0, 0.7)), wanted, [0.5])
    assert ap[0, 0] == pytest.approx((1 + 2 / 3) / 3)
    assert ap[0, 1] == 0.0  # instances, no prediction
    assert math.isnan(ap[0, 2])  # no instance: not averaged
    assert mean_ap(ap)[0] == pytest.approx((1 + 2 / 3) / 6)


def test_threshold_is_reached_by_equality():
    ap = detection_ap(found((0, 0, 5, 0, 1)), truth((0, 0, 10, 0)), [0.4, 0.5, 0.51])
    assert ap[:, 0].tolist() == [1.0, 1.0, 0.0]


def test_an_instance_is_matched_once_and_the_second_best_is_tried():
    wanted = truth((0, 0, 10, 0), (0, 8, 18, 0))
    # The second prediction prefers the first instance too, finds it taken, and takes the other (tIoU 2/3).
    ap = detection_ap(found((0, 0, 10, 0, 0.9), (0, 3, 11, 0, 0.8), (0, 1, 9, 0, 0.7)), wanted, [0.15, 0.5])
    assert ap[0, 0] == pytest.approx(1.0)
    assert ap[1, 0] == pytest.approx(0.5)


def test_predictions_on_videos_without_instances_are_false_positives():
    wanted = truth((0, 0, 10, 0))
    assert detection_ap(found((2, 0, 10, 0, 0.9), (0, 0, 10, 0, 0.5)), wanted, [0.5])[0, 0] == 0.5


def test_equal_scores_count_in_the_order_of_rows():
    wanted = truth((0, 0, 10, 0))
    hit, miss = (0, 0, 10, 0, 0.5), (0, 50, 60, 0, 0.5)
    assert detection_ap(found(hit, miss), wanted, [0.5])[0, 0] == 1.0
    assert detection_ap(found(miss, hit), wanted, [0.5])[0, 0] == 0.5


def test_equal_tious_take_the_instance_annotated_last():
    # [0, 10) overlaps both by 1/3; the next prediction fits the second instance alone, and finds it taken.
    wanted = truth((0, -5, 5, 0), (0, 5, 15, 0))
    ap = detection_ap(found((0, 0, 10, 0, 0.9), (0, 5, 15, 0, 0.8)), wanted, [0.3])
    assert ap[0, 0] == pytest.approx(0.5)


def test_empty_segments_match_nothing():
    wanted = truth((0, 5, 5, 0), (0, 0, 4, 0))
    assert detection_ap(found((0, 5, 5, 0, 0.9), (0, 0, 4, 0, 0.5)), wanted, [0.1])[0, 0] == pytest.approx(0.25)


def test_no_predictions_is_zero():
    ap = detection_ap(Proposals.empty(), truth((0, 0, 10, 0)), [0.1, 0.5])
    assert ap[:, 0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, 0, 5, 0, math.nan), "score that is NaN"),
        ((0, 0, 5, 0, math.inf), "score that is NaN or infinite"),
        ((0, math.nan, 5, 0, 1), "time that is NaN"),
        ((0, 6, 5, 0, 1), "end before its start, row 1"),
        ((0, 0, 5, 3, 1), "unknown label"),
        ((0, 0, 5, -1, 1), "unknown label"),
        ((3, 0, 5, 0, 1), "unknown video"),
        ((-1, 0, 5, 0, 1), "unknown video"),
    ],
)
def test_bad_predictions_are_refused(row, message):
    with pytest.raises(EvaluationError, match=message):
        detection_ap(found((0, 0, 5, 0, 1), row), truth((0, 0, 5, 0)), [0.5])


def test_all_faults_are_named_at_once():
    with pytest.raises(EvaluationError, match=r"1 predictions have an end .*; 1 instances have an unknown label"):
        detection_ap(found((0, 6, 5, 0, 1)), truth((0, 0, 5, 7)), [0.5])


@pytest.mark.parametrize("videos", [0, 3])
def test_no_instance_at_all_has_no_mean(videos):
    with pytest.raises(EvaluationError, match=f"the {videos} videos have no annotated instance"):
        detection_ap(Proposals.empty(), truth(videos=videos), [0.5])


@pytest.mark.parametrize("levels", [[], [0.0], [1.1], [math.nan]])
def test_bad_thresholds(levels):
    with pytest.raises(EvaluationError, match="tIoU thresholds"):
        detection_ap(Proposals.empty(), truth((0, 0, 1, 0)), levels)


def obvious(proposals: Proposals, wanted: GroundTruth, level: float, label: int) -> float:
    """One class and threshold in loops."""
    free = {int(i) for i in np.flatnonzero(wanted.label == label)}
    instances, hits = len(free), []
    for row in sorted(np.flatnonzero(proposals.label == label), key=lambda r: (-proposals.score[r], r)):
        best, best_tiou = None, level
        for i in sorted(free):
            if wanted.video[i] != proposals.video[row]:
                continue
            s, e = (proposals.start[row], wanted.start[i]), (proposals.end[row], wanted.end[i])
            shared = max(0.0, min(e) - max(s))
            union = sum(e) - sum(s) - shared
            if union > 0 and shared / union >= best_tiou:
                best, best_tiou = i, shared / union
        hits.append(best is not None)
        free.discard(best)
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    return sum(max(precision[n:]) for n in range(len(hits)) if hits[n]) / instances


prediction = st.tuples(st.integers(0, 2), st.integers(-3, 25), st.integers(0, 9), st.integers(0, 2), st.integers(0, 12))
instance = st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 9), st.integers(0, 2))


@settings(max_examples=200, deadline=None)
@given(st.lists(prediction, max_size=40), st.lists(instance, min_size=1, max_size=14))
def test_equals_the_obvious_loop(predictions, instances):
    proposals = found(*((v, s, s + n, c, x) for v, s, n, c, x in predictions))
    wanted = truth(*((v, s, s + n, c) for v, s, n, c in instances))
    levels = [0.1, 0.3, 0.5, 1.0]
    ap = detection_ap(proposals, wanted, levels)
    for label in range(3):
        for row, level in enumerate(levels):
            if (wanted.label == label).any():
                assert ap[row, label] == pytest.approx(obvious(proposals, wanted, level, label), abs=1e-12)
            else:
                assert math.isnan(ap[row, label])


def test_classification_by_hand():
    scores = np.array([[0.9, 0.1, 0.5], [0.8, 0.1, 0.5], [0.7, 0.3, 0.5]])
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    ap = classification_ap(scores, labels)
    assert ap[:2].tolist() == pytest.approx([(1 + 2 / 3) / 2, 1 / 3])  # equal scores: the first video first
    assert math.isnan(ap[2])


def test_bad_classification_input():
    with pytest.raises(EvaluationError, match="must be"):
        classification_ap(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(EvaluationError, match="1 video-level scores are NaN"):
        classification_ap(np.array([[math.nan, 1.0]]), np.ones((1, 2)))


def test_video_scores_are_the_softmax_of_the_maxima():
    logits = np.array([[1.0, 0.0, 2.0], [3.0, -1.0, 0.0]])
    expected = np.exp([3.0, 0.0, 2.0]) / np.exp([3.0, 0.0, 2.0]).sum()
    assert video_scores(logits).tolist() == pytest.approx(expected[:2].tolist())
    means = np.exp([2.0, -0.5, 1.0]) / np.exp([2.0, -0.5, 1.0]).sum()
    assert video_scores(logits, snippets=2).tolist() == pytest.approx(means[:2].tolist())
