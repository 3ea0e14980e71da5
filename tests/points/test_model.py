"""What the posterior says: against the multivariate normal written slowly, on planted searches, and at the edges."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from planted import Planted, ranges, run

from dce_ray.config import ScalarRange
from dce_ray.errors import SearchError
from dce_ray.points.covariance import Hyper, lay_out, ordered_runs, process_variance
from dce_ray.points.model import Posterior, Shares, fit

HYPER = Hyper(0.01, 0.004, 0.02, 0.008, 0.003, 0.012, 0.009, {"s0": 0.5, "s1": 0.8})
FLAT = 5.0
"""Deviation of a normal that is as good as flat for scores between 0 and 1."""


def matern_at(distance: float) -> float:
    scaled = math.sqrt(5) * distance
    return (1 + scaled + scaled**2 / 3) * math.exp(-scaled)


class Slowly:
    """The joint normal of levels and scores, element by element, conditioned by the textbook's formula."""

    def __init__(self, search: Planted, hyper: Hyper, folds: int) -> None:
        self.hyper, self.runs = hyper, search.runs
        self.variance = process_variance(hyper.smooth, np.array(list(hyper.length_scales.values())))
        scores = np.array([next(iter(one.curve.values())) for one in self.runs])
        points = sorted({one.point for one in self.runs if one.point is not None})
        self.places = {one.point: one.scalars for one in self.runs}
        self.arms = [*points, None]
        size = range(len(self.runs))
        of_runs = np.array([[self.scores(i, j, folds) for j in size] for i in size])
        known = np.array([[self.levels(arm, one.point) for one in self.runs] for arm in self.arms])
        own = np.array([[self.levels(arm, other) for other in self.arms] for arm in self.arms])
        gain = np.linalg.solve(of_runs, known.T).T
        self.mean = 0.5 + gain @ (scores - 0.5)
        self.spread = own - gain @ known.T
        shared = np.array([[self.shared(i, j, folds) for j in size] for i in size])
        self.adjusted = scores - shared @ np.linalg.solve(of_runs, scores - 0.5)

    def levels(self, arm: int | None, other: int | None) -> float:
        if (arm is None) != (other is None):
            return 0.0
        if arm is None:
            return FLAT**2
        apart = [
            (self.places[arm][name] - self.places[other][name]) / scale
            for name, scale in self.hyper.length_scales.items()
        ]
        return FLAT**2 + self.variance * matern_at(math.hypot(*apart)) + self.hyper.nugget**2 * (arm == other)

    def shared(self, i: int, j: int, folds: int) -> float:
        one, other = self.runs[i].replicate, self.runs[j].replicate
        return self.hyper.fold**2 * ((one.fold == other.fold) - 1 / folds) + self.hyper.seed**2 * (
            (one == other) - 1 / len({one.replicate for one in self.runs})
        )

    def scores(self, i: int, j: int, folds: int) -> float:
        one, other = self.runs[i], self.runs[j]
        cell = one.point == other.point and one.replicate.fold == other.replicate.fold
        noise = (self.hyper.noise_plain if one.plain else self.hyper.noise) ** 2 if i == j else 0.0
        own = self.levels(one.point, other.point)
        return own + self.shared(i, j, folds) + self.hyper.point_fold**2 * cell + noise


