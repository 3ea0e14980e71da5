"""Substituted Confounder Set: snippets on which the two streams disagree, and the intervention that removes them.

Shapes: B videos, T snippets, D input channels; ``a`` and ``b`` are the RGB and the FLOW attention, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dce_ray.config import STRATEGY_NAMES, MethodConfig
from dce_ray.errors import ConfigError, unknown_name


def _ratio(a_BT: Tensor, b_BT: Tensor, delta: float, epsilon: float) -> Tensor:
    """Eq. 2: 1 where ``|a - b| / (|a + b| + epsilon) > delta``, else 0."""
    return ((a_BT - b_BT).abs() / ((a_BT + b_BT).abs() + epsilon) > delta).to(a_BT.dtype)


def _threshold(a_BT: Tensor, b_BT: Tensor, delta: float, epsilon: float) -> Tensor:
    """Eq. 14: 1 where exactly one of the streams exceeds xi (``delta``), else 0."""
    return ((a_BT > delta) ^ (b_BT > delta)).to(a_BT.dtype)


def _difference(a_BT: Tensor, b_BT: Tensor, delta: float, epsilon: float) -> Tensor:
    """Eq. 15 as printed: ``|a - b|``, a soft weight."""
    return (a_BT - b_BT).abs()


def _minmax_as_printed(a_BT: Tensor, b_BT: Tensor, delta: float, epsilon: float) -> Tensor:
    """Eq. 16 as printed: ``min(a, b) / (max(a, b) + epsilon)``, high where the streams agree."""
    return torch.minimum(a_BT, b_BT) / (torch.maximum(a_BT, b_BT) + epsilon)


def _minmax(a_BT: Tensor, b_BT: Tensor, delta: float, epsilon: float) -> Tensor:
    """Eq. 16 turned into disagreement, as its text means it: 1 minus the printed ratio."""
    return 1 - _minmax_as_printed(a_BT, b_BT, delta, epsilon)


Strategy = Callable[[Tensor, Tensor, float, float], Tensor]

STRATEGIES: dict[str, Strategy] = {
    "ratio": _ratio,
    "threshold": _threshold,
    "difference": _difference,
    "minmax": _minmax,
    "minmax_as_printed": _minmax_as_printed,
}
"""How Psi is made of the two attentions; ``MethodConfig.strategy`` names one."""
assert tuple(STRATEGIES) == STRATEGY_NAMES


@torch.no_grad()
def confounders(
    rgb_attention_BT: Tensor, flow_attention_BT: Tensor, *, delta: float, strategy: str, epsilon: float
) -> Tensor:
    """Psi: how much each snippet is taken for a confounder, ``(B, T)`` in [0, 1]; a constant, without gradient.

    Args:
        rgb_attention_BT: ``(B, T)`` in [0, 1].
        flow_attention_BT: ``(B, T)`` in [0, 1].
        delta: threshold in [0, 1]; only ``ratio`` and ``threshold`` read it. The comparison is strict.
        strategy: key of ``STRATEGIES``.
        epsilon: added to the denominator of ``ratio`` and both ``minmax``.

    Raises:
        ConfigError: for an unknown strategy.

    Source: the paper's Eq. 2 and 14-16.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(unknown_name("strategy", strategy, STRATEGIES))
    return STRATEGIES[strategy](rgb_attention_BT, flow_attention_BT, delta, epsilon)


def intervene(features_BTD: Tensor, psi_BT: Tensor, strength: float) -> Tensor:
    """Eq. 3: ``F' = F (1 - lambda Psi)`` over the channels of both streams, ``(B, T, D)``.

    Args:
        features_BTD: RGB channels first.
        psi_BT: from :func:`confounders`.
        strength: lambda in [0, 1]; 1 erases confounders, 0 keeps them.
    """
    return features_BTD * (1 - strength * psi_BT)[:, :, None]


@dataclass(frozen=True, slots=True)
class Intervention:
    """The E step's answer: which snippets to weaken, and by how much.

    Raises:
        ConfigError: for an unknown strategy.
    """

    delta: float
    """Disparity above which the streams disagree."""
    strength: float
    """lambda of Eq. 3."""
    strategy: str
    """Key of ``STRATEGIES``."""
    epsilon: float
    """Added to denominators; 1e-5 in the released DELU."""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ConfigError(unknown_name("strategy", self.strategy, STRATEGIES))

    @classmethod
    def of(cls, config: MethodConfig) -> Intervention:
        """The intervention of a method's configuration.

        >>> Intervention.of(MethodConfig(delta=0.9, lambda_=0.5))
        Intervention(delta=0.9, strength=0.5, strategy='ratio', epsilon=1e-08)
        """
        return cls(delta=config.delta, strength=config.lambda_, strategy=config.strategy, epsilon=config.epsilon)

    def confounders(self, rgb_attention_BT: Tensor, flow_attention_BT: Tensor) -> Tensor:
        """Psi of two attentions; see :func:`confounders`."""
        return confounders(
            rgb_attention_BT, flow_attention_BT, delta=self.delta, strategy=self.strategy, epsilon=self.epsilon
        )

    def apply(self, features_BTD: Tensor, psi_BT: Tensor) -> Tensor:
        """Weakened features; see :func:`intervene`."""
        return intervene(features_BTD, psi_BT, self.strength)
