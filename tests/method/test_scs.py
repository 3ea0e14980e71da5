"""SCS: every strategy by hand, thresholds met exactly, and no gradient through Psi."""

from __future__ import annotations

import pytest
import torch

from dce_ray.config import MethodConfig
from dce_ray.errors import ConfigError
from dce_ray.method.scs import STRATEGIES, Intervention, confounders, intervene

RGB = torch.tensor([[0.9, 0.5, 0.2, 0.0, 1.0]], dtype=torch.float64)
FLOW = torch.tensor([[0.1, 0.5, 0.6, 0.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("strategy", "delta", "expected"),
    [
        ("ratio", 0.7, [1, 0, 0, 0, 1]),  # 0.8, 0, 0.5, 0 / eps, 1
        ("ratio", 0.4, [1, 0, 1, 0, 1]),
        ("threshold", 0.5, [1, 0, 1, 0, 1]),
        ("threshold", 0.05, [0, 0, 0, 0, 1]),
        ("difference", 0.7, [0.8, 0.0, 0.4, 0.0, 1.0]),
        ("minmax", 0.7, [1 - 1 / 9, 0.0, 1 - 1 / 3, 1.0, 1.0]),
        ("minmax_as_printed", 0.7, [1 / 9, 1.0, 1 / 3, 0.0, 0.0]),
    ],
)
def test_strategies_by_hand(strategy, delta, expected):
    psi = confounders(RGB, FLOW, delta=delta, strategy=strategy, epsilon=1e-8)
    assert psi[0].tolist() == pytest.approx(expected, abs=1e-7)
    swapped = confounders(FLOW, RGB, delta=delta, strategy=strategy, epsilon=1e-8)
    assert torch.equal(psi, swapped)


def test_comparisons_are_strict():
    half, quarter = torch.tensor([[0.75]]), torch.tensor([[0.25]])  # disparity 0.5 exactly
    assert confounders(half, quarter, delta=0.5, strategy="ratio", epsilon=0.0).item() == 0
    assert confounders(half, quarter, delta=0.4999, strategy="ratio", epsilon=0.0).item() == 1
    assert confounders(torch.tensor([[0.5]]), quarter, delta=0.5, strategy="threshold", epsilon=0.0).item() == 0


def test_epsilon_decides_where_both_streams_are_nearly_silent():
    rgb, flow = torch.tensor([[1e-5]]), torch.tensor([[0.0]])
    assert confounders(rgb, flow, delta=0.7, strategy="ratio", epsilon=1e-8).item() == 1
    assert confounders(rgb, flow, delta=0.7, strategy="ratio", epsilon=1e-5).item() == 0  # 1e-5 / 2e-5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_psi_lies_in_the_unit_interval_and_carries_no_gradient(strategy):
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(3, 50, generator=generator, requires_grad=True)
    flow = torch.rand(3, 50, generator=generator, requires_grad=True)
    psi = confounders(rgb, flow, delta=0.3, strategy=strategy, epsilon=1e-8)
    assert psi.shape == (3, 50)
    assert psi.dtype == rgb.dtype
    assert not psi.requires_grad
    assert 0 <= psi.min() <= psi.max() <= 1
    assert psi.max() > psi.min()


def test_intervention_weakens_both_streams_and_leaves_the_input():
    features = torch.ones(1, 5, 4, requires_grad=True)
    psi = torch.tensor([[1.0, 0.0, 0.5, 0.0, 1.0]])
    weakened = intervene(features, psi, 0.4)
    factors = torch.tensor([0.6, 1.0, 0.8, 1.0, 0.6])
    torch.testing.assert_close(weakened, factors[None, :, None].expand(1, 5, 4))
    weakened.sum().backward()
    torch.testing.assert_close(features.grad, factors[None, :, None].expand(1, 5, 4))
    assert torch.equal(features, torch.ones(1, 5, 4))


def test_intervention_record_joins_both():
    intervention = Intervention.of(MethodConfig(delta=0.7, lambda_=1.0))
    psi = intervention.confounders(RGB, FLOW)
    assert psi.tolist() == [[1, 0, 0, 0, 1]]
    assert intervention.apply(torch.ones(1, 5, 2), psi)[0, :, 0].tolist() == [0, 1, 1, 1, 0]


def test_unknown_strategy_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean ratio"):
        Intervention(delta=0.5, strength=1.0, strategy="ration", epsilon=1e-8)
    with pytest.raises(ConfigError, match="known:"):
        confounders(RGB, FLOW, delta=0.5, strategy="nothing", epsilon=1e-8)
