"""Training batches on the device: row numbers from the sampler, features from the store.

Two paths with equal results: *host* gathers from the memory-mapped store and copies each batch over; *device* puts all
training features on the device once and gathers there. Letters: N training videos, C classes, B videos of a batch,
T segments, D channels.
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
from dce_ray.data.sampling import BatchSampler
from dce_ray.errors import ConfigError, DataError, unknown_name
from dce_ray.records import Batch

log = logging.getLogger(__name__)

Rows = NDArray[np.int64]
RESIDENT = ("auto", "host", "device")


class FeatureVideos(Protocol):
    """What training reads of a :class:`dce_ray.store.FeatureStore`."""

    @property
    def feature_size(self) -> int:
        """Channels of both streams, D."""

    @property
    def lengths(self) -> Rows:
        """Snippets of every video of the store."""

    def labels(self, videos: Rows) -> NDArray[np.float32]:
        """Multi-hot labels, ``(len(videos), C)``."""

    def features(self, video: int) -> NDArray[Any]:
        """Features of one video, ``(T, D)``, as stored."""

    def gather(self, videos_B: Rows, snippets_BT: Rows) -> NDArray[np.float32]:
        """Chosen snippets of some videos, ``(B, T, D)`` float32."""


class BatchSource:
    """Endless training batches.

    Args:
        store: the feature store.
        videos: store rows of the N training videos.
        sampling: segments, batch and pairs; the other fields are not read here.
        seed: of the sampler.
        device: where batches go.
        resident: ``host``, ``device``, or ``auto``: on a CUDA device whose free memory is at least twice the size of
            the training features they are put there, else they stay on the host.

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
    ) -> None:
        self.device = torch.device(device)
        rows_N = np.asarray(videos, dtype=np.int64)
        if not len(rows_N):
            raise DataError("no training video; lower sampling.holdout_share or sampling.min_snippets")
        lengths_N = np.asarray(store.lengths)[rows_N]
        labels_NC = store.labels(rows_N)
        self._sampler = BatchSampler(
            labels_NC, lengths_N, segments=sampling.segments, batch=sampling.batch, pairs=sampling.pairs, seed=seed
        )
        self.notices = self._sampler.notices
        self.resident = resolve_resident(resident, self.device, training_bytes(store, rows_N))
        self._labels_NC = torch.from_numpy(np.asarray(labels_NC, dtype=np.float32)).to(self.device)
        self._features: _HostFeatures | _DeviceFeatures = (
            _DeviceFeatures(store, rows_N, self.device)
            if self.resident == "device"
            else _HostFeatures(store, rows_N, self.device)
        )

    def next(self) -> Batch:
        """The next batch: features ``(B, T, D)`` and labels ``(B, C)``, float32 on the device, and its pairs."""
        videos_B, snippets_BT = self._sampler.draw()
        labels_BC = self._labels_NC[torch.from_numpy(videos_B).to(self.device)]
        return Batch(self._features.gather(videos_B, snippets_BT), labels_BC, pairs=self._sampler.pairs)

    def state(self) -> dict[str, Any]:
        """All that decides the coming batches; fit for JSON and for torch.save."""
        return {"sampler": self._sampler.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the batch that would have followed when ``state`` was taken.

        Raises:
            CheckpointError: ``state`` is not a source's.
        """
        self._sampler.restore(state.get("sampler", {}))


def training_bytes(store: FeatureVideos, videos: Rows) -> int:
    """Memory that the features of ``videos`` take, in bytes, as stored."""
    itemsize = store.features(int(videos[0])).dtype.itemsize
    return int(np.asarray(store.lengths)[videos].sum()) * store.feature_size * itemsize


def resolve_resident(resident: str, device: torch.device, needed_bytes: int) -> str:
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
    free_bytes, _ = torch.cuda.mem_get_info(device)
    fits = needed_bytes <= free_bytes // 2
    log.info("training features: %d MiB, device has %d MiB free", needed_bytes >> 20, free_bytes >> 20)
    return "device" if fits else "host"


class _HostFeatures:
    """Gathers from the memory-mapped store, through one page-locked buffer where the device is CUDA."""

    def __init__(self, store: FeatureVideos, rows_N: Rows, device: torch.device) -> None:
        self._store, self._rows_N, self._device = store, rows_N, device
        self._pinned: Tensor | None = None
        self._copied: torch.Event | None = None

    def gather(self, videos_B: Rows, snippets_BT: Rows) -> Tensor:
        """Features ``(B, T, D)`` float32 on the device."""
        host_BTD = torch.from_numpy(self._store.gather(self._rows_N[videos_B], snippets_BT))
        return host_BTD if self._device.type == "cpu" else self._send(host_BTD)

    def _send(self, host_BTD: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return host_BTD.to(self._device)
        if self._pinned is None or self._copied is None:
            self._pinned, self._copied = torch.empty(host_BTD.shape, pin_memory=True), torch.Event(self._device)
        else:
            self._copied.synchronize()  # the device may still be reading the batch before
        self._pinned.copy_(host_BTD)
        device_BTD = self._pinned.to(self._device, non_blocking=True)
        self._copied.record(torch.cuda.current_stream(self._device))
        return device_BTD


class _DeviceFeatures:
    """All training videos end to end on the device, as stored; batches become float32 when they are gathered."""

    def __init__(self, store: FeatureVideos, rows_N: Rows, device: torch.device) -> None:
        lengths_N = np.asarray(store.lengths)[rows_N]
        ends_N = np.cumsum(lengths_N)
        first = store.features(int(rows_N[0]))
        stored = torch.from_numpy(np.empty(0, dtype=first.dtype)).dtype
        self._flat_SD = torch.empty((int(ends_N[-1]), store.feature_size), dtype=stored, device=device)
        for row, end, length in zip(rows_N, ends_N, lengths_N, strict=True):
            # copied, because torch warns of views that it cannot write to
            self._flat_SD[int(end - length) : int(end)] = torch.from_numpy(np.array(store.features(int(row))))
        self._starts_N = ends_N - lengths_N

    def gather(self, videos_B: Rows, snippets_BT: Rows) -> Tensor:
        """Features ``(B, T, D)`` float32 on the device."""
        positions_BT = torch.from_numpy(self._starts_N[videos_B][:, None] + snippets_BT)
        return self._flat_SD[positions_BT.to(self._flat_SD.device)].float()
