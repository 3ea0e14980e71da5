"""Feature consistency of DDG-Net: averaging and graph network should enhance a clear snippet alike.

Shapes: B videos, T snippets.
"""

from __future__ import annotations

import torch
from torch import Tensor

TEMPERATURE = 0.5
"""How fast a snippet's weight falls as its attention leaves 1 (action) or 0 (background); tau."""


def feature_consistency(
    rgb_disagreement_BT: Tensor,
    flow_disagreement_BT: Tensor,
    early_rgb_attention_BT: Tensor,
    early_flow_attention_BT: Tensor,
) -> Tensor:
    """Weighted mean over time of ``||average - graph network||_2``, on action plus on background snippets.

    With a the mean of both early attentions, held constant, an action snippet (both streams >= .5) weighs
    ``exp(-(1 / a - 1) / tau)`` and a background snippet (both < .5) ``exp(-(1 / (1 - a) - 1) / tau)``.

    Args:
        rgb_disagreement_BT: distances of the RGB stream, at least 0, ``(B, T)``.
        flow_disagreement_BT: distances of the FLOW stream, at least 0, ``(B, T)``.
        early_rgb_attention_BT: RGB attention before the graph, in [0, 1], ``(B, T)``.
        early_flow_attention_BT: FLOW attention before the graph, in [0, 1], ``(B, T)``.

    Returns:
        Mean of both streams, 0-dimensional; each of the two parts is averaged over the videos that have such snippets.

    Source: Tang et al. 2023 (DDG-Net), released code (a weight sum below 1e-3 counts as 1e-3).
    """
    rgb_BT, flow_BT = early_rgb_attention_BT.detach(), early_flow_attention_BT.detach()
    mean_BT = (rgb_BT + flow_BT) / 2
    action_BT = ((rgb_BT >= 0.5) & (flow_BT >= 0.5)).to(mean_BT.dtype)
    background_BT = ((rgb_BT < 0.5) & (flow_BT < 0.5)).to(mean_BT.dtype)
    disagreement_BT = (rgb_disagreement_BT + flow_disagreement_BT) / 2
    return _weighted(disagreement_BT, mean_BT, action_BT) + _weighted(disagreement_BT, 1 - mean_BT, background_BT)


def _weighted(disagreement_BT: Tensor, certainty_BT: Tensor, counted_BT: Tensor) -> Tensor:
    """Mean over the videos that have counted snippets (0 without any) of their weighted mean disagreement."""
    weight_BT = torch.exp(-(1 / certainty_BT - 1) / TEMPERATURE) * counted_BT
    video_B = (weight_BT * disagreement_BT).sum(dim=1) / weight_BT.sum(dim=1).clamp(min=1e-3)
    videos = (counted_BT.amax(dim=1)).sum().clamp(min=1)
    return video_B.sum() / videos
