"""CUDA graphs as they behave, on the CPU: what is recorded is not computed, and a replay runs it on the same memory.

Operations are recorded below autograd. A Python number, an upload or a shape that changes between steps is frozen into
the recording, and memory that the recording does not own keeps what others wrote to it: as on a device.
"""

from __future__ import annotations

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Graph:
    """Stands for ``torch.cuda.CUDAGraph``."""

    made = 0

    def __init__(self):
        Graph.made += 1
        self.calls = []

    @torch.no_grad()
    def replay(self):
        for function, arguments, keywords, recorded in self.calls:
            fresh = function(*arguments, **keywords)
            for old, new in zip(tree_leaves(recorded), tree_leaves(fresh), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.detach().copy_(new)


class Recording(TorchDispatchMode):
    """Runs what is recorded, to have its shapes, and takes back at the end what that changed."""

    def __init__(self, graph):
        super().__init__()
        self.graph, self.own, self.before = graph, set(), {}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        for argument, value in zip(function._schema.arguments, arguments, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.remember(tree_leaves(value))
        result = function(*arguments, **keywords)
        self.own |= places(result) - places((arguments, keywords))  # a view owns nothing
        self.graph.calls.append((function, arguments, keywords, result))
        return result

    def remember(self, written):
        for tensor in written:
            place = tensor.untyped_storage().data_ptr()
            if place not in self.own and place not in self.before:
                self.before[place] = tensor.detach(), tensor.detach().clone()

    def take_back(self):
        for tensor, value in self.before.values():
            tensor.copy_(value)


def places(tree):
    return {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)}


class Stream:
    def __init__(self, device=None):
        pass

    def wait_stream(self, other):
        pass


@contextlib.contextmanager
def record(graph, *, stream, capture_error_mode):
    """Stands for ``torch.cuda.graph``."""
    random = torch.get_rng_state()
    recording = Recording(graph)
    with recording:
        yield
    recording.take_back()
    torch.set_rng_state(random)


def install(monkeypatch):
    """Put these in the place of CUDA's."""
    Graph.made = 0
    for name, stand_in in {
        "CUDAGraph": Graph,
        "Stream": Stream,
        "graph": record,
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": lambda device: Stream(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
