"""MCM against values worked out by hand and against the loop version, gradients included."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from slow_mcm import slow_mcm

from dce_ray.config import REPRESENTATIVES, MethodConfig
from dce_ray.errors import ConfigError
from dce_ray.method.mcm import REDUCTIONS, TARGETS, Consistency
from dce_ray.method.mining import mine, number_proposals, slot_sums
from dce_ray.records import TwoStreamOutputs

VARIANTS = list(itertools.product(TARGETS, REDUCTIONS, REPRESENTATIVES))


def outputs_of(attention, features):
    """Outputs whose mean attention is ``attention`` exactly: both streams see the same."""
    logits = features.new_zeros(*attention.shape, 3)
    return TwoStreamOutputs(features=features, logits=logits, rgb_attention=attention, flow_attention=attention)


def terms_of(attention, features, iteration=1, **fields):
    terms, diagnostics = Consistency.of(MethodConfig(**fields))(outputs_of(attention, features), iteration)
    return terms["mcm_feature"], terms["mcm_label"], diagnostics


def leaf(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def assert_like_the_loops(attention, features, **fields):
    fast_leaves = attention.clone().requires_grad_(), features.clone().requires_grad_()
    slow_leaves = attention.clone().requires_grad_(), features.clone().requires_grad_()
    feature, label, diagnostics = terms_of(*fast_leaves, **fields)
    slow_feature, slow_label, share, proposals = slow_mcm(*slow_leaves, **fields)
    torch.testing.assert_close(feature, slow_feature, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(label, slow_label, rtol=1e-10, atol=1e-12)
    assert diagnostics["proposals"].item() == proposals
    assert diagnostics["mcm_share"].item() == pytest.approx(share)
    (feature + 3 * label).backward()
    if proposals:
        (slow_feature + 3 * slow_label + 0 * (slow_leaves[0].sum() + slow_leaves[1].sum())).backward()
    for fast, slow in zip(fast_leaves, slow_leaves, strict=True):
        expected = torch.zeros_like(fast) if slow.grad is None else slow.grad
        torch.testing.assert_close(fast.grad, expected, rtol=1e-9, atol=1e-12)


def random_case(seed, videos=4, snippets=23, channels=5):
    """Attention as in training: dropout leaves many snippets at exactly 0.5, some sit exactly on a threshold."""
    generator = torch.Generator().manual_seed(seed)
    attention = torch.rand(videos, snippets, generator=generator, dtype=torch.float64)
    chance = torch.rand(videos, snippets, generator=generator)
    attention = torch.where(chance < 0.25, 0.5, attention)
    attention = torch.where((chance > 0.25) & (chance < 0.35), 0.6, attention)
    attention = torch.where((chance > 0.35) & (chance < 0.45), 0.8, attention)
    return attention, torch.randn(videos, snippets, channels, generator=generator, dtype=torch.float64)


def test_proposals_are_numbered_per_video_from_one():
    attention = torch.tensor([[0.9, 0.2, 0.9, 0.9, 0.2], [0.2, 0.9, 0.9, 0.5, 0.6]])
    assert number_proposals(attention, 0.5).tolist() == [[1, 0, 2, 2, 0], [0, 1, 1, 0, 2]]


def test_consistency_by_hand():
    # Video 1: proposals {0.6, 0.8, 0.9} and {0.7}; video 2: {0.9}; video 3 has none and still counts.
    attention = leaf([[0.6, 0.8, 0.9, 0.2, 0.7], [0.1, 0.1, 0.9, 0.1, 0.1], [0.1, 0.5, 0.1, 0.5, 0.1]])
    features = torch.zeros(3, 5, 2, dtype=torch.float64)
    features[0, 0] = torch.tensor([3.0, 0.0])
    features[0, 1] = torch.tensor([0.0, 6.0])
    features.requires_grad_()
    feature, label, diagnostics = terms_of(attention, features, theta_rep=0.75, theta_pro=0.5)
    # Representatives of the first: 0.8 and 0.9. Means of X: (0, 3) and (1, 2): squares 1 + 1, mean over channels 1.
    # Video 2's proposal represents itself: 0. Two proposals have representatives; {0.7} does not count.
    assert feature.item() == pytest.approx((1 + 0) / 2)
    # Target 0.85: squares 0.0625, 0.0025, 0.0025, mean 0.0225; video 2: 0; three videos.
    assert label.item() == pytest.approx(0.0225 / 3)
    assert diagnostics["proposals"].item() == 3
    assert diagnostics["mcm_share"].item() == pytest.approx(1 / 3)
    label.backward()
    # The target is constant: d/dA = 2 (A - 0.85) / (3 snippets * 3 videos).
    expected = [2 * (value - 0.85) / 9 for value in (0.6, 0.8, 0.9)]
    assert attention.grad[0, :3].tolist() == pytest.approx(expected)
    assert attention.grad[0, 3:].tolist() == [0, 0]
    feature.backward()
    # d/dX_0 of ||mean_rep - mean_pro||^2 / 2 channels / 2 proposals: (-1, 1) * -1/3 * 2 / 4.
    assert features.grad[0, 0].tolist() == pytest.approx([1 / 6, -1 / 6])


@pytest.mark.parametrize(
    ("target", "reduction", "expected"),
    [
        ("ones", "mean", ((0.16 + 0.04) / 2 + 0.09) / 2 / 2 + 0.01 / 2),
        ("ones", "pooled", ((0.16 + 0.04) / 2 + 0.09 + 0.01) / 3),
        ("ones", "sum", 0.16 + 0.04 + 0.09 + 0.01),
        ("proposal", "mean", 0.01 / 2 / 2),
        ("proposal", "pooled", 0.01 / 3),
        ("proposal", "sum", 0.02),
        ("representative", "mean", 0.04 / 2 / 1 / 2),  # video 1 averages over its one kept proposal
        ("representative", "pooled", (0.02 + 0) / 2),
        ("representative", "sum", 0.04),
    ],
)
def test_label_variants_by_hand(target, reduction, expected):
    # Video 1: {0.6, 0.8} (0.8 represents it) and {0.7} (nothing does); video 2: {0.9}.
    attention = leaf([[0.6, 0.8, 0.2, 0.7], [0.1, 0.9, 0.1, 0.1]])
    _, label, _ = terms_of(
        attention, torch.zeros(2, 4, 2), theta_rep=0.75, theta_pro=0.5, target=target, reduction=reduction
    )
    assert label.item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("thetas", [(0.8, 0.6), (0.6, 0.8), (0.5, 0.5), (0.9, 0.1), (0.3, 0.9)])
@pytest.mark.parametrize(("target", "reduction", "representatives"), VARIANTS)
def test_random_cases_agree_with_the_loops(seed, thetas, target, reduction, representatives):
    fields = {"target": target, "reduction": reduction, "representatives": representatives}
    assert_like_the_loops(*random_case(seed), theta_rep=thetas[0], theta_pro=thetas[1], **fields)


EDGES = {
    "no proposal": [[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]],
    "fills the video": [[0.6, 0.9, 0.7], [0.9, 0.9, 0.9]],
    "one snippet each": [[0.9, 0.1, 0.9], [0.1, 0.6, 0.1]],
    "one at either end": [[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]],
    "exactly at theta_pro": [[0.55, 0.9, 0.55], [0.55, 0.55, 0.55]],
    "exactly at theta_rep": [[0.8, 0.9, 0.8], [0.8, 0.8, 0.8]],
    "one snippet in all": [[0.9], [0.1]],
    "one snippet, none chosen": [[0.1], [0.55]],
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize(("target", "reduction", "representatives"), VARIANTS)
@pytest.mark.parametrize("thetas", [(0.8, 0.55), (0.55, 0.8)])
def test_edges_agree_with_the_loops(name, target, reduction, representatives, thetas):
    attention = torch.tensor(EDGES[name], dtype=torch.float64)
    features = torch.randn(*attention.shape, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    fields = {"target": target, "reduction": reduction, "representatives": representatives}
    assert_like_the_loops(attention, features, theta_rep=thetas[0], theta_pro=thetas[1], **fields)


def test_closed_counts_the_snippet_behind_the_end():
    # theta_rep < theta_pro: the snippet at index 2 (0.7) is outside, yet above theta_rep.
    attention = torch.tensor([[0.9, 0.9, 0.7, 0.1]], dtype=torch.float64)
    features = torch.tensor([[[0.0], [0.0], [6.0], [0.0]]], dtype=torch.float64)
    fields = {"theta_rep": 0.6, "theta_pro": 0.8}
    half_open, _, _ = terms_of(attention, features, **fields)
    closed, _, _ = terms_of(attention, features, representatives="closed", **fields)
    assert half_open.item() == 0
    assert closed.item() == pytest.approx((6 / 3) ** 2)


def test_dead_feature_level_is_exactly_zero():
    # theta_rep <= theta_pro: every snippet represents its proposal.
    attention, features = random_case(5)
    feature, _, diagnostics = terms_of(attention.float(), features.float(), theta_rep=0.6, theta_pro=0.6)
    assert feature.item() == 0
    assert diagnostics["proposals"].item() > 0
    assert diagnostics["mcm_share"].item() == 0


def test_no_proposal_is_zero_and_differentiable():
    attention, features = leaf([[0.1, 0.2]]), leaf([[[1.0], [2.0]]])
    feature, label, diagnostics = terms_of(attention, features, theta_rep=0.8, theta_pro=0.5)
    (feature + label).backward()
    assert (feature.item(), label.item()) == (0, 0)
    assert attention.grad.abs().sum().item() == features.grad.abs().sum().item() == 0
    assert diagnostics["mcm_share"].item() == 0


@pytest.mark.parametrize("target", TARGETS)
def test_gradients_are_those_of_finite_differences(target):
    attention, features = random_case(7, videos=2, snippets=9, channels=3)
    fields = {"theta_rep": 0.7, "theta_pro": 0.4, "target": target}
    # Away from the thresholds, which finite differences would cross; a held target is no finite difference's.
    attention = torch.where((attention - 0.4).abs() < 0.01, 0.45, attention).requires_grad_()
    attention_in = attention.detach() if target == "representative" else attention
    assert torch.autograd.gradcheck(
        lambda a, f: sum(terms_of(a, f, **fields)[:2]), (attention_in, features.requires_grad_())
    )


def test_float32_is_close_to_float64_at_full_size():
    attention, features = random_case(11, videos=3, snippets=320, channels=64)
    features = features.abs() + 5
    single = terms_of(attention.float(), features.float(), theta_rep=0.79, theta_pro=0.56)
    double = terms_of(attention.float().double(), features.float().double(), theta_rep=0.79, theta_pro=0.56)
    assert single[0].item() == pytest.approx(double[0].item(), rel=1e-5)
    assert single[1].item() == pytest.approx(double[1].item(), rel=1e-5)


def test_layout_of_the_features_does_not_matter():
    attention, features = random_case(3)
    turned = features.transpose(1, 2).contiguous().transpose(1, 2)
    fields = {"theta_rep": 0.8, "theta_pro": 0.5}
    torch.testing.assert_close(terms_of(attention, features, **fields)[0], terms_of(attention, turned, **fields)[0])


def test_start_iteration_delays_both_terms_and_keeps_their_names():
    attention, features = random_case(2)
    fields = {"theta_rep": 0.8, "theta_pro": 0.5, "mcm_start_iteration": 3000}
    early = Consistency.of(MethodConfig(**fields))(outputs_of(attention, features), 3000)
    late = Consistency.of(MethodConfig(**fields))(outputs_of(attention, features), 3001)
    assert [value.item() for value in early[0].values()] == [0, 0]
    assert all(value.item() > 0 for value in late[0].values())
    assert early[0].keys() == late[0].keys()
    assert early[1].keys() == late[1].keys()


def test_slots_hold_any_number_of_proposals():
    attention = torch.tensor([[0.9, 0.1] * 4 + [0.9]])
    mined = mine(attention, theta_rep=0.8, theta_pro=0.5)
    assert mined.size.tolist() == [[1, 1, 1, 1, 1]]
    assert not any(tensor.requires_grad for tensor in (mined.members, mined.strong))


def test_both_ways_to_sum_over_slots_agree():
    attention, features = random_case(4)
    weights = torch.randn(attention.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    number = number_proposals(attention, 0.5)
    weights = weights * (number > 0)
    scattered, multiplied = (
        slot_sums(features.transpose(1, 2), weights, number, scatter=scatter) for scatter in (True, False)
    )
    torch.testing.assert_close(scattered, multiplied)
    assert scattered.abs().sum() > 0


def test_unknown_variants_are_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean representative") as caught:
        replace(Consistency.of(MethodConfig()), target="representativ", reduction="median")
    assert "median" in str(caught.value)
