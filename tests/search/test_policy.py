"""Who runs next, by hand-made histories; and that the answer depends on nothing but them."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import dce_ray.search.policy as policy_module
from dce_ray.config import SCALARS, ScalarRange
from dce_ray.errors import ConfigError
from dce_ray.experiment.record import PLAIN, SEARCHED
from dce_ray.points import components
from dce_ray.points.model import fit
from dce_ray.points.runs import PointRun, Replicate, replicate_of
from dce_ray.search import suggestion
from dce_ray.search.policy import Policy, Proposal, refitted_at
from dce_ray.search.suggestion import NoisyGain, inwards, spread, suggest, unit_place

RANGES = {"delta": ScalarRange(0.4, 1.0), "lambda": ScalarRange(0.01, 1.0, log=True), "beta": ScalarRange(0.0, 2.0)}
PAPER = {"delta": 0.8, "lambda": 1.0, "beta": 0.5}
RELEASED = {"delta": 0.7, "lambda": 0.5, "beta": 1.0}
FIRST = (("paper", PAPER), ("released", RELEASED))
SAMPLERS = ("gp", "tpe", "cmaes", "random")
OPTIMUM = np.array([0.7, 0.3, 0.6])


def a_policy(**changes):
    return Policy(**({"ranges": RANGES, "first_points": FIRST, "folds": 3, "seed": 0} | changes))


def score(scalars, replicate, number, noise=0.005):
    """A hill over the unit cube, effects of fold and round, and a run's own noise."""
    level = 0.3 - 0.2 * float(((unit_place(RANGES, scalars) - OPTIMUM) ** 2).sum()) if scalars else 0.25
    return level + 0.01 * replicate.fold - 0.02 * replicate.round + noise * np.random.default_rng(number).normal()


def started(number, proposal):
    return PointRun(number, proposal.point, proposal.scalars, proposal.replicate, "running")


def ended(run):
    return dataclasses.replace(run, state="finished", curve={300: score(run.scalars, run.replicate, run.number)})


def failed(run):
    return dataclasses.replace(run, state="failed")


def search(policy, budget, end=ended, workers=1):
    """Runs and proposals of a search in which ``workers`` runs are under way at a time."""
    runs, proposals = [], []
    for number in range(budget):
        proposals.append(policy.propose(runs))
        runs.append(started(number, proposals[-1]))
        late = number - workers + 1
        if late >= 0:
            runs[late] = end(runs[late])
    return runs, proposals


def a_run(number, point, scalars, fold, value, round=0):
    state = "finished" if value is not None else "failed"
    return PointRun(number, point, scalars, Replicate(fold, round), state, {} if value is None else {300: value})


def spread_points(count):
    return [spread(RANGES, 5, index) for index in range(count)]


@pytest.fixture(autouse=True)
def _no_cache():
    clear_caches()


def clear_caches():
    policy_module._fit.cache_clear()
    policy_module._first_fit.cache_clear()


# The order -----------------------------------------------------------------------------------------------------------


def test_plain_goes_before_each_point_until_the_folds_are_open():
    _, proposals = search(a_policy(), 8)
    assert [(p.point, p.new, p.replicate.fold, p.origin) for p in proposals] == [
        (None, True, 0, PLAIN),
        (0, True, 0, "paper"),
        (None, False, 1, PLAIN),
        (1, True, 1, "released"),
        (None, False, 2, PLAIN),
        (2, True, 2, SEARCHED),
        (3, True, 0, SEARCHED),
        (4, True, 1, SEARCHED),
    ]
    assert [dict(p.scalars) for p in proposals[:4]] == [{}, PAPER, {}, RELEASED]


def test_equal_first_points_run_once_and_their_replicates_keep_their_origin():
    policy = a_policy(first_points=(("paper", PAPER), ("released", PAPER)), startup=1, replicate_every=1)
    _, proposals = search(policy, 6)
    of_points = [p for p in proposals if p.point is not None]
    assert [(p.point, p.new, p.origin) for p in of_points] == [(0, True, "paper")] + [(0, False, "paper")] * 2


def test_the_start_has_startup_points_and_no_replicate():
    _, proposals = search(a_policy(startup=7), 10)
    assert [p.point for p in proposals if p.point is not None] == list(range(7))
    starts = [spread(RANGES, 0, index) for index in range(2, 7)]
    assert [dict(p.scalars) for p in proposals if p.origin == SEARCHED] == starts


