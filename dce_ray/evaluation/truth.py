"""Ground truth of a set of videos, in snippets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dce_ray.localize.ambiguous import to_snippets
from dce_ray.records import GroundTruth
from dce_ray.store import FeatureStore


def ground_truth(store: FeatureStore, videos: NDArray[np.int64]) -> GroundTruth:
    """Annotated instances of ``videos``, rounded half to even to snippets by the data set's own fps and stride.

    Instances that rounding leaves empty stay: nothing can match them, and they count as missed (as published).
    Reads the annotations of these videos only.

    Args:
        store: the data set.
        videos: store rows; ``GroundTruth.video`` counts them from 0.
    """
    found, rate = store.instances(videos), store.snippets_per_second
    return GroundTruth(
        video=found.video,
        start=to_snippets(found.start_s, rate),
        end=to_snippets(found.end_s, rate),
        label=found.label,
        video_names=tuple(store.video_names[video] for video in videos),
        class_names=tuple(store.class_names),
    )
