"""What a trial gets: CPUs, a share of a GPU, and from both how many trials run at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dce_ray.errors import SearchError
from dce_ray.words import counted, written

TRIALS_PER_GPU = 4
"""More processes than this on one GPU wait for each other."""
MEMORY_SHARE = 0.8
"""Part of a memory that trials may plan with; the rest is for context, fragments and everything else."""
PROCESS_BYTES = 600 * 2**20
"""A worker's interpreter with torch, not shared with other workers."""
CONTEXT_BYTES = 700 * 2**20
"""A CUDA context."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Bytes that one trial needs."""

    network: int
    """Parameters, gradients and Adam's two moments."""
    activations: int
    """Of one training step, estimated."""
    features: int
    """Training features; on the GPU once per trial where they are resident there, on the host one mapped copy."""

    @property
    def host(self) -> int:
        """Of one trial that computes on the CPU."""
        return PROCESS_BYTES + self.network + self.activations

    @property
    def device(self) -> int:
        """Of one trial that computes on a GPU with the features resident."""
        return CONTEXT_BYTES + self.network + self.activations + self.features


@dataclass(frozen=True, slots=True)
class Resources:
    """CPUs and GPUs of one trial."""

    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        """CPU threads that a trial's process uses."""
        return max(1, int(self.cpus))

    def slots(self, cluster: Mapping[str, float]) -> int:
        """Trials that run at once on a cluster of so many ``CPU`` and ``GPU``."""
        by_cpu = cluster.get("CPU", 0.0) / self.cpus if self.cpus else math.inf
        by_gpu = _by_gpu(cluster.get("GPU", 0.0), self.gpus) if self.gpus else math.inf
        return int(min(by_cpu, by_gpu, 10_000))

    def text(self, cluster: Mapping[str, float]) -> str:
        """How many runs there are at once, and what each gets, in a line.

        >>> Resources(1.0, 0.0).text({"CPU": 2.0}), Resources(4.0, 0.5).text({"CPU": 16.0, "GPU": 1.0})
        ('2 runs at once, each with 1 CPU of 2', '2 runs at once, each with 4 CPUs of 16 and 0.5 GPUs of 1')
        """
        parts = [(self.cpus, "CPU"), *([(self.gpus, "GPU")] if self.gpus or cluster.get("GPU") else [])]
        shares = " and ".join(f"{counted(share, name)} of {written(cluster.get(name, 0.0))}" for share, name in parts)
        return f"{counted(self.slots(cluster), 'run')} at once, each with {shares}"


def choose_resources(
    cluster: Mapping[str, float],
    demand: Demand,
    *,
    runs: int,
    host_bytes: float,
    device_bytes: float | None,
    cpus: float | None = None,
    gpus: float | None = None,
) -> Resources:
    """Resources of a trial, from what there is.

    Args:
        cluster: ``CPU`` and ``GPU`` of all nodes.
        demand: of one trial.
        runs: trials that may run at once at the most; more CPUs than that go to the trials' threads.
        host_bytes: free memory of a node.
        device_bytes: memory of one GPU; None where it is not known here (the GPUs are on other nodes).
        cpus: the user's wish; None chooses.
        gpus: the user's wish; None chooses.

    Raises:
        SearchError: no trial fits, with what is there and what is needed.
    """
    gpus_there, cpus_there = cluster.get("GPU", 0.0), cluster.get("CPU", 0.0)
    if gpus is None:
        gpus = 0.0 if gpus_there < 1 else _gpu_share(demand, device_bytes)
    if cpus is None:
        together = min(runs, _by_gpu(gpus_there, gpus) if gpus else int(MEMORY_SHARE * host_bytes // demand.host))
        cpus = float(max(1, int(cpus_there) // max(1, min(together, int(cpus_there)))))
    chosen = Resources(float(cpus), float(gpus))
    if cpus <= 0 or gpus < 0 or chosen.slots(cluster) < 1:
        raise SearchError(
            f"no run fits: it needs {counted(cpus, 'CPU')} and {counted(gpus, 'GPU')}, there are "
            f"{written(cpus_there)} and {written(gpus_there)}; "
            f"lower search.cpus_per_trial or search.gpus_per_trial"
        )
    return chosen


def _gpu_share(demand: Demand, device_bytes: float | None) -> float:
    """The smallest of 1, 1/2, 1/3, ... in which a trial's memory fits."""
    if device_bytes is None:
        return 1.0
    fitting = int(MEMORY_SHARE * device_bytes // demand.device)
    return 1.0 / max(1, min(TRIALS_PER_GPU, fitting))


def _by_gpu(there: float, share: float) -> int:
    """Trials that the GPUs hold at once; a share of a GPU is never put together from two of them."""
    return int(math.floor(there) * math.floor(1 / share) if share <= 1 else there // share)


def available_bytes() -> float:
    """Memory of this machine that is free or can be freed."""
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    return float(lines["MemAvailable"].split()[0]) * 1024