def test_given_the_components_everything_is_the_multivariate_normals():
    search = Planted([1, 2, 3, 1, 4], 4, HYPER)
    found, slow = fit(search.runs, search.ranges, HYPER), Slowly(search, HYPER, 3)
    estimates = [*found.points, found.plain]
    assert [one.point for one in estimates] == slow.arms
    assert [one.runs for one in estimates] == [1, 2, 3, 1, 4, 4]
    assert [one.mean for one in estimates] == pytest.approx(slow.mean, abs=1e-7)
    assert [one.deviation for one in estimates] == pytest.approx(np.sqrt(np.diag(slow.spread)), abs=1e-7)
    for row, one in enumerate(found.points):
        mean, deviation = found.difference(one.point)
        assert mean == pytest.approx(slow.mean[row] - slow.mean[-1], abs=1e-7)
        variance = slow.spread[row, row] + slow.spread[-1, -1] - 2 * slow.spread[row, -1]
        assert deviation == pytest.approx(math.sqrt(variance), abs=1e-7)
        assert one.better == pytest.approx(0.5 * (1 + math.erf(mean / deviation / math.sqrt(2))), abs=1e-9)
    drawn = np.random.default_rng(5).multivariate_normal(slow.mean[:-1], slow.spread[:-1, :-1], 40_000)
    chances = np.bincount(drawn.argmax(axis=1), minlength=5) / 40_000
    assert [one.best for one in found.points] == pytest.approx(chances, abs=0.03)
    assert sum(one.best for one in found.points) == pytest.approx(1.0)
    by_number = dict(zip([one.number for one in search.runs], slow.adjusted, strict=True))
    assert found.adjusted == pytest.approx(by_number, abs=1e-7)


def test_a_place_is_predicted_like_a_point_that_has_no_run_there():
    search = Planted([1, 2, 3, 1, 4], 4, HYPER)
    ghost = run(99, 9, 0.5, [0.3, 0.6])
    heavy = [*search.runs, ghost]
    # A run so noisy that it says nothing makes the slow version cover the new place.
    search.runs = heavy
    slow = Slowly(search, HYPER, 3)
    found = fit(heavy[:-1], search.ranges, HYPER)
    mean, deviation = found.predict(np.array([[0.3, 0.6]]))
    without = Slowly.__new__(Slowly)
    without.__dict__ |= slow.__dict__
    rows = [row for row, one in enumerate(heavy) if one.number != 99]
    of_runs = np.array([[slow.scores(i, j, 3) for j in rows] for i in rows])
    known = np.array([slow.levels(9, heavy[row].point) for row in rows])
    scores = np.array([next(iter(heavy[row].curve.values())) for row in rows])
    assert mean[0] == pytest.approx(0.5 + known @ np.linalg.solve(of_runs, scores - 0.5), abs=1e-7)
    own = slow.levels(9, 9) - HYPER.nugget**2
    assert deviation[0] == pytest.approx(math.sqrt(own - known @ np.linalg.solve(of_runs, known)), abs=1e-6)


def test_one_point_and_plain_by_hand():
    """Two runs each on two folds: with equal noise, the difference of the means, and its deviation."""
    hyper = Hyper(0.01, 0.01, 0.05, 0.0, 0.0, 0.02, 0.02, {"s0": 0.5})
    runs = [
        run(0, 0, 0.60, [0.5], fold=0),
        run(1, 0, 0.70, [0.5], fold=1),
        run(2, None, 0.50, fold=0),
        run(3, None, 0.64, fold=1),
    ]
    found = fit(runs, ranges(1), hyper)
    assert found.points[0].mean == pytest.approx(0.65)
    assert found.plain.mean == pytest.approx(0.57)
    mean, deviation = found.difference(0)
    assert mean == pytest.approx(0.08)
    assert deviation == pytest.approx(math.sqrt(0.02**2 / 2 + 0.02**2 / 2))
    # Fold 1 is higher by 0.12, of which 4 runs of variance 0.0004 leave 0.0025 / (0.0025 + 0.0002) of half each way.
    kept = 0.06 * 0.0025 / (0.0025 + 0.0001 * 2 * 0.5 * 2)
    assert found.adjusted[0] == pytest.approx(0.60 + kept)
    assert found.adjusted[1] == pytest.approx(0.70 - kept)


