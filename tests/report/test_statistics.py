"""Intervals against values worked out by hand and against SciPy's Student t."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dce_ray.errors import EvaluationError
from dce_ray.report.statistics import mean_interval, paired_interval, t_cumulative, t_quantile


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.706204736), (2, 4.302652730), (3, 3.182446305), (4, 2.776445105), (9, 2.262157163), (30, 2.042272456)],
)
def test_quantile_is_the_printed_one(freedom, value):
    assert t_quantile(0.975, freedom) == pytest.approx(value, rel=1e-9)


@settings(deadline=None)
@given(st.integers(1, 200), st.floats(0.001, 0.999))
def test_quantile_and_distribution_agree_with_scipy(freedom, probability):
    scipy_stats = pytest.importorskip("scipy.stats")
    expected = scipy_stats.t.ppf(probability, freedom)
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-7, abs=1e-7)
    assert t_cumulative(expected, freedom) == pytest.approx(probability, abs=1e-9)


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
