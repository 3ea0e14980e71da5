"""mAP tables whose value a test decides."""

from __future__ import annotations

import numpy as np

from dce_ray.evaluation import MapTable, map_table


def score_table(score: float) -> MapTable:
    """A table of one class whose ranking average is ``score``, a fraction."""
    return map_table(
        np.full((2, 1), score),
        thresholds=(0.1, 0.7),
        averages=("0.1:0.7",),
        class_names=("jump",),
        videos=1,
        instances=1,
    )
