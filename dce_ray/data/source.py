"""Training batches on the device: row numbers from the sampler, features from the store.

Two paths with equal results: *host* gathers from the memory-mapped store and copies each batch over; *device* gathers
on the device, where all train videos lie once, and copies over the row numbers alone. Neither waits for the device.
Letters: N training videos, C classes, B videos of a batch, T segments, D channels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dce_ray.config import SamplingConfig
from dce_ray.data.read_ahead import ReadAhead
from dce_ray.data.resident import ResidentVideos, StoredVideos, is_shared, shared_videos, train_rows
from dce_ray.data.sampling import BatchSampler
from dce_ray.data.transfer import host_buffer, upload, upload_array
from dce_ray.errors import ConfigError, DataError, unknown_name
from dce_ray.records import Batch

log = logging.getLogger(__name__)

Rows = NDArray[np.int64]
RESIDENT = ("auto", "host", "device")


class FeatureVideos(StoredVideos, Protocol):
    """What training reads of a :class:`dce_ray.store.FeatureStore`."""

    def labels(self, videos: Rows) -> NDArray[np.float32]:
        """Multi-hot labels, ``(len(videos), C)``."""

    def gather(self, videos_B: Rows, snippets_BT: Rows, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Chosen snippets of some videos, ``(B, T, D)`` float32, written to ``out``."""


class BatchSource:
    """Endless training batches.

    Args:
        store: the feature store.
        videos: store rows of the N training videos.
        sampling: segments, batch and pairs; the other fields are not read here.
        seed: of the sampler.
        device: where batches go.
        resident: ``host``, ``device``, or ``auto``: on a CUDA device whose free memory is at least twice the size of
            the features of all train videos, or where another run has put them, they are on the device, else they stay
            on the host.
        prefetch: whether the next batch is gathered and uploaded while this one is trained on; the batches are the
            same. Acts on the host path alone.

    Raises:
        ConfigError: unknown ``resident``.
        DataError: no training video, or pairs that cannot be drawn (:class:`BatchSampler`).
    """

    def __init__(
        self,
        store: FeatureVideos,
        videos: Rows,
        sampling: SamplingConfig,
        *,
        seed: int,
        device: torch.device | str,
        resident: str = "auto",
        prefetch: bool = False,
    ) -> None:
        self.device = torch.device(device)
        rows_N = np.asarray(videos, dtype=np.int64)
        if not len(rows_N):
            raise DataError("no training video; lower sampling.min_snippets")
        lengths_N = np.asarray(store.lengths)[rows_N]
        labels_NC = store.labels(rows_N)
        self._sampler = BatchSampler(
            labels_NC, lengths_N, segments=sampling.segments, batch=sampling.batch, pairs=sampling.pairs, seed=seed
        )
        self.notices = self._sampler.notices
        self.resident = resolve_resident(resident, self.device, store)
        self._labels_NC = upload_array(np.array(labels_NC, dtype=np.float32), self.device)
        self._features: _HostFeatures | _DeviceFeatures = (
            _DeviceFeatures(store, rows_N, self.device)
            if self.resident == "device"
            else _HostFeatures(store, rows_N, self.device)
        )
        ahead = prefetch and self.resident == "host"
        self._ahead = ReadAhead(self._sampler, self._features.upload, self.device) if ahead else None

    @property
    def shared(self) -> ResidentVideos | None:
        """The train videos on the device; None where the features stay on the host."""
        return self._features.videos if isinstance(self._features, _DeviceFeatures) else None

    def next(self) -> Batch:
        """The next batch: features ``(B, T, D)`` and labels ``(B, C)``, float32 on the device, and its pairs."""
        return self.assemble(self.inputs())

    def inputs(self) -> tuple[Tensor, ...]:
        """All that the next batch uploads, on the device: of the same shapes for every batch."""
        return self._ahead.next() if self._ahead is not None else self._features.upload(*self._sampler.draw())

    def assemble(self, inputs: tuple[Tensor, ...]) -> Batch:
        """The batch of :meth:`inputs`, made on the device alone, so that a CUDA graph can hold it."""
        index, features_BTD = self._features.assemble(*inputs)
        return Batch(features_BTD, self._labels_NC[index], pairs=self._sampler.pairs)

    def state(self) -> dict[str, Any]:
        """All that decides the coming batches; fit for JSON and for torch.save."""
        return {"sampler": (self._ahead or self._sampler).state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the batch that would have followed when ``state`` was taken.

        Raises:
            CheckpointError: ``state`` is not a source's.
        """
        (self._ahead or self._sampler).restore(state.get("sampler", {}))


def training_bytes(store: StoredVideos, videos: Rows) -> int:
    """Memory that the features of ``videos`` take, in bytes, as stored."""
    itemsize = store.features(int(videos[0])).dtype.itemsize
    return int(np.asarray(store.lengths)[videos].sum()) * store.feature_size * itemsize


def resolve_resident(resident: str, device: torch.device, store: StoredVideos) -> str:
    """``host`` or ``device``, see :class:`BatchSource`.

    Raises:
        ConfigError: unknown ``resident``.
    """
    if resident not in RESIDENT:
        raise ConfigError(unknown_name("training.resident", resident, RESIDENT))
    if resident != "auto":
        return resident
    if device.type != "cuda":
        return "host"
    if is_shared(store, device):
        return "device"
    needed_bytes = training_bytes(store, train_rows(store))
    free_bytes, _ = torch.cuda.mem_get_info(device)
    fits = needed_bytes <= free_bytes // 2
    log.info("training features: %d MiB, device has %d MiB free", needed_bytes >> 20, free_bytes >> 20)
    return "device" if fits else "host"


class _HostFeatures:
    """Gathers from the memory-mapped store into memory that is copied over at once."""

    def __init__(self, store: FeatureVideos, rows_N: Rows, device: torch.device) -> None:
        self._store, self._rows_N, self._device = store, rows_N, device

    def upload(self, videos_B: Rows, snippets_BT: Rows) -> tuple[Tensor, ...]:
        """Training rows ``(B,)`` and features ``(B, T, D)`` float32, on the device."""
        shape = (*snippets_BT.shape, self._store.feature_size)
        host_BTD = host_buffer(shape, torch.float32, self._device)
        self._store.gather(self._rows_N[videos_B], snippets_BT, host_BTD.numpy())
        return upload_array(videos_B, self._device), upload(host_BTD, self._device)

    def assemble(self, index_B: Tensor, features_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """The same."""
        return index_B, features_BTD


class _DeviceFeatures:
    """Gathers on the device, out of what all runs of the process share there."""

    def __init__(self, store: FeatureVideos, rows_N: Rows, device: torch.device) -> None:
        self.videos = shared_videos(store, device)
        self._rows_N, self._device = rows_N, device
        assert self.videos.holds(rows_N), "training videos are train videos with a snippet"
        self._shape = (0, 0)

    def upload(self, videos_B: Rows, snippets_BT: Rows) -> tuple[Tensor, ...]:
        """Training rows and positions in one copy: row numbers ``(B + B T,)`` int64 on the device."""
        positions_BT = self.videos.positions(self._rows_N[videos_B], snippets_BT)
        self._shape = positions_BT.shape
        return (upload_array(np.concatenate([videos_B, positions_BT.ravel()]), self._device),)

    def assemble(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Training rows ``(B,)`` and features ``(B, T, D)`` float32, on the device."""
        videos = self._shape[0]
        return index[:videos], self.videos.gather(index[videos:].view(self._shape))
