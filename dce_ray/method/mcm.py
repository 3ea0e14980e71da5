"""Multi-level Consistency Mining: what a proposal's best snippets know, its other snippets learn.

Shapes: B videos, T snippets, E fused channels, P = (T + 1) // 2 proposal slots per video (a video cannot have more runs
of snippets). Proposal p of a video fills slot p - 1; the slots behind its last proposal are empty, so that no shape
depends on data and nothing waits for the device. All sums run in a fixed order, on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dce_ray.errors import ConfigError, unknown_name
from dce_ray.records import TwoStreamOutputs


def number_proposals(attention_BT: Tensor, threshold: float) -> Tensor:
    """Number each video's runs of snippets above ``threshold`` from 1: ``(B, T)`` int64, 0 is outside.

    Args:
        attention_BT: ``(B, T)`` in [0, 1].
        threshold: theta_pro; the comparison is strict.
    """
    inside_BT = attention_BT > threshold
    before_BT = F.pad(inside_BT, (1, 0))[:, :-1]
    return (inside_BT & ~before_BT).cumsum(dim=1) * inside_BT


@dataclass(frozen=True, slots=True)
class Mined:
    """Proposals of a batch and their representative snippets (Eq. 5); constants of the step, 0 or 1 or counts."""

    members: Tensor
    """1 where a snippet belongs to the slot's proposal, ``(B, P, T)``."""
    representatives: Tensor
    """1 where a member's attention exceeds theta_rep, ``(B, P, T)``."""
    feature_representatives: Tensor
    """What the feature level takes for representatives, ``(B, P, T)``: the same unless ``closed``."""
    size: Tensor
    """Snippets of the proposal, ``(B, P)``; 0 is an empty slot."""
    representative_size: Tensor
    """Representative snippets of the proposal, ``(B, P)``."""

    def diagnostics(self) -> dict[str, Tensor]:
        """``mcm_share``: proposals with a proper, non-empty subset of representatives per proposal, in [0, 1], 0 where
        there is no proposal; ``proposals``: their number."""
        proposals = (self.size > 0).sum()
        divided = ((self.representative_size > 0) & (self.representative_size < self.size)).sum()
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
    slots = (attention_BT.shape[1] + 1) // 2
    slot_P1 = torch.arange(1, slots + 1, device=attention_BT.device)[:, None]
    strong_B1T = (attention_BT > theta_rep)[:, None]
    members_BPT = number_BT[:, None] == slot_P1
    representatives_BPT = members_BPT & strong_B1T
    feature_BPT = representatives_BPT
    if closed:
        behind_BT = F.pad(number_BT, (1, 0))[:, :-1] * (number_BT == 0)
        feature_BPT = representatives_BPT | ((behind_BT[:, None] == slot_P1) & strong_B1T)
    members, representatives = members_BPT.to(attention_BT.dtype), representatives_BPT.to(attention_BT.dtype)
    return Mined(
        members=members,
        representatives=representatives,
        feature_representatives=feature_BPT.to(attention_BT.dtype) if closed else representatives,
        size=members.sum(dim=2),
        representative_size=representatives.sum(dim=2),
    )


@dataclass(frozen=True, slots=True)
class Errors:
    """What each proposal adds to a level, before any average."""

    squared: Tensor
    """Squared error summed over channels or snippets, ``(B, P)``; meaningless where ``counted`` is 0."""
    terms: Tensor | int
    """Number of summands of ``squared``, ``(B, P)`` or one for all: E channels, or the proposal's snippets."""
    counted: Tensor
    """1 where the slot holds a proposal that this level counts, ``(B, P)``."""

    @property
    def mean(self) -> Tensor:
        """Mean squared error of each counted proposal, 0 elsewhere: ``(B, P)``."""
        terms = self.terms.clamp(min=1) if isinstance(self.terms, Tensor) else self.terms
        return self.squared * self.counted / terms


def feature_errors(features_BTE: Tensor, mined: Mined) -> Errors:
    """Eq. 6-8: ``|| mean of X over the representatives - mean of X over the proposal ||^2``, gradient through both.

    Args:
        features_BTE: fused features X, ``(B, T, E)``.
        mined: a proposal without a representative is not counted.
    """
    representative_size_BP = mined.feature_representatives.sum(dim=2)
    # Both means are linear in X: one product with the difference of their weights reads X once.
    weights_BPT = mined.feature_representatives / representative_size_BP.clamp(min=1)[:, :, None]
    weights_BPT = weights_BPT - mined.members / mined.size.clamp(min=1)[:, :, None]
    # (E, T) x (T, P) and not (P, T) x (T, E): networks keep X as (B, E, T), and the gradient arrives in that layout.
    difference_BEP = features_BTE.transpose(1, 2) @ weights_BPT.transpose(1, 2).to(features_BTE.dtype)
    counted_BP = (representative_size_BP > 0).to(features_BTE.dtype)
    return Errors(difference_BEP.square().sum(dim=1), features_BTE.shape[2], counted_BP)


