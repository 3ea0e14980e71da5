"""Detection average precision by the ActivityNet protocol, all thresholds, classes and videos at once.

Source: Caba Heilbron et al., "ActivityNet: a large-scale video benchmark for human activity understanding", CVPR 2015,
evaluation as the published CO2-Net, DELU and DDG-Net use it.

Where orders are open, ours are these, so that a table never depends on the machine: predictions of equal score count
in the order of their rows; of instances with equal tIoU the one annotated last is tried first (what the published
``argsort()[::-1]`` does with a stable sort; theirs is unstable). A prediction or an instance of zero length never
matches; the published code lets two empty segments match at one place, because 0 / 0 passes its comparison.
Shapes: N predictions, M instances, C classes, K tIoU thresholds, P pairs that overlap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import EvaluationError
from dce_ray.evaluation.checks import check_detections, check_thresholds
from dce_ray.records import GroundTruth, Proposals

Real = NDArray[np.float64]
Whole = NDArray[np.int64]


def detection_ap(proposals: Proposals, ground_truth: GroundTruth, tiou_thresholds: Sequence[float]) -> Real:
    """Interpolated average precision per threshold and class.

    Per class, predictions come by falling score; each takes, of the instances of its video and class that are still
    free, the one with the highest tIoU that reaches the threshold. The rest are false positives, predictions on videos
    without an instance of their class included. AP is the area under the precision-recall curve after precision was
    made monotone, all points.

    Args:
        proposals: N rows; ``video`` counts ``ground_truth.video_names``. None at all is allowed.
        ground_truth: M >= 1 instances.
        tiou_thresholds: K values in (0, 1].

    Returns:
        ``(K, C)`` in [0, 1]; NaN for classes without an instance, 0 for classes with instances and no prediction.

    Raises:
        EvaluationError: no instance (then no mean exists), thresholds out of range, or rows that are wrong: NaN or
            infinite values, end < start, a class or video that is not in the ground truth's lists.
    """
    thresholds = check_thresholds(tiou_thresholds)
    check_detections(proposals, ground_truth)
    classes = len(ground_truth.class_names)
    instances = np.bincount(ground_truth.label, minlength=classes)
    ranked = proposals.select(np.lexsort((-proposals.score, proposals.label)))
    hit_KN = match(ranked, ground_truth, thresholds)
    bounds = np.searchsorted(ranked.label, np.arange(classes + 1))
    ap_KC = np.full((len(thresholds), classes), np.nan)
    for label in np.flatnonzero(instances):
        ap_KC[:, label] = _interpolated_ap(hit_KN[:, bounds[label] : bounds[label + 1]], instances[label])
    return ap_KC


def _interpolated_ap(hit_KN: NDArray[np.bool_], instances: int) -> Real:
    """Area under the monotone precision-recall curve of ranked predictions, ``(K,)``.

    Recall rises at hits alone, by 1 / instances; precision there is the best of this and all later ranks.
    """
    precision_KN = np.cumsum(hit_KN, axis=1) / np.arange(1, hit_KN.shape[1] + 1)
    best_KN = np.maximum.accumulate(precision_KN[:, ::-1], axis=1)[:, ::-1]
    area: Real = (best_KN * hit_KN).sum(axis=1) / instances
    return area


def match(ranked: Proposals, ground_truth: GroundTruth, thresholds: Real) -> NDArray[np.bool_]:
    """Which predictions hit an instance at each threshold, ``(K, N)``.

    A prediction takes its best free instance unless a better prediction took it: the pairs, in order of rank and then
    falling tIoU, are accepted one by one as long as both sides are free. A pair that is the first open one of its
    prediction and of its instance is accepted whatever happens to all others, so whole rounds of such pairs are
    accepted at once, for all thresholds, classes and videos, until no open pair is left.

    Args:
        ranked: N rows whose order within a class is that of falling score.
        ground_truth: M instances.
        thresholds: ``(K,)``, in (0, 1].
    """
    row_P, instance_P, tiou_P = overlapping_pairs(ranked, ground_truth)
    order = np.lexsort((-instance_P, -tiou_P, row_P))
    row_P, instance_P, tiou_P = row_P[order], instance_P[order], tiou_P[order]
    level, pair = np.nonzero(tiou_P >= thresholds[:, None])
    row, instance = level * len(ranked) + row_P[pair], level * len(ground_truth) + instance_P[pair]
    hit = np.zeros(len(thresholds) * len(ranked), bool)
    taken = np.zeros(len(thresholds) * len(ground_truth), bool)
    first_of = np.empty(len(taken), np.int64)
    while len(row):
        number = np.arange(len(row))
        first_of[instance[::-1]] = number[::-1]  # of several writes the last stays: the first pair
        first = first_of[instance] == number
        first[1:] &= row[1:] != row[:-1]
        hit[row[first]] = True
        taken[instance[first]] = True
        still = ~(hit[row] | taken[instance])
        row, instance = row[still], instance[still]
    return hit.reshape(len(thresholds), len(ranked))


def overlapping_pairs(proposals: Proposals, ground_truth: GroundTruth) -> tuple[Whole, Whole, Real]:
    """All pairs of a prediction and an instance of its video and class that overlap: row, instance, tIoU in (0, 1]."""
    order, low, high = _candidates(proposals, ground_truth)
    counts = np.maximum(high - low, 0)
    row = np.repeat(np.arange(len(proposals)), counts)
    instance = order[np.arange(len(row)) + np.repeat(low - (np.cumsum(counts) - counts), counts)]
    start, end = proposals.start[row], proposals.end[row]
    their_start, their_end = ground_truth.start[instance], ground_truth.end[instance]
    shared = np.minimum(end, their_end) - np.maximum(start, their_start)
    overlap = shared > 0
    row, instance, shared = row[overlap], instance[overlap], shared[overlap]
    union = (their_end - their_start)[overlap] + (end - start)[overlap] - shared
    return row, instance, shared / union


def _candidates(proposals: Proposals, ground_truth: GroundTruth) -> tuple[Whole, Whole, Whole]:
    """Instances sorted by video, class and start, and the range of them that each prediction may overlap.

    Outside of the range an instance belongs to another video or class, starts behind the prediction's end, or ends
    (with all before it) in front of its start. Times are compared by rank, in whole numbers.
    """
    classes = len(ground_truth.class_names)
    group = ground_truth.video * classes + ground_truth.label
    order = np.lexsort((ground_truth.start, group))
    group = group[order]
    times, rank = np.unique(
        np.concatenate([proposals.start, proposals.end, ground_truth.start[order], ground_truth.end[order]]),
        return_inverse=True,
    )
    start, end, their_start, their_end = np.split(
        rank, np.cumsum([len(proposals), len(proposals), len(ground_truth)]).tolist()
    )
    wanted = proposals.video * classes + proposals.label
    reach = np.maximum.accumulate(group * len(times) + their_end)
    low = np.searchsorted(reach, wanted * len(times) + start, side="right")
    high = np.searchsorted(group * len(times) + their_start, wanted * len(times) + end, side="left")
    return order, low, high


def mean_ap(class_ap: Real) -> Real:
    """Mean over the classes that have instances: ``(K, C)`` -> ``(K,)``.

    Raises:
        EvaluationError: when no class has an instance.
    """
    if np.isnan(class_ap).all():
        raise EvaluationError("no class has an annotated instance in these videos: a mean over classes does not exist")
    means: Real = np.nanmean(class_ap, axis=-1)
    return means
