"""The parts in which a network of the released kind differs from ours: PyTorch's own dropout and its default Adam."""

from __future__ import annotations

import copy

import torch
from torch import nn

from dce_ray.baselines import TwoStreamNetwork
from dce_ray.baselines.dropout import Dropout


def released_twin(network: TwoStreamNetwork) -> TwoStreamNetwork:
    """The same network over the same parameters, but with ``nn.Dropout``."""
    twin = copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.p))
    assert not any(isinstance(module, Dropout) for module in twin.modules())
    return twin.train(network.training)


def released_optimiser(network: nn.Module, ours: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Adam as the released scripts construct it, with the rates of ``ours``."""
    settings = ours.param_groups[0]
    return torch.optim.Adam(network.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"])
