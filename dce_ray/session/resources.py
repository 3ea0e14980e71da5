"""What a trial gets: CPUs, memory and a share of a GPU of one node, and from these how many trials run at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
class Node:
    """A node of the cluster, with what Ray says it has."""

    cpus: float
    gpus: float = 0.0
    memory: float = math.inf
    """Bytes that trials may be given."""
    id: str = ""
    host: str = ""
    gpu_bytes: float | None = None
    """Memory of its smallest GPU that runs may share, see :mod:`dce_ray.session.gpu_nodes`; None where it is not known.
    """

    def text(self) -> str:
        """What it has, in words."""
        parts = [counted(self.cpus, "CPU"), *([counted(self.gpus, "GPU")] if self.gpus else [])]
        memory = [f"{self.memory / 2**30:.1f} GiB"] if math.isfinite(self.memory) else []
        return f"{self.host or 'a node'} with {', '.join(parts + memory)}"


@dataclass(frozen=True, slots=True)
class Resources:
    """What one trial gets of one node."""

    cpus: float
    gpus: float
    memory: int = 0
    """Bytes; 0 asks for none."""
    without_gpu: bool = False
    """Whether only nodes without a GPU are for these trials: on others they would take the CPUs of trials with one."""
    elsewhere: Resources | None = None
    """What a trial gets on nodes that have no GPU, where the cluster has both kinds; None uses these for nothing."""

    @property
    def threads(self) -> int:
        """CPU threads that a trial's process uses."""
        return max(1, int(self.cpus))

    @property
    def kinds(self) -> tuple[Resources, ...]:
        """What trials get, by kind of node; the first is preferred."""
        return (replace(self, elsewhere=None), *([self.elsewhere] if self.elsewhere else []))

    def slots(self, nodes: Sequence[Node]) -> int:
        """Trials that run at once on these nodes: each lies on one node, as its CPUs, GPUs and memory allow."""
        return sum(min(kind.slots_on(node), 10_000) for kind in self.kinds for node in nodes)

    def slots_on(self, node: Node) -> int:
        """Trials of this kind, apart from :attr:`elsewhere`, that one node holds at once."""
        if self.without_gpu and node.gpus >= 1:
            return 0
        by_cpu = node.cpus / self.cpus if self.cpus else math.inf
        by_gpu = _by_gpu(node.gpus, self.gpus) if self.gpus else math.inf
        by_memory = node.memory / self.memory if self.memory else math.inf
        return int(min(by_cpu, by_gpu, by_memory, 10_000))

    def asked(self) -> str:
        """What one trial needs, in words.

        >>> Resources(2.0, 0.5, 2**30).asked()
        '2 CPUs, 0.5 GPUs, 1.0 GiB'
        """
        gpus = [counted(self.gpus, "GPU")] if self.gpus else []
        memory = [f"{self.memory / 2**30:.1f} GiB"] if self.memory else []
        return ", ".join([counted(self.cpus, "CPU"), *gpus, *memory])

    def text(self, nodes: Sequence[Node]) -> str:
        """How many runs there are at once, and what each gets, in a line.

        >>> Resources(1.0, 0.0).text([Node(2.0)]), Resources(4.0, 0.5).text([Node(16.0, 1.0)])
        ('2 runs at once, each with 1 CPU of 2', '2 runs at once, each with 4 CPUs of 16 and 0.5 GPUs of 1')
        """
        cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
        first, *others = self.kinds
        parts = [(first.cpus, "CPU", cpus), *([(first.gpus, "GPU", gpus)] if first.gpus or gpus else [])]
        shares = " and ".join(f"{counted(share, name)} of {written(there)}" for share, name, there in parts)
        line = f"{counted(first.slots(nodes), 'run')} at once, each with {shares}"
        if len(nodes) > 1:
            line += f" on {counted(sum(first.slots_on(node) > 0 for node in nodes), 'node')}"
        for kind in others:
            line += f", and {counted(kind.slots(nodes), 'run')} with {counted(kind.cpus, 'CPU')} where there is no GPU"
        return line


def gpu_share_fault(gpus: float | None) -> str | None:
    """Why nothing can get such a share of GPUs; None where it can."""
    if gpus is None or gpus <= 1 or gpus == int(gpus):
        return None
    return "must be at most 1 or a whole number, since a share is never put together from two GPUs"


def choose_resources(
    nodes: Sequence[Node],
    demand: Demand,
    *,
    runs: int,
    cpus: float | None = None,
    gpus: float | None = None,
    unequal: bool = True,
) -> Resources:
    """Resources of a trial, from what each node has.

    Args:
        nodes: that live.
        demand: of one trial.
        runs: trials that may run at once at the most; more CPUs than that go to the trials' threads.
        cpus: the user's wish; None chooses.
        gpus: the user's wish; None chooses.
        unequal: whether trials may compute on the CPU where others compute on a GPU (``device=auto``).

    Raises:
        SearchError: no trial fits, with what is there and what is needed.
    """
    if fault := gpu_share_fault(gpus):
        raise SearchError(f"search.gpus_per_trial={written(gpus or 0)}: {fault}")
    with_gpu = [node for node in nodes if node.gpus >= 1]
    chosen = gpus is None
    if gpus is None:
        gpus = max((_gpu_share(demand, node.gpu_bytes) for node in with_gpu), default=0.0)
    memory = _memory(nodes, demand)
    first = _kind(nodes, runs, cpus, Resources(1.0, float(gpus), memory))
    without = [node for node in nodes if node.gpus < 1]
    if chosen and unequal and gpus and without and (left := runs - first.slots(nodes)) > 0:
        second = _kind(without, left, cpus, Resources(1.0, 0.0, memory, without_gpu=True))
        return replace(first, elsewhere=second) if second.slots(without) else _fitting(first, nodes)
    return _fitting(first, nodes)


def _kind(nodes: Sequence[Node], runs: int, cpus: float | None, least: Resources) -> Resources:
    """As many CPUs for each trial as leave room for all of them, or for as many as there is room for at all."""
    if cpus is not None:
        return replace(least, cpus=float(cpus))
    wanted = max(1, min(runs, least.slots(nodes)))
    most = int(max((node.cpus for node in nodes), default=1.0))
    fitting = (replace(least, cpus=float(number)) for number in range(most, 1, -1))
    return next((each for each in fitting if each.slots(nodes) >= wanted), least)


def _memory(nodes: Sequence[Node], demand: Demand) -> int:
    """Bytes to ask for; where no node has what is estimated, one trial at a time is tried on the largest."""
    needed = demand.host / MEMORY_SHARE
    there = max((node.memory for node in nodes), default=math.inf)
    return int(min(needed, there))


def _fitting(chosen: Resources, nodes: Sequence[Node]) -> Resources:
    if chosen.cpus <= 0 or chosen.gpus < 0 or chosen.slots(nodes) < 1:
        there = "; ".join(sorted(node.text() for node in nodes)) or "nothing"
        raise SearchError(
            f"no run fits: it needs {chosen.asked()} of one node, and there is {there}; "
            f"lower search.cpus_per_trial or search.gpus_per_trial (of ablate and confirm: cpus_per_run, gpus_per_run)"
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
