"""What predictions and ground truth must be before a number is made of them; all faults in one message."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import EvaluationError, nearest_names
from dce_ray.evaluation.presets import DDGNET_LEFT_OUT
from dce_ray.records import GroundTruth, Proposals


def check_thresholds(tiou_thresholds: Sequence[float]) -> NDArray[np.float64]:
    """The thresholds as an array ``(K,)``.

    Raises:
        EvaluationError: none at all, or one outside of (0, 1].
    """
    thresholds = np.asarray(tiou_thresholds, np.float64)
    if thresholds.ndim != 1 or not len(thresholds) or not ((thresholds > 0) & (thresholds <= 1)).all():
        raise EvaluationError(f"tIoU thresholds {list(tiou_thresholds)}: give one or more values in (0, 1]")
    return thresholds


def check_skipped(skip_videos: Sequence[str], video_names: Sequence[str]) -> None:
    """Refuse names of videos that are none: a wrong letter would leave a video in that was to be left out.

    The preset's own names are let through, since a part of its data set may lack them.

    Args:
        skip_videos: asked for.
        video_names: all of the data set.

    Raises:
        EvaluationError: naming every unknown one, each with the nearest.
    """
    unknown = [name for name in skip_videos if name not in {*video_names, *DDGNET_LEFT_OUT}]
    if unknown:
        lines = [f"  {name}{_perhaps(name, video_names)}" for name in unknown]
        raise EvaluationError(
            "\n".join(["evaluation.skip_videos names videos that the data set does not have:", *lines])
        )


def _perhaps(name: str, known: Sequence[str]) -> str:
    near = nearest_names(name, known, 3)
    return f" (did you mean {' or '.join(near)}?)" if near else f"; it has {len(known)} others, such as {known[0]}"


def check_detections(proposals: Proposals, ground_truth: GroundTruth) -> None:
    """Refuse rows that would give a wrong number.

    Raises:
        EvaluationError: naming every kind of fault with its first row.
    """
    faults = _faults("prediction", proposals, ground_truth) + _faults("instance", ground_truth, ground_truth)
    bad_scores = np.flatnonzero(~np.isfinite(proposals.score))
    if len(bad_scores):
        faults.append(f"{len(bad_scores)} predictions have a score that is NaN or infinite, row {bad_scores[0]} first")
    if not len(ground_truth):
        faults.append(
            f"the {len(ground_truth.video_names)} videos have no annotated instance: mAP does not exist; "
            f"choose another split or check the annotations"
        )
    if faults:
        raise EvaluationError("; ".join(faults))


def _faults(kind: str, rows: Proposals | GroundTruth, ground_truth: GroundTruth) -> list[str]:
    videos, classes = len(ground_truth.video_names), len(ground_truth.class_names)
    rules = {
        "a time that is NaN or infinite": ~(np.isfinite(rows.start) & np.isfinite(rows.end)),
        "an end before its start": rows.end < rows.start,
        f"an unknown label (classes are 0 to {classes - 1})": (rows.label < 0) | (rows.label >= classes),
        f"an unknown video (videos are 0 to {videos - 1})": (rows.video < 0) | (rows.video >= videos),
    }
    return [
        f"{np.count_nonzero(broken)} {kind}s have {what}, row {broken.argmax()} first"
        for what, broken in rules.items()
        if broken.any()
    ]
