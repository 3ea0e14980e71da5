"""Mutual learning, norm, guide and feature consistency, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from dce_ray.losses import feature_consistency, guide_gap, mutual, norm

RGB = torch.tensor([[0.2, 0.8]])
FLOW = torch.tensor([[0.4, 0.4]])


def test_mutual_by_hand() -> None:
    rgb, flow = RGB.clone().requires_grad_(), FLOW.clone().requires_grad_()
    loss = mutual(rgb, flow)
    assert loss.item() == pytest.approx((0.04 + 0.16) / 2, rel=1e-6)
    loss.backward()
    # Half of d mse / d rgb = 2 (rgb - flow) / 2: the other half goes to the constant.
    torch.testing.assert_close(rgb.grad, torch.tensor([[-0.1, 0.2]]))
    torch.testing.assert_close(flow.grad, torch.tensor([[0.1, -0.2]]))


def test_norm_by_hand() -> None:
    # means: RGB .5, FLOW .4, both .45
    assert norm(RGB, FLOW).item() == pytest.approx((0.5 + 0.4 + 0.45) / 3, rel=1e-6)


def test_guide_gap_by_hand() -> None:
    # Background probabilities 1/4 and 3/4: the classifier sees action .75 and .25.
    logits = torch.tensor([[[math.log(3), 0.0], [0.0, math.log(3)]]])
    expected = [[(0.45 + 0.55 + 0.35) / 3, (0.35 + 0.55 + 0.15) / 3]]
    torch.testing.assert_close(guide_gap(logits, RGB, FLOW), torch.tensor(expected))


def test_feature_consistency_by_hand() -> None:
    rgb = torch.tensor([[0.5, 1.0, 0.2, 0.9], [0.0, 0.1, 0.9, 0.2]])
    flow = torch.tensor([[0.7, 1.0, 0.2, 0.1], [0.0, 0.3, 0.1, 0.8]])
    rgb_far = torch.tensor([[1.0, 2.0, 3.0, 100.0], [4.0, 5.0, 100.0, 100.0]])
    flow_far = torch.tensor([[3.0, 2.0, 1.0, 100.0], [0.0, 1.0, 100.0, 100.0]])
    # Mean distances: video 0: 2, 2, 2; video 1: 2, 3. Ambiguous snippets do not count.
    # Action: snippets 0 (a = .6) and 1 (a = 1) of video 0; video 1 has none, so the mean is over one video.
    action = 2.0
    # Background: video 0 has snippet 2 alone; video 1 has a = 0 (weight 1) and a = .2 (weight exp(-2 / 4)).
    weight = math.exp(-(1 / 0.8 - 1) / 0.5)
    background = (2.0 + (2.0 + 3.0 * weight) / (1 + weight)) / 2
    loss = feature_consistency(rgb_far, flow_far, rgb, flow)
    assert loss.item() == pytest.approx(action + background, rel=1e-6)


def test_feature_consistency_weighs_by_certainty() -> None:
    early = torch.tensor([[0.6, 0.8]])
    far = torch.tensor([[0.0, 1.0]])
    weights = [math.exp(-(1 / a - 1) / 0.5) for a in (0.6, 0.8)]
    assert feature_consistency(far, far, early, early).item() == pytest.approx(weights[1] / sum(weights), rel=1e-5)


def test_feature_consistency_without_clear_snippets_is_zero() -> None:
    far = torch.ones(2, 3, requires_grad=True)
    loss = feature_consistency(far, far, torch.full((2, 3), 0.9), torch.full((2, 3), 0.1))
    loss.backward()
    assert loss.item() == 0
    assert far.grad is not None
    assert not far.grad.any()
