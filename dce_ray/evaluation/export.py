"""Detections as ActivityNet JSON, in seconds: what other tools of the field read.

``{"version": ..., "results": {video: [{"label": name, "score": x, "segment": [start_s, end_s]}]}, ...}``
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dce_ray.errors import EvaluationError, unknown_name
from dce_ray.files import write_atomically
from dce_ray.records import Proposals

VERSION = "dce-ray detections 1"


def detections_mapping(
    proposals: Proposals, video_names: Sequence[str], class_names: Sequence[str], snippets_per_second: float
) -> dict[str, Any]:
    """Detections in the ActivityNet format; every video is named, best detections first (equal scores by row).

    Args:
        proposals: times in snippets; ``video`` counts ``video_names``, ``label`` counts ``class_names``.
        video_names: all videos that were evaluated, so that a reader sees which have no detection.
        class_names: C names.
        snippets_per_second: the data set's own fps / stride_frames.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in video_names}
    order = np.lexsort((-proposals.score, proposals.video))
    rows = proposals.select(order)
    columns = (
        rows.video.tolist(),
        rows.label.tolist(),
        rows.score.tolist(),
        (rows.start / snippets_per_second).tolist(),
        (rows.end / snippets_per_second).tolist(),
    )
    for video, label, score, start_s, end_s in zip(*columns, strict=True):
        results[video_names[video]].append({"label": class_names[label], "score": score, "segment": [start_s, end_s]})
    return {"version": VERSION, "results": results, "external_data": {}}


def export_detections(
    path: Path | str,
    proposals: Proposals,
    video_names: Sequence[str],
    class_names: Sequence[str],
    snippets_per_second: float,
) -> None:
    """Write :func:`detections_mapping` to ``path``, whole or not at all.

    Raises:
        OutputError: the disk is full or not writable.
    """
    mapping = detections_mapping(proposals, video_names, class_names, snippets_per_second)
    write_atomically(Path(path), json.dumps(mapping, allow_nan=False))


def read_detections(
    path: Path | str, video_names: Sequence[str], class_names: Sequence[str], snippets_per_second: float
) -> Proposals:
    """Read detections in the ActivityNet format, ours or another tool's, into a table in snippets.

    Args:
        path: the file.
        video_names: the videos of the ground truth, which the rows will count.
        class_names: the classes of the ground truth.
        snippets_per_second: the data set's own fps / stride_frames.

    Raises:
        EvaluationError: the file cannot be read, is not of this format, or names videos or labels that the ground
            truth lacks; values are checked where they are scored.
    """
    try:
        results = json.loads(Path(path).read_text())["results"]
        rows = [(video, hit["label"], *hit["segment"], hit["score"]) for video, hits in results.items() for hit in hits]
        names = [row[:2] for row in rows]
        values = np.array([row[2:] for row in rows], np.float64).reshape(-1, 3)
    except OSError as fault:
        raise EvaluationError(f"{path}: cannot be read ({fault.strerror})") from fault
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise EvaluationError(
            f"{path}: not detections in the ActivityNet format ({type(fault).__name__}: {fault}); expected "
            f'{{"results": {{video: [{{"label", "score", "segment": [start s, end s]}}]}}}}'
        ) from fault
    videos = {name: number for number, name in enumerate(video_names)}
    classes = {name: number for number, name in enumerate(class_names)}
    faults = _unknown("video", set(results) - set(videos), videos)
    faults += _unknown("label", {label for _, label in names} - set(classes), classes)
    if faults:
        raise EvaluationError(f"{path}: " + "; ".join(faults))
    return Proposals(
        video=np.array([videos[video] for video, _ in names], np.int64),
        start=values[:, 0] * snippets_per_second,
        end=values[:, 1] * snippets_per_second,
        label=np.array([classes[label] for _, label in names], np.int64),
        score=values[:, 2],
    )


def _unknown(kind: str, names: set[str], known: Mapping[str, int]) -> list[str]:
    """One line for the names that the ground truth lacks, the first of them with the nearest known one."""
    if not names:
        return []
    first = sorted(names)[0]
    hint = unknown_name(kind, first, known).split("; known:")[0]
    return [f"{hint}: {len(names)} {kind}s are not in the ground truth; score another subset or mend the names"]
