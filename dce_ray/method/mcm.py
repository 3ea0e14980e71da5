"""Multi-level Consistency Mining: what a proposal's best snippets know, its other snippets learn.

Shapes: B videos, T snippets, E fused channels, P proposal slots per video; see mining.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dce_ray.config import REDUCTION_NAMES, REPRESENTATIVES, TARGET_NAMES, MethodConfig
from dce_ray.errors import ConfigError, unknown_name
from dce_ray.method.mining import Mined, SlotSums, mine, spread
from dce_ray.records import TwoStreamOutputs


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
    with torch.no_grad():  # both means are linear in X: one sum with the difference of their weights reads X once
        per_representative_BT = spread(1 / mined.feature_representatives.clamp(min=1), mined.reach)
        per_member_BT = spread(1 / mined.size.clamp(min=1), mined.reach)
        weights_BT = mined.strong * per_representative_BT - (mined.number > 0) * per_member_BT
        counted_BP = mined.feature_representatives > 0
        weights_BT = weights_BT * (mined.reach > 0) * spread(counted_BP, mined.reach)
    # Networks keep X as (B, E, T): in this layout neither X nor its gradient is turned.
    features_BET, weights_BT = features_BTE.transpose(1, 2), weights_BT.to(features_BTE.dtype)
    difference_BEP = SlotSums.apply(features_BET, weights_BT, mined.reach)  # type: ignore[no-untyped-call]
    return Errors(difference_BEP.square().sum(dim=1), features_BTE.shape[2], counted_BP.to(features_BTE.dtype))


def label_errors(attention_BT: Tensor, mined: Mined, target: str) -> Errors:
    """Eq. 9-11: ``|| target - A[t] ||^2`` over the proposal's snippets.

    Args:
        attention_BT: mean attention A, ``(B, T)``.
        mined: from :func:`mine` on the same attention.
        target: ``representative``: mean A of the representatives (Eq. 10; a proposal without one is not counted);
            ``ones``: 1 (released with CO2-Net); ``proposal``: mean A of the proposal (released with DELU and DDG-Net).

    Raises:
        ConfigError: for an unknown target.

    All targets are held constant. The released code lets gradients through the proposal's mean m, but they cancel:
    ``sum over t of 2 (m - A[t]) dm = 0``.
    """
    if target not in TARGETS:
        raise ConfigError(unknown_name("target", target, TARGETS))
    with torch.no_grad():
        target_BP, counted_BP = TARGETS[target](attention_BT, mined)
        target_BT = spread(target_BP, mined.number)
    squared_BT = (target_BT - attention_BT).square()
    squared_BP = (mined.members @ squared_BT[:, :, None])[:, :, 0]
    return Errors(squared_BP, mined.size, counted_BP.to(attention_BT.dtype))


def _representative_target(attention_BT: Tensor, mined: Mined) -> tuple[Tensor, Tensor]:
    sums_BP = (mined.members @ (attention_BT * mined.strong)[:, :, None])[:, :, 0]
    return sums_BP / mined.representatives.clamp(min=1), mined.representatives > 0


def _ones_target(attention_BT: Tensor, mined: Mined) -> tuple[Tensor, Tensor]:
    return torch.ones_like(mined.size), mined.size > 0


def _proposal_target(attention_BT: Tensor, mined: Mined) -> tuple[Tensor, Tensor]:
    sums_BP = (mined.members @ attention_BT[:, :, None])[:, :, 0]
    return sums_BP / mined.size.clamp(min=1), mined.size > 0


TARGETS: dict[str, Callable[[Tensor, Mined], tuple[Tensor, Tensor]]] = {
    "representative": _representative_target,
    "ones": _ones_target,
    "proposal": _proposal_target,
}
"""Targets of the label level: value and whether the proposal counts, ``(B, P)`` each."""
assert tuple(TARGETS) == TARGET_NAMES


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
assert tuple(REDUCTIONS) == REDUCTION_NAMES


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
    beta: float
    """Weight of ``mcm_feature``."""
    gamma: float
    """Weight of ``mcm_label``."""
    target: str
    """Key of ``TARGETS``."""
    reduction: str
    """Key of ``REDUCTIONS``."""
    representatives: str
    """One of ``REPRESENTATIVES``; see :func:`mine`."""
    start_iteration: int
    """Both terms are 0 up to this iteration; iterations count from 1."""

    def __post_init__(self) -> None:
        choices = {"target": TARGET_NAMES, "reduction": REDUCTION_NAMES, "representatives": REPRESENTATIVES}
        faults = [
            unknown_name(name, getattr(self, name), known)
            for name, known in choices.items()
            if getattr(self, name) not in known
        ]
        if faults:
            raise ConfigError("\n".join(faults))

    @classmethod
    def of(cls, config: MethodConfig) -> Consistency:
        """The consistency mining of a method's configuration.

        >>> Consistency.of(MethodConfig(beta=0.3, gamma=0.6)).weights
        {'mcm_feature': 0.3, 'mcm_label': 0.6}
        """
        return cls(
            theta_rep=config.theta_rep,
            theta_pro=config.theta_pro,
            beta=config.beta,
            gamma=config.gamma,
            target=config.target,
            reduction=config.reduction,
            representatives=config.representatives,
            start_iteration=config.mcm_start_iteration,
        )

    def stage(self, iteration: int) -> int:
        """A number that stands for ``iteration``: 0 up to ``start_iteration``, from there on the first one behind it.

        What is captured or compiled for one iteration serves all of its stage.
        """
        return 0 if iteration <= self.start_iteration else self.start_iteration + 1

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
