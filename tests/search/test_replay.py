"""The replay of recorded runs: what policies are given, what they may ask for, and what their choice is worth."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import optuna
import pytest
from made_pool import RANGES, SMALL, made_pool

from benchmarks.policy import measure
from benchmarks.policy.__main__ import main
from benchmarks.policy.emulator import Emulation, Emulator, decompose
from benchmarks.policy.measure import FREE, POLICIES, half_width
from benchmarks.policy.ours import ours
from benchmarks.policy.peers import gaussian_process, peer, random_sampler, tpe
from benchmarks.policy.recorded import RecordedGP, RecordedSurface, RecordedTPE, ask_recorded, choosing_among
from benchmarks.pool.plan import Size
from benchmarks.pool.table import Pool, write_pool
from dce_ray.errors import DataError
from dce_ray.points.runs import Replicate
from dce_ray.search.suggestion import unit_place

optuna.logging.set_verbosity(optuna.logging.ERROR)


def by_delta(scalars):
    return 0.1 * scalars["delta"]


def asked_for(surface, monkeypatch):
    """The runs that policies ask for, as place (None: plain) and replicate."""
    asked, train = [], surface.train

    def noting(scalars, replicate):
        asked.append((None if scalars is None else surface.points.index(scalars), replicate))
        return train(scalars, replicate)

    monkeypatch.setattr(surface, "train", noting)
    return asked


class TestRecordedSurface:
    def test_runs_are_the_recorded_ones_in_an_order_of_the_seeds(self):
        pool = made_pool(SMALL, level=by_delta, noise=0.05)
        curves = pool.curves(3)
        surfaces = [RecordedSurface(pool, 3, seed) for seed in range(4)]
        assert len({tuple(surface.order) for surface in surfaces}) == 4
        for surface in surfaces:
            assert surface.folds == 3
            assert surface.replicates == [Replicate(0, 0), Replicate(1, 0), Replicate(2, 0), *surface.replicates[3:]]
            fold_of = {}
            for place, number in enumerate(surface.order):
                assert surface.points[place] == pool.points[number]
                for replicate in surface.replicates:
                    found = [
                        known
                        for known in ((number, Replicate(fold, replicate.round)) for fold in range(3))
                        if curves.get(known) == surface.train(surface.points[place], replicate)
                    ]
                    assert len(found) == 1
                    fold_of.setdefault(replicate.fold, set()).add(found[0][1].fold)
            assert sorted(map(len, fold_of.values())) == [1, 1, 1], "a fold here is one fold there, for all points"
        assert len({next(iter(surface.train(None, Replicate(0, 0)).items())) for surface in surfaces}) > 1

    def test_a_value_is_the_mean_of_the_truth_runs_above_that_of_all_points(self):
        pool = made_pool(Size(folds=2, points=3, replicates=1, truths=2), truth=by_delta)
        surface = RecordedSurface(pool, 2, 5)
        deltas = np.array([point["delta"] for point in surface.points])
        values = [surface.value(point) for point in surface.points]
        assert values == pytest.approx(10 * (deltas - deltas.mean()))
        assert sum(values) == pytest.approx(0)

    def test_the_schedule_is_the_pools(self):
        surface = RecordedSurface(made_pool(SMALL), 3, 0)
        assert (surface.iterations, surface.first_rung) == (20, 10)

    def test_points_that_were_not_recorded_on_all_replicates_are_left_out(self):
        pool = made_pool(Size(folds=3, points=6, replicates=3, truths=2), level=by_delta)
        runs = [one for one in pool.runs if one.run.point != 5 or (one.run.fold, one.run.round) == (0, 0)]
        surface = RecordedSurface(Pool(pool.points, pool.origins, runs, pool.about), 3, 0)
        assert sorted(surface.order) == [0, 1, 2, 3, 4]
        assert len(surface.replicates) == 3

    def test_a_pool_without_this_k_is_refused(self):
        with pytest.raises(DataError, match="K=5: no two points"):
            RecordedSurface(made_pool(SMALL), 5, 0)


class TestPeers:
    @pytest.mark.parametrize("make", [random_sampler, tpe, gaussian_process])
    def test_a_point_is_tried_once_and_the_best_observed_is_chosen(self, make, monkeypatch):
        pool = made_pool(SMALL, level=by_delta, truth=lambda scalars: -by_delta(scalars))
        surface = RecordedSurface(pool, 3, 1)
        asked = asked_for(surface, monkeypatch)
        chosen = peer(make)(surface, (4, 12, 20), 1)
        assert len(asked) == 12, "the pool was used up"
        assert {place for place, _ in asked} == set(range(12))
        assert {replicate for _, replicate in asked} == {Replicate(0, 0)}
        deltas = np.array([point["delta"] for point in surface.points])
        assert chosen[12] == chosen[20] == pytest.approx(-10 * (deltas.max() - deltas.mean())), "truth says the reverse"
        first = deltas[[place for place, _ in asked[:4]]]
        assert chosen[4] == pytest.approx(-10 * (first.max() - deltas.mean()))

    def test_three_seeds_are_three_folds_and_count_as_three_runs(self, monkeypatch):
        surface = RecordedSurface(made_pool(SMALL), 3, 1)
        asked = asked_for(surface, monkeypatch)
        peer(random_sampler, seeds=3)(surface, (7,), 1)
        assert [replicate.fold for _, replicate in asked] == [0, 1, 2] * 3
        assert len({place for place, _ in asked}) == 3

    def test_a_failed_run_is_no_score(self):
        pool = made_pool(SMALL, level=by_delta)
        runs = [
            one if one.run.truth or one.run.point != 3 else dataclasses.replace(one, error="x") for one in pool.runs
        ]
        surface = RecordedSurface(Pool(pool.points, pool.origins, runs, pool.about), 3, 0)
        for policy in (peer(tpe, "asha"), peer(random_sampler, seeds=3), ours()):
            assert np.isfinite(policy(surface, (40,), 0)[40])


class TestSamplers:
    def study(self, sampler, surface):
        """Twelve recorded trials, the better the smaller delta."""
        study = optuna.create_study(direction="maximize", sampler=choosing_among(sampler, 0))
        searched = {
            name: optuna.distributions.FloatDistribution(item.low, item.high, log=item.log)
            for name, item in surface.ranges.items()
        }
        for number in range(12):
            params = {"delta": 0.05 + 0.07 * number, "beta": 1.0}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=searched, value=-params["delta"]))
        return study

    @pytest.mark.parametrize("make", [tpe, gaussian_process])
    def test_the_sampler_takes_the_recorded_point_that_it_likes_best(self, make):
        surface = RecordedSurface(made_pool(SMALL), 3, 0)
        surface.points = [{"delta": 0.97, "beta": 1.0}, {"delta": 0.03, "beta": 1.0}, {"delta": 0.9, "beta": 1.1}]
        tried = set()
        trial, scalars = ask_recorded(self.study(make(0), surface), surface, tried)
        assert scalars == surface.points[1]
        assert tried == {1}
        assert unit_place(surface.ranges, trial.params) == pytest.approx(unit_place(surface.ranges, scalars), abs=1e-6)
        _, scalars = ask_recorded(self.study(make(0), surface), surface, {1, 2})
        assert scalars == surface.points[0], "what was tried is not asked for again"

    def test_the_first_trials_are_random_points(self):
        firsts = set()
        for seed in range(12):
            surface = RecordedSurface(made_pool(SMALL), 3, seed)
            study = optuna.create_study(direction="maximize", sampler=choosing_among(tpe(0), 0))
            firsts.add(surface.order[surface.points.index(ask_recorded(study, surface, set())[1])])
        assert len(firsts) > 4

    def test_it_is_told_as_the_policy_tells_it(self):
        sampler = choosing_among(tpe(3), 3)
        assert isinstance(sampler, RecordedTPE)
        assert sampler._multivariate
        assert sampler._constant_liar
        assert isinstance(choosing_among(gaussian_process(3), 3), RecordedGP)
        with pytest.raises(TypeError, match="CmaEsSampler"):
            choosing_among(optuna.samplers.CmaEsSampler(), 0)


class TestOurs:
    def test_it_asks_for_recorded_runs_once_each_until_all_are_used(self, monkeypatch):
        surface = RecordedSurface(made_pool(SMALL, level=by_delta, noise=0.02), 3, 2)
        asked = asked_for(surface, monkeypatch)
        chosen = ours()(surface, (20, 52, 90), 2)
        assert len(asked) == len(set(asked)) <= 13 * 4
        places = [place for place, _ in asked]
        assert set(places) == {None, *range(12)}
        assert places[0] is None
        for place, replicate in asked:
            if place is not None:
                assert asked.index((None, replicate)) < asked.index((place, replicate)), "plain meets each one first"
        assert chosen[52] == chosen[90]

    def test_after_the_start_every_third_run_is_a_replicate_of_a_good_point(self, monkeypatch):
        surface = RecordedSurface(made_pool(Size(folds=3, points=40, replicates=4, truths=1), level=by_delta), 3, 0)
        asked = asked_for(surface, monkeypatch)
        ours()(surface, (34,), 0)
        runs = [place for place, _ in asked if place is not None]
        again = [number for number, place in enumerate(runs) if place in runs[:number]]
        assert again == [number for number in range(10, len(runs)) if number % 3 == 2]
        best = sorted(range(40), key=lambda place: -surface.points[place]["delta"])
        known = [place for place in best if place in runs]
        assert {runs[number] for number in again} <= set(known[:9])

    def test_it_finds_the_best_where_there_is_no_noise(self):
        surface = RecordedSurface(made_pool(SMALL, level=by_delta), 3, 0)
        assert ours()(surface, (30,), 0)[30] == pytest.approx(max(surface.values))


class TestEmulator:
    def test_decompose_by_hand(self):
        levels, slope = np.array([-1.0, 1.0, -1.0, 1.0]), np.array([0.5, 2.0])
        replicates = np.array([0, 0, 1, 1])
        shares = np.array([[0.0, 0.5], [0.0, -0.5]])  # of two replicates at two iterations
        noise = np.array([[0.0, 1.0], [0.0, -1.0], [0.0, -1.0], [0.0, 1.0]])
        curves = np.array([10.0, 20.0]) + levels[:, None] * slope + shares[replicates] + noise
        mean, found, shared, residuals = decompose(levels, replicates, curves)
        assert mean == pytest.approx([10.0, 20.0])
        assert found == pytest.approx(slope)
        assert shared == pytest.approx(shares)
        assert residuals == pytest.approx(noise)

    def test_decompose_is_not_misled_by_points_that_met_one_replicate_only(self):
        levels, replicates = np.array([-3.0, 1.0, 2.0, 1.0, 2.0]), np.array([0, 0, 0, 1, 1])
        curves = 5.0 + levels[:, None] + np.array([[0.5], [-0.5]])[replicates]
        mean, slope, shared, residuals = decompose(levels, replicates, curves)
        assert (mean[0], slope[0]) == pytest.approx((5.0, 1.0))
        assert shared[:, 0] == pytest.approx([0.5, -0.5])
        assert residuals == pytest.approx(np.zeros((5, 1)), abs=1e-12)

    @pytest.fixture(scope="class")
    @classmethod
    def emulation(cls):
        sizes = Size(folds=3, points=40, replicates=4, truths=1), Size(folds=2, points=12, replicates=2, truths=0)
        return Emulation(made_pool(*sizes, level=by_delta, noise=0.01))

    def test_the_truth_is_the_models_surface_above_its_mean(self, emulation):
        surface = Emulator(emulation, 3, 0)
        values = [surface.value({"delta": delta, "beta": 1.0}) for delta in (0.1, 0.5, 0.9)]
        assert values == pytest.approx([-4.0, 0.0, 4.0], abs=0.8)

    def test_a_run_is_the_truth_with_the_noise_of_recorded_runs(self, emulation):
        surface, high, low = Emulator(emulation, 3, 0), {"delta": 0.9, "beta": 1.0}, {"delta": 0.1, "beta": 1.0}
        curves = [[surface.train(at, Replicate(0, 0))[20] for _ in range(400)] for at in (high, low)]
        assert np.mean(curves[0]) - np.mean(curves[1]) == pytest.approx(
            (surface.value(high) - surface.value(low)) / 100, abs=0.003
        )
        assert np.std(curves[0]) == pytest.approx(0.01, rel=0.15)
        assert set(surface.train(high, Replicate(0, 0))) == {10, 20}
        plain = np.mean([surface.train(None, Replicate(0, 0))[20] for _ in range(400)])
        assert plain - np.mean(curves[0]) == pytest.approx(-0.1 * 0.9, abs=0.015)

    def test_replicates_share_their_deviation_among_all_points(self, emulation):
        surface = Emulator(emulation, 3, 0)
        known = {replicate: surface._shared(replicate)[-1] for replicate in emulation.noise(3).shared}
        means = np.array([0.0, 0.01, 0.02, 0.1])
        assert sorted(known.values()) == pytest.approx(means - means.mean(), abs=0.004)
        at = {"delta": 0.5, "beta": 1.0}
        first, last = sorted(known, key=known.__getitem__)[:: len(known) - 1]
        drawn = [np.mean([surface.train(at, replicate)[20] for _ in range(200)]) for replicate in (first, last)]
        assert drawn[1] - drawn[0] == pytest.approx(known[last] - known[first], abs=0.005)
        beyond = [surface._shared(Replicate(1, 7)) for _ in range(2)]
        assert (beyond[0] == beyond[1]).all()
        assert surface._shared(Replicate(1, 7))[-1] in list(known.values())
        orders = {tuple(Emulator(emulation, 3, seed)._order) for seed in range(5)}
        assert len(orders) > 1

    def test_another_k_has_the_same_truth_and_its_own_noise(self, emulation):
        two, three = Emulator(emulation, 2, 0), Emulator(emulation, 3, 0)
        assert (two.folds, three.folds) == (2, 3)
        assert two.value({"delta": 0.9, "beta": 1.0}) == three.value({"delta": 0.9, "beta": 1.0})
        assert len(two.made.residuals) == 12 * 2
        assert len(three.made.residuals) == 40 * 4

    def test_too_little_is_refused(self):
        with pytest.raises(DataError, match="K=5: 0 runs of points are too few"):
            Emulation(made_pool(SMALL)).noise(5)


class TestCommand:
    @pytest.fixture
    def pool(self, tmp_path):
        file = tmp_path / "pool.parquet"
        write_pool(file, made_pool(Size(folds=5, points=14, replicates=6, truths=2), level=by_delta, noise=0.02))
        return file

    def test_the_table_the_pools_line_and_the_figure(self, pool, capsys, tmp_path):
        picture = tmp_path / "policies.png"
        names = ["random", measure.TODAY, "TPE, Hyperband", "ours", "ours, sampler=tpe"]
        options = ["repeats=2", "settings=recorded;emulated", f"policies={';'.join(names)}", "budgets=4,12"]
        main([*options, f"pool={pool}", f"figure={picture}"])
        printed = capsys.readouterr().out
        assert "K=5: 14 points x 6 replicates with 2 truth runs each, 0 runs failed; 90 runs recorded in all" in printed
        assert picture.stat().st_size > 10_000
        for name in names:
            assert sum(row.startswith(name + "  ") for row in printed.splitlines()) == (1 if name in FREE else 2)

    def test_it_is_the_same_again(self, pool):
        for setting in ("recorded", "emulated"):
            for policy in POLICIES:
                if setting == "emulated" or policy not in FREE:
                    task = (setting, policy, (12,), 3, pool)
                    assert measure.one_search(task)[0] == measure.one_search(task)[0], (setting, policy)

    def test_without_a_pool_it_says_what_makes_one(self, tmp_path):
        with pytest.raises(SystemExit, match=r"benchmarks\.pool write"):
            main(["settings=recorded", f"pool={tmp_path / 'none.parquet'}", "policies=random", "budgets=4"])


class TestIntervals:
    def test_the_noise_of_the_truth_by_hand(self):
        one = measure.Measured(np.array([[1.0], [1.0], [3.0], [3.0]]), 0.0, truth_error=0.5)
        repetitions = half_width(one.values)[0]
        assert one.half == pytest.approx([math.hypot(repetitions, 1.96 * 0.5 * math.sqrt(0.5**2 + 0.5**2))])
        same = measure.Measured(np.array([[3.0], [3.0], [1.0], [1.0]]), 0.0, truth_error=0.5)
        mean, half = one.gain(same)
        assert mean == pytest.approx([0.0])
        assert half == pytest.approx(half_width(one.values - same.values)), "the same points as often: no error is left"
        other = measure.Measured(np.array([[2.0], [2.0], [2.0], [2.0]]), 0.0, truth_error=0.5)
        weights = 0.5**2 + 0.5**2 + 1.0**2
        assert one.gain(other)[1] == pytest.approx([math.hypot(repetitions, 1.96 * 0.5 * math.sqrt(weights))])

    def test_more_repetitions_do_not_take_it_away(self):
        many = measure.Measured(np.full((1000, 1), 2.0), 0.0, truth_error=0.5)
        assert many.half == pytest.approx([0.98])
        assert dataclasses.replace(many, truth_error=0.0).half == pytest.approx([0.0])

    def test_it_is_the_residual_of_the_recorded_truth_runs(self, tmp_path):
        write_pool(tmp_path / "pool.parquet", made_pool(Size(folds=5, points=60, replicates=1, truths=4), noise=0.02))
        assert measure.truth_error_of("recorded", tmp_path / "pool.parquet") == pytest.approx(2.0 / 2, rel=0.15)
        assert measure.truth_error_of("emulated", tmp_path / "pool.parquet") == 0.0
        write_pool(tmp_path / "one.parquet", made_pool(Size(folds=5, points=4, replicates=1, truths=1)))
        with pytest.raises(DataError, match="1 truth runs per point"):
            measure.truth_error_of("recorded", tmp_path / "one.parquet")


def test_the_made_pool_has_two_scalars():
    assert list(RANGES) == ["delta", "beta"]
