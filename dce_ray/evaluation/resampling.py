"""mAP of many resamples of the videos at once: what a table would be, had the test set other videos of the same kind.

A resample draws as many videos as there are, with replacement; a video that is drawn twice counts as two videos, with
its predictions and its instances. Matching happens inside a video, so which prediction hits is worked out once; a
resample only changes how often each prediction, hit and instance counts.
Shapes: N predictions, V videos, C classes, K tIoU thresholds, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dce_ray.config import EvaluationConfig
from dce_ray.evaluation.checks import check_detections, check_thresholds
from dce_ray.evaluation.detection import by_class_and_score, classes_of, match
from dce_ray.evaluation.tables import span_of
from dce_ray.records import GroundTruth, Proposals

Real = NDArray[np.float64]
Whole = NDArray[np.int64]


def draw_videos(ground_truth: GroundTruth, resamples: int, seed: int = 0) -> Whole:
    """How often each video is in each resample, ``(V, B)``.

    A resample without any instance, of which no mAP exists, is drawn again.

    Args:
        ground_truth: with at least one instance.
        resamples: B.
        seed: of the draws.
    """
    random, videos = np.random.default_rng(seed), len(ground_truth.video_names)
    annotated_V = np.bincount(ground_truth.video, minlength=videos)
    counts_BV = random.multinomial(videos, np.full(videos, 1 / videos), size=resamples)
    while len(empty := np.flatnonzero(counts_BV @ annotated_V == 0)):
        counts_BV[empty] = random.multinomial(videos, np.full(videos, 1 / videos), size=len(empty))
    return np.ascontiguousarray(counts_BV.T)


def resampled_ranking(
    proposals: Proposals, ground_truth: GroundTruth, config: EvaluationConfig, counts_VB: Whole
) -> Real:
    """The ranking average of each resample, ``(B,)`` in [0, 1]; arguments as of :func:`resampled_ap`."""
    levels = config.tiou_thresholds
    averaged = [levels[index] for index in span_of(levels, config.averages[-1])]
    ap_KCB = resampled_ap(proposals, ground_truth, averaged, counts_VB)
    present_CB = ~np.isnan(ap_KCB[0])
    map_KB = np.where(present_CB, ap_KCB, 0.0).sum(axis=1) / present_CB.sum(axis=0)
    means: Real = map_KB.mean(axis=0)
    return means


def resampled_ap(
    proposals: Proposals, ground_truth: GroundTruth, tiou_thresholds: Sequence[float], counts_VB: Whole
) -> Real:
    """Interpolated average precision per threshold, class and resample, as ``detection_ap`` defines it.

    Of predictions with equal score, the copies of one stand together, in the order of the rows.

    Args:
        proposals: N rows; ``video`` counts ``ground_truth.video_names``.
        ground_truth: at least one instance.
        tiou_thresholds: K values in (0, 1].
        counts_VB: how often each video is in each resample; a column of ones is the test set itself.

    Returns:
        ``(K, C, B)`` in [0, 1]; NaN for classes without an instance in the resample.

    Raises:
        EvaluationError: see :func:`dce_ray.evaluation.detection.detection_ap`.
    """
    thresholds = check_thresholds(tiou_thresholds)
    check_detections(proposals, ground_truth)
    ranked = proposals.select(by_class_and_score(proposals))
    hit_KN = match(ranked, ground_truth, thresholds)
    classes, videos = classes_of(ground_truth), len(counts_VB)
    cell = ground_truth.label * videos + ground_truth.video
    instances_CB = np.bincount(cell, minlength=classes * videos).reshape(classes, videos) @ counts_VB
    bounds = np.searchsorted(ranked.label, np.arange(classes + 1))
    area_KCB = np.zeros((len(thresholds), classes, counts_VB.shape[1]))
    for label in np.flatnonzero(instances_CB.any(axis=1)).tolist():
        rows = slice(bounds[label], bounds[label + 1])
        area_KCB[:, label] = _areas(hit_KN[:, rows], ranked.video[rows], counts_VB)
    ap_KCB: Real = np.full(area_KCB.shape, np.nan)
    np.divide(area_KCB, instances_CB, out=ap_KCB, where=np.broadcast_to(instances_CB > 0, area_KCB.shape))
    return ap_KCB


def _areas(hit_KN: NDArray[np.bool_], video_N: Whole, counts_VB: Whole) -> Real:
    """Area under the monotone precision-recall curve of one class, in instances, ``(K, B)``.

    A hit that counts w times is w hits in a row, at rising precision: made monotone, all of them have that of the
    last. One that counts 0 times has no more than the hit before it and so changes no maximum.

    Args:
        hit_KN: rows of the class by falling score.
        video_N: video of each row.
        counts_VB: how often each video counts.
    """
    videos, resamples = counts_VB.shape
    hits_H = np.flatnonzero(hit_KN.any(axis=0))
    area_KB = np.zeros((len(hit_KN), resamples))
    if not len(hits_H):
        return area_KB
    # Predictions of each video up to each hit, so that one product gives the rank of each hit in each resample.
    behind_N = np.searchsorted(hits_H, np.arange(len(video_N)))
    cells = np.bincount(behind_N * videos + video_N, minlength=(len(hits_H) + 1) * videos)
    upto_HV = cells.reshape(-1, videos)[: len(hits_H)].cumsum(axis=0)
    rank_HB = np.maximum(upto_HV.astype(np.float64) @ counts_VB.astype(np.float64), 1.0)
    weight_HB = counts_VB[video_N[hits_H]].astype(np.float64)
    for level, hit_H in enumerate(hit_KN[:, hits_H]):
        weight = weight_HB[hit_H]
        precision = np.cumsum(weight, axis=0)
        precision /= rank_HB[hit_H]
        np.maximum.accumulate(precision[::-1], axis=0, out=precision[::-1])  # in place: half of the time is memory
        area_KB[level] = np.einsum("hb,hb->b", precision, weight)
    return area_KB
