"""Resampled mAP against the plain evaluation of videos that are really copied, and against values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dce_ray.config import EvaluationConfig
from dce_ray.errors import EvaluationError
from dce_ray.evaluation import detection_ap, map_table
from dce_ray.evaluation.resampling import draw_videos, resampled_ap, resampled_ranking
from dce_ray.records import GroundTruth, Proposals

LEVELS = (0.1, 0.3, 0.5, 0.7)


def names(kind, count):
    return tuple(f"{kind} {number}" for number in range(count))


def random_case(seed, videos=9, classes=3, rows=300, instances=25, distinct=40):
    """Predictions with many equal scores; some videos without an instance, some instances of length zero."""
    random = np.random.default_rng(seed)
    start, begun = random.integers(0, 30, rows).astype(float), random.integers(0, 30, instances).astype(float)
    proposals = Proposals(
        random.integers(0, videos, rows),
        start,
        start + random.integers(0, 12, rows),
        random.integers(0, classes, rows),
        random.integers(0, distinct, rows) / distinct,
    )
    truth = GroundTruth(
        random.integers(0, videos - 2, instances),
        begun,
        begun + random.integers(0, 12, instances),
        random.integers(0, classes, instances),
        names("video", videos),
        names("class", classes),
    )
    return proposals, truth


def copied(proposals, truth, counts_V):
    """The slow, obvious resample: every copy of a video is a video of its own, its rows beside the original's."""
    first_V = np.cumsum(counts_V) - counts_V

    def rows(video_N):
        times = counts_V[video_N]
        number = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        return np.repeat(np.arange(len(video_N)), times), np.repeat(first_V[video_N], times) + number

    kept, video = rows(proposals.video)
    chosen = proposals.select(kept)
    there, place = rows(truth.video)
    return Proposals(video, chosen.start, chosen.end, chosen.label, chosen.score), GroundTruth(
        place,
        truth.start[there],
        truth.end[there],
        truth.label[there],
        names("copy", counts_V.sum()),
        truth.class_names,
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_resample_is_the_evaluation_of_copied_videos(seed):
    proposals, truth = random_case(seed)
    counts_VB = draw_videos(truth, 20, seed)
    ap_KCB = resampled_ap(proposals, truth, LEVELS, counts_VB)
    for column, counts_V in enumerate(counts_VB.T):
        np.testing.assert_allclose(
            ap_KCB[:, :, column], detection_ap(*copied(proposals, truth, counts_V), LEVELS), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("seed", range(3))
def test_each_video_once_is_the_test_set_itself(seed):
    proposals, truth = random_case(seed, distinct=10**6)
    once = np.ones((9, 1), np.int64)
    expected = detection_ap(proposals, truth, LEVELS)
    np.testing.assert_allclose(resampled_ap(proposals, truth, LEVELS, once)[:, :, 0], expected, rtol=0, atol=1e-12)
    config = EvaluationConfig(tiou_thresholds=LEVELS, averages=("0.1:0.7", "0.3:0.5"))
    table = map_table(
        expected,
        thresholds=LEVELS,
        averages=config.averages,
        class_names=truth.class_names,
        videos=9,
        instances=len(truth),
    )
    assert resampled_ranking(proposals, truth, config, once) == pytest.approx([table.ranking], abs=1e-12)


def test_by_hand():
    # One class. Video 0: a hit at 0.9 and a miss at 0.5; video 1: a miss at 0.7; video 2: a hit at 0.6.
    column = np.array
    proposals = Proposals(
        column([0, 0, 1, 2]),
        column([0.0, 50.0, 0.0, 0.0]),
        column([10.0, 60.0, 10.0, 10.0]),
        column([0, 0, 0, 0]),
        column([0.9, 0.5, 0.7, 0.6]),
    )
    truth = GroundTruth(
        column([0, 2]), column([0.0, 0.0]), column([10.0, 10.0]), column([0, 0]), ("a", "b", "c"), ("jump",)
    )
    counts_VB = np.array([[1, 0, 2, 0], [1, 2, 1, 3], [1, 1, 0, 0]])
    ap_B = resampled_ap(proposals, truth, (0.5,), counts_VB)[0, 0]
    # Once each: precision 1 at the first hit, 2 / 3 at the second, of two instances.
    # Video 1 twice, video 2 once: the only hit has rank 3. Video 0 twice: both hits come first. Last: no instance.
    assert ap_B[:3] == pytest.approx([(1 + 2 / 3) / 2, 1 / 3, 1.0])
    assert np.isnan(ap_B[3])


def test_classes_that_a_resample_lacks_are_not_averaged():
    proposals, truth = random_case(1)
    config = EvaluationConfig(tiou_thresholds=LEVELS, averages=("0.1:0.7",))
    counts_VB = draw_videos(truth, 200, 3)
    ap_KCB = resampled_ap(proposals, truth, LEVELS, counts_VB)
    assert np.isnan(ap_KCB).any()
    expected = np.nanmean(ap_KCB, axis=1).mean(axis=0)
    np.testing.assert_allclose(resampled_ranking(proposals, truth, config, counts_VB), expected, rtol=0, atol=1e-12)


def test_no_prediction_at_all_is_zero():
    _, truth = random_case(2)
    ap_KCB = resampled_ap(Proposals.empty(), truth, LEVELS, np.ones((9, 1), np.int64))
    np.testing.assert_array_equal(ap_KCB[:, :, 0], detection_ap(Proposals.empty(), truth, LEVELS))


def test_draws_have_as_many_videos_and_never_none_with_an_instance():
    truth = GroundTruth(
        np.array([0]), np.array([0.0]), np.array([5.0]), np.array([0]), names("video", 4), names("class", 1)
    )
    counts_VB = draw_videos(truth, 500, 0)
    assert counts_VB.shape == (4, 500)
    assert set(counts_VB.sum(axis=0)) == {4}
    assert (counts_VB[0] > 0).all()
    np.testing.assert_array_equal(counts_VB, draw_videos(truth, 500, 0))
    assert (counts_VB != draw_videos(truth, 500, 1)).any()


def test_what_the_evaluation_refuses_is_refused_here():
    proposals, truth = random_case(0)
    with pytest.raises(EvaluationError, match="thresholds"):
        resampled_ap(proposals, truth, (), np.ones((9, 1), np.int64))


def test_published_predictions(golden):
    with np.load(golden / "detection_thumos14.npz") as arrays:
        data = {key: arrays[key] for key in arrays}
    kinds = {"video": np.int64, "start": np.float64, "end": np.float64, "label": np.int64}
    truth = GroundTruth(
        *(data[f"gt_{key}"].astype(kind) for key, kind in kinds.items()),
        tuple(data["video_names"]),
        tuple(data["class_names"]),
    )
    proposals = Proposals(*(data[f"pred_{key}"].astype(kind) for key, kind in (kinds | {"score": np.float64}).items()))
    counts_VB = draw_videos(truth, 3, 0)
    counts_VB[:, 0] = 1
    ap_KCB = resampled_ap(proposals, truth, LEVELS, counts_VB)
    np.testing.assert_allclose(ap_KCB[:, :, 0], detection_ap(proposals, truth, LEVELS), rtol=0, atol=1e-12)
    again = detection_ap(*copied(proposals, truth, counts_VB[:, 1]), LEVELS)
    np.testing.assert_allclose(ap_KCB[:, :, 1], again, rtol=0, atol=1e-12)
