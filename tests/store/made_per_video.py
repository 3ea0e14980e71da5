"""A small data set as ActionFormer-like projects keep it: a feature file per video and an ActivityNet JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

FPS, STRIDE_FRAMES = 25.0, 16


def small_database(videos: int = 8) -> dict[str, Any]:
    """``videos`` entries of 4, 5, ... snippets; the last two are for testing; classes alternate."""
    database = {}
    for row in range(videos):
        duration_s = (4 + row) * STRIDE_FRAMES / FPS
        label = ("Jump", "Run")[row % 2]
        database[f"video{row}"] = {
            "subset": "Test" if row >= videos - 2 else "Validation",
            "duration": duration_s,
            "fps": FPS,
            "annotations": [{"label": label, "segment": [0.5, 1.5]}],
        }
    return database


def write_per_video(folder: Path, database: dict[str, Any], *, apart: bool = False, size: int = 8) -> Path:
    """Features of all videos in ``folder/features`` (or its ``rgb`` and ``flow``) and ``folder/annotations.json``."""
    features = folder / "features"
    generator = np.random.default_rng(0)
    for row, name in enumerate(database):
        matrix = generator.normal(size=(4 + row, size)).astype(np.float32)
        parts = {"rgb": matrix[:, : size // 2], "flow": matrix[:, size // 2 :]} if apart else {"": matrix}
        for part, stream in parts.items():
            (features / part).mkdir(parents=True, exist_ok=True)
            np.save(features / part / f"{name}.npy", stream)
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    return features
