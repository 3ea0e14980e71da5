"""Annotations in the ActivityNet format, as most projects keep them.

``{"database": {"<video>": {"subset": "training", "duration": 82.1, "annotations": [{"label": "Archery", "segment":
[3.2, 17.5]}]}}}``, times in seconds. ``fps`` per video is read where it stands. An annotation without ``segment`` is a
video-level label. The label ``Ambiguous`` is THUMOS14's: a stretch that the evaluation leaves out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dce_ray.errors import ImportFault

AMBIGUOUS = "Ambiguous"
SHAPE = '{"database": {"<video>": {"subset": ..., "duration": <s>, "annotations": [{"label": ..., "segment": [..]}]}}}'


@dataclass(frozen=True, slots=True)
class Annotated:
    """One video of the file; faults are texts of what cannot be read of it."""

    name: str
    subset: str
    duration_s: float | None
    """None where the file has none."""
    fps: float | None
    labels: tuple[str, ...]
    """Video-level labels, each once."""
    instances: tuple[tuple[str, float, float], ...]
    """(label, start s, end s)."""
    ambiguous: tuple[tuple[float, float], ...]
    faults: tuple[str, ...]


def read_annotations(path: Path) -> list[Annotated]:
    """All videos of the file, in its order.

    Raises:
        ImportFault: the file cannot be read or has another shape.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ImportFault(f"annotations={path}: cannot be read ({fault.strerror}); give an ActivityNet JSON") from fault
    except ValueError as fault:
        raise ImportFault(
            f"annotations={path}: not JSON ({fault}); give an ActivityNet JSON, or get the file anew where it "
            f"should be one: it may be cut off"
        ) from fault
    database = content.get("database") if isinstance(content, Mapping) else None
    if not isinstance(database, Mapping) or not database:
        raise ImportFault(f"annotations={path}: holds no database; the format is {SHAPE}")
    return [_video(name, entry) for name, entry in database.items()]


def _video(name: str, entry: Any) -> Annotated:
    if not isinstance(entry, Mapping):
        return Annotated(name, "", None, None, (), (), (), (f"entry is {entry!r}",))
    faults: list[str] = []
    labels, instances, ambiguous = [], [], []
    listed = entry.get("annotations", [])
    if not isinstance(listed, list):
        faults.append(f"annotations is {listed!r}")
        listed = []
    for item in listed:
        if not isinstance(item, Mapping) or not isinstance(item.get("label"), str):
            faults.append(f"annotation without label: {item!r}")
            continue
        label, segment = item["label"], item.get("segment")
        times = _times(segment)
        if segment is not None and times is None:
            faults.append(f"segment {segment!r} is not [start, end] with start < end")
        if label == AMBIGUOUS:
            ambiguous += [times] if times else []
            continue
        labels.append(label)
        instances += [(label, *times)] if times else []
    subset = str(entry.get("subset", ""))
    duration_s, fps = (_positive(entry.get(key)) for key in ("duration", "fps"))
    return Annotated(
        name, subset, duration_s, fps, tuple(dict.fromkeys(labels)), tuple(instances), tuple(ambiguous), tuple(faults)
    )


def _times(segment: Any) -> tuple[float, float] | None:
    if not isinstance(segment, list) or len(segment) != 2:
        return None
    try:
        start_s, end_s = float(segment[0]), float(segment[1])
    except (TypeError, ValueError):
        return None
    return (start_s, end_s) if math.isfinite(start_s) and math.isfinite(end_s) and start_s < end_s else None


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
