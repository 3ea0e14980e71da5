"""Average precision of the video-level classes.

Shapes: N videos, C classes, T snippets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import EvaluationError
from dce_ray.localize.proposals import class_scores, softmax

Real = NDArray[np.float64]


def video_scores(logits_TC: NDArray[Any], snippets: int = 1) -> Real:
    """Softmax of the mean of the ``snippets`` largest logits per class, ``(C,)``; not weighted by attention.

    The published tables are made with the single largest: their code means to average ceil(T / 8), but takes T from an
    array that carries a batch dimension of one in front, and gets ceil(1 / 8). Ours is what their numbers are.

    Args:
        logits_TC: ``(T, C + 1)``, background last; it takes part in the softmax and is left out of the result.
        snippets: how many of the largest are averaged, in [1, T].
    """
    if snippets > 1:
        return class_scores(np.ascontiguousarray(logits_TC.T), snippets)
    return softmax(logits_TC.max(axis=0).astype(np.float64))[:-1]


def classification_ap(scores_NC: NDArray[Any], labels_NC: NDArray[Any]) -> Real:
    """Non-interpolated average precision of each class over the videos, ``(C,)`` in [0, 1].

    AP is the mean, over the videos that carry the class, of the precision at their rank. Equal scores count in the
    order of the videos.

    Args:
        scores_NC: ``(N, C)``, any unit.
        labels_NC: ``(N, C)``, 1 where the video carries the class.

    Returns:
        ``(C,)``; NaN for classes that no video carries. Average with ``np.nanmean``.

    Raises:
        EvaluationError: shapes that differ, scores that are not finite.
    """
    if scores_NC.shape != labels_NC.shape or scores_NC.ndim != 2:
        raise EvaluationError(f"scores {scores_NC.shape} and labels {labels_NC.shape}: both must be (videos, classes)")
    if not np.isfinite(scores_NC).all():
        raise EvaluationError(f"{np.count_nonzero(~np.isfinite(scores_NC))} video-level scores are NaN or infinite")
    order_NC = np.argsort(-scores_NC, axis=0, kind="stable")
    hit_NC = np.take_along_axis(labels_NC, order_NC, axis=0) == 1
    positives_C = hit_NC.sum(axis=0)
    precision_NC = np.cumsum(hit_NC, axis=0) / np.arange(1, len(hit_NC) + 1)[:, None]
    ap_C: Real = np.full(scores_NC.shape[1], np.nan)
    np.divide((precision_NC * hit_NC).sum(axis=0), positives_C, out=ap_C, where=positives_C > 0)
    return ap_C