def label_errors(attention_BT: Tensor, mined: Mined, target: str) -> Errors:
    """Eq. 9-11: ``|| target - A[t] ||^2`` over the proposal's snippets.

    Args:
        attention_BT: mean attention A, ``(B, T)``.
        mined: from :func:`mine` on the same attention.
        target: ``representative``: mean A of the representatives, held constant (Eq. 10; a proposal without one is not
            counted); ``ones``: 1 (released with CO2-Net); ``proposal``: mean A of the proposal, which gets its gradient
            too (released with DELU and DDG-Net).

    Raises:
        ConfigError: for an unknown target.
    """
    if target not in TARGETS:
        raise ConfigError(unknown_name("target", target, TARGETS))
    target_BP, counted_BP = TARGETS[target](attention_BT, mined)
    squared_BPT = (target_BP[:, :, None] - attention_BT[:, None]).square()
    return Errors((mined.members * squared_BPT).sum(dim=2), mined.size, counted_BP.to(attention_BT.dtype))


def _representative_target(attention_BT: Tensor, mined: Mined) -> tuple[Tensor, Tensor]:
    sums_BP = (mined.representatives * attention_BT.detach()[:, None]).sum(dim=2)
    return sums_BP / mined.representative_size.clamp(min=1), mined.representative_size > 0


def _ones_target(attention_BT: Tensor, mined: Mined) -> tuple[Tensor, Tensor]:
    return torch.ones_like(mined.size), mined.size > 0


def _proposal_target(attention_BT: Tensor, mined: Mined) -> tuple[Tensor, Tensor]:
    sums_BP = (mined.members * attention_BT[:, None]).sum(dim=2)
    return sums_BP / mined.size.clamp(min=1), mined.size > 0


TARGETS: dict[str, Callable[[Tensor, Mined], tuple[Tensor, Tensor]]] = {
    "representative": _representative_target,
    "ones": _ones_target,
    "proposal": _proposal_target,
}
"""Targets of the label level: value and whether the proposal counts, ``(B, P)`` each."""


def average_over_proposals(errors: Errors) -> Tensor:
    """Mean over all counted proposals of the batch, 0 where there is none; 0-dimensional."""
    return errors.mean.sum() / errors.counted.sum().clamp(min=1)


def average_over_videos(errors: Errors) -> Tensor:
    """Mean over each video's counted proposals, then over all videos; one without any counts as 0; 0-dimensional."""
    return (errors.mean.sum(dim=1) / errors.counted.sum(dim=1).clamp(min=1)).mean()


def total(errors: Errors) -> Tensor:
    """Sum over everything, as the paper prints it; 0-dimensional."""
    return (errors.squared * errors.counted).sum()


REDUCTIONS: dict[str, tuple[Callable[[Errors], Tensor], Callable[[Errors], Tensor]]] = {
    "mean": (average_over_proposals, average_over_videos),
    "pooled": (average_over_proposals, average_over_proposals),
    "sum": (total, total),
}
"""Reduction of the feature level and of the label level. ``mean`` is the released one; ``pooled`` gives every proposal
of the batch the same weight at the label level too; ``sum`` is printed in the paper."""


@dataclass(frozen=True, slots=True)
class Consistency:
    """MCM's two loss terms of a batch: ``L_cons = beta mcm_feature + gamma mcm_label`` (Eq. 12).

    Raises:
        ConfigError: for an unknown target, reduction or kind of representatives.
    """

    theta_rep: float
    """Attention above which a snippet represents its proposal."""
    theta_pro: float
    """Attention above which a snippet belongs to a proposal."""
    beta: float = 0.5
    """Weight of ``mcm_feature``."""
    gamma: float = 0.5
    """Weight of ``mcm_label``."""
    target: str = "representative"
    """Key of ``TARGETS``."""
    reduction: str = "mean"
    """Key of ``REDUCTIONS``."""
    representatives: str = "half_open"
    """``half_open`` or ``closed``; see :func:`mine`."""
    start_iteration: int = 0
    """Both terms are 0 up to this iteration; iterations count from 1."""

    def __post_init__(self) -> None:
        choices = {"target": (*TARGETS,), "reduction": (*REDUCTIONS,), "representatives": ("half_open", "closed")}
        faults = [
            unknown_name(name, getattr(self, name), known)
            for name, known in choices.items()
            if getattr(self, name) not in known
        ]
        if faults:
            raise ConfigError("\n".join(faults))

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term, by its name."""
        return {"mcm_feature": self.beta, "mcm_label": self.gamma}

    def __call__(self, outputs: TwoStreamOutputs, iteration: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Unweighted terms and diagnostics of the intervened forward pass.

        Args:
            outputs: of the M step's pass.
            iteration: number of the step, from 1; decides whether MCM acts yet.

        Returns:
            ``mcm_feature`` and ``mcm_label``, 0-dimensional, and :meth:`Mined.diagnostics`. The names are the same
            before ``start_iteration``, where the terms are zeros, so that every step of a run has the same row.
        """
        attention_BT = outputs.attention
        mined = mine(
            attention_BT,
            theta_rep=self.theta_rep,
            theta_pro=self.theta_pro,
            closed=self.representatives == "closed",
        )
        if iteration <= self.start_iteration:
            terms = {name: attention_BT.new_zeros(()) for name in self.weights}
            return terms, mined.diagnostics()
        reduce_features, reduce_labels = REDUCTIONS[self.reduction]
        terms = {
            "mcm_feature": reduce_features(feature_errors(outputs.features, mined)),
            "mcm_label": reduce_labels(label_errors(attention_BT, mined, self.target)),
        }
        return terms, mined.diagnostics()
