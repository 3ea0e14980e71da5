"""Proposals that touch intervals annotated as ambiguous are not judged at all (THUMOS14)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dce_ray.records import Proposals


def to_snippets(seconds: NDArray[np.float64], snippets_per_second: float) -> NDArray[np.float64]:
    """Nearest snippet boundary, half to even as published (0.5 -> 0, 1.5 -> 2).

    Args:
        seconds: any shape.
        snippets_per_second: the data set's own fps / stride_frames.
    """
    rounded: NDArray[np.float64] = np.rint(seconds * snippets_per_second)
    return rounded


def drop_ambiguous(
    proposals: Proposals, video: NDArray[np.int64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> Proposals:
    """The proposals that share no snippet with an ambiguous interval of their video.

    Args:
        proposals: rows with times in snippets.
        video: row of the video of each interval, in the same list of videos as ``proposals.video``.
        start: first snippet of each interval.
        end: snippet behind the last of each interval; an interval that rounding made empty touches nothing.
    """
    kept = np.ones(len(proposals), bool)
    for name in np.unique(video):
        rows = np.flatnonzero(proposals.video == name)
        mine = np.flatnonzero(video == name)
        shared = np.minimum(proposals.end[rows, None], end[mine]) - np.maximum(proposals.start[rows, None], start[mine])
        kept[rows] = (shared <= 0).all(axis=1)
    return proposals.select(kept)
