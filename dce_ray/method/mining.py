"""Proposals and representatives of a batch in fixed slots, and sums over them.

Shapes: B videos, T snippets, E fused channels, P = (T + 1) // 2 proposal slots per video (a video cannot have more runs
of snippets). Proposal p of a video fills slot p - 1; the slots behind its last proposal are empty, so that no shape
depends on data and nothing waits for the device. All sums run in a fixed order, on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def number_proposals(attention_BT: Tensor, threshold: float) -> Tensor:
    """Number each video's runs of snippets above ``threshold`` from 1: ``(B, T)`` int64, 0 is outside.

    Args:
        attention_BT: ``(B, T)`` in [0, 1].
        threshold: theta_pro; the comparison is strict.
    """
    inside_BT = attention_BT > threshold
    before_BT = F.pad(inside_BT, (1, 0))[:, :-1]
    return (inside_BT & ~before_BT).cumsum(dim=1) * inside_BT


def one_hot(number_BT: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where a snippet carries the slot's number, ``(B, P, T)``: sums over slots become products with it."""
    slots = (number_BT.shape[1] + 1) // 2
    slot_P1 = torch.arange(1, slots + 1, device=number_BT.device)[:, None]
    return (number_BT[:, None] == slot_P1).to(dtype)


def spread(values_BP: Tensor, number_BT: Tensor) -> Tensor:
    """Each snippet's value of its slot, ``(B, T)``; anything where the number is 0."""
    return values_BP.gather(1, (number_BT - 1).clamp(min=0))


@dataclass(frozen=True, slots=True)
class Mined:
    """Proposals of a batch and their representative snippets (Eq. 5); constants of the step."""

    number: Tensor
    """Number of the proposal that a snippet belongs to, ``(B, T)`` int64, 0 outside."""
    reach: Tensor
    """Number of the proposal to which a snippet counts at the feature level: ``number`` unless ``closed``."""
    strong: Tensor
    """1 where the attention exceeds theta_rep, ``(B, T)``; a strong snippet of a proposal represents it."""
    members: Tensor
    """1 where a snippet belongs to the slot's proposal, ``(B, P, T)``."""
    size: Tensor
    """Snippets of the proposal, ``(B, P)``; 0 is an empty slot."""
    representatives: Tensor
    """Representative snippets of the proposal, ``(B, P)``."""
    feature_representatives: Tensor
    """The same as the feature level counts them, ``(B, P)``: one more where ``closed`` finds one behind the end."""

    def diagnostics(self) -> dict[str, Tensor]:
        """``mcm_share``: proposals with a proper, non-empty subset of representatives per proposal, in [0, 1], 0 where
        there is no proposal; ``proposals``: their number."""
        proposals = (self.size > 0).sum()
        divided = ((self.representatives > 0) & (self.representatives < self.size)).sum()
        return {"mcm_share": divided / proposals.clamp(min=1), "proposals": proposals}


@torch.no_grad()
def mine(attention_BT: Tensor, *, theta_rep: float, theta_pro: float, closed: bool = False) -> Mined:
    """Proposals and representatives of every video, without gradient through any index.

    Args:
        attention_BT: mean attention A, ``(B, T)`` in [0, 1].
        theta_rep: representatives lie strictly above.
        theta_pro: proposals are the maximal runs [s, e) strictly above.
        closed: whether snippet e also represents the proposal at the feature level if its attention exceeds
            theta_rep, as released. It is not above theta_pro, so this changes nothing unless theta_rep < theta_pro.

    Source: the paper's Eq. 5; released code for ``closed``.
    """
    number_BT = number_proposals(attention_BT, theta_pro)
    strong_BT = (attention_BT > theta_rep).to(attention_BT.dtype)
    members_BPT = one_hot(number_BT, attention_BT.dtype)
    size_BP, representatives_BP = (members_BPT @ torch.stack((torch.ones_like(strong_BT), strong_BT), dim=2)).unbind(2)
    reach_BT, feature_representatives_BP = number_BT, representatives_BP
    if closed:
        behind_BT = F.pad(number_BT, (1, 0))[:, :-1] * (number_BT == 0) * (strong_BT > 0)
        reach_BT = number_BT + behind_BT
        feature_representatives_BP = (one_hot(reach_BT, strong_BT.dtype) @ strong_BT[:, :, None])[:, :, 0]
    return Mined(
        number=number_BT,
        reach=reach_BT,
        strong=strong_BT,
        members=members_BPT,
        size=size_BP,
        representatives=representatives_BP,
        feature_representatives=feature_representatives_BP,
    )


def slot_sums(features_BET: Tensor, weights_BT: Tensor, number_BT: Tensor, *, scatter: bool) -> Tensor:
    """``sum over the snippets t of slot p of w[t] X[t]``, ``(B, E, P)``; weights are 0 where the number is.

    Scattering reads X once; on CUDA its atomic additions come in any order, and a product with a one-hot matrix does
    not depend on luck.
    """
    if scatter:
        slots = (number_BT.shape[1] + 1) // 2
        sums_BEP = features_BET.new_zeros(*features_BET.shape[:2], slots)
        return sums_BEP.scatter_add_(2, _slot_BET(number_BT, features_BET), features_BET * weights_BT[:, None])
    return features_BET @ (one_hot(number_BT, features_BET.dtype) * weights_BT[:, None]).transpose(1, 2)


def _slot_BET(number_BT: Tensor, like_BEX: Tensor) -> Tensor:
    return (number_BT - 1).clamp(min=0)[:, None].expand(-1, like_BEX.shape[1], -1)


class SlotSums(torch.autograd.Function):
    """:func:`slot_sums` with a gradient for X alone: snippet t reads ``w[t]`` times the gradient of its own slot."""

    @staticmethod
    def forward(ctx: Any, features_BET: Tensor, weights_BT: Tensor, number_BT: Tensor) -> Tensor:
        """Sums of each slot; remembers weights and numbers, not X."""
        ctx.save_for_backward(weights_BT, number_BT)
        return slot_sums(features_BET, weights_BT, number_BT, scatter=features_BET.device.type == "cpu")

    @staticmethod
    def backward(ctx: Any, gradient_BEP: Tensor) -> tuple[Tensor, None, None]:
        """Gradient of X; weights and numbers are constants."""
        weights_BT, number_BT = ctx.saved_tensors
        return gradient_BEP.gather(2, _slot_BET(number_BT, gradient_BEP)).mul_(weights_BT[:, None]), None, None
