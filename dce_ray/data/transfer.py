"""Copies between host and device that wait for nothing they need not wait for.

Host memory of a copy is page-locked where the device is CUDA. It comes from PyTorch's caching host allocator, which
notes every asynchronous copy and hands a buffer out again only when the device has read it: a buffer is dropped as soon
as its copy is under way, never overwritten under it, and after the first few no memory is locked anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def host_buffer(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Uninitialised host memory that :func:`upload` can send to ``device``; write to it once, before that."""
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=device.type == "cuda")


def upload(host: Tensor, device: torch.device) -> Tensor:
    """``host`` on ``device``, copied on the current stream without a wait; ``host`` itself where that is the CPU."""
    return host if device.type == "cpu" else host.to(device, non_blocking=True)


def upload_array(array: NDArray[Any], device: torch.device) -> Tensor:
    """``array`` on ``device``; on the CPU a view of it."""
    host = torch.from_numpy(array)
    if device.type != "cpu":
        host = host_buffer(host.shape, host.dtype, device).copy_(host)
    return upload(host, device)


class Download:
    """A tensor on its way to the host.

    Args:
        tensor: of any device; the copy is queued behind what computes it.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            self._host = tensor.cpu()
            return
        self._host = host_buffer(tensor.shape, tensor.dtype, tensor.device)
        self._host.copy_(tensor, non_blocking=True)
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._copied.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> NDArray[Any]:
        """The values; waits until they have arrived."""
        if self._copied is not None:
            self._copied.synchronize()
        values: NDArray[Any] = np.asarray(self._host)
        return values
