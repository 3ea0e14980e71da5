"""CO2-Net (Hong et al., Cross-modal Consensus Network, ACM MM 2021): network and objective.

Shapes: B videos, T snippets, D input channels, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from dce_ray import losses
from dce_ray.baselines.baseline import Baseline, require_full_length, weights_of
from dce_ray.baselines.blocks import ConsensusModule
from dce_ray.baselines.network import TrunkNetwork
from dce_ray.config import ObjectiveConfig
from dce_ray.records import Batch, TwoStreamOutputs

TERMS = ("mil_original", "mil_suppressed", "contrastive", "mutual", "norm", "guide")


class Co2Net(TrunkNetwork):
    """Each stream filtered by consensus with the other, then the shared trunk. DELU has the same network.

    Parameter names are those of the published checkpoints. Arguments: see :class:`TrunkNetwork`.
    """

    def __init__(
        self, feature_size: int, classes: int, *, segments: int = 500, pool: bool = False, dropout: float = 0.7
    ) -> None:
        super().__init__(feature_size, classes, segments, pool, dropout)
        self.vAttn = ConsensusModule(feature_size // 2)
        self.fAttn = ConsensusModule(feature_size // 2)

    def forward(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> TwoStreamOutputs:
        """All outputs; see :meth:`TwoStreamNetwork.forward`."""
        rgb_BST, flow_BST, valid_B1T = self.split(features_BTD, lengths_B)
        rgb_attention_BT, filtered_rgb_BST = self.vAttn(rgb_BST, flow_BST, valid_B1T)
        flow_attention_BT, filtered_flow_BST = self.fAttn(flow_BST, rgb_BST, valid_B1T)
        features_BTE, logits_BTC = self.fuse(filtered_rgb_BST, filtered_flow_BST, valid_B1T)
        return TwoStreamOutputs(
            features=features_BTE,
            logits=logits_BTC,
            rgb_attention=self.finish(rgb_attention_BT, valid_B1T),
            flow_attention=self.finish(flow_attention_BT, valid_B1T),
        )

    @torch.no_grad()
    def attend(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The consensus modules alone; see :meth:`TwoStreamNetwork.attend`."""
        rgb_BST, flow_BST, valid_B1T = self.split(features_BTD, lengths_B)
        rgb_attention_BT, _ = self.vAttn(rgb_BST, flow_BST, valid_B1T)
        flow_attention_BT, _ = self.fAttn(flow_BST, rgb_BST, valid_B1T)
        return self.finish(rgb_attention_BT, valid_B1T), self.finish(flow_attention_BT, valid_B1T)


@dataclass(frozen=True, slots=True)
class Shared:
    """What several terms of an objective read, computed once."""

    suppressed: Tensor
    """Logits suppressed by attention, ``(B, T, C + 1)``."""
    gap: Tensor
    """Distance of the attentions to the classifier, ``(B, T)``."""

    @classmethod
    def of(cls, outputs: TwoStreamOutputs) -> Self:
        """From the outputs of a network."""
        return cls(
            losses.suppress(outputs.logits, outputs.attention),
            losses.guide_gap(outputs.logits, outputs.rgb_attention, outputs.flow_attention),
        )


def co2net_terms(outputs: TwoStreamOutputs, batch: Batch, shared: Shared, k_ratio: float) -> dict[str, Tensor]:
    """The six terms of CO2-Net, unweighted; DELU and DDG-Net have them too."""
    return {
        "mil_original": losses.mil(outputs.logits, batch.labels, k_ratio=k_ratio, background=1.0),
        "mil_suppressed": losses.mil(shared.suppressed, batch.labels, k_ratio=k_ratio, background=0.0),
        "contrastive": losses.contrastive(outputs.features, shared.suppressed, batch.labels, pairs=batch.pairs),
        "mutual": losses.mutual(outputs.rgb_attention, outputs.flow_attention),
        "norm": losses.norm(outputs.rgb_attention, outputs.flow_attention),
        "guide": shared.gap.mean(),
    }


@dataclass(frozen=True, slots=True)
class Co2NetObjective:
    """``mil_original + mil_suppressed + a3 contrastive + a4 mutual + a1 norm + a2 guide``."""

    weights: Mapping[str, float]
    """Weight of each of ``TERMS``."""
    k_ratio: float
    """The multiple-instance losses count each class's ``T // k_ratio`` snippets of highest logit, one at least."""

    @classmethod
    def of(cls, config: ObjectiveConfig) -> Self:
        """From a configuration record."""
        return cls(weights_of(config, *TERMS), config.k_ratio)

    def __call__(self, outputs: TwoStreamOutputs, batch: Batch, progress: float | Tensor) -> dict[str, Tensor]:
        """Unweighted terms by name; ``progress`` plays no part."""
        require_full_length(batch)
        return co2net_terms(outputs, batch, Shared.of(outputs), self.k_ratio)


CO2NET = Baseline(
    name="co2net",
    title="CO2-Net",
    network=Co2Net,
    objective=Co2NetObjective.of,
    objective_config=ObjectiveConfig,
    variants={
        "thumos14": {"network": {"pool": False}, "objective": {"k_ratio": 7.0}},
        "activitynet12": {"network": {"pool": True}, "objective": {"k_ratio": 5.0}},
    },
)