def test_what_a_fold_does_to_all_cancels():
    """All arms ran on all folds: whatever is added to one fold's scores, no difference between them changes."""
    search = Planted([3, 3, 3, 3], 3, HYPER, seed=2)
    harder = [
        run(
            one.number,
            one.point,
            next(iter(one.curve.values())) - 0.2 * (one.replicate.fold == 1),
            one.scalars.values(),
            *(one.replicate.fold, one.replicate.round),
        )
        for one in search.runs
    ]
    before, after = fit(search.runs, search.ranges, HYPER), fit(harder, search.ranges, HYPER)
    for point in range(4):
        assert after.difference(point) == pytest.approx(before.difference(point), abs=1e-9)
        assert after.points[point].better == pytest.approx(before.points[point].better, abs=1e-9)
    refitted, anew = fit(search.runs, search.ranges), fit(harder, search.ranges)
    for point in range(4):
        assert anew.difference(point)[0] == pytest.approx(refitted.difference(point)[0], abs=5e-4)


def test_a_fold_that_only_some_points_ran_on_is_taken_out_of_what_a_sampler_is_told():
    hyper = Hyper(0.002, 0.001, 0.05, 0.001, 0.001, 0.002, 0.002, {"s0": 0.5})
    search = Planted([1] * 12, 3, hyper, scalars=1, seed=4)
    told = fit(search.runs, search.ranges).adjusted
    raw = {one.number: next(iter(one.curve.values())) for one in search.runs if not one.plain}
    assert np.std(list(raw.values())) > 0.015
    errors = [told[number] - level for number, level in zip(raw, search.levels, strict=True)]
    assert np.std(errors) < 0.006


def test_deviations_are_as_large_as_the_errors_are():
    """Levels are drawn from the model: errors in units of the deviation are standard normal, chances come true."""
    planted = Hyper(0.012, 0.003, 0.015, 0.01, 0.002, 0.012, 0.012, {"s0": 0.8, "s1": 0.8})
    errors, chances, better = [], [], []
    for seed in range(12):
        search = Planted([1 + (n % 3) for n in range(24)], 8, planted, seed=100 + seed)
        found = fit(search.runs, search.ranges)
        for one in found.points:
            mean, deviation = found.difference(one.point)
            truth = search.levels[one.point] - search.plain
            errors.append((truth - mean) / deviation)
            chances.append(one.better)
            better.append(truth > 0)
    assert np.mean(errors) == pytest.approx(0.0, abs=0.5)
    assert 0.75 < np.std(errors) < 1.3
    assert np.mean(np.abs(errors) < 1.96) > 0.87
    chances, better = np.array(chances), np.array(better)
    assert better[chances > 0.9].mean() > 0.8
    assert better[chances < 0.1].mean() < 0.2
    assert np.mean((chances - better) ** 2) < 0.15


def test_many_runs_find_the_best_point_that_one_run_misses():
    planted = Hyper(0.01, 0.002, 0.0, 0.005, 0.001, 0.015, 0.015, {"s0": 0.6, "s1": 0.6})
    search = Planted([12] * 10, 12, planted, seed=7)
    found = fit(search.runs, search.ranges)
    assert found.best_point == int(np.argmax(search.levels))
    assert found.points[found.best_point].best == max(one.best for one in found.points)
    few = fit([one for one in search.runs if one.replicate.round == 0 and one.replicate.fold == 0], search.ranges)
    assert few.difference(0)[1] > 1.5 * found.difference(0)[1]


def test_shares_are_the_components_and_their_ratio():
    search = Planted([2, 2, 2], 2, HYPER)
    shares = fit(search.runs, search.ranges, HYPER).shares
    points = math.hypot(0.01, 0.004)
    assert shares == Shares(pytest.approx(points), 0.02, 0.008, 0.003, 0.012, 0.009)
    assert shares.signal_share == pytest.approx(points**2 / (points**2 + 0.003**2 + 0.012**2))


def test_unusable_runs_change_nothing():
    search = Planted([2, 1, 2], 3, HYPER)
    beside = [
        run(90, 0, 0.99, search.runs[0].scalars.values(), state="failed"),
        run(91, 1, 0.01, state="running"),
        run(92, 8, 0.99, state="pruned"),
        run(93, None, {}, state="finished"),
    ]
    found, alone = fit([*search.runs, *beside], search.ranges), fit(search.runs, search.ranges)
    assert found.points == alone.points
    assert found.plain == alone.plain
    assert found.adjusted == alone.adjusted


