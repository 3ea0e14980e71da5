"""Multiple-instance and complementary losses, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from dce_ray.losses import complementary, mil, suppress


def test_suppress_by_hand() -> None:
    logits = torch.tensor([[[1.0, 3.0, -1.0], [2.0, 2.0, 0.0]]])
    attention = torch.tensor([[0.5, 0.0]])
    # Snippet 0: lowest -1, halfway to it. Snippet 1: all at its lowest.
    assert suppress(logits, attention).tolist() == [[[0.0, 1.0, -1.0], [0.0, 0.0, 0.0]]]


def test_mil_by_hand() -> None:
    # One class and background, T = 4, k = 2: means of the two best are (3 + 1) / 2 = 2 and (0 + 0) / 2 = 0.
    logits = torch.tensor([[[3.0, 0.0], [1.0, 0.0], [-5.0, 0.0], [0.0, -9.0]]])
    log_p = [2 - math.log(math.exp(2) + 1), -math.log(math.exp(2) + 1)]
    present = torch.tensor([[1.0]])
    raw = mil(logits, present, k_ratio=2.0, background=1.0)
    suppressed = mil(logits, present, k_ratio=2.0, background=0.0)
    assert raw.item() == pytest.approx(-(log_p[0] + log_p[1]) / 2.0001, rel=1e-6)
    assert suppressed.item() == pytest.approx(-log_p[0] / 1.0001, rel=1e-6)


def test_mil_counts_whole_multiples_of_a_broken_ratio() -> None:
    logits = torch.tensor([[[4.0, 0.0], [2.0, 0.0], [0.0, 0.0], [-2.0, 0.0], [-4.0, 0.0]]])
    labels = torch.ones(1, 1)
    for ratio, best in ((1.0, 0.0), (2.0, 3.0), (2.4, 3.0), (2.6, 4.0), (100.0, 4.0)):
        expected = (best - math.log(math.exp(best) + 1)) / -1.0001
        assert mil(logits, labels, k_ratio=ratio, background=0.0).item() == pytest.approx(expected, rel=1e-5)


def test_mil_averages_over_videos() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 9, 4), torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 1]])
    each = [mil(logits[b : b + 1], labels[b : b + 1], k_ratio=3.0, background=1.0).item() for b in range(3)]
    assert mil(logits, labels, k_ratio=3.0, background=1.0).item() == pytest.approx(sum(each) / 3, rel=1e-6)


def test_complementary_by_hand() -> None:
    # softmax of (0, log 2, 0) is (1/4, 1/2, 1/4); class 1 and background count as present, class 0 is absent.
    logits = torch.tensor([[[0.0, math.log(2), 0.0], [100.0, 0.0, 0.0]]])
    labels = torch.tensor([[0.0, 1.0]])
    # Snippet 1 is class 0 for certain: its term is bounded at -log 1e-6.
    expected = (-math.log(0.75) - math.log(1e-6)) / 2
    assert complementary(logits, labels).item() == pytest.approx(expected, rel=1e-5)
