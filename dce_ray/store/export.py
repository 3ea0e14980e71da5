"""Back to the released layout, so that other people's code can read a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dce_ray.store.known import KNOWN
from dce_ray.store.layout import Progress, no_progress, write_released
from dce_ray.store.reader import FeatureStore
from dce_ray.store.staging import refuse_occupied, staged_folder


def export_released(store: FeatureStore, target: Path | str, progress: Progress = no_progress) -> Path:
    """Write ``store`` into the new folder ``target`` in the released layout; importing it again gives the same store.

    The features keep the stored dtype, so float32 loses nothing. ``extracted_fps.npy`` holds the store's frame rate,
    and ``stride_frames.npy``, which the layout as published lacks, the frames of a snippet: others' code takes 16.
    Peak memory is the size of the features.

    Raises:
        StoreError: ``target`` is taken, full or may not be written to.
    """
    folder = Path(target).expanduser().resolve()
    refuse_occupied(folder)
    rows = np.arange(len(store))
    features = np.empty(len(store), dtype=object)
    for row in range(len(store)):
        features[row] = store.features(row)
    progress("collecting", len(store), len(store))
    ambiguous = store.ambiguous(rows)
    with staged_folder(folder) as staging:
        write_released(
            staging,
            store.name,
            features,
            _tables(store),
            class_names=store.class_names,
            ambiguous=[
                (store.video_names[video], float(start_s), float(end_s))
                for video, start_s, end_s in zip(ambiguous.video, ambiguous.start_s, ambiguous.end_s, strict=True)
            ],
        )
    progress("written", len(store), len(store))
    return folder


def _tables(store: FeatureStore) -> dict[str, list[Any]]:
    rows = np.arange(len(store))
    class_names = store.class_names
    instances = store.instances(rows)
    labels: list[list[str]] = [[] for _ in rows]
    segments: list[list[list[float]]] = [[] for _ in rows]
    columns = (instances.video, instances.label, instances.start_s, instances.end_s)
    for video, label, start_s, end_s in zip(*columns, strict=True):
        labels[video].append(class_names[label])
        segments[video].append([float(start_s), float(end_s)])
    released_names = _released_subsets(store)
    return {
        "videoname": list(store.video_names),
        "subset": [released_names[subset] for subset in store.subsets],
        "labels_all": [[class_names[label] for label in video] for video in store.video_labels()],
        "labels": labels,
        "segments": segments,
        "duration": store.durations_s.tolist(),
        "extracted_fps": [store.fps] * len(store),
        "stride_frames": [store.stride_frames] * len(store),
    }


def _released_subsets(store: FeatureStore) -> dict[str, str]:
    """Released names of ``train`` and ``test``: as they were imported, else as published, else our own."""
    imported = store.manifest.provenance.get("subsets", {})
    if imported:
        return {ours: released for released, ours in imported.items()}
    facts = KNOWN.get(store.name)
    return {"train": facts.train_subset, "test": facts.test_subset} if facts else {"train": "train", "test": "test"}
