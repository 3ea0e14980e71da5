"""What the attentions owe to each other and to the classifier.

Shapes: B videos, T snippets, C classes; attentions lie in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mutual(rgb_attention_BT: Tensor, flow_attention_BT: Tensor) -> Tensor:
    """Mutual learning: half of each stream's squared error to the other, which is held constant; 0-dimensional.

    ``mse(rgb, stop(flow)) / 2 + mse(flow, stop(rgb)) / 2``. Source: Hong et al. 2021 (CO2-Net), Eq. 9.
    """
    to_flow = F.mse_loss(rgb_attention_BT, flow_attention_BT.detach())
    to_rgb = F.mse_loss(flow_attention_BT, rgb_attention_BT.detach())
    return 0.5 * to_flow + 0.5 * to_rgb


def norm(rgb_attention_BT: Tensor, flow_attention_BT: Tensor) -> Tensor:
    """Sparsity: mean of RGB attention, FLOW attention and their mean A, over snippets and videos; 0-dimensional.

    ``(mean A + mean A^RGB + mean A^FLOW) / 3``: as A is the mean of both, that is ``mean A``.
    """
    return 0.5 * (rgb_attention_BT.mean() + flow_attention_BT.mean())


def guide_gap(logits_BTC: Tensor, rgb_attention_BT: Tensor, flow_attention_BT: Tensor) -> Tensor:
    """How far the attentions are from the classifier's opinion: ``(B, T)``, in [0, 1].

    Mean over A, A^RGB and A^FLOW of ``|1 - a - softmax(logits)[background]|``.

    Args:
        logits_BTC: raw logits, ``(B, T, C + 1)``; they get a gradient as well.
        rgb_attention_BT: ``(B, T)``.
        flow_attention_BT: ``(B, T)``.

    The guide loss is its mean, DELU's uncertainty guide its weighted mean.
    """
    action_BT = 1 - torch.softmax(logits_BTC, dim=2)[:, :, -1]
    attention_BT = (rgb_attention_BT + flow_attention_BT) / 2
    gaps = (action_BT - attention_BT).abs(), (action_BT - rgb_attention_BT).abs(), (action_BT - flow_attention_BT).abs()
    return (gaps[0] + gaps[1] + gaps[2]) / 3
