"""Classification losses that need only video-level labels.

Shapes: B videos, T snippets, C classes; logits have C + 1 columns, the last one is background.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def suppress(logits_BTC: Tensor, attention_BT: Tensor) -> Tensor:
    """Logits pulled to the snippet's lowest one where attention is low: ``A (cas - m) + m``, ``m = min over classes``.

    Args:
        logits_BTC: class activation sequence, ``(B, T, C + 1)``.
        attention_BT: in [0, 1], ``(B, T)``.

    Source: Hong et al. 2021 (CO2-Net), released code.
    """
    lowest_BT1 = logits_BTC.amin(dim=2, keepdim=True)
    return attention_BT[:, :, None] * (logits_BTC - lowest_BT1) + lowest_BT1


def mil(logits_BTC: Tensor, labels_BC: Tensor, *, k_ratio: float, background: float) -> Tensor:
    """Top-k multiple-instance loss: cross-entropy of each class's mean over its ``max(1, T // k_ratio)`` best snippets.

    Args:
        logits_BTC: ``(B, T, C + 1)``; raw, or suppressed by attention.
        labels_BC: multi-hot, ``(B, C)``.
        k_ratio: snippets per counted snippet, at least 1.
        background: label of the background class, 1 for raw and 0 for suppressed logits.

    Returns:
        Mean over the videos, 0-dimensional; labels are divided by (their sum + 1e-4), as released.
    """
    counted = max(1, int(logits_BTC.shape[1] // k_ratio))
    video_BC = logits_BTC.topk(counted, dim=1, sorted=False).values.mean(dim=1)
    targets_BC = F.pad(labels_BC, (0, 1), value=background)
    targets_BC = targets_BC / (targets_BC.sum(dim=1, keepdim=True) + 1e-4)
    return -(targets_BC * F.log_softmax(video_BC, dim=1)).sum(dim=1).mean()


def complementary(logits_BTC: Tensor, labels_BC: Tensor) -> Tensor:
    """No snippet belongs to a class that its video lacks: ``sum over absent classes of -log max(1 - softmax, 1e-6)``.

    Args:
        logits_BTC: ``(B, T, C + 1)``; background counts as present in every video.
        labels_BC: multi-hot, ``(B, C)``.

    Returns:
        Mean over snippets and videos, 0-dimensional. Source: Tang et al. 2023 (DDG-Net).
    """
    absent_B1C = F.pad(1 - labels_BC, (0, 1), value=0.0)[:, None]
    unlikely_BTC = (1 - torch.softmax(logits_BTC, dim=2)).clamp(min=1e-6)
    return -(absent_B1C * unlikely_BTC.log()).sum(dim=2).mean()