def test_the_start_is_the_seeds():
    assert spread(RANGES, 0, 0) != spread(RANGES, 1, 0)
    assert spread(RANGES, 0, 0) != spread(RANGES, 0, 1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_third_run_of_a_point_replicates(sampler):
    _, proposals = search(a_policy(sampler=sampler), 40)
    of_points = [p for p in proposals if p.point is not None]
    assert all(p.new for p in of_points[:10])
    assert all(not p.new for p in of_points[11::3])
    replicated = sum(not p.new for p in of_points[10:])
    assert replicated >= len(of_points[11::3])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_plain_is_on_every_replicate_before_any_point_and_no_run_comes_twice(sampler):
    runs, proposals = search(a_policy(sampler=sampler, folds=2, among=2), 48, workers=3)
    met = set()
    for proposal in proposals:
        if proposal.point is None:
            met.add(proposal.replicate)
        else:
            assert proposal.replicate in met
    assert max(replicate.round for replicate in met) > 0
    assert max(Counter((run.point, run.replicate) for run in runs).values()) == 1
    assert Counter(p.point is None for p in proposals)[True] == len({run.replicate for run in runs})


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_points_runs_go_through_its_list_of_replicates(sampler):
    runs, _ = search(a_policy(sampler=sampler, replicate_every=2), 60)
    by_point = {}
    for run in runs:
        if run.point is not None:
            by_point.setdefault(run.point, []).append(run)
    for point, own in by_point.items():
        assert [run.replicate for run in own] == [replicate_of(point, number, 3) for number in range(len(own))]
        assert len({tuple(run.scalars.items()) for run in own}) == 1
    assert list(by_point) == list(range(len(by_point)))
    assert max(map(len, by_point.values())) > 2


def test_one_fold_makes_replicates_of_seeds():
    _, proposals = search(a_policy(folds=1, startup=3, replicate_every=1), 12)
    assert {p.replicate.fold for p in proposals} == {0}
    assert [p.replicate.round for p in proposals if p.point is None] == list(
        range(sum(p.point is None for p in proposals))
    )


# Who is replicated ---------------------------------------------------------------------------------------------------


def history(values, folds=3):
    """Plain on all folds, then one run of each point, all on their own folds; a value of None is a failed run."""
    runs = [a_run(fold, None, {}, fold, 0.2) for fold in range(folds)]
    for point, (scalars, value) in enumerate(zip(spread_points(len(values)), values, strict=True)):
        runs.append(a_run(len(runs), point, scalars, point % folds, value))
    return runs


BEST_TWO = a_policy(first_points=(), startup=2, among=2, replicate_every=1)
CLEAR = [0.20, 0.30, 0.22, 0.35, 0.21, 0.20, 0.21, 0.20, 0.22]
"""Points 3 and 1 are the best by far."""


def test_of_the_best_the_one_with_the_fewest_runs_and_of_equals_the_better():
    runs = history(CLEAR)
    assert BEST_TWO.propose(runs).point == 3
    runs.append(dataclasses.replace(runs[6], number=12, replicate=replicate_of(3, 1, 3)))
    assert BEST_TWO.propose(runs).point == 1
    runs.append(dataclasses.replace(runs[4], number=13, replicate=replicate_of(1, 1, 3)))
    proposal = BEST_TWO.propose(runs)
    assert (proposal.point, proposal.new, proposal.replicate) == (3, False, replicate_of(3, 2, 3))
    assert proposal.scalars == runs[6].scalars


def test_running_and_failed_runs_count_as_runs():
    runs = history(CLEAR)
    for state in ("running", "failed"):
        more = PointRun(12, 3, runs[6].scalars, replicate_of(3, 1, 3), state)
        assert BEST_TWO.propose([*runs, more]).point == 1


def test_a_point_without_a_score_is_not_replicated():
    values = list(CLEAR)
    values[3] = None
    runs = history(values)
    assert BEST_TWO.propose(runs).point == 1
    running = dataclasses.replace(runs[6], state="running")
    assert BEST_TWO.propose([*runs[:6], running, *runs[7:]]).point == 1


def test_a_replicate_that_opens_a_round_lets_plain_go_first():
    runs = history(CLEAR)
    policy = dataclasses.replace(BEST_TWO, among=1)
    for number in (1, 2):
        runs.append(dataclasses.replace(runs[6], number=11 + number, replicate=replicate_of(3, number, 3)))
    proposal = policy.propose(runs)
    assert proposal == Proposal(None, False, {}, Replicate(0, 1), PLAIN)
    proposal = policy.propose([*runs, started(14, proposal)])
    assert (proposal.point, proposal.replicate) == (3, Replicate(0, 1))


def test_two_failures_and_no_success_end_an_arm(monkeypatch):
    runs = history([None, *CLEAR[1:]])
    policy = dataclasses.replace(BEST_TWO, replicate_every=0)
    corner = dict(runs[3].scalars)
    monkeypatch.setattr(policy_module, "suggest", lambda *_, **__: corner)
    assert policy.propose(runs).point == 0  # failed once: may be asked again
    again = a_run(12, 0, corner, 1, None)
    proposal = policy.propose([*runs, again])
    assert proposal.new
    assert proposal.point == 9
    assert proposal.scalars not in [run.scalars for run in runs]


def test_a_suggestion_that_is_known_is_its_next_replicate(monkeypatch):
    runs = history(CLEAR)
    policy = dataclasses.replace(BEST_TWO, replicate_every=0)
    monkeypatch.setattr(
        policy_module, "suggest", lambda *_, **__: {**runs[5].scalars, "delta": runs[5].scalars["delta"] + 1e-5}
    )
    proposal = policy.propose(runs)
    assert (proposal.point, proposal.new, proposal.replicate) == (2, False, replicate_of(2, 1, 3))
    assert proposal.scalars == runs[5].scalars


# Failures ------------------------------------------------------------------------------------------------------------


def test_a_plain_baseline_that_only_fails_is_left_alone():
    _, proposals = search(a_policy(), 24, end=lambda run: failed(run) if run.plain else ended(run))
    assert sum(p.point is None for p in proposals) == 2
    assert any(not p.new for p in proposals if p.point is not None)


def test_plain_that_has_finished_once_goes_on_after_failures():
    _, proposals = search(a_policy(), 8, end=lambda run: failed(run) if run.plain and run.number else ended(run))
    assert sum(p.point is None for p in proposals) == 3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_when_all_points_fail_new_ones_are_tried(sampler):
    _, proposals = search(a_policy(sampler=sampler), 30, end=lambda run: ended(run) if run.plain else failed(run))
    scalars = [tuple(p.scalars.values()) for p in proposals if p.point is not None]
    assert len(set(scalars)) == len(scalars) == 27


def test_everything_may_fail():
    _, proposals = search(a_policy(), 30, end=failed)
    assert sum(p.point is None for p in proposals) == 2
    assert max(p.point for p in proposals if p.point is not None) == 27


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_failures_now_and_then_starve_nobody(sampler):
    runs, _ = search(a_policy(sampler=sampler), 60, end=lambda run: failed(run) if run.number % 4 == 3 else ended(run))
    counts = Counter(run.point for run in runs if run.point is not None)
    assert max(counts.values()) < 12
    assert max(Counter((run.point, run.replicate) for run in runs).values()) == 1


def test_a_corner_that_cannot_be_trained_is_left():
    """The hill rises into a corner where every run fails."""
    policy = a_policy(first_points=(), replicate_every=0)

    def end(run):
        if run.plain:
            return ended(run)
        place = unit_place(RANGES, run.scalars)
        if place.min() > 0.8:
            return failed(run)
        return dataclasses.replace(run, state="finished", curve={300: 0.2 + 0.05 * float(place.sum())})

    runs, _ = search(policy, 48, end=end)
    assert sum(run.state == "failed" for run in runs) == 1


# A pure function -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_killed_search_goes_on_as_it_would_have(sampler):
    policy = a_policy(sampler=sampler)
    runs, proposals = search(policy, 30)
    for number in (0, 7, 13, 14, 20, 29):
        clear_caches()
        before = [run for run in runs if run.number < number]
        assert policy.propose(before) == proposals[number]
        assert policy.propose(before[::-1]) == proposals[number]


def test_a_proposal_pays_for_no_uncertainty_of_the_components(monkeypatch):
    """Half of what a fit costs: only deviations need it, and a proposal reads none that hold it."""
    runs, proposals = search(a_policy(), 20)
    clear_caches()
    monkeypatch.setattr(components, "_root_of_covariance", lambda *_: pytest.fail("asked how uncertain they are"))
    assert a_policy().propose(runs[:19]) == proposals[19]
    with pytest.raises(pytest.fail.Exception, match="asked how uncertain"):
        assert fit(runs, RANGES).points


def test_a_fresh_process_proposes_the_same():
    program = """
import test_policy as t
for sampler in t.SAMPLERS:
    policy = t.a_policy(sampler=sampler)
    runs, _ = t.search(policy, 24, workers=2)
    print(policy.propose(runs))
"""
    command = [sys.executable, "-c", program]
    outputs = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=fresh_environment(hash_seed)).stdout
        for hash_seed in ("1", "2")
    ]
    policies = [a_policy(sampler=sampler) for sampler in SAMPLERS]
    expected = "".join(f"{policy.propose(search(policy, 24, workers=2)[0])}\n" for policy in policies)
    assert outputs == [expected, expected]


