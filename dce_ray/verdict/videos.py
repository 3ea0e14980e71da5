"""What another test set of the same kind would change: winner and plain baseline on resampled test videos.

The interval over seeds says what training again would change; it holds for these test videos. This one keeps the
trained networks and draws the videos anew (paired bootstrap: both settings see the same draw).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dce_ray.config import EvaluationConfig
from dce_ray.data import make_splits
from dce_ray.errors import DceError, EvaluationError
from dce_ray.evaluation import MapTable, ground_truth, read_detections
from dce_ray.evaluation.resampling import draw_videos, resampled_ranking
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.files import read_json
from dce_ray.presets import run_config_from_mapping
from dce_ray.records import GroundTruth, Proposals
from dce_ray.store import FeatureStore, open_store
from dce_ray.verdict.statistics import LEVEL

RESAMPLES, SEED = 1000, 0
Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VideoInterval:
    """Percentile interval of the mean gain over resamples of the test videos, in percentage points."""

    low: float | None
    high: float | None
    note: str
    """How many videos and resamples, or why there is no interval."""


def video_interval(run: Mapping[str, Any], pairs: Sequence[tuple[RunFolder, RunFolder]]) -> VideoInterval:
    """Resample the test videos of a confirmation.

    Args:
        run: RunConfig mapping of the search: data, splits and evaluation.
        pairs: finished runs of the winner and the plain baseline, by seed; their detections are read.
    """
    if not pairs:
        return VideoInterval(None, None, "no pair of runs is finished")
    try:
        config = run_config_from_mapping(run, kept=True)
        store = open_store(config.data)
        truth = ground_truth(store, make_splits(store, config.sampling, hold_out=False).test)
        return paired_bootstrap(config.evaluation, truth, store, pairs)
    except DceError as fault:
        why = " ".join(str(fault).split())
        return VideoInterval(None, None, f"test videos could not be resampled ({why})")


def paired_bootstrap(
    config: EvaluationConfig, truth: GroundTruth, store: FeatureStore, pairs: Sequence[tuple[RunFolder, RunFolder]]
) -> VideoInterval:
    """The interval itself; see :func:`video_interval`."""
    counts_VB = draw_videos(truth, RESAMPLES, SEED)
    total_B = np.zeros(RESAMPLES)
    for winner, plain in pairs:
        total_B += _scores(winner, config, truth, store, counts_VB) - _scores(plain, config, truth, store, counts_VB)
    low, high = np.quantile(100 * total_B / len(pairs), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    videos = len(truth.video_names)
    return VideoInterval(float(low), float(high), f"{RESAMPLES} resamples of {videos} test videos")


def _scores(
    run: RunFolder, config: EvaluationConfig, truth: GroundTruth, store: FeatureStore, counts_VB: NDArray[np.int64]
) -> Real:
    """Ranking average of a run in each resample, ``(B,)``; its detections must give its own table.

    Raises:
        EvaluationError: they do not.
    """
    found = snippets_of(
        read_detections(run.detections, truth.video_names, truth.class_names, store.snippets_per_second)
    )
    once = np.ones((len(counts_VB), 1), np.int64)
    ranking_B = resampled_ranking(found, truth, config, np.concatenate([once, counts_VB], axis=1))
    expected = MapTable.from_mapping(read_json(run.table)).ranking
    if not math.isclose(ranking_B[0], expected, rel_tol=0, abs_tol=1e-6):
        raise EvaluationError(
            f"{run.detections} gives an average of {100 * ranking_B[0]:.4f}, its table {100 * expected:.4f}; "
            f"one of them was changed"
        )
    return ranking_B[1:]


def snippets_of(proposals: Proposals) -> Proposals:
    """Times as they were before they were written in seconds: 5 snippets must not come back as 4.999999999."""
    return replace(proposals, start=np.round(proposals.start, 6), end=np.round(proposals.end, 6))
