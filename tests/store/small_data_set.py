"""A small data set in the released layout, to be spoilt by tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("Jump", "Run", "Throw")


def object_array(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        array[row] = value
    return array


def small_tables() -> dict[str, Any]:
    """Six videos of 4 to 9 snippets, D = 8; 25 fps and 16 frames per snippet fit the durations."""
    generator = np.random.default_rng(0)
    lengths = [4, 5, 6, 7, 8, 9]
    labels = [["Jump"], ["Run"], ["Throw", "Jump"], ["Jump"], ["Run"], ["Throw"]]
    return {
        "features": [generator.normal(size=(length, 8)).astype(np.float32) for length in lengths],
        "videoname": [f"video_{row}".encode() for row in range(6)],
        "subset": [b"validation"] * 4 + [b"test"] * 2,
        "classlist": [name.encode() for name in CLASSES],
        "labels_all": labels,
        "labels": [list(names) for names in labels],
        "segments": [[[0.5 + k, 1.25 + k] for k in range(len(names))] for names in labels],
        "duration": [length * 16 / 25 for length in lengths],
        "extracted_fps": [25.0] * 6,
    }


def write_small(folder: Path, name: str, tables: dict[str, Any]) -> Path:
    annotations = folder / f"{name}-Annotations"
    annotations.mkdir(parents=True)
    for stem, values in tables.items():
        path = folder / f"{name}-I3D-JOINTFeatures.npy" if stem == "features" else annotations / f"{stem}.npy"
        ragged = stem in ("features", "labels_all", "labels", "segments")
        np.save(path, object_array(values) if ragged else np.array(values), allow_pickle=True)
    return folder