def test_the_same_runs_in_any_order_say_the_same_to_the_last_bit():
    search = Planted([2, 1, 2, 3], 3, HYPER)
    found, again = fit(search.runs, search.ranges), fit(search.runs[::-1], search.ranges)
    assert found.hyper == again.hyper
    assert found.points == again.points
    assert found.sensitivity() == again.sensitivity()


def test_components_passed_back_give_the_same_means_and_are_taken_as_certain():
    search = Planted([2, 1, 2, 3], 3, HYPER)
    found = fit(search.runs, search.ranges)
    certain = fit(search.runs, search.ranges, found.hyper)
    assert certain.hyper == found.hyper
    assert [one.mean for one in certain.points] == [one.mean for one in found.points]
    assert certain.adjusted == found.adjusted
    assert certain.best_point == found.best_point
    for point in range(4):
        assert certain.difference(point)[1] < found.difference(point)[1]


def test_uncertain_components_widen_by_the_law_of_total_variance():
    search = Planted([2, 1, 2, 3], 3, HYPER)
    layout = lay_out(search.runs, search.ranges)
    scores = np.array([next(iter(one.curve.values())) for one in ordered_runs(search.runs)])
    others = [HYPER, dataclasses.replace(HYPER, smooth=0.03, noise=0.005)]
    found = Posterior(layout, scores, search.ranges, HYPER, lambda: others)
    each = [fit(search.runs, search.ranges, hyper) for hyper in others]
    for point in range(4):
        means, deviations = np.array([one.difference(point) for one in each]).T
        mean, deviation = found.difference(point)
        assert mean == pytest.approx(means[0])
        assert deviation**2 == pytest.approx((deviations**2 + (means - mean) ** 2).mean())


@pytest.mark.parametrize("certain", [True, False])
def test_places_that_are_compared_with_a_few_are_those_of_the_whole_surface(certain: bool):
    search = Planted([2, 1, 2, 3], 3, HYPER)
    found = fit(search.runs, search.ranges, HYPER if certain else None)
    places = np.random.default_rng(3).random((9, 2))
    mean, spread = found.surface(places)
    whole, among, beside, own = found.surface_beside(places[:4], places[4:])
    assert whole == pytest.approx(mean, abs=1e-12)
    assert among == pytest.approx(spread[:4, :4], rel=1e-8, abs=1e-12)
    assert beside == pytest.approx(spread[4:, :4], rel=1e-8, abs=1e-12)
    assert own == pytest.approx(np.diag(spread)[4:], rel=1e-8, abs=1e-12)


def test_means_are_those_of_the_points():
    search = Planted([2, 1, 2, 3], 3, HYPER)
    found = fit(search.runs, search.ranges)
    assert found.means == {one.point: one.mean for one in found.points}