def fresh_environment(hash_seed):
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join([str(here), str(here.parents[1])])
    return os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": hash_seed}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_changes_suggestions(sampler):
    runs, _ = search(a_policy(sampler=sampler, replicate_every=0), 20)
    one, other = (a_policy(sampler=sampler, replicate_every=0, seed=seed).propose(runs) for seed in (1, 2))
    assert one.scalars != other.scalars


def test_the_caches_do_not_change_the_order_of_histories():
    policy = a_policy()
    runs, proposals = search(policy, 30)
    other, _ = search(a_policy(seed=3), 30)
    policy.propose(other)
    assert policy.propose(runs[:25]) == proposals[25]


def test_components_are_fitted_on_a_grid_that_the_count_decides():
    assert [refitted_at(runs) for runs in (1, 8, 12, 100, 1000)] == [1, 8, 12, 88, 926]
    runs, _ = search(a_policy(), 30)
    usable = [run for run in runs if run.usable]
    at = refitted_at(len(usable))
    assert at < len(usable)
    assert a_policy().posterior(runs).hyper == fit(usable[:at], RANGES).hyper
    assert a_policy().posterior(runs).adjusted.keys() == {run.number for run in usable}


def test_there_is_no_posterior_before_a_point_has_a_score():
    assert a_policy().posterior([]) is None
    assert a_policy().posterior(history([None])) is None


