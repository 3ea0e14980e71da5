"""Intervals and power against values worked out by hand, printed tables and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dce_ray.errors import EvaluationError
from dce_ray.verdict.statistics import (
    difference_for_power,
    mean_interval,
    paired_interval,
    power_of,
    seeds_for_power,
    t_quantile,
)


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.706204736), (2, 4.302652730), (3, 3.182446305), (4, 2.776445105), (9, 2.262157163), (30, 2.042272456)],
)
def test_quantile_is_the_printed_one(freedom, value):
    assert t_quantile(0.975, freedom) == pytest.approx(value, rel=1e-9)


@settings(deadline=None)
@given(st.integers(1, 200), st.floats(0.001, 0.999))
def test_quantile_is_where_the_distribution_has_the_probability(freedom, probability):
    from scipy.stats import t

    assert t.cdf(t_quantile(probability, freedom), freedom) == pytest.approx(probability, abs=1e-9)


@pytest.mark.parametrize(("deviation", "seeds"), [(2.0, 34), (1.0, 10), (0.5, 5), (0.0, 2)])
def test_seeds_for_power_are_those_of_printed_tables(deviation, seeds):
    # Paired t test, two-sided 5 %, 80 %: effect sizes 0.5, 1 and 2 need 34, 10 and 5 pairs (a difference of 1.0 here).
    assert seeds_for_power(deviation, 1.0) == seeds


@pytest.mark.parametrize("deviation", [0.3, 1.3, 2.5])
def test_one_seed_fewer_has_less_power(deviation):
    seeds = seeds_for_power(deviation, 1.0)
    assert power_of(seeds, deviation, 1.0) >= 0.8
    assert seeds == 2 or power_of(seeds - 1, deviation, 1.0) < 0.8


@pytest.mark.parametrize(("seeds", "deviation"), [(5, 0.01), (20, 4.0), (10_000, 50.0)])
def test_the_smallest_difference_has_the_power_and_grows_with_the_deviation(seeds, deviation):
    found = difference_for_power(deviation, seeds)
    assert power_of(seeds, deviation, found) == pytest.approx(0.8, abs=1e-4)
    assert difference_for_power(2 * deviation, seeds) == pytest.approx(2 * found)


def test_power_is_the_share_of_simulated_intervals_that_exclude_zero():
    draws = np.random.default_rng(0).normal(1.0, 1.5, (4000, 12))
    excluded = [abs(estimate.mean) > estimate.half_width for estimate in map(mean_interval, draws.tolist())]
    assert sum(excluded) / 4000 == pytest.approx(power_of(12, 1.5, 1.0), abs=0.025)  # three standard errors


def test_without_a_difference_power_is_the_level():
    assert power_of(7, 1.0, 0.0) == pytest.approx(0.05, abs=1e-9)


def test_what_is_described_has_no_interval():
    estimate = mean_interval([1.0, 2.0, 6.0]).described
    assert (estimate.low, estimate.high, estimate.half_width) == (None, None, None)
    assert (estimate.mean, estimate.deviation, estimate.count) == (3.0, pytest.approx(math.sqrt(7)), 3)


def test_mean_interval_by_hand():
    # 1, 2, 6: mean 3, squared deviations 4 + 1 + 9 = 14, sd = sqrt(7), half width = 4.30265 * sqrt(7) / sqrt(3).
    estimate = mean_interval([1.0, 2.0, 6.0])
    assert estimate.mean == 3.0
    assert estimate.deviation == pytest.approx(math.sqrt(7))
    assert estimate.half_width == pytest.approx(4.302652730 * math.sqrt(7 / 3))
    assert estimate.low == pytest.approx(3 - 6.572411, abs=1e-5)
    assert estimate.count == 3


def test_one_value_has_no_interval():
    estimate = mean_interval([0.4])
    assert (estimate.mean, estimate.deviation, estimate.half_width, estimate.low, estimate.high, estimate.count) == (
        0.4,
        None,
        None,
        None,
        None,
        1,
    )
    assert estimate.scaled(100).mean == 40.0


def test_equal_values_have_an_interval_of_no_width():
    estimate = mean_interval([0.5, 0.5, 0.5])
    assert (estimate.low, estimate.high) == (0.5, 0.5)


def test_paired_difference_uses_shared_seeds_only():
    # Seeds 0 and 2 are shared: differences 1 and 3, mean 2, sd sqrt(2), half width 12.7062 * sqrt(2) / sqrt(2).
    estimate = paired_interval({0: 5.0, 1: 100.0, 2: 9.0}, {2: 6.0, 0: 4.0, 7: -50.0})
    assert estimate.count == 2
    assert estimate.mean == 2.0
    assert estimate.half_width == pytest.approx(12.706204736)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_what_cannot_be_averaged_is_refused(values):
    with pytest.raises(EvaluationError):
        mean_interval(values)


def test_seeds_without_overlap_are_refused():
    with pytest.raises(EvaluationError, match="share none"):
        paired_interval({0: 1.0}, {1: 1.0})


@pytest.mark.parametrize(("probability", "freedom"), [(0.0, 3), (1.0, 3), (0.9, 0)])
def test_quantile_out_of_range(probability, freedom):
    with pytest.raises(EvaluationError):
        t_quantile(probability, freedom)
