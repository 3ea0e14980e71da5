"""Evidential losses and the curve of the uncertainty guide, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from dce_ray.losses import evidential_exp, evidential_relu, uncertainty_weights, video_evidence_logits


def test_evidence_takes_the_snippets_of_highest_attention() -> None:
    suppressed = torch.arange(12.0).reshape(1, 4, 3)
    attention = torch.tensor([[0.9, 0.1, 0.8, 0.2]])
    # k = 4 // 2: snippets 0 and 2, without the background column.
    assert video_evidence_logits(suppressed, attention, ratio=2).tolist() == [[3.0, 4.0]]
    assert video_evidence_logits(suppressed, attention, ratio=9).tolist() == [[0.0, 1.0]]


def test_evidential_exp_by_hand() -> None:
    # alpha = (3, 2, 2), S = 7, u = 3 / 7; labels 0 and 1: w = (1/3, 1/2) -> shares (.4, .6) times (1 - 3/7) * 2.
    logits = torch.tensor([[math.log(2), 0.0, 0.0]])
    labels = torch.tensor([[1.0, 1.0, 0.0]])
    factor = (1 - 3 / 7) * 2
    expected = factor * (0.4 * math.log(7 / 3) + 0.6 * math.log(7 / 2))
    assert evidential_exp(logits, labels).item() == pytest.approx(expected, rel=1e-6)


def test_evidential_exp_holds_only_the_uncertainty_constant() -> None:
    logits = torch.tensor([[0.7, -0.3]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(evidential_exp(logits, labels), logits)
    # With one label the share is 1: loss = (1 - u) (log S - log alpha_0), u constant.
    evidence = logits.detach().exp()[0]
    alpha, strength = evidence + 1, (evidence + 1).sum()
    certainty = 1 - 2 / strength
    expected = certainty * torch.stack((evidence[0] / strength - evidence[0] / alpha[0], evidence[1] / strength))
    torch.testing.assert_close(gradient[0], expected)


def test_evidence_is_bounded() -> None:
    labels = torch.tensor([[1.0, 0.0]])
    far = evidential_exp(torch.tensor([[-500.0, 500.0]]), labels)
    assert far.item() == pytest.approx(evidential_exp(torch.tensor([[-10.0, 10.0]]), labels).item())


def test_evidential_relu_by_hand() -> None:
    # alpha = (3, 1), S = 4: (1 - 3/4)^2 + (0 - 1/4)^2, and for the second video alpha = (1, 1): .25 + .25
    logits = torch.tensor([[2.0, -5.0], [-1.0, -1.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert evidential_relu(logits, labels).item() == pytest.approx((0.125 + 0.5) / 2, rel=1e-6)


def curve(rank: int, snippets: int, amplitude: float, progress: float) -> float:
    return amplitude * math.tanh((2 * (rank + 0.5) / snippets - 1) * (1 - 2 * progress)) + 1


def test_uncertainty_weights_read_the_curve_at_the_sorted_indices() -> None:
    # Certain is where logits are high: uncertainty ascends in the order 2, 0, 1.
    suppressed = torch.tensor([[[2.0, 0.0], [1.0, 0.0], [3.0, 0.0]]])
    weights = uncertainty_weights(suppressed, amplitude=0.7, progress=0.1)
    expected = [[curve(rank, 3, 0.7, 0.1) for rank in (2, 0, 1)]]
    torch.testing.assert_close(weights, torch.tensor(expected))


@pytest.mark.parametrize(("progress", "rising"), [(0.0, True), (1.0, False)])
def test_the_curve_turns_over_the_training(progress: float, rising: bool) -> None:
    suppressed = torch.linspace(3, 0, 5)[None, :, None].expand(1, 5, 3)
    weights = uncertainty_weights(suppressed, amplitude=0.2, progress=progress)[0]
    assert ((weights.diff() > 0) == rising).all()
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-6)


def test_the_curve_is_flat_halfway() -> None:
    suppressed = torch.randn(2, 6, 4, requires_grad=True)
    weights = uncertainty_weights(suppressed, amplitude=0.7, progress=0.5)
    torch.testing.assert_close(weights, torch.ones(2, 6))
    assert not weights.requires_grad
