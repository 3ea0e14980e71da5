"""From a configuration to the parts of a run: device, network, optimiser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dce_ray.baselines import TwoStreamNetwork, baseline_named
from dce_ray.config import RunConfig
from dce_ray.errors import CheckpointError, ConfigError
from dce_ray.presets import run_config_from_mapping
from dce_ray.train.checkpoint import load_checkpoint


def choose_device(name: str) -> torch.device:
    """The device that ``name`` means; ``auto`` is CUDA where there is one.

    Raises:
        ConfigError: for a name that PyTorch does not know or a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as fault:
        raise ConfigError(f"device={name!r}: not a device; use auto, cpu, cuda or cuda:<n>") from fault
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"device={name!r}: not supported; use auto, cpu, cuda or cuda:<n>")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name!r}: this process sees {torch.cuda.device_count()} CUDA devices; use device=cpu"
        )
    return device


def build_network(config: RunConfig, *, feature_size: int, classes: int) -> TwoStreamNetwork:
    """The baseline's network for a data set's width and classes, freshly initialised.

    Args:
        config: the run; reads ``baseline``, ``network`` and ``sampling.segments``.
        feature_size: D, channels of both streams together.
        classes: C, without background.
    """
    return baseline_named(config.baseline).network(
        feature_size=feature_size,
        classes=classes,
        segments=config.sampling.segments,
        pool=config.network.pool,
        dropout=config.network.dropout,
    )


def build_optimiser(config: RunConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Adam as published (L2 term in the gradient), in one pass over each parameter: one fused kernel.

    PyTorch's default on the CPU goes over each parameter nine times; the results differ in the last bit.
    """
    training = config.training
    return torch.optim.Adam(
        network.parameters(),
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        fused=True,
        capturable=training.graphs,
    )


def load_optimiser(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take over a saved state; how the kernels are launched stays as it was built, on another device above all."""
    ours = [{key: group[key] for key in ("fused", "capturable")} for group in optimiser.param_groups]
    groups = [saved | kept for saved, kept in zip(state["param_groups"], ours, strict=True)]
    optimiser.load_state_dict({**state, "param_groups": groups})


@dataclass(frozen=True, slots=True)
class Trained:
    """A network read back from a checkpoint, with what it was trained on."""

    network: TwoStreamNetwork
    """On the CPU, in eval mode."""
    config: RunConfig
    class_names: tuple[str, ...]
    iteration: int
    holdout_known: bool
    """Whether ``config`` says which videos were held out; runs of before there were folds had a holdout of another
    making."""


def load_trained(path: Path) -> Trained:
    """The network of a checkpoint that ``dce_ray.train`` wrote.

    Raises:
        CheckpointError: for a file that is absent, damaged, foreign or does not fit its own configuration.
    """
    payload = load_checkpoint(path)
    mapping = json.loads(payload["config"])
    config = run_config_from_mapping(mapping, kept=True)
    class_names = tuple(payload["data"]["class_names"])
    network = build_network(config, feature_size=payload["data"]["feature_size"], classes=len(class_names))
    try:
        network.load_state_dict(payload["network"])
    except RuntimeError as fault:
        raise CheckpointError(f"{path}: weights do not fit its configuration ({fault})") from fault
    return Trained(network.eval(), config, class_names, payload["iteration"], "folds" in mapping["sampling"])
