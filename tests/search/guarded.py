"""Real runs whose store is not what it seems."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
from dce_ray.trainables import DeluTrainable
from unread import without_temporal_labels

from dce_ray.presets import run_config_from_mapping
from dce_ray.store import FeatureStore
from dce_ray.train import Run


class GuardedStore(FeatureStore):
    """Raises when anything of a test video is read."""

    def _refuse(self, videos):
        rows = np.atleast_1d(np.asarray(videos))
        read = [int(row) for row in rows if self.subsets[int(row)] == "test"]
        if read:
            raise RuntimeError(f"test videos {read} were read")

    def features(self, video):
        self._refuse(video)
        return super().features(video)

    def gather(self, videos, snippets, *more, **named):
        self._refuse(videos)
        return super().gather(videos, snippets, *more, **named)

    def labels(self, videos):
        self._refuse(videos)
        return super().labels(videos)

    def instances(self, videos):
        self._refuse(videos)
        return super().instances(videos)

    def ambiguous(self, videos):
        self._refuse(videos)
        return super().ambiguous(videos)


class GuardedTrainable(DeluTrainable):
    def make_run(self, record):
        config = run_config_from_mapping(record.config)
        return Run(config, GuardedStore.open(config.data))


class WeakTrainable(DeluTrainable):
    """Raises when a temporal label of a train video is read."""

    def make_run(self, record):
        config = run_config_from_mapping(record.config)
        return Run(config, without_temporal_labels(config.data))


class VanishingTrainable(DeluTrainable):
    """The store is removed under the second run, whose process then dies."""

    def step(self):
        store = Path(self.record.config["data"])
        if self.record.number == 1 and store.exists():
            shutil.rmtree(store)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step()
