"""How the published evaluations differ: overrides of ``EvaluationConfig`` per preset, data set and baseline."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dce_ray.store.known import THUMOS14

DDGNET_LEFT_OUT = ("video_test_0000270", "video_test_0001292", "video_test_0001496")
"""Test videos of THUMOS14 on which DDG-Net's authors do not predict."""

BASELINES: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("paper", "co2net"): {"proposal_thresholds": 10},
    ("paper", "delu"): {"proposal_thresholds": 20, "min_length": 2},
    ("paper", "ddgnet"): {"proposal_thresholds": 10},
    ("released", "co2net"): {"proposal_thresholds": 10},
    ("released", "delu"): {"proposal_thresholds": 10, "min_length": 1},
    ("released", "ddgnet"): {"proposal_thresholds": 10},
}
"""``paper``: the baseline's own published evaluation; ``released``: that of the code published with SCS and MCM."""

DATA_SETS: Mapping[str, Mapping[str, Any]] = {
    "thumos14": {
        "tiou_thresholds": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "averages": ("0.1:0.5", "0.3:0.7", "0.1:0.7"),
    },
    "activitynet12": {
        "tiou_thresholds": (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
        "averages": ("0.5:0.95",),
    },
}


def evaluation_preset(preset: str, data_set: str, baseline: str, store_names: Collection[str] = ()) -> dict[str, Any]:
    """Overrides of ``EvaluationConfig``, as a plain mapping.

    Args:
        preset: ``paper`` or ``released``.
        data_set: ``thumos14`` or ``activitynet12``, the published variant whose table is wanted; any other name gets
            THUMOS14's thresholds.
        baseline: name of the baseline; one that nothing is published for gets the defaults of ``EvaluationConfig``.
        store_names: names of the stores that hold this data set; videos are left out of THUMOS14's own only.
    """
    overrides = dict(DATA_SETS.get(data_set, DATA_SETS["thumos14"])) | dict(BASELINES.get((preset, baseline), {}))
    if baseline == "ddgnet" and THUMOS14 in store_names:
        overrides["skip_videos"] = DDGNET_LEFT_OUT
    return overrides
