"""The next batch, gathered by a thread and uploaded on a stream of its own while the device trains on this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dce_ray.data.sampling import BatchSampler

Rows = NDArray[np.int64]
Uploaded = tuple[tuple[Tensor, ...], torch.cuda.Event | None]
"""A batch's inputs on the device, and what tells on CUDA that they have arrived."""


class ReadAhead:
    """Keeps one batch in advance; the batches and their order are those of the sampler.

    Args:
        sampler: draws on the caller's thread, one batch earlier than it is asked for.
        upload: gathers and uploads what the sampler drew; called on the loader thread.
        device: where the batches go.
    """

    def __init__(
        self, sampler: BatchSampler, upload: Callable[[Rows, Rows], tuple[Tensor, ...]], device: torch.device
    ) -> None:
        self._sampler, self._upload, self._device = sampler, upload, device
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="dce-ray-batches")
        self._stream = None if device.type != "cuda" else torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pending: Future[Uploaded] | None = None
        self._before: dict[str, Any] = {}

    def next(self) -> tuple[Tensor, ...]:
        """The next batch's inputs, ready for the current stream; starts on the one behind it."""
        pending, self._pending = self._pending or self._start(), None
        inputs, arrived = pending.result()
        self._pending = self._start()
        if arrived is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(arrived)
            for tensor in inputs:
                tensor.record_stream(stream)  # allocated on the copy stream: not reused before this one is done
        return inputs

    def state(self) -> dict[str, Any]:
        """State of the sampler in front of the batch that :meth:`next` gives."""
        return self._before if self._pending is not None else self._sampler.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where ``state`` was taken; what was read in advance is dropped.

        Raises:
            CheckpointError: ``state`` is not a sampler's.
        """
        self._sampler.restore(state)
        self._pending = None

    def _start(self) -> Future[Uploaded]:
        self._before = self._sampler.state()
        return self._loader.submit(self._load, *self._sampler.draw())

    def _load(self, videos_B: Rows, snippets_BT: Rows) -> Uploaded:
        if self._stream is None:
            return self._upload(videos_B, snippets_BT), None
        with torch.cuda.stream(self._stream):
            inputs = self._upload(videos_B, snippets_BT)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._stream)
        return inputs, arrived
