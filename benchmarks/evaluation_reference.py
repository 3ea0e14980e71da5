"""What benchmarks/evaluation.py compares with: proposals, suppression and mAP in loops, as its text describes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dce_ray.config import EvaluationConfig
from dce_ray.records import GroundTruth, Proposals

Outputs = list[tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Logits and attention of each video."""


def reference_proposals(outputs: Outputs, config: EvaluationConfig) -> Proposals:
    """Loops over videos, thresholds, runs and classes."""
    rows: list[tuple[int, int, int, int, float]] = []
    for video, (logits, attention) in enumerate(outputs):
        length = len(attention)
        weighted = logits * attention[:, None]
        count = max(1, length // 10)
        means = np.partition(weighted, length - count, axis=0)[length - count :].mean(axis=0, dtype=np.float64)
        scores = np.exp(means - means.max())
        scores = (scores / scores.sum())[:-1]
        classes = np.flatnonzero(scores >= config.class_threshold)
        if len(classes) == 0:
            classes = np.array([scores.argmax()])
        by_class: dict[int, list[tuple[int, int, float]]] = {int(label): [] for label in classes}
        for threshold in np.linspace(0.1, 0.9, config.proposal_thresholds):
            active = np.flatnonzero(attention.astype(np.float64) > threshold)
            if not active.any():  # as released: also true where snippet 0 is the only one
                continue
            for run in np.split(active, np.flatnonzero(np.diff(active) != 1) + 1):
                start, end = int(run[0]), int(run[-1]) + 1
                margin = config.outer_ratio * (end - start)
                before = max(0, int(start - margin))
                behind = min(length - 1, int(end - 1 + margin)) + 1
                for label, found in by_class.items():
                    inner = weighted[start:end, label].mean(dtype=np.float64)
                    around = np.concatenate([weighted[before:start, label], weighted[end:behind, label]])
                    outer = around.mean(dtype=np.float64) if len(around) else 0.0
                    score = inner - outer + config.class_score_weight * scores[label]
                    found.append((start, end, float(score)))
        for label, found in by_class.items():
            kept = reference_soft_nms(np.array(found, np.float64).reshape(-1, 3), config.nms_parameter)
            rows += [(video, label, int(s), int(e), x) for s, e, x in kept if e - s >= config.min_length]
    table = np.array(rows, np.float64).reshape(-1, 5).T
    return Proposals(table[0].astype(np.int64), table[2], table[3], table[1].astype(np.int64), table[4])


def reference_soft_nms(found: NDArray[np.float64], sigma: float) -> list[tuple[float, float, float]]:
    """One class of one video: take the best, decay the rest, with NumPy over the rest."""
    start, end, score = found[:, 0].copy(), found[:, 1].copy(), found[:, 2].copy()
    taken = []
    while len(score):
        best = int(score.argmax())
        s, e, x = start[best], end[best], score[best]
        taken.append((s, e, x))
        keep = np.arange(len(score)) != best
        start, end, score = start[keep], end[keep], score[keep]
        shared = np.maximum(0.0, np.minimum(end, e) - np.maximum(start, s) + 1)
        overlap = shared / ((end - start + 1) + (e - s + 1) - shared)
        score *= np.exp(-(overlap**2) / sigma)
    return taken


ClassAp = Callable[[pd.DataFrame, pd.DataFrame, tuple[float, ...]], NDArray[np.float64]]


def reference_ap(
    proposals: Proposals, truth: GroundTruth, levels: tuple[float, ...], class_ap: ClassAp
) -> NDArray[np.float64]:
    """A data frame per class."""
    columns = ("video", "start", "end", "label")
    instances = pd.DataFrame({name: getattr(truth, name) for name in columns})
    predictions = pd.DataFrame({name: getattr(proposals, name) for name in (*columns, "score")})
    by_label = dict(tuple(predictions.groupby("label")))
    result = np.full((len(levels), len(truth.class_names)), np.nan)
    for label, wanted in instances.groupby("label"):
        found = by_label.get(label)
        result[:, label] = 0.0 if found is None else class_ap(wanted, found, levels)
    return result


def pandas_class_ap(wanted: pd.DataFrame, found: pd.DataFrame, levels: tuple[float, ...]) -> NDArray[np.float64]:
    """One class as the ActivityNet evaluation is built: pandas hands out predictions and instances of a video."""
    found = found.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
    wanted = wanted.reset_index(drop=True)
    by_video = wanted.groupby("video")
    free = np.ones((len(levels), len(wanted)), bool)
    hit = np.zeros((len(levels), len(found)))
    for number, row in found.iterrows():
        try:
            instances = by_video.get_group(row["video"])
        except KeyError:
            continue
        tiou = tiou_with(row["start"], row["end"], instances[["start", "end"]].to_numpy())
        match_one(tiou, instances.index.to_numpy(), free, hit[:, number], levels)
    return interpolated_areas(hit, len(wanted))


def tight_class_ap(wanted: pd.DataFrame, found: pd.DataFrame, levels: tuple[float, ...]) -> NDArray[np.float64]:
    """The same loops without pandas inside."""
    found = found.sort_values("score", ascending=False, kind="stable")
    numbers = np.arange(len(wanted))
    places = {video: numbers[rows] for video, rows in wanted.groupby("video").indices.items()}
    segments = {video: wanted[["start", "end"]].to_numpy()[rows] for video, rows in places.items()}
    free = np.ones((len(levels), len(wanted)), bool)
    hit = np.zeros((len(levels), len(found)))
    for number, row in enumerate(found.itertuples(index=False)):
        if row.video in segments:
            tiou = tiou_with(row.start, row.end, segments[row.video])
            match_one(tiou, places[row.video], free, hit[:, number], levels)
    return interpolated_areas(hit, len(wanted))


def tiou_with(start: float, end: float, segments: NDArray[np.float64]) -> NDArray[np.float64]:
    """tIoU of one prediction with the instances of its video."""
    shared = np.minimum(segments[:, 1], end) - np.maximum(segments[:, 0], start)
    shared = np.maximum(shared, 0.0)
    union = (segments[:, 1] - segments[:, 0]) + (end - start) - shared
    return shared / np.maximum(union, 1e-12)


def match_one(
    tiou: NDArray[np.float64],
    places: NDArray[np.int64],
    free: NDArray[np.bool_],
    hit: NDArray[np.float64],
    levels: tuple[float, ...],
) -> None:
    """Give one prediction its best free instance at each threshold."""
    best_first = np.argsort(tiou, kind="stable")[::-1]
    for level, threshold in enumerate(levels):
        for candidate in best_first:
            if tiou[candidate] < threshold:
                break
            if free[level, places[candidate]]:
                free[level, places[candidate]] = False
                hit[level] = 1
                break


def interpolated_areas(hit: NDArray[np.float64], instances: int) -> NDArray[np.float64]:
    """Interpolated AP of ranked predictions at each threshold."""
    area = np.empty(len(hit))
    for level in range(len(hit)):
        positives = np.cumsum(hit[level])
        precision = np.hstack([[0.0], positives / np.arange(1, hit.shape[1] + 1), [0.0]])
        recall = np.hstack([[0.0], positives / instances, [1.0]])
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
        area[level] = ((recall[steps] - recall[steps - 1]) * precision[steps]).sum()
    return area


# The data -----------------------------------------------------------------------------------------------------------
