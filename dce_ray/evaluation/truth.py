"""Ground truth of a set of videos, in snippets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dce_ray.localize.ambiguous import to_snippets
from dce_ray.records import GroundTruth
from dce_ray.store import FeatureStore, Instances

_NONE = Instances(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


def may_be_read(split: str, metric: str) -> bool:
    """Whether a run may read the temporal labels of ``split``: with ``metric=classification`` those of test alone.

    >>> may_be_read("holdout", "detection"), may_be_read("holdout", "classification")
    (True, False)
    """
    return split == "test" or metric == "detection"


def ground_truth(store: FeatureStore, videos: NDArray[np.int64], *, temporal: bool = True) -> GroundTruth:
    """Annotated instances of ``videos``, rounded half to even to snippets by the data set's own fps and stride.

    Instances that rounding leaves empty stay: nothing can match them, and they count as missed (as published).
    Reads the annotations of these videos only.

    Args:
        store: the data set.
        videos: store rows; ``GroundTruth.video`` counts them from 0.
        temporal: False reads no annotation: the names alone, without an instance.
    """
    found = store.instances(videos) if temporal else _NONE
    rate = store.snippets_per_second
    return GroundTruth(
        video=found.video,
        start=to_snippets(found.start_s, rate),
        end=to_snippets(found.end_s, rate),
        label=found.label,
        video_names=tuple(store.video_names[video] for video in videos),
        class_names=tuple(store.class_names),
    )
