"""How much memory this machine's GPUs have free, read without making a context on any of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Of the fullest GPU that this process sees, since runs are shared out to all of them alike."""

    free: float
    """Bytes, whoever uses the others."""
    total: float
    """Bytes."""
    unknown: str = ""
    """Why ``free`` is not known, and is ``total`` therefore; empty where it is."""

    @property
    def line(self) -> str:
        """What is to be told; empty where all of it is free, but for what drivers and desktops take."""
        if self.unknown:
            return f"note: GPU memory is planned with as if all were free: {self.unknown}"
        if self.free > 0.9 * self.total:
            return ""
        free, total = (f"{number / 2**30:.1f}" for number in (self.free, self.total))
        return f"GPU memory is in use: runs share the {free} of {total} GiB that are free on the fullest GPU"


def gpu_memory() -> GpuMemory | None:
    """The memory of the fullest GPU, None where there is none; through NVIDIA's library, as ``nvidia-smi`` reads it."""
    if not torch.cuda.is_available():
        return None
    properties = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        total = float(min(one.total_memory for one in properties))
        return GpuMemory(total, total, "pynvml is not there; pip install nvidia-ml-py")
    return fullest(library, [(str(one.uuid), float(one.total_memory)) for one in properties])


def whole_memory() -> float | None:
    """Bytes of this machine's smallest GPU, used or free; None where NVIDIA's library is absent or does not say.

    It is asked in processes that Ray gives no GPU, and that PyTorch therefore shows none.
    """
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    return smallest(library)


def smallest(library: Any) -> float | None:
    """Bytes of the smallest GPU that the library knows; None where one is parted (MIG), whose parts have less.

    Args:
        library: NVIDIA's, ``pynvml``.
    """
    try:
        library.nvmlInit()
        handles = [library.nvmlDeviceGetHandleByIndex(number) for number in range(library.nvmlDeviceGetCount())]
        sizes = [float(library.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles]
        return None if any(_parted(library, handle) for handle in handles) else min(sizes, default=None)
    except library.NVMLError:
        return None


def _parted(library: Any, handle: Any) -> bool:
    try:
        return bool(library.nvmlDeviceGetMigMode(handle)[0])
    except library.NVMLError:  # most GPUs cannot be
        return False


def fullest(library: Any, gpus: list[tuple[str, float]]) -> GpuMemory:
    """Of GPUs with their UUIDs and sizes, the memory of the one with the least free.

    Args:
        library: NVIDIA's, ``pynvml``.
        gpus: UUID without its ``GPU-``, and bytes in all.
    """
    found = []
    try:
        library.nvmlInit()
        for uuid, total in gpus:
            state = library.nvmlDeviceGetMemoryInfo(library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
            found.append(GpuMemory(min(total, float(state.free)), total))
    except library.NVMLError as fault:  # parts of a GPU (MIG) have names of their own
        total = min(total for _, total in gpus)
        return GpuMemory(total, total, f"NVML gives none of it ({fault})")
    return min(found, key=lambda one: one.free)
