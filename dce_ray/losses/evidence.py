"""Evidential learning of DELU (Chen et al., ECCV 2022).

Shapes: B videos, T snippets, C classes. ``alpha = evidence + 1`` are the parameters of a Dirichlet distribution,
``S = sum alpha`` its strength and ``u = C / S`` its uncertainty, in (0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

BOUND = 10.0
"""Logits are clamped to [-10, 10] before the exponential."""


def video_evidence_logits(suppressed_BTC: Tensor, attention_BT: Tensor, *, ratio: int) -> Tensor:
    """Mean suppressed logits of the ``max(1, T // ratio)`` snippets of highest attention, no background: ``(B, C)``."""
    counted = max(1, attention_BT.shape[1] // ratio)
    best_Bk = attention_BT.detach().topk(counted, dim=1, sorted=False).indices
    classes = suppressed_BTC.shape[2] - 1
    return suppressed_BTC[:, :, :classes].gather(1, best_Bk[:, :, None].expand(-1, -1, classes)).mean(dim=1)


def evidential_exp(logits_BC: Tensor, labels_BC: Tensor) -> Tensor:
    """Log loss of exponential evidence (THUMOS14).

    ``alpha = exp(clamp(o)) + 1``, ``w = y / alpha``, ``w <- (1 - stop(u)) |y| w / sum w``, loss
    ``sum_c w (log S - log alpha)``; the weights keep their gradient but for the uncertainty, as released.

    Args:
        logits_BC: o, ``(B, C)``, from :func:`video_evidence_logits`.
        labels_BC: multi-hot, ``(B, C)``; a video without a label adds 0.

    Returns:
        Mean over videos, 0-dimensional.
    """
    alpha_BC = logits_BC.clamp(-BOUND, BOUND).exp() + 1
    strength_B1 = alpha_BC.sum(dim=1, keepdim=True)
    certainty_B1 = 1 - logits_BC.shape[1] / strength_B1.detach()
    weight_BC = labels_BC / alpha_BC
    # One label gives at least 1 / (exp(10) + 1), 4e-5: the guard acts only on a video without any.
    share_BC = weight_BC / weight_BC.sum(dim=1, keepdim=True).clamp(min=1e-12)
    weight_BC = certainty_B1 * labels_BC.sum(dim=1, keepdim=True) * share_BC
    return (weight_BC * (strength_B1.log() - alpha_BC.log())).sum(dim=1).mean()


def evidential_relu(logits_BC: Tensor, labels_BC: Tensor) -> Tensor:
    """Squared error of rectified evidence (ActivityNet-1.2): ``sum_c (y - alpha / S)^2``, ``alpha = relu(o) + 1``.

    Args and return value are those of :func:`evidential_exp`; only the error term of the paper's loss, as released.
    """
    alpha_BC = logits_BC.relu() + 1
    return (labels_BC - alpha_BC / alpha_BC.sum(dim=1, keepdim=True)).square().sum(dim=1).mean()


@torch.no_grad()
def uncertainty_weights(suppressed_BTC: Tensor, *, amplitude: float, progress: float | Tensor) -> Tensor:
    """Weight of each snippet in the uncertainty guide: ``(B, T)``, in [1 - amplitude, 1 + amplitude], no gradient.

    ``c_r = amplitude tanh((2 (r + .5) / T - 1) (1 - 2 progress)) + 1`` over the rank r, and the weight of position t is
    ``c[argsort(U)[t]]`` with the snippet uncertainty ``U = (C) / sum of alpha over all C + 1 classes``.

    Args:
        suppressed_BTC: suppressed logits, ``(B, T, C + 1)``.
        amplitude: at least 0.
        progress: share of the training that is done, in [0, 1]; a 0-dimensional tensor where a CUDA graph reads it.

    The permutation is applied as released (a position reads the curve at the r-th most certain snippet's *index*), not
    as the paper describes it (at its own rank).
    """
    snippets, classes = suppressed_BTC.shape[1], suppressed_BTC.shape[2] - 1
    alpha_BTC = suppressed_BTC.clamp(-BOUND, BOUND).exp() + 1
    uncertainty_BT = classes / alpha_BTC.sum(dim=2)
    ranks_T = torch.arange(snippets, device=suppressed_BTC.device, dtype=suppressed_BTC.dtype)
    theta_T = 2 * (ranks_T + 0.5) / snippets - 1
    curve_T = amplitude * torch.tanh(theta_T * (1 - 2 * progress)) + 1
    return curve_T[uncertainty_BT.argsort(dim=1)]
