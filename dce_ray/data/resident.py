"""Features that lie on a device: all train videos of a data set once per process, whatever runs read of them.

Letters: S snippets of all videos end to end, D channels, B videos of a batch, T segments or padded snippets.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dce_ray.data.transfer import host_buffer, upload

Rows = NDArray[np.int64]


class StoredVideos(Protocol):
    """What is read of a :class:`dce_ray.store.FeatureStore`."""

    @property
    def digest(self) -> str:
        """The same for the same data."""

    @property
    def feature_size(self) -> int:
        """Channels of both streams, D."""

    @property
    def lengths(self) -> Rows:
        """Snippets of every video of the store."""

    @property
    def subsets(self) -> tuple[str, ...]:
        """``train`` or ``test`` for every video."""

    def features(self, video: int) -> NDArray[Any]:
        """Features of one video, ``(T, D)``, as stored."""


class ResidentVideos:
    """The train videos of a store end to end on a device, as stored; what is gathered becomes float32.

    Args:
        store: the data; neither labels nor annotations are read.
        device: where the features go.
    """

    def __init__(self, store: StoredVideos, device: torch.device) -> None:
        rows, lengths = train_rows(store), np.asarray(store.lengths)
        ends = np.cumsum(lengths[rows])
        self._starts = np.full(len(lengths), -1, np.int64)
        self._starts[rows] = ends - lengths[rows]
        stored = torch.from_numpy(np.empty(0, store.features(int(rows[0])).dtype)).dtype
        self.flat_SD = torch.empty((int(ends[-1]), store.feature_size), dtype=stored, device=device)
        for row, end in zip(rows.tolist(), ends.tolist(), strict=True):
            host_TD = host_buffer((int(lengths[row]), store.feature_size), stored, device)
            host_TD.numpy()[...] = store.features(row)
            self.flat_SD[end - int(lengths[row]) : end].copy_(upload(host_TD, device))

    def holds(self, videos: Rows) -> bool:
        """Whether all these store rows lie here."""
        return bool((self._starts[videos] >= 0).all())

    def positions(self, videos_B: Rows, snippets_BT: Rows) -> Rows:
        """Where the snippets of some store rows lie, ``(B, T)`` in [0, S), for :meth:`gather`."""
        positions_BT: Rows = self._starts[videos_B][:, None] + snippets_BT
        return positions_BT

    def gather(self, positions_BT: Tensor) -> Tensor:
        """Features ``(B, T, D)`` float32 at ``positions_BT``, which lie on the device."""
        return self.flat_SD[positions_BT].float()


def train_rows(store: StoredVideos) -> Rows:
    """Store rows of the train videos that have a snippet: what is made resident."""
    train = np.asarray(store.subsets) == "train"
    return np.flatnonzero(train & (np.asarray(store.lengths) > 0)).astype(np.int64)


_shared: weakref.WeakValueDictionary[tuple[str, str], ResidentVideos] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def _key(store: StoredVideos, device: torch.device) -> tuple[str, str]:
    index = torch.cuda.current_device() if device.type == "cuda" and device.index is None else device.index
    return store.digest, f"{device.type}:{index or 0}"


def is_shared(store: StoredVideos, device: torch.device) -> bool:
    """Whether some run of this process holds the store's features on the device already."""
    return _key(store, device) in _shared


def shared_videos(store: StoredVideos, device: torch.device) -> ResidentVideos:
    """The features of the store on the device: those that other runs of the process use, or a copy made now.

    The memory is freed when the last one drops them.
    """
    with _lock:
        key = _key(store, device)
        found = _shared.get(key)
        if found is None:
            found = _shared[key] = ResidentVideos(store, device)
        return found
