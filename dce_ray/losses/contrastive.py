"""Co-activity similarity: videos that share a class look alike where it happens.

Shapes: P pairs of videos, T snippets, E fused channels, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MARGIN = 0.5
"""By how much the distance to the other video's background must exceed the distance to its action."""


def contrastive(features_BTE: Tensor, suppressed_BTC: Tensor, labels_BC: Tensor, *, pairs: int) -> Tensor:
    """Ranking loss over the pairs (0, 1), (2, 3), ... and the classes that both videos of a pair carry.

    With ``p = softmax over time`` of a class's suppressed logits, high feature ``H = X^T p``, low feature
    ``L = X^T (1 - p) / max(T - 1, 1)`` and cosine distance ``d``:
    ``[max(d(H1, H2) - d(H1, L2) + .5, 0) + max(d(H1, H2) - d(L1, H2) + .5, 0)] / 2``.

    Args:
        features_BTE: fused features X, ``(B, T, E)``.
        suppressed_BTC: suppressed logits, ``(B, T, C + 1)``.
        labels_BC: multi-hot, ``(B, C)``.
        pairs: P; the first 2 P videos of the batch are pairs.

    Returns:
        Mean over all (pair, shared class), 0 where there is none; 0-dimensional.

    Source: Paul et al. 2018 (W-TALC), Hong et al. 2021 (CO2-Net).
    """
    if pairs == 0:
        return features_BTE.new_zeros(())
    paired, classes, snippets = 2 * pairs, labels_BC.shape[1], features_BTE.shape[1]
    share_BTC = torch.softmax(suppressed_BTC[:paired, :, :classes], dim=1)
    features_BET = features_BTE[:paired].transpose(1, 2)
    high_BEC = features_BET @ share_BTC
    # X^T (1 - p) is what H leaves of the sum over time: no second product.
    low_BEC = (features_BET.sum(dim=2, keepdim=True) - high_BEC) / max(snippets - 1, 1)
    near_PC = _distance(high_BEC[0::2], high_BEC[1::2])
    first_PC = F.relu(near_PC - _distance(high_BEC[0::2], low_BEC[1::2]) + MARGIN)
    second_PC = F.relu(near_PC - _distance(low_BEC[0::2], high_BEC[1::2]) + MARGIN)
    shared_PC = ((labels_BC[0:paired:2] > 0) & (labels_BC[1:paired:2] > 0)).to(near_PC.dtype)
    return 0.5 * ((first_PC + second_PC) * shared_PC).sum() / shared_PC.sum().clamp(min=1)


def _distance(one_PEC: Tensor, other_PEC: Tensor) -> Tensor:
    """Cosine distance over channels, in [0, 2]; 1 where a vector is zero: ``(P, C)``."""
    return 1 - F.cosine_similarity(one_PEC, other_PEC, dim=1)
