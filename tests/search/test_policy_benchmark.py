"""The simulation of policies, in small: what it prints is what it measured, and its surfaces are what it says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.policy import measure
from benchmarks.policy.__main__ import main
from benchmarks.policy.measure import POLICIES, TODAY, half_width
from benchmarks.policy.recorded import POOL
from benchmarks.policy.surfaces import FOLDS, ITERATIONS, LEVEL, RANGES, SETTINGS, SPREAD, THIRD, World
from dce_ray.points.runs import Replicate


def one_search(setting, policy, budgets, seed):
    return measure.one_search((setting, policy, budgets, seed, POOL))


def random_scalars(count):
    places = np.random.default_rng(0).uniform(size=(count, len(RANGES)))
    return [dict(zip(RANGES, place.tolist(), strict=True)) for place in places]


def test_a_surface_has_mean_zero_and_deviation_one():
    world = World(SETTINGS["smooth 1"], 3)
    values = [world.value(scalars) for scalars in random_scalars(400)]
    assert np.mean(values) == pytest.approx(0, abs=0.15)
    assert np.std(values) == pytest.approx(1, abs=0.15)


def test_a_runs_noise_is_the_residual_and_a_third_of_the_length_says_next_to_nothing():
    world = World(SETTINGS["smooth 3.2"], 0)
    curves = [world.train(scalars, Replicate(0, 0)) for scalars in random_scalars(6000)]
    late = (np.array([curve[ITERATIONS] for curve in curves]) - LEVEL) / SPREAD
    early = np.array([curve[THIRD] for curve in curves])
    assert late.std() == pytest.approx(np.hypot(1, 3.2), rel=0.05)
    assert np.corrcoef(early, late)[0, 1] == pytest.approx(0.1, abs=0.04)
    assert early.mean() < late.mean() * SPREAD + LEVEL - 0.05


def test_runs_of_a_replicate_share_its_effect_and_others_have_their_own():
    world = World(SETTINGS["smooth 1"], 0)
    effects = {
        (fold, number): world.effect(fold) + world.effect(fold, number) for fold in range(FOLDS) for number in (0, 1)
    }
    assert len(set(effects.values())) == 2 * FOLDS
    again = World(SETTINGS["smooth 1"], 0)
    assert again.effect(2, 1) == world.effect(2, 1)
    shift = effects[3, 1] - effects[0, 0]
    means = [
        np.mean([world.train(None, replicate)[ITERATIONS] for _ in range(400)])
        for replicate in (Replicate(3, 1), Replicate(0, 0))
    ]
    assert (means[0] - means[1]) / SPREAD == pytest.approx(shift, abs=0.3)


def test_curves_rise_and_fall():
    world = World(SETTINGS["curves 1"], 0)
    curves = [world.train(None, Replicate(0, 0)) for _ in range(50)]
    mean = {iteration: np.mean([curve[iteration] for curve in curves]) for iteration in curves[0]}
    assert max(mean, key=mean.__getitem__) in (225, 250, 275)
    assert len(mean) == 12


def test_a_small_budget_is_the_beginning_of_a_large_one():
    for policy in ("TPE", TODAY, "ours"):
        together, _ = one_search("smooth 1", policy, (8, 16), 4)
        alone, _ = one_search("smooth 1", policy, (8,), 4)
        assert together[:1] == alone


def test_where_there_is_something_to_find_ours_finds_it_and_with_a_third_of_the_runs():
    """What the policy is for, in small; the whole is ``python -m benchmarks.policy``."""
    mine, today = (
        np.array([one_search("smooth 1", policy, budgets, seed)[0] for seed in range(8)])
        for policy, budgets in (("ours", (32,)), (TODAY, (32, 96)))
    )
    assert mine.mean() >= 1.5 * today[:, 0].mean()
    assert mine.mean() >= today[:, 1].mean() + 0.3


def test_equal_training_starts_more_trials_and_costs_what_full_runs_cost(monkeypatch):
    spent = []
    train = World.train
    monkeypatch.setattr(World, "train", lambda *given: spent.append(1) or train(*given))
    counts = {}
    for policy in (TODAY, "TPE, ASHA, equal training", "TPE, three seeds"):
        spent.clear()
        one_search("smooth 1", policy, (30,), 0)
        counts[policy] = len(spent)
    assert counts[TODAY] == counts["TPE, three seeds"] == 30
    assert 40 < counts["TPE, ASHA, equal training"] < 90


def test_half_width_by_hand():
    assert half_width(np.array([[1.0], [3.0]]))[0] == pytest.approx(12.706, abs=1e-3)


def test_the_table_and_the_figure(capsys, tmp_path):
    picture = tmp_path / "policies.png"
    names = ["random", TODAY, "TPE, three seeds", "ours"]
    main(
        ["repeats=2", "settings=smooth 1;curves 1", f"policies={';'.join(names)}", "budgets=4,12", f"figure={picture}"]
    )
    printed = capsys.readouterr().out
    assert picture.stat().st_size > 10_000
    assert printed.count("s per search") == 2
    for name in names:
        assert sum(line.startswith(name) for line in printed.splitlines()) == 2
    assert "ours with 4 less today's with 12" in printed
    values = [one_search("smooth 1", "random", (12,), seed)[0][0] for seed in (0, 1)]
    assert f"{np.mean(values):.2f} ±{half_width(np.array(values)[:, None])[0]:.2f}" in printed


def test_kept_searches_are_not_made_again_and_what_is_absent_is(monkeypatch, tmp_path, capsys):
    made, search = [], measure.one_search
    monkeypatch.setattr(measure, "one_search", lambda task: made.append(task[1:4]) or search(task))
    asked = ["settings=smooth 1", "policies=random;TPE", f"work={tmp_path}"]
    main([*asked, "repeats=2", "budgets=4,12"])
    table = capsys.readouterr().out.split("s per search")[1]
    assert len(made) == 4
    main([*asked, "repeats=2", "budgets=4,12"])
    assert len(made) == 4
    assert capsys.readouterr().out.split("s per search")[1] == table
    main([*asked, "repeats=3", "budgets=4"])
    assert made[4:] == [("random", (4,), 2), ("TPE", (4,), 2)], "the third repetition alone"
    main([*asked, "repeats=1", "budgets=16"])
    assert made[6:] == [("random", (16,), 0), ("TPE", (16,), 0)], "a larger budget is no part of a smaller one"
    assert "6 searches kept" in capsys.readouterr().out
    main([*asked, "repeats=2", "budgets=4,12,16", "make=off"])
    assert len(made) == 8
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("random", "TPE"))]
    assert [row.count("±") for row in rows] == [2, 2], "of 16 runs the folder holds one repetition, and no interval"
    with pytest.raises(SystemExit, match="make=off: on, or off with work="):
        main(["make=off"])


@pytest.mark.parametrize("argument", ["policies=TPEE", "settings=smooth", "repeat=3"])
def test_unknown_names_are_named(argument):
    with pytest.raises(SystemExit, match="unknown"):
        main([argument])


def test_every_policy_has_a_value(monkeypatch):
    for policy in POLICIES:
        values, seconds = one_search("smooth 0.4", policy, (12,), 1)
        assert np.isfinite(values).all()
        assert seconds > 0


def test_what_plain_and_the_folds_cost_can_be_taken_out():
    class Watched(World):
        asked: list[tuple[bool, Replicate]]

        def train(self, scalars, replicate):
            self.asked.append((scalars is None, replicate))
            return super().train(scalars, replicate)

    def asked(policy):
        world = Watched(SETTINGS["smooth 1"], 0)
        world.asked = []
        POLICIES[policy](world, (16,), 0)
        return world.asked

    whole = asked("ours")
    assert [replicate for plain, replicate in whole if plain] == [Replicate(fold, 0) for fold in range(FOLDS)]
    unpaid = asked("ours, without plain")
    assert not any(plain for plain, _ in unpaid)
    assert {replicate.fold for _, replicate in unpaid} == set(range(FOLDS))
    alone = asked("ours, one fold, without plain")
    assert len(whole) == len(unpaid) == len(alone) == 16
    assert [replicate for _, replicate in alone[:10]] == 10 * [Replicate(0, 0)]
    assert {replicate.fold for _, replicate in alone} == {0}
    assert not any(plain for plain, _ in alone)