# Pending runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_runs_is_not_proposed_again(sampler):
    runs, _ = search(a_policy(sampler=sampler), 24)
    pending = []
    for number in range(24, 34):
        pending.append(started(number, a_policy(sampler=sampler).propose([*runs, *pending])))
    assert len({(run.point, run.replicate) for run in [*runs, *pending]}) == 34
    new = [unit_place(RANGES, run.scalars) for run in pending if run.point is not None and run.replicate.round == 0]
    assert len(new) > 3


def gain(posterior, rivals, candidates, lost=(), worst=0.1, draws=4000):
    random = np.random.default_rng(0)
    return NoisyGain(posterior, np.array(rivals), list(lost), worst, random=random, draws=draws)(np.array(candidates))


def test_a_running_point_and_a_failed_one_lower_the_gain_beside_them():
    runs, _ = search(a_policy(sampler="random"), 20)
    posterior = fit(runs, RANGES)
    best = unit_place(RANGES, next(run.scalars for run in runs if run.point == posterior.best_point))
    there, elsewhere = OPTIMUM + 0.02, OPTIMUM + np.array([0.2, -0.2, 0.2])
    free = gain(posterior, [best], [there, elsewhere])
    running = gain(posterior, [best, OPTIMUM], [there, elsewhere])
    lost = gain(posterior, [best], [there, elsewhere], lost=[OPTIMUM] * 4)
    assert running[0] < 0.5 * free[0]
    assert lost[0] < 0.5 * free[0]
    assert running[1] / free[1] > 2 * running[0] / free[0]
    assert lost[1] / free[1] > lost[0] / free[0]


def test_the_noisy_gain_is_the_mean_over_draws_of_all_places():
    runs, _ = search(a_policy(), 16)
    posterior = fit(runs, RANGES)
    places = np.random.default_rng(0).uniform(size=(5, 3))
    mean, spread_ = posterior.surface(places)
    draws = np.random.default_rng(1).multivariate_normal(mean, spread_, size=400_000)
    gains = np.maximum(draws[:, 2:] - draws[:, :2].max(axis=1, keepdims=True), 0).mean(axis=0)
    assert gain(posterior, places[:2], places[2:], draws=100_000) == pytest.approx(gains, rel=0.05, abs=1e-7)


