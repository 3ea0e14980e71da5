"""How much memory of each node's GPUs runs are planned with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dce_ray.session.gpus import gpu_memory, whole_memory
from dce_ray.session.resources import Node
from dce_ray.words import counted

ANSWER_S = 60.0
"""For so long a node's answer is waited for; it may have to start a process first."""
NAMED = 5

log = logging.getLogger(__name__)


def with_gpu_memory(nodes: Sequence[Node]) -> list[Node]:
    """The same nodes, those with GPUs with the memory of their smallest one that runs may share.

    A Ray of this process is planned with what other programs of this machine leave free. A Ray that was joined shares
    its GPUs out to all who use it: what is free at this moment, and on this machine, says nothing of its nodes later.
    There each node is asked for the whole memory of its GPUs, and one that does not know gives every run a whole GPU.
    """
    with_gpus = [node for node in nodes if node.gpus >= 1]
    if not with_gpus:
        return list(nodes)
    if _started_here():
        memory = gpu_memory()
        return [replace(node, gpu_bytes=memory.free if memory else None) for node in nodes]
    found = _asked(with_gpus)
    if unknown := [node.host for node in with_gpus if found.get(node.id) is None]:
        print(
            f"note: how much memory GPUs have is not known on {counted(len(unknown), 'node')} "
            f"({', '.join(sorted(unknown)[:NAMED])}), so that no two runs share one unless search.gpus_per_trial= says "
            f"so (of ablate and confirm gpus_per_run=); pip install nvidia-ml-py on all nodes"
        )
    return [replace(node, gpu_bytes=found.get(node.id)) for node in nodes]


def _started_here() -> bool:
    node = getattr(ray._private.worker.global_worker, "node", None)  # no public name
    return bool(node is not None and node.head)


def _asked(nodes: Sequence[Node]) -> dict[str, float | None]:
    """Bytes by node, of those that answer."""
    ask = ray.remote(num_cpus=0, max_retries=0)(whole_memory)
    there = {
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(): node.id
        for node in nodes
    }
    answered, _ = ray.wait(list(there), num_returns=len(there), timeout=ANSWER_S)
    found: dict[str, float | None] = {}
    for answer in answered:
        try:
            found[there[answer]] = ray.get(answer)
        except ray.exceptions.RayError as fault:  # the node has just been lost, or does not have this package
            log.warning("a node gave no answer: %s", fault)
    return found
