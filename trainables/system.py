"""What a run's process takes of its machine, read between its evaluations: MLflow shows it as system metrics.

``system/cpu_percent`` (100 is one core), ``system/memory_mib`` (of the process, what workers share counted in each of
them), and where the run computes on a GPU ``system/gpu_percent`` (of the whole GPU, whoever uses it) and
``system/gpu_memory_mib`` (of the process). Each is one reading's: use since the reading before, memory at it.
"""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

PREFIX = "system/"
"""MLflow shows what begins so on a page of its own."""
MEBIBYTE = 2**20


class SystemMeter:
    """Reads what this process uses.

    Args:
        gpu: the GPU that the run computes on, by its UUID (``GPU-...``); None: it computes on the CPU.
    """

    def __init__(self, gpu: str | None = None) -> None:
        self.lacks: list[str] = []
        """What cannot be read here, and why; a line each."""
        self._process = self._open_process()
        self._gpu: Any = None
        self._handle: Any = None
        if gpu:
            self._gpu, self._handle = self._open_gpu(gpu)
        self._since = self._used()

    def _open_process(self) -> Any:
        import ray  # noqa: F401  (psutil comes with it, and is found once it is imported)

        try:
            return importlib.import_module("psutil").Process()
        except ImportError:
            self.lacks.append("CPU use and memory are not recorded: psutil is not there; pip install psutil")
            return None

    def _open_gpu(self, gpu: str) -> tuple[Any, Any]:
        """NVIDIA's library and its handle of the GPU; a reason in :attr:`lacks` where it gives none."""
        try:
            library = importlib.import_module("pynvml")
        except ImportError:
            self.lacks.append("GPU use is not recorded: pynvml is not there; pip install nvidia-ml-py")
            return None, None
        try:
            library.nvmlInit()
            return library, library.nvmlDeviceGetHandleByUUID(gpu)
        except library.NVMLError as fault:
            self.lacks.append(f"GPU use is not recorded: NVML gives none of {gpu} ({fault})")
            return None, None

    def _used(self) -> tuple[float, float]:
        """Seconds of processor time up to now, and now."""
        if self._process is None:
            return 0.0, time.monotonic()
        times = self._process.cpu_times()
        return times.user + times.system, time.monotonic()

    def read(self) -> dict[str, float]:
        """The metrics by name, since the last reading; what cannot be read is absent."""
        found: dict[str, float] = {}
        before_s, before = self._since
        self._since = used_s, now = self._used()
        if self._process is not None:
            found["cpu_percent"] = 100 * (used_s - before_s) / max(now - before, 1e-9)
            found["memory_mib"] = self._process.memory_info().rss / MEBIBYTE
        if self._gpu is not None:
            found |= self._read_gpu()
        return {f"{PREFIX}{name}": value for name, value in found.items()}

    def _read_gpu(self) -> dict[str, float]:
        """Of the GPU; a GPU that stops answering (MIG tells no use at all) is not asked again."""
        library, found = self._gpu, {}
        try:
            found["gpu_percent"] = float(library.nvmlDeviceGetUtilizationRates(self._handle).gpu)
            processes = library.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except library.NVMLError as fault:
            self.lacks.append(f"GPU use is not recorded any more: {fault}")
            self._gpu = None
            return found
        for one in processes:  # in a container the numbers of processes may be other ones: then none is ours
            if one.pid == os.getpid() and one.usedGpuMemory is not None:
                found["gpu_memory_mib"] = one.usedGpuMemory / MEBIBYTE
        return found


def gpu_of(device: Any) -> str | None:
    """UUID of the GPU that a ``torch.device`` means in this process; None for the CPU."""
    if device.type != "cuda":
        return None
    import torch

    uuid = str(torch.cuda.get_device_properties(device).uuid)
    return uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