def test_new_points_keep_to_the_inside_while_runs_say_little():
    runs, _ = search(a_policy(), 16)
    posterior = fit(runs, RANGES)
    middle, edge, corner = np.full(3, 0.5), np.array([0.5, 1.0, 0.5]), np.array([0.0, 1.0, 0.0])
    noise = 1 - posterior.shares.signal_share
    assert 0 < noise < 1
    weights = inwards(np.array([middle, edge, corner]), posterior, 10)
    assert weights == pytest.approx(np.exp(-4 * noise * np.array([0, 0.25, 0.75])))
    assert inwards(corner[None], posterior, 1000) == pytest.approx(np.exp(-0.04 * noise * 0.75))
    at_corner = inwards(np.array([corner, 1 - corner]), posterior, 10, [np.array([0.0, 0.9, 0.2])])
    assert at_corner == pytest.approx(np.exp(-4 * noise * np.array([0.1**2 + 0.2**2, 3 * 0.25])))
    certain = fit(runs, RANGES, fitted_with=dataclasses.replace(posterior.hyper, noise=1e-9, point_fold=1e-9))
    assert inwards(corner[None], certain, 1) == pytest.approx(1)


def test_new_points_know_how_many_runs_have_ended_and_what_is_believed(monkeypatch):
    runs, _ = search(a_policy(), 16)
    runs = [failed(run) if run.number == 9 else run for run in runs]
    pending = started(16, Proposal(99, True, dict(PAPER), Replicate(0, 0), SEARCHED))
    asked = []
    monkeypatch.setattr(suggestion, "inwards", lambda places, _, *more: asked.append(more) or np.ones(len(places)))
    a_policy(replicate_every=0).propose([*runs, pending])
    of_points = sum(not run.plain for run in runs)
    assert {count for count, _ in asked} == {of_points}, "failed ones count, plain's and running ones do not"
    expected = [unit_place(RANGES, scalars) for scalars in (PAPER, RELEASED)]
    assert np.array_equal(asked[0][1], expected)


def test_noise_alone_sends_no_search_into_the_corners(monkeypatch):
    """With scores that depend on nothing, the improvement alone proposes ends of ranges most of the time."""
    ranges = {name: ScalarRange(0.0, 1.0) for name in SCALARS}

    def at_ends():
        random, found = np.random.default_rng(0), []
        for seed in range(3):
            policy, runs = Policy(ranges, (), 3, seed, replicate_every=0), []
            for number in range(28):
                one = policy.propose(runs)
                curve = {1: 0.3 + 0.01 * float(random.standard_normal())}
                runs.append(PointRun(number, one.point, one.scalars, one.replicate, "finished", curve))
            found += [unit_place(ranges, run.scalars) for run in runs[14:] if not run.plain]
        return np.mean(np.abs(np.array(found) - 0.5) > 0.45)

    assert at_ends() < 0.3
    monkeypatch.setattr(suggestion, "inwards", lambda candidates, *_: np.ones(len(candidates)))
    assert at_ends() > 0.45


# Samplers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_suggestions_stay_in_their_ranges(sampler):
    runs, _ = search(a_policy(sampler=sampler), 40)
    for run in runs:
        assert all(item.low <= run.scalars[name] <= item.high for name, item in RANGES.items() if run.scalars)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_scalar_can_be_searched(sampler):
    ranges = {"delta": ScalarRange(0.4, 1.0)}
    policy = Policy(ranges, (), 2, 0, sampler)
    runs = []
    for number in range(20):
        proposal = policy.propose(runs)
        value = 0.3 - (proposal.scalars.get("delta", 0.5) - 0.6) ** 2
        runs.append(PointRun(number, proposal.point, proposal.scalars, proposal.replicate, "finished", {1: value}))
    assert len({run.point for run in runs}) > 8


@pytest.mark.parametrize(("sampler", "nearer"), [("gp", 0.15), ("tpe", 0.4), ("cmaes", 0.4)])
def test_suggestions_come_nearer_to_the_optimum(sampler, nearer):
    runs, _ = search(a_policy(sampler=sampler, replicate_every=0), 70)
    distances = [np.linalg.norm(unit_place(RANGES, run.scalars) - OPTIMUM) for run in runs if run.point is not None]
    assert np.median(distances[-12:]) < nearer < np.median(distances[:10])


def test_random_suggestions_are_spread_over_the_space():
    runs, _ = search(a_policy(), 16)
    posterior = fit(runs, RANGES)
    places = np.array([unit_place(RANGES, suggest("random", RANGES, runs, posterior, (0, n))) for n in range(200)])
    assert np.all(np.abs(places.mean(axis=0) - 0.5) < 0.1)


def test_faults_are_said_at_once():
    with pytest.raises(ConfigError, match="did you mean gp"):
        a_policy(sampler="gpp")
    with pytest.raises(ConfigError, match="folds=0 must be 1 or more\namong=0 must be 1 or more"):
        a_policy(folds=0, among=0)
    with pytest.raises(ConfigError, match="leave fixed scalars out"):
        a_policy(ranges={"delta": ScalarRange(0.5, 0.5)})
