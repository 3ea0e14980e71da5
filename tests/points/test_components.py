"""The variance components: the likelihood against its definition, and planted components that come back."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc

import numpy as np
import pytest
from planted import Planted, covariance, ranges, run

from dce_ray.errors import SearchError
from dce_ray.points.components import (
    MEDIANS,
    SOURCES,
    USUAL_DEVIATION,
    Estimate,
    _Objective,
    deviation_within,
    prior_of,
)
from dce_ray.points.covariance import Hyper, cube, lay_out, matern, ordered_runs, process_variance
from dce_ray.points.elimination import inverse
from dce_ray.points.model import fit

HYPER = Hyper(0.01, 0.004, 0.02, 0.008, 0.003, 0.012, 0.009, {"s0": 0.5, "s1": 0.8})


def searched(seed: int = 0, folds: int = 3):
    search = Planted([1, 2, 3, 1, 4], 4, HYPER, folds, seed=seed)
    layout = lay_out(search.runs, search.ranges)
    scores = np.array([next(iter(one.curve.values())) for one in ordered_runs(search.runs)])
    return layout, scores


def matern_at(distance: float) -> float:
    scaled = math.sqrt(5) * distance
    return (1 + scaled + scaled**2 / 3) * math.exp(-scaled)


def test_the_covariance_is_the_sum_that_the_model_says_it_is():
    search = Planted([1, 2, 3, 1, 4], 4, HYPER)
    layout = lay_out(search.runs, search.ranges)
    found = covariance(layout, HYPER)
    variance = process_variance(HYPER.smooth, np.array([0.5, 0.8]))
    rows = ordered_runs(search.runs)
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            expected = HYPER.fold**2 * ((one.replicate.fold == other.replicate.fold) - 1 / 3)
            expected += HYPER.seed**2 * ((one.replicate == other.replicate) - 1 / len({row.replicate for row in rows}))
            expected += HYPER.point_fold**2 * (one.point == other.point and one.replicate.fold == other.replicate.fold)
            if one is other:
                expected += (HYPER.noise_plain if one.plain else HYPER.noise) ** 2
            if not one.plain and not other.plain:
                apart = [(one.scalars[name] - other.scalars[name]) / HYPER.length_scales[name] for name in ("s0", "s1")]
                expected += variance * matern_at(math.hypot(*apart)) + HYPER.nugget**2 * (one.point == other.point)
            assert found[i, j] == pytest.approx(expected, abs=1e-15)


def test_smooth_is_the_deviation_between_places_of_the_space_however_long_the_scales():
    random = np.random.default_rng(0)
    places = cube(512, 2)
    for scales in (np.array([0.2, 0.3]), np.array([4.0, 6.0])):
        root = np.linalg.cholesky(process_variance(0.02, scales) * matern(places, places, scales) + 1e-9 * np.eye(512))
        drawn = root @ random.standard_normal((512, 400))
        assert math.sqrt(drawn.var(axis=0, ddof=1).mean()) == pytest.approx(0.02, rel=0.1)


def test_the_restricted_likelihood_is_the_density_of_contrasts_that_hold_no_mean():
    """REML by its definition: the scores' projection to the space orthogonal to the arms' means is normal."""
    layout, scores = searched()
    contrasts = np.linalg.svd(layout.arms_nA, full_matrices=True)[0][:, layout.arms_nA.shape[1] :].T
    prior = prior_of(layout, scores)
    objective = _Objective(layout, scores, 1.0, prior)

    def slowly(hyper: Hyper) -> float:
        spread = contrasts @ covariance(layout, hyper) @ contrasts.T
        free = contrasts @ scores
        return 0.5 * (np.linalg.slogdet(spread)[1] + free @ np.linalg.solve(spread, free))

    def quickly(hyper: Hyper) -> float:
        parameters = prior.parameters(hyper, layout)
        beside = 0.5 * (((parameters - prior.mean) / prior.deviation) ** 2).sum()
        return objective(parameters)[0] - beside

    other = dataclasses.replace(HYPER, smooth=0.03, noise_plain=0.02, length_scales={"s0": 0.2, "s1": 2.0})
    assert quickly(other) - quickly(HYPER) == pytest.approx(slowly(other) - slowly(HYPER), rel=1e-8)


@pytest.mark.parametrize("folds", [1, 3])
def test_the_gradient_is_that_of_the_value(folds: int):
    layout, scores = searched(folds=folds)
    prior = prior_of(layout, scores)
    objective = _Objective(layout, scores / 0.01, 0.01, prior)
    parameters = prior.mean + np.random.default_rng(1).normal(0, 0.5, len(prior.mean))
    value, gradient = objective(parameters)
    assert np.isfinite(value)
    for place in range(len(parameters)):
        step = np.zeros(len(parameters))
        step[place] = 1e-5
        numeric = (objective(parameters + step)[0] - objective(parameters - step)[0]) / 2e-5
        assert gradient[place] == pytest.approx(numeric, rel=1e-5, abs=1e-6)


def test_many_runs_of_few_points_never_become_a_matrix_of_runs():
    """2,400 runs of 16 points: a matrix of all pairs of runs is 46 MB, and one inverse of it takes 10 GFlop."""
    search = Planted([150] * 16, 150, HYPER, folds=5)
    layout = lay_out(search.runs, search.ranges)
    scores = np.array([next(iter(one.curve.values())) for one in ordered_runs(search.runs)])
    tracemalloc.start()
    hyper = Estimate(layout, scores).hyper
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * len(scores) ** 2
    assert hyper.noise == pytest.approx(HYPER.noise, rel=0.1)


def test_noise_that_is_none_is_refused():
    search = Planted([1, 2], 1, HYPER)
    for none in ({"noise": 0.0}, {"noise_plain": 0.0}):
        with pytest.raises(SearchError, match="give the noise a deviation above 0"):
            fit(search.runs, search.ranges, dataclasses.replace(HYPER, **none))


def test_planted_components_come_back():
    planted = Hyper(0.02, 0.004, 0.02, 0.015, 0.004, 0.01, 0.01, {"s0": 0.6, "s1": 0.6})
    found = []
    for seed in range(6):
        search = Planted([3] * 24 + [9] * 4, 9, planted, seed=seed)
        found.append(fit(search.runs, search.ranges).hyper)
    middle = {name: float(np.median([getattr(hyper, name) for hyper in found])) for name in (*SOURCES, "noise_plain")}
    assert middle["noise"] == pytest.approx(0.01, rel=0.15)
    assert middle["noise_plain"] == pytest.approx(0.01, rel=0.3)
    assert middle["smooth"] == pytest.approx(0.02, rel=0.4)
    assert middle["seed"] == pytest.approx(0.015, rel=0.4)
    assert 0.008 < middle["fold"] < 0.04  # three folds say little of their deviation
    assert middle["nugget"] < 0.01
    assert middle["point_fold"] < 0.007


def test_plain_has_a_noise_of_its_own_where_it_has_many_runs_and_the_points_where_it_has_few():
    planted = Hyper(0.01, 0.002, 0.01, 0.003, 0.001, 0.02, 0.005, {"s0": 0.6, "s1": 0.6})
    many = Planted([3] * 12, 36, planted, seed=1)
    few = Planted([3] * 12, 2, planted, seed=1)
    hyper, little = (fit(search.runs, search.ranges).hyper for search in (many, few))
    assert hyper.noise_plain < 0.6 * hyper.noise
    assert 0.6 * little.noise < little.noise_plain < 1.7 * little.noise


def test_an_arm_or_a_fold_that_is_higher_does_not_make_the_runs_noisier():
    layout, scores = searched()
    before = deviation_within(layout, scores)
    arm = np.where(layout.plain, 0.3, 0.0)
    fold = 0.2 * (layout.fold_of_run == 0)
    assert deviation_within(layout, scores + arm + fold) == pytest.approx(before, rel=1e-9)


def test_what_did_not_vary_has_no_share_and_the_prior_as_component():
    runs = [run(n, n, 0.5 + 0.01 * n, [0.1 * n]) for n in range(6)]
    found = fit(runs, ranges(1))
    unit = deviation_within(lay_out(runs, ranges(1)), np.array([0.5 + 0.01 * n for n in range(6)]))
    assert found.shares.fold == found.shares.point_fold == found.shares.seed == 0.0
    for name in ("fold", "point_fold", "seed"):
        assert getattr(found.hyper, name) == pytest.approx(MEDIANS[name] * unit, rel=1e-3)
    bare = fit(runs, {})
    assert bare.shares.points == bare.hyper.nugget > 0


def test_estimating_goes_on_from_earlier_components_to_the_same_place():
    early = Planted([2] * 10, 4, HYPER, seed=3)
    before = fit(early.runs, early.ranges).hyper
    late = Planted([2] * 20, 6, HYPER, seed=3)
    cold, warm = fit(late.runs, late.ranges).hyper, fit(late.runs, late.ranges, start=before).hyper
    assert warm.noise == pytest.approx(cold.noise, rel=0.02)
    assert warm.smooth == pytest.approx(cold.smooth, rel=0.1)


def test_components_of_other_scalars_are_refused():
    search = Planted([1, 1, 1], 1, HYPER)
    for given in ({"fitted_with": HYPER}, {"start": HYPER}):
        with pytest.raises(SearchError, match=r"\['s0', 's1'\] cannot serve \['s0'\]"):
            fit(search.runs, {"s0": search.ranges["s0"]}, **given)


def test_a_matrix_that_has_no_inverse_is_refused():
    found, logarithm = inverse(np.array([[2.0, 1.0], [1.0, 2.0]]))
    assert found == pytest.approx(np.array([[2, -1], [-1, 2]]) / 3)
    assert logarithm == pytest.approx(math.log(3))
    with pytest.raises(SearchError, match="covariance of 2 rows cannot be inverted"):
        inverse(np.ones((2, 2)))


def test_without_data_the_prior_speaks():
    layout = lay_out([run(0, 0, 0.5, [0.5])], ranges(1))
    hyper = Estimate(layout, np.array([0.5])).hyper
    assert hyper.noise == pytest.approx(MEDIANS["noise"] * USUAL_DEVIATION, rel=1e-3)
    assert hyper.length_scales["s0"] == pytest.approx(0.4, rel=1e-3)