EDGES = {
    "one run of one point": [run(0, 0, 0.5, [0.2])],
    "one run of each": [run(0, 0, 0.5, [0.2]), run(1, None, 0.4)],
    "no plain": [run(n, n, 0.5 + 0.01 * n, [0.1 * n]) for n in range(5)],
    "one point, many runs": [run(n, 0, 0.5 + 0.01 * n, [0.2], n % 3, n // 3) for n in range(9)],
    "all equal": [run(n, n % 6 or None, 0.4, [0.1 * (n % 6)], n % 3, n // 9) for n in range(30)],
    "all zero": [run(n, n, 0.0, [0.1 * n]) for n in range(8)],
    "one fold, seeds alone": [run(n, n % 4, 0.5 + 0.01 * (n % 3), [0.2 * (n % 4)], 0, n // 4) for n in range(12)],
    "points at one place": [run(n, n, 0.5 + 0.01 * (n % 3), [0.3], n % 3) for n in range(12)],
    "one far off": [run(n, n, 0.5 if n else 0.0, [0.1 * n], n % 3) for n in range(10)],
    "outside of the range": [run(n, n, 0.5 + 0.01 * n, [0.5 * n], n % 3) for n in range(6)],
}


@pytest.mark.parametrize("name", EDGES)
def test_little_or_dull_data_give_sane_answers(name: str):
    runs = EDGES[name]
    found = fit(runs, ranges(1))
    scores = [next(iter(one.curve.values())) for one in runs]
    numbers = [found.hyper.smooth, found.hyper.nugget, found.hyper.noise, found.hyper.noise_plain]
    assert all(1e-5 < value < 0.3 for value in numbers)
    for one in found.points:
        assert min(scores) - 0.02 < one.mean < max(scores) + 0.02
        assert 1e-5 < one.deviation < 0.3
        assert one.better is None or 0.0 < one.better < 1.0
    assert sum(one.best for one in found.points) == pytest.approx(1.0)
    assert 0 < found.shares.signal_share < 1
    low, high = found.flat_range("s0")
    assert 0.0 <= low <= high <= 1.0
    mean, below, above = found.slice("s0", np.linspace(0, 1, 5))
    assert np.isfinite([mean, below, above]).all()
    assert (below < mean).all()
    assert (mean < above).all()


def test_one_run_is_worth_what_a_run_is_usually_worth():
    found = fit([run(0, 0, 0.5, [0.2]), run(1, None, 0.49)], ranges(1))
    assert found.points[0].mean == pytest.approx(0.5)
    mean, deviation = found.difference(0)
    assert mean == pytest.approx(0.01)
    assert 0.01 < deviation < 0.1
    assert 0.52 < found.points[0].better < 0.85


def test_scores_that_are_all_equal_are_no_signal():
    found = fit(EDGES["all equal"], ranges(1))
    assert found.sensitivity() is None
    assert found.flat_range("s0") == (0.0, 1.0)
    assert found.points[0].better == pytest.approx(0.5, abs=0.01)


def test_plain_alone_has_a_level_and_no_surface():
    found = fit([run(n, None, 0.5 + 0.01 * n, fold=n) for n in range(3)], ranges(2))
    assert found.points == ()
    assert found.plain.mean == pytest.approx(0.51)
    for look in (
        lambda: found.best_point,
        lambda: found.predict(np.zeros((1, 2))),
        lambda: found.slice("s0", np.zeros(1)),
        found.sensitivity,
        lambda: found.flat_range("s0"),
    ):
        with pytest.raises(SearchError, match="no point has a finished run"):
            look()


def test_without_searched_scalars_points_are_still_told_apart():
    runs = [run(n, n % 2, 0.5 + 0.05 * (n % 2), fold=n // 2 % 3, round_=n // 6) for n in range(12)]
    found = fit(runs, {"s0": ScalarRange(0.3, 0.3)})
    assert found.best_point == 1
    assert found.points[1].best > 0.95
    assert found.length_scales == {}
    assert found.sensitivity() is None
    with pytest.raises(SearchError, match="s0 has no range to look along; searched: none"):
        found.flat_range("s0")
    with pytest.raises(SearchError, match="no scalar is searched"):
        found.predict(np.zeros((1, 0)))


def test_without_plain_nothing_is_compared_with_it():
    found = fit(EDGES["no plain"], ranges(1))
    assert found.plain is None
    assert [one.better for one in found.points] == [None] * 5
    with pytest.raises(SearchError, match="plain baseline has no finished run"):
        found.difference(0)
    assert found.difference(4, 0)[0] > 0
    with pytest.raises(SearchError, match=r"point 9 has no finished run .* known: \[0, 1, 2, 3, 4\]"):
        found.difference(9, 0)


def bent(places: np.ndarray) -> np.ndarray:
    """Highest at s0 = 0.5, rising with s1 a third as much, whatever s2 is."""
    return 0.5 - 0.12 * (places[:, 0] - 0.5) ** 2 + 0.01 * places[:, 1]


def seen(noise: float):
    random = np.random.default_rng(0)
    places = random.random((60, 3))
    scores = bent(places) + random.normal(0, noise, 60)
    runs = [run(n, n, scores[n], places[n], n % 3) for n in range(60)]
    return fit(runs, ranges(3))


def test_sensitivity_says_what_the_surface_depends_on():
    """Variances over the cube: s0 has 0.12^2 / 180 = 8.0e-5, s1 0.01^2 / 12 = 8.3e-6, s2 none: 0.906, 0.094, 0."""
    found = seen(1e-4)
    total, alone = found.sensitivity(), found.sensitivity(total=False)
    assert total == pytest.approx({"s0": 0.906, "s1": 0.094, "s2": 0.0}, abs=0.03)
    assert alone == pytest.approx(total, abs=0.03)


def test_a_scalar_is_flat_where_nothing_can_be_told_from_the_best():
    found = seen(1e-3)
    low, high = found.flat_range("s0")
    assert 0.25 < low < 0.5 < high < 0.75
    assert found.flat_range("s2") == (0.0, 1.0)
    wide = seen(0.02)
    assert wide.flat_range("s2") == (0.0, 1.0)
    assert wide.flat_range("s0")[1] - wide.flat_range("s0")[0] > high - low


def test_a_slice_goes_through_the_surface_in_the_scalars_own_unit():
    random = np.random.default_rng(0)
    item = ScalarRange(0.01, 100.0, log=True)
    units = random.random(40)
    runs = [run(n, n, 0.5 + 0.02 * unit, [item.from_unit(unit)]) for n, unit in enumerate(units)]
    found = fit(runs, {"s0": item})
    mean, low, high = found.slice("s0", np.array([0.01, 1.0, 100.0]))
    assert mean == pytest.approx([0.50, 0.51, 0.52], abs=0.002)
    assert (high - low < 0.01).all()
    same, deviation = found.predict(np.array([[0.0], [0.5], [1.0]]))
    assert same == pytest.approx(mean, abs=1e-12)
    assert high - mean == pytest.approx(1.96 * deviation)
    low_end, high_end = found.flat_range("s0")
    assert low_end > 1.0
    assert high_end == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("runs", "searched", "message"),
    [
        ([], ranges(1), "no run has finished and was evaluated"),
        ([run(0, 0, 0.5, [0.1], state="failed")], ranges(1), "no run has finished"),
        ([run(3, 5, 0.5, [0.1])], ranges(2), r"run 3 of point 5 lacks \['s1'\]"),
        ([run(0, 5, 0.5, [0.1]), run(1, 5, 0.5, [0.2])], ranges(1), "runs of point 5 differ in their scalars"),
        ([run(0, 0, math.nan, [0.1])], ranges(1), "run 0, iteration 1: nan"),
        ([run(0, 0, 0.5, [math.nan])], ranges(1), "scalars have to be numbers"),
        ([run(0, 0, 0.5, [0.0])], {"s0": ScalarRange(0.1, 1.0, log=True)}, "a logarithmic range cannot place"),
    ],
)
def test_faults_of_the_runs_are_refused(runs, searched, message: str):
    with pytest.raises(SearchError, match=message):
        fit(runs, searched)


def test_places_of_another_shape_are_refused():
    search = Planted([1, 1], 1, HYPER)
    with pytest.raises(SearchError, match=r"places of shape \(3, 1\) for 2 scalars"):
        fit(search.runs, search.ranges, HYPER).predict(np.zeros((3, 1)))


def test_rows_are_points_by_number_and_then_plain():
    runs = [run(0, None, 0.5), run(1, 3, 0.5), run(2, 0, 0.5), run(3, 3, 0.5)]
    assert [one.number for one in ordered_runs(runs)] == [2, 1, 3, 0]
