"""MCM as one would explain it: loops over videos, proposals and snippets. The fast version must agree with it."""

from __future__ import annotations

import torch
from torch import Tensor


def runs_above(values: list[float], threshold: float) -> list[tuple[int, int]]:
    """Maximal runs [start, end) of values strictly above ``threshold``."""
    runs, start = [], None
    for position, value in enumerate([*values, float("-inf")]):
        if value > threshold and start is None:
            start = position
        if not value > threshold and start is not None:
            runs.append((start, position))
            start = None
    return runs


def slow_mcm(
    attention_BT: Tensor,
    features_BTE: Tensor,
    *,
    theta_rep: float,
    theta_pro: float,
    target: str = "representative",
    reduction: str = "mean",
    representatives: str = "half_open",
) -> tuple[Tensor, Tensor, float, int]:
    """Feature level, label level, share of proposals that are divided, number of proposals."""
    zero = attention_BT.new_zeros(())
    feature_terms: list[Tensor] = []
    label_terms: list[list[Tensor]] = []
    divided = proposals = 0
    for attention_T, features_TE in zip(attention_BT, features_BTE, strict=True):
        values = attention_T.tolist()
        label_terms.append([])
        for start, end in runs_above(values, theta_pro):
            proposals += 1
            inside = list(range(start, end))
            best = [t for t in inside if values[t] > theta_rep]
            divided += 0 < len(best) < len(inside)
            reach = end + 1 if representatives == "closed" else end
            feature_best = [t for t in range(start, min(reach, len(values))) if values[t] > theta_rep]
            if feature_best:
                mean_best = torch.stack([features_TE[t] for t in feature_best]).mean(dim=0)
                mean_all = torch.stack([features_TE[t] for t in inside]).mean(dim=0)
                squares = (mean_best - mean_all) ** 2
                feature_terms.append(squares.sum() if reduction == "sum" else squares.mean())
            if target == "representative" and not best:
                continue
            if target == "representative":
                goal = torch.stack([attention_T[t] for t in best]).mean().detach()
            elif target == "proposal":
                goal = torch.stack([attention_T[t] for t in inside]).mean()
            else:
                goal = zero + 1
            squares = torch.stack([(goal - attention_T[t]) ** 2 for t in inside])
            label_terms[-1].append(squares.sum() if reduction == "sum" else squares.mean())
    pooled = [term for terms in label_terms for term in terms]
    if reduction == "sum":
        feature, label = sum(feature_terms, zero), sum(pooled, zero)
    elif reduction == "pooled":
        feature, label = average(feature_terms, zero), average(pooled, zero)
    else:
        feature = average(feature_terms, zero)
        label = sum((average(terms, zero) for terms in label_terms), zero) / len(label_terms)
    return feature, label, divided / max(proposals, 1), proposals


def average(terms: list[Tensor], zero: Tensor) -> Tensor:
    return sum(terms, zero) / len(terms) if terms else zero
