"""Proposals by outer-inner contrast over many attention thresholds, of one video or of many at once.

The runs of all thresholds come from one comparison, the means inside and outside of all runs and classes from prefix
sums (float64: differences of float32 sums would cost the digits that decide the order of two proposals).
Source: the evaluation that CO2-Net (Hong et al., ACM MM 2021), DELU (Chen et al., ECCV 2022) and DDG-Net (Tang et al.,
ICCV 2023) share.
Shapes: T snippets of a video, L snippets of all videos with a gap behind each, C classes, P predicted classes,
K thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dce_ray.config import EvaluationConfig
from dce_ray.errors import EvaluationError, NonFiniteOutputError
from dce_ray.localize.nms import suppress
from dce_ray.records import Proposals

Real = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the proposals of one video are made of; a small part of the network's outputs."""

    attention: Real
    """``(T,)``, in [0, 1]."""
    classes: Whole
    """Predicted classes, ``(P,)``, rising."""
    class_scores: Real
    """Their video-level scores, ``(P,)``, in [0, 1]."""
    sums: Real
    """Prefix sums over time of logits times attention, ``(P, T + 1)``."""


def class_scores(logits_CT: NDArray[Any], snippets: int) -> Real:
    """Video-level score of each class: softmax of the mean of the ``snippets`` largest logits per class.

    Args:
        logits_CT: ``(C + 1, T)``; the last row is background, which takes part in the softmax.
        snippets: how many of the largest are averaged, in [1, T].

    Returns:
        ``(C,)``, without background, in [0, 1].
    """
    # NumPy sorts short rows with vector instructions, several times faster than it partitions them.
    short = logits_CT.shape[1] <= 512
    ordered_CT = np.sort(logits_CT, axis=1) if short else np.partition(logits_CT, -snippets, axis=1)
    means = ordered_CT[:, -snippets:].sum(axis=1, dtype=np.float64) / snippets
    return softmax(means)[:-1]


def softmax(values: Real) -> Real:
    """``exp(v) / sum exp(v)`` of a vector, without overflow."""
    weights = np.exp(values - values.max())
    probabilities: Real = weights / weights.sum()
    return probabilities


