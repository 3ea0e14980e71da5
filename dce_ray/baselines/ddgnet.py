"""DDG-Net (Tang et al., Discriminability-Driven Graph Network, ICCV 2023): network and objective.

Shapes: B videos, T snippets, S channels of one stream, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dce_ray import losses
from dce_ray.baselines import delu
from dce_ray.baselines.baseline import Baseline, require_full_length, weights_of
from dce_ray.baselines.blocks import NEGATIVE_SLOPE, AttentionHead, convolution
from dce_ray.baselines.co2net import Shared
from dce_ray.baselines.delu import DeluObjective
from dce_ray.baselines.graph import Graph, Roles, adjacency, roles
from dce_ray.baselines.network import TrunkNetwork
from dce_ray.config import DdgNetObjectiveConfig
from dce_ray.records import Batch, TwoStreamOutputs

TERMS = (*delu.TERMS, "feature_consistency", "complementary")
LAYERS = 2
"""Layers of each graph network."""
KEPT = 0.5
"""Share of the raw features in the enhanced ones (w)."""


@dataclass(frozen=True, slots=True)
class DdgNetOutputs(TwoStreamOutputs):
    """What the feature consistency loss reads besides; ``(B, T)`` each."""

    early_rgb_attention: Tensor
    """RGB attention before the graph, in [0, 1]."""
    early_flow_attention: Tensor
    """FLOW attention before the graph, in [0, 1]."""
    rgb_disagreement: Tensor
    """Euclidean distance of the two ways to enhance an RGB snippet: averaging and graph network."""
    flow_disagreement: Tensor
    """The same for FLOW."""


@dataclass(frozen=True, slots=True)
class Enhanced:
    """What the graph module makes of both streams."""

    streams: tuple[Tensor, Tensor]
    """Enhanced RGB and FLOW features, ``(B, S, T)``."""
    early: tuple[Tensor, Tensor]
    """Attentions before the graph, ``(B, T)``."""
    attentions: tuple[Tensor, Tensor]
    """Attentions of the enhanced features, ``(B, T)``."""
    changes: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    """Per stream: averaged features and those of the graph network, ``(B, S, T)``."""


class GraphModule(nn.Module):
    """Action, background and ambiguous snippets exchange features along three graphs, then attend.

    The graphs share no column, so that one matrix A holds them and one product serves all: averaging is ``x A``; a
    layer is ``LeakyReLU(z A)`` on clear columns, where z is the action or the background convolution of x, as the
    *source* is; ambiguous snippets hear their columns of A times the result of the clear ones, and themselves.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

        def graph() -> nn.ModuleList:
            return nn.ModuleList(
                nn.ModuleList(convolution(channels, channels, 1) for _ in range(LAYERS)) for _ in ("rgb", "flow")
            )

        self.action_graph = graph()
        self.background_graph = graph()
        self.attentions = nn.ModuleList((AttentionHead(channels), AttentionHead(channels)))

    def forward(
        self, rgb_BST: Tensor, flow_BST: Tensor, lengths_B: Tensor | None, valid_B1T: Tensor | None
    ) -> Enhanced:
        """Enhance both streams; dropout draws anew for the early and the final attentions."""
        with torch.no_grad():  # They only sort the snippets and weigh a loss, as constants.
            early = self.attentions[0](rgb_BST, valid_B1T), self.attentions[1](flow_BST, valid_B1T)
            of = roles(*early, valid_B1T)
            graph = Graph.of(adjacency(rgb_BST, flow_BST, of, lengths_B, valid_B1T), of)
        rgb_change = self._change(0, rgb_BST, graph, of)
        flow_change = self._change(1, flow_BST, graph, of)
        streams = _enhance(rgb_BST, *rgb_change), _enhance(flow_BST, *flow_change)
        attentions = self.attentions[0](streams[0], valid_B1T), self.attentions[1](streams[1], valid_B1T)
        return Enhanced(streams, early, attentions, (rgb_change, flow_change))

    def _change(self, stream: int, x_BST: Tensor, graph: Graph, of: Roles) -> tuple[Tensor, Tensor]:
        """Averaged features and those of the graph network, ``(B, S, T)`` each."""
        layers = zip(
            cast(nn.ModuleList, self.action_graph[stream]),
            cast(nn.ModuleList, self.background_graph[stream]),
            strict=True,
        )
        hidden_BST = x_BST
        for action, background in layers:
            source_BST = torch.where(of.action[:, None], action(hidden_BST), background(hidden_BST))
            hidden_BST = F.leaky_relu(source_BST @ graph.to_clear, NEGATIVE_SLOPE, inplace=True)
        # The result of ambiguous snippets is zero up to here: their own edges add nothing to the product.
        network_BST = hidden_BST + hidden_BST @ graph.to_ambiguous + x_BST * graph.own[:, None]
        return x_BST @ graph.edges, network_BST


