"""Stores whose train videos have no temporal label, and raise when one is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dce_ray.store import FeatureStore, VideoAnnotation, open_store, write_store


class WeakStore(FeatureStore):
    """Raises when an instance or an ambiguous stretch of a train video is read."""

    def _refuse(self, videos):
        read = [int(row) for row in np.atleast_1d(np.asarray(videos)) if self.subsets[int(row)] == "train"]
        if read:
            raise RuntimeError(f"temporal labels of train videos {read} were read")

    def instances(self, videos):
        self._refuse(videos)
        return super().instances(videos)

    def ambiguous(self, videos):
        self._refuse(videos)
        return super().ambiguous(videos)


def without_temporal_labels(store: Path | str) -> WeakStore:
    """The store, opened so that it guards the temporal labels of its train videos."""
    return WeakStore.open(store)


def write_weak_store(source: Path, target: Path) -> Path:
    """A copy of ``source`` whose train videos have video-level labels alone."""
    store = open_store(source)
    rows = range(len(store.video_names))

    def videos():
        for row in rows:
            found, test = store.instances([row]), store.subsets[row] == "test"
            known = zip(found.label.tolist(), found.start_s.tolist(), found.end_s.tolist(), strict=True)
            labels = store.video_labels()[row]
            yield (
                VideoAnnotation(store.video_names[row], store.subsets[row], 100.0, labels, list(known) if test else []),
                store.features(row),
            )

    write_store(target, store.manifest.description, videos())
    return target
