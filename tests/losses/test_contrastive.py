"""Co-activity similarity: by hand, and against an obvious loop over pairs and classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dce_ray.losses import contrastive


def looped(features: Tensor, suppressed: Tensor, labels: Tensor, pairs: int) -> Tensor:
    """The definition, one pair and one class at a time."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return 1 - (a * b).sum() / (a.norm() * b.norm())

    total, count = features.new_zeros(()), 0
    for pair in range(pairs):
        high, low = [], []
        for video in (2 * pair, 2 * pair + 1):
            share = suppressed[video].softmax(dim=0)
            high.append(features[video].T @ share)
            low.append(features[video].T @ (1 - share) / max(features.shape[1] - 1, 1))
        for label in range(labels.shape[1]):
            if labels[2 * pair, label] > 0 and labels[2 * pair + 1, label] > 0:
                one, other = high[0][:, label], high[1][:, label]
                near = distance(one, other)
                first = (near - distance(one, low[1][:, label]) + 0.5).clamp(min=0)
                second = (near - distance(low[0][:, label], other) + 0.5).clamp(min=0)
                total, count = total + 0.5 * (first + second), count + 1
    return total / max(count, 1)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_loop_gradients_included(seed: int) -> None:
    torch.manual_seed(seed)
    labels = (torch.rand(8, 5) < 0.5).double()
    inputs = [torch.rand(8, 7, 6).double().requires_grad_(), torch.randn(8, 7, 6).double().requires_grad_()]
    mine, obvious = contrastive(*inputs, labels, pairs=3), looped(*inputs, labels, 3)
    assert mine.item() == pytest.approx(obvious.item(), rel=1e-12)
    for one, other in zip(torch.autograd.grad(mine, inputs), torch.autograd.grad(obvious, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_by_hand() -> None:
    # Two snippets, one class; its softmax is all but 1 on snippet 0. Actions point along x in both videos (distance 0),
    # the first background along y (distance 1), the second along x (distance 0).
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [3.0, 0.0]]])
    suppressed = torch.tensor([[[50.0, 0.0], [0.0, 0.0]], [[50.0, 0.0], [0.0, 0.0]]])
    labels = torch.ones(2, 1)
    # first = max(0 - 0 + .5, 0), second = max(0 - 1 + .5, 0)
    assert contrastive(features, suppressed, labels, pairs=1).item() == pytest.approx(0.25, abs=1e-6)


def test_pairs_without_a_shared_class_add_nothing() -> None:
    features, suppressed = torch.rand(4, 3, 2, requires_grad=True), torch.rand(4, 3, 3)
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    for loss in (contrastive(features, suppressed, apart, pairs=2), contrastive(features, suppressed, apart, pairs=0)):
        assert loss.item() == 0
    contrastive(features, suppressed, apart, pairs=2).backward()
    assert features.grad is not None
    assert not features.grad.any()


def test_one_snippet_has_no_background() -> None:
    features = torch.rand(2, 1, 3, requires_grad=True)
    loss = contrastive(features, torch.rand(2, 1, 2), torch.ones(2, 1), pairs=1)
    loss.backward()
    assert loss.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()