def _enhance(x_BST: Tensor, average_BST: Tensor, network_BST: Tensor) -> Tensor:
    return KEPT * x_BST + (1 - KEPT) * (average_BST + network_BST) / 2


class DdgNet(TrunkNetwork):
    """A graph module over both streams, then the shared trunk.

    Parameter names are those of the published checkpoints. Arguments: see :class:`TrunkNetwork`.
    """

    def __init__(
        self, feature_size: int, classes: int, *, segments: int = 320, pool: bool = False, dropout: float = 0.7
    ) -> None:
        super().__init__(feature_size, classes, segments, pool, dropout)
        self.Attn = GraphModule(feature_size // 2)

    def forward(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> DdgNetOutputs:
        """All outputs; see :meth:`TwoStreamNetwork.forward`."""
        rgb_BST, flow_BST, valid_B1T = self.split(features_BTD, lengths_B)
        enhanced: Enhanced = self.Attn(rgb_BST, flow_BST, lengths_B, valid_B1T)
        features_BTE, logits_BTC = self.fuse(*enhanced.streams, valid_B1T)
        rgb_change, flow_change = enhanced.changes
        return DdgNetOutputs(
            features=features_BTE,
            logits=logits_BTC,
            rgb_attention=self.finish(enhanced.attentions[0], valid_B1T),
            flow_attention=self.finish(enhanced.attentions[1], valid_B1T),
            early_rgb_attention=enhanced.early[0],
            early_flow_attention=enhanced.early[1],
            rgb_disagreement=torch.linalg.vector_norm(rgb_change[0] - rgb_change[1], dim=1),
            flow_disagreement=torch.linalg.vector_norm(flow_change[0] - flow_change[1], dim=1),
        )

    @torch.no_grad()
    def attend(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The graph module alone; see :meth:`TwoStreamNetwork.attend`."""
        rgb_BST, flow_BST, valid_B1T = self.split(features_BTD, lengths_B)
        rgb_BT, flow_BT = self.Attn(rgb_BST, flow_BST, lengths_B, valid_B1T).attentions
        return self.finish(rgb_BT, valid_B1T), self.finish(flow_BT, valid_B1T)


@dataclass(frozen=True, slots=True)
class DdgNetObjective:
    """DELU's total plus ``feature_consistency`` and ``complementary``."""

    weights: Mapping[str, float]
    """Weight of each of ``TERMS``."""
    delu: DeluObjective
    """The terms shared with DELU."""

    @classmethod
    def of(cls, config: DdgNetObjectiveConfig) -> Self:
        """From a configuration record."""
        return cls(weights_of(config, *TERMS), DeluObjective.of(config))

    def __call__(self, outputs: TwoStreamOutputs, batch: Batch, progress: float | Tensor) -> dict[str, Tensor]:
        """Unweighted terms by name; ``outputs`` are DDG-Net's own."""
        assert isinstance(outputs, DdgNetOutputs), "the objective of DDG-Net reads what its graph module gives"
        require_full_length(batch)
        return self.delu.terms(outputs, batch, Shared.of(outputs), progress) | {
            "feature_consistency": losses.feature_consistency(
                outputs.rgb_disagreement,
                outputs.flow_disagreement,
                outputs.early_rgb_attention,
                outputs.early_flow_attention,
            ),
            "complementary": losses.complementary(outputs.logits, batch.labels),
        }


DDGNET = Baseline(
    name="ddgnet",
    title="DDG-Net",
    network=DdgNet,
    objective=DdgNetObjective.of,
    objective_config=DdgNetObjectiveConfig,
    variants={
        "thumos14": {
            "network": {"pool": False},
            "objective": {**delu.THUMOS14_OBJECTIVE, "feature_consistency": 3.2, "complementary": 1.0},
        },
        "activitynet12": {
            "network": {"pool": True},
            "objective": {**delu.ACTIVITYNET12_OBJECTIVE, "feature_consistency": 1.7, "complementary": 0.5},
        },
    },
)