def observe(logits_TC: NDArray[Any], attention_T: NDArray[Any], config: EvaluationConfig) -> Evidence:
    """Keep of one video's outputs what its proposals need.

    Classes are predicted whose score (softmax of the mean of the max(1, T // 10) largest attention-weighted logits) is
    at least ``config.class_threshold``, or the best one where none is.

    Args:
        logits_TC: logits before softmax, ``(T, C + 1)``, background last.
        attention_T: ``(T,)``, in [0, 1].
        config: reads ``class_threshold``.

    Raises:
        EvaluationError: for a video without snippets, shapes that do not fit; ``NonFiniteOutputError`` for NaN or
            infinity.
    """
    length = len(attention_T)
    if length == 0 or logits_TC.ndim != 2 or attention_T.ndim != 1 or len(logits_TC) != length:
        raise EvaluationError(
            f"logits of shape {logits_TC.shape} and attention of shape {attention_T.shape}: "
            f"(T, C + 1) and (T,) with the same T >= 1 are needed; leave empty videos out"
        )
    with np.errstate(invalid="ignore"):  # NaN is looked for below
        weighted_CT = np.ascontiguousarray((logits_TC * attention_T[:, None]).T)
        scores = class_scores(weighted_CT, max(1, length // 10))
    classes = np.flatnonzero(scores >= config.class_threshold)
    if not len(classes):
        classes = np.array([scores.argmax()])
    sums = np.zeros((len(classes), length + 1))
    np.cumsum(weighted_CT[classes], axis=1, dtype=np.float64, out=sums[:, 1:])
    if not (np.isfinite(scores).all() and np.isfinite(sums[:, -1]).all()):  # these see every NaN of the outputs
        raise NonFiniteOutputError(
            f"{np.count_nonzero(~np.isfinite(weighted_CT))} of {weighted_CT.size} logits times attention are NaN or "
            f"infinite; the network has diverged or the features hold NaN"
        )
    return Evidence(attention_T.astype(np.float64), classes, scores[classes], sums)


def propose(logits_TC: NDArray[Any], attention_T: NDArray[Any], config: EvaluationConfig) -> Proposals:
    """Proposals of one video (number 0): :func:`propose_videos` with one video."""
    return propose_videos([(logits_TC, attention_T)], config)


def propose_videos(outputs: Iterable[tuple[NDArray[Any], NDArray[Any]]], config: EvaluationConfig) -> Proposals:
    """Proposals of many videos, after suppression and without those shorter than ``config.min_length``.

    Args:
        outputs: per video logits ``(T, C + 1)`` and attention ``(T,)``; consumed one at a time.
        config: thresholds, margins, kind of suppression.

    Returns:
        Rows sorted by video, class, threshold and start; ``video`` counts ``outputs`` from 0. Videos without a run of
        high attention have no row.

    Raises:
        EvaluationError: see :func:`observe`.
    """
    return propose_from([observe(logits, attention, config) for logits, attention in outputs], config)


def propose_from(evidence: Sequence[Evidence], config: EvaluationConfig) -> Proposals:
    """Proposals of many videos from what :func:`observe` kept; rows as in :func:`propose_videos`."""
    if not evidence:
        return Proposals.empty()
    raw = _score(evidence, *_runs([video.attention for video in evidence], config.proposal_thresholds), config)
    kept = suppress(raw, config.nms, config.nms_parameter)
    return kept.select(kept.end - kept.start >= config.min_length)


def _runs(attentions: Sequence[Real], thresholds: int) -> tuple[Whole, Whole, Whole]:
    """Maximal runs of attention above each threshold: their video, start and end, sorted by threshold and position.

    As published, a threshold at which snippet 0 is a video's only one yields nothing: the index array was tested with
    any(). A video of one snippet therefore never has a run.
    """
    lengths = np.array([len(attention) for attention in attentions])
    offsets = np.cumsum(lengths + 1) - lengths  # one gap in front of each video
    attention_L = np.full(offsets[-1] + lengths[-1] + 1, -np.inf)
    for attention, offset in zip(attentions, offsets, strict=True):
        attention_L[offset : offset + len(attention)] = attention
    inside_KL = attention_L > np.linspace(0.1, 0.9, thresholds)[:, None]
    rises = np.flatnonzero(inside_KL[:, 1:] & ~inside_KL[:, :-1])
    falls = np.flatnonzero(inside_KL[:, :-1] & ~inside_KL[:, 1:])
    threshold, position = np.divmod(rises, inside_KL.shape[1] - 1)
    video = np.searchsorted(offsets, position + 1, side="right") - 1
    start = position + 1 - offsets[video]
    end = start + falls - rises
    group = threshold * len(attentions) + video
    alone = np.bincount(group, minlength=1)[group] == 1
    kept = ~(alone & (start == 0) & (end == 1))
    return video[kept], start[kept], end[kept]


def _score(evidence: Sequence[Evidence], video: Whole, start: Whole, end: Whole, config: EvaluationConfig) -> Proposals:
    """Every run for every predicted class of its video: inner mean - outer mean + weight * class score.

    The outer part is [max(0, int(start - r L)), start) and [end, min(T - 1, int(end - 1 + r L))] with r the outer
    ratio and L the run's length; its mean is 0 where it is empty.
    """
    predicted = np.array([len(item.classes) for item in evidence])
    lengths = np.array([len(item.attention) for item in evidence])
    run = np.repeat(np.arange(len(video)), predicted[video])
    slot = np.arange(len(run)) - np.repeat(np.cumsum(predicted[video]) - predicted[video], predicted[video])
    video, start, end = video[run], start[run], end[run]
    margin = config.outer_ratio * (end - start)
    before = np.maximum(start - margin, 0.0).astype(np.int64)
    behind = np.minimum((end - 1 + margin).astype(np.int64), lengths[video] - 1) + 1
    sums = np.concatenate([item.sums.ravel() for item in evidence])
    sizes = (lengths + 1) * predicted
    base = (np.cumsum(sizes) - sizes)[video] + slot * (lengths[video] + 1)
    at_start, at_end = sums[base + start], sums[base + end]
    inner = at_end - at_start
    outer = at_start - sums[base + before] + sums[base + behind] - at_end
    outside = (start - before) + (behind - end)
    contrast = inner / (end - start) - outer / np.maximum(outside, 1)
    first = (np.cumsum(predicted) - predicted)[video] + slot
    bonus = config.class_score_weight * np.concatenate([item.class_scores for item in evidence])[first]
    label = np.concatenate([item.classes for item in evidence])[first]
    order = np.argsort(video * (int(label.max(initial=0)) + 1) + label, kind="stable")
    rows = Proposals(video, start.astype(np.float64), end.astype(np.float64), label, contrast + bonus)
    return rows.select(order)
