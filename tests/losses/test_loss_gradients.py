"""Gradients of every loss term against finite differences, in float64, on small sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from dce_ray import losses

B, T, C, E = 4, 6, 3, 5
LABELS = torch.tensor([[1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 1]], dtype=torch.float64)


def logits() -> Tensor:
    return torch.randn(B, T, C + 1, dtype=torch.float64).requires_grad_()


def attention() -> Tensor:
    return torch.rand(B, T, dtype=torch.float64).requires_grad_()


def features() -> Tensor:
    return torch.rand(B, T, E, dtype=torch.float64).requires_grad_()


CONSTANT = torch.linspace(0.05, 0.95, B * T, dtype=torch.float64).reshape(B, T)
CASES = {
    "suppress": (losses.suppress, (logits, attention)),
    "mil": (lambda x: losses.mil(x, LABELS, k_ratio=3.0, background=1.0), (logits,)),
    "complementary": (lambda x: losses.complementary(x, LABELS), (logits,)),
    "contrastive": (lambda x, s: losses.contrastive(x, s, LABELS, pairs=2), (features, logits)),
    "norm": (losses.norm, (attention, attention)),
    "guide_gap": (losses.guide_gap, (logits, attention, attention)),
    "evidential_relu": (lambda x: losses.evidential_relu(x[:, 0, :C], LABELS), (logits,)),
    "video_evidence_logits": (lambda x: losses.video_evidence_logits(x, CONSTANT, ratio=2), (logits,)),
    "feature_consistency": (
        lambda r, f: losses.feature_consistency(r, f, CONSTANT, CONSTANT.flip(0)),
        (attention, attention),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_gradient(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    function, makers = CASES[name]
    assert gradcheck(function, tuple(make() for make in makers))  # type: ignore[operator]


@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_of_exponential_evidence_with_its_constant_restored(seed: int) -> None:
    """Finite differences see the uncertainty move; the loss divided by (1 - u) has no constant left."""
    torch.manual_seed(seed)
    one_label = torch.eye(C, dtype=torch.float64)[[0, 1, 2, 0]]
    x = logits()[:, 0, :C].detach().requires_grad_()
    alpha = x.exp() + 1
    certainty_B = (1 - C / alpha.sum(dim=1)).detach()
    free = (certainty_B * (alpha.sum(dim=1).log() - alpha.log()[torch.arange(B), [0, 1, 2, 0]])).mean()
    expected, mine = (torch.autograd.grad(loss, x)[0] for loss in (free, losses.evidential_exp(x, one_label)))
    torch.testing.assert_close(mine, expected)


def test_gradient_of_mutual_is_half_of_the_squared_error() -> None:
    """Each stream's target is a constant, which finite differences cannot know."""
    rgb, flow = attention(), attention()
    mine = torch.autograd.grad(losses.mutual(rgb, flow), (rgb, flow))
    free = torch.autograd.grad((rgb - flow).square().mean(), (rgb, flow))
    for one, other in zip(mine, free, strict=True):
        torch.testing.assert_close(2 * one, other)
