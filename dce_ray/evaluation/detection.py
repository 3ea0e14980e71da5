"""Detection average precision by the ActivityNet protocol, all thresholds, classes and videos at once.

Source: Caba Heilbron et al., "ActivityNet: a large-scale video benchmark for human activity understanding", CVPR 2015,
evaluation as the published CO2-Net, DELU and DDG-Net use it.

Where orders are open, ours are these, so that a table never depends on the machine: predictions of equal score count
in the order of their rows; of instances with equal tIoU the one annotated last is tried first (what the published
``argsort()[::-1]`` does with a stable sort; theirs is unstable). A prediction or an instance of zero length never
matches; the published code lets two empty segments match at one place, because 0 / 0 passes its comparison.
Shapes: N predictions, M instances, C classes, K tIoU thresholds, P pairs of a prediction and an instance.
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
    ranked = proposals.select(by_class_and_score(proposals))
    hit_KN = match(ranked, ground_truth, thresholds)
    return _interpolated_ap(hit_KN, ranked.label, np.bincount(ground_truth.label, minlength=classes_of(ground_truth)))


def classes_of(ground_truth: GroundTruth) -> int:
    """C."""
    return len(ground_truth.class_names)


def by_class_and_score(proposals: Proposals) -> Whole:
    """Rows by class, then falling score, then row."""
    by_score = np.argsort(-proposals.score, kind="stable")
    label = proposals.label[by_score]
    short = label.astype(np.uint16) if label.max(initial=0) < 2**16 else label  # NumPy sorts 16 bits by radix
    order: Whole = by_score[np.argsort(short, kind="stable")]
    return order


def _interpolated_ap(hit_KN: NDArray[np.bool_], label_N: Whole, instances_C: Whole) -> Real:
    """Area under the monotone precision-recall curve of each threshold and class, ``(K, C)``.

    Recall rises at hits alone, by 1 / instances; precision there is the best of this and all later hits.

    Args:
        hit_KN: rows ranked by class and falling score.
        label_N: class of each row, rising.
        instances_C: annotated instances of each class; NaN results where there is none.
    """
    levels, classes = len(hit_KN), len(instances_C)
    level, row = np.nonzero(hit_KN)
    curve = level * classes + label_N[row]
    hits = np.bincount(curve, minlength=levels * classes)
    number = np.arange(1, len(row) + 1) - np.repeat(np.cumsum(hits) - hits, hits)
    rank = row + 1 - np.searchsorted(label_N, np.arange(classes))[label_N[row]]
    precision = np.zeros((levels * classes, hits.max(initial=0)))
    precision[curve, number - 1] = number / rank
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    area_KC = (best * (precision > 0)).sum(axis=1).reshape(levels, classes)
    ap_KC: Real = np.full((levels, classes), np.nan)
    np.divide(area_KC, instances_C, out=ap_KC, where=instances_C > 0)
    return ap_KC


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
    row_P, instance_P, tiou_P = _in_order(*overlapping_pairs(ranked, ground_truth, thresholds.min()))
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


def _in_order(row_P: Whole, instance_P: Whole, tiou_P: Real) -> tuple[Whole, Whole, Real]:
    """Pairs, whose rows rise already, by row, falling tIoU and falling instance; few rows have more than one."""
    again = row_P[1:] == row_P[:-1]
    several = np.zeros(len(row_P), bool)
    several[1:] |= again
    several[:-1] |= again
    mixed = np.flatnonzero(several)
    order = np.arange(len(row_P))
    order[mixed] = mixed[np.lexsort((-instance_P[mixed], -tiou_P[mixed], row_P[mixed]))]
    return row_P[order], instance_P[order], tiou_P[order]


def overlapping_pairs(proposals: Proposals, ground_truth: GroundTruth, least: float) -> tuple[Whole, Whole, Real]:
    """All pairs of a prediction and an instance of its video and class with tIoU of at least ``least`` > 0.

    Returns:
        Row (rising), instance and tIoU of each pair.
    """
    row, order, low, high = _candidates(proposals, ground_truth)
    counts = high - low
    row = np.repeat(row, counts)
    instance = order[np.arange(len(row)) + np.repeat(low - (np.cumsum(counts) - counts), counts)]
    start, end = proposals.start[row], proposals.end[row]
    their_start, their_end = ground_truth.start[instance], ground_truth.end[instance]
    shared = np.maximum(np.minimum(end, their_end) - np.maximum(start, their_start), 0.0)
    union = (their_end - their_start) + (end - start) - shared
    tiou = np.divide(shared, union, out=np.zeros(len(row)), where=union > 0)
    near = np.flatnonzero(tiou >= least)
    return row[near], instance[near], tiou[near]


def _candidates(proposals: Proposals, ground_truth: GroundTruth) -> tuple[Whole, Whole, Whole, Whole]:
    """Which instances each prediction may overlap, few more than it does.

    Groups (one video, one class) are laid behind each other on one axis of time, so that two binary searches find, for
    all predictions at once, the first instance that has not ended and the first that has not begun.

    Returns:
        The rows with an instance of their class in their video; all instances sorted by video, class and start; and
        for each of the rows the range of the sorted instances, from its first to behind its last.
    """
    classes = classes_of(ground_truth)
    group = ground_truth.video * classes + ground_truth.label
    order = np.lexsort((ground_truth.start, group))
    present = np.bincount(group, minlength=len(ground_truth.video_names) * classes) > 0
    wanted = proposals.video * classes + proposals.label
    rows = np.flatnonzero(present[wanted])
    earliest, latest = ground_truth.start.min(), ground_truth.end.max()
    lift = np.cumsum(present) * (latest - earliest + 8.0)  # further apart than the margins below
    up = lift[group[order]]
    reach = np.maximum.accumulate(ground_truth.end[order] + up)
    up_wanted = lift[wanted[rows]]
    # One snippet of margin outweighs the rounding of lifted times; pairs without overlap fall out later.
    start = np.clip(proposals.start[rows], earliest - 1.0, latest + 1.0) - 1.0
    end = np.clip(proposals.end[rows], earliest - 1.0, latest + 1.0) + 1.0
    low = np.searchsorted(reach, start + up_wanted)
    high = np.searchsorted(ground_truth.start[order] + up, end + up_wanted)
    return rows, order, low, np.maximum(low, high)


def mean_ap(class_ap: Real) -> Real:
    """Mean over the classes that have instances: ``(K, C)`` -> ``(K,)``.

    Raises:
        EvaluationError: when no class has an instance.
    """
    if np.isnan(class_ap).all():
        raise EvaluationError("no class has an annotated instance in these videos: a mean over classes does not exist")
    means: Real = np.nanmean(class_ap, axis=-1)
    return means
