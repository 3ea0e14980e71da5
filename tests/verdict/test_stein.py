"""How many pairs, which interval, which claims: by hand, and what a plan keeps."""

from __future__ import annotations

import math

import pytest

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.verdict.statistics import Estimate, mean_interval
from dce_ray.verdict.stein import SeedPlan, fixed_sequence, outcome_of, plan_seeds, stein_interval, total_pairs

T_2, T_4 = 4.302652730, 2.776445105


@pytest.mark.parametrize(
    ("deviation", "pairs", "precision", "most", "total"),
    [
        (1.3, 5, 1.0, 20, 14),  # (2.776 * 1.3)^2 = 13.03
        (1.3, 5, 1.0, 10, 10),  # as many as are allowed
        (0.2, 5, 1.0, 20, 5),  # (2.776 * 0.2)^2 = 0.31: the first stage suffices
        (0.0, 5, 1.0, 20, 5),
        (2.0, 5, 2.0, 20, 8),  # (2.776)^2 = 7.71
        (1.0, 3, 1.0, 30, 19),  # (4.303)^2 = 18.51
        (9.0, 5, 0.01, 7, 7),
    ],
)
def test_total_pairs_by_hand(deviation, pairs, precision, most, total):
    assert total_pairs(deviation, pairs, precision, most) == total


def test_plan_of_the_first_stage():
    # 1, 2, 6: deviation sqrt(7); (4.3027 * sqrt(7) / 4)^2 = 8.1.
    plan = plan_seeds([1.0, 2.0, 6.0], seeds=3, precision=4.0, max_seeds=20)
    assert (plan.pairs, plan.total, plan.more) == (3, 9, 6)
    assert plan.deviation == pytest.approx(math.sqrt(7))


@pytest.mark.parametrize(("differences", "precision"), [([1.0, 2.0, 6.0], None), ([1.0], 0.5), ([], 0.5)])
def test_no_second_stage_without_a_precision_or_a_deviation(differences, precision):
    plan = plan_seeds(differences, seeds=3, precision=precision, max_seeds=20)
    assert (plan.pairs, plan.total, plan.more) == (len(differences), len(differences), 0)
    assert (plan.deviation is None) == (len(differences) < 2)


def test_a_failed_pair_of_the_first_stage_is_made_up_for():
    # Two pairs of three: n is the number of pairs in all, so the second stage brings the missing one too.
    plan = plan_seeds([1.0, 3.0], seeds=3, precision=10.0, max_seeds=20)
    assert (plan.pairs, plan.total, plan.more) == (2, 4, 2)  # (12.706 * sqrt(2) / 10)^2 = 3.23


def test_interval_has_the_deviation_of_the_first_stage_and_the_count_of_all():
    differences = [1.0, 2.0, 6.0, 2.0, 2.0, 2.0, 2.0, 2.0, 8.0]
    estimate = stein_interval(differences, math.sqrt(7), 3)
    assert estimate.mean == 3.0
    assert estimate.half_width == pytest.approx(T_2 * math.sqrt(7) / 3)
    assert (estimate.deviation, estimate.count) == (math.sqrt(7), 9)
    assert estimate.half_width <= 4.0  # what was asked for


def test_without_a_second_stage_it_is_the_ordinary_interval():
    differences = [0.5, 1.5, 1.0, 2.0, 0.0]
    ordinary = mean_interval(differences)
    assert stein_interval(differences, ordinary.deviation, 5) == ordinary
    assert ordinary.half_width == pytest.approx(T_4 * math.sqrt(0.625 / 5))


def estimate(low, high):
    return Estimate((low + high) / 2, 1.0, (high - low) / 2, 5)


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        (estimate(0.1, 2.0), "better"),
        (estimate(-2.0, -0.1), "worse"),
        (estimate(-0.1, 2.0), "undecided"),
        (estimate(0.0, 2.0), "undecided"),
        (Estimate(3.0, None, None, 1), "undecided"),
        (None, "undecided"),
    ],
)
def test_outcomes(interval, outcome):
    assert outcome_of(interval) == outcome


def test_the_second_comparison_waits_for_the_first():
    assert fixed_sequence(estimate(-1, 1), lambda: pytest.fail("looked at")) == ("undecided", "not tested")
    assert fixed_sequence(estimate(1, 2), lambda: estimate(1, 2)) == ("better", "better")
    assert fixed_sequence(estimate(1, 2), lambda: estimate(-1, 2)) == ("better", "undecided")
    assert fixed_sequence(estimate(-2, -1), lambda: estimate(-2, -1)) == ("worse", "worse")
    assert fixed_sequence(estimate(1, 2), lambda: None) == ("better", "not tested")


def test_a_plan_comes_back_as_it_was_written(tmp_path):
    folder = ExperimentFolder.create(tmp_path / "experiment", {"run": {}}, {})
    assert SeedPlan.read(folder) is None
    plan = plan_seeds([1.0, 2.0, 6.0], seeds=3, precision=4.0, max_seeds=20, identity="abc")
    plan.write(folder)
    assert SeedPlan.read(folder) == plan
