"""Whole searches on simulated runs, in small: the verdicts hold, the truths are what was planted, the choice is the
search's."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import calibration_searches
from benchmarks.calibration import confirm
from benchmarks.calibration_searches import (
    KINDS,
    PUBLISHED,
    RANGES,
    Simulated,
    count,
    counted,
    judged,
    main,
    recorded,
    search,
)
from dce_ray.points.model import fit
from dce_ray.points.runs import PointRun, Replicate
from dce_ray.search.policy import Proposal

REPEATS = 24
"""Of intervals that hold in 95 of 100 cases, fewer than 20 of 24 hold in 6 cases of 1,000."""
RUNS = 18


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_planted_nulls_are_not_called_better(kind):
    one = count(kind, 0.0, [RUNS], repeats=REPEATS, seed=5)[RUNS]
    assert one.searches == REPEATS
    assert one.held >= 20
    assert one.better == one.false <= 3  # at 2.5 % more than 3 come up in 3 cases of 1,000
    assert one.found == 0.0


def test_a_gain_that_is_large_is_found_and_called():
    one = count("normal", 6.0, [32], repeats=8, seed=0)[32]
    assert one.better >= 7
    assert one.false == 0
    assert one.found > 3.0


def test_a_verdict_that_is_too_sure_is_seen(monkeypatch):
    """With intervals of a third of their width the test of nulls would fail."""

    def narrow(gains, over_published):
        told = confirm(gains, over_published)
        width = 0.3 * told.interval.half_width
        return dataclasses.replace(told, interval=dataclasses.replace(told.interval, half_width=width))

    monkeypatch.setattr(calibration_searches, "confirm", narrow)
    assert count("normal", 0.0, [RUNS], repeats=REPEATS, seed=5)[RUNS].held < 20


@pytest.mark.parametrize("gain", [0.0, 1.0, 2.0])
def test_the_best_place_lies_above_plain_by_what_was_planted(gain):
    world = Simulated("normal", gain, 3)
    places = np.random.default_rng(0).random((20_000, len(RANGES)))
    gains = world.scale * (world._raw(places) - world.middle)
    assert gains.mean() == pytest.approx(0.0, abs=0.03 * gain)
    assert gains.max() <= gain + 1e-9
    assert gains.max() >= 0.6 * gain


def scores_of(world, point, replicate, count=4000):
    scalars = {} if point is None else dict.fromkeys(RANGES, 0.5)
    proposal = Proposal(point, True, scalars, replicate, "search")
    return np.array([100 * next(iter(world.train(proposal).values())) for _ in range(count)])


def test_runs_share_what_their_fold_and_seed_do():
    world = Simulated("normal", 2.0, 1)
    level = world.gain(dict.fromkeys(RANGES, 0.5))
    for replicate in (Replicate(0, 0), Replicate(3, 1)):
        plain, point = (scores_of(world, arm, replicate) for arm in (None, 4))
        assert point.mean() - plain.mean() == pytest.approx(level, abs=0.1)
        assert point.std() == pytest.approx(1.0, abs=0.05)
    shift = scores_of(world, None, Replicate(3, 1)).mean() - scores_of(world, None, Replicate(0, 0)).mean()
    assert abs(shift) > 0.1


def test_each_kind_of_noise_is_what_it_says():
    def deviations(kind):
        world = Simulated(kind, 0.0, 2)
        return np.array([world.residuals(arm, 4000).std() for arm in range(-1, 8)])

    assert deviations("normal") == pytest.approx(1.0, abs=0.05)
    assert deviations("heavy tails") == pytest.approx(1.0, abs=0.15)
    unequal = deviations("unequal")
    assert unequal.max() / unequal.min() > 1.5
    assert ((unequal > 0.45) & (unequal < 2.2)).all()
    heavy = Simulated("heavy tails", 0.0, 2).residuals(0, 20_000)
    assert (np.abs(heavy) > 4).mean() > 10 * 6.3e-5
    world = Simulated("point x fold", 0.0, 2)
    apart = [scores_of(world, point, Replicate(0, 0)).mean() for point in range(12)]
    assert np.std(apart) > 0.5
    assert scores_of(world, None, Replicate(0, 0)).mean() == pytest.approx(
        scores_of(Simulated("normal", 0.0, 2), None, Replicate(0, 0)).mean(), abs=0.1
    )


def test_lines_of_the_table_are_independent_and_their_surfaces_the_same():
    worlds = [Simulated(kind, gain, 4) for kind in ("normal", "point x fold") for gain in (1.0, 2.0)]
    assert len({world.residuals(0, 1)[0] for world in worlds}) == 4
    assert len({world.weights[0] for world in worlds}) == 1


def pool_of(path, noise, points=30, replicates=6):
    """A pool's file: a plain baseline and points on replicates, two evaluations each, and one truth run."""
    random = np.random.default_rng(0)
    shared = random.normal(0, 0.05, replicates)
    rows = [{"part": "truth", "folds": None, "point": 0, "fold": None, "round": 0, "iteration": 200, "score": 0.9}]
    for point in [None, *range(points)]:
        level = random.normal(0.4, 0.03)
        for number in range(replicates):
            run = {"part": "search", "folds": 3, "point": point, "fold": number % 3, "round": number // 3}
            score = level + shared[number] + noise * random.normal()
            rows += [run | {"iteration": 100, "score": 0.1}, run | {"iteration": 200, "score": score}]
    rows.append(rows[-1] | {"round": 7, "score": 0.0, "error": "lost"})
    pq.write_table(pa.Table.from_pylist([{"error": None} | row for row in rows]), path)
    return path


def test_recorded_noise_is_what_a_run_has_beyond_its_point_and_replicate(tmp_path):
    found = recorded(pool_of(tmp_path / "pool.parquet", 0.02))
    assert len(found) == 31 * 6
    assert found.std() == pytest.approx(2.0, rel=0.12)
    assert abs(found.mean()) < 1e-9
    drawn = Simulated("recorded", 0.0, 0, found).residuals(3, 50)
    assert set(drawn) <= set(found)


def test_a_pool_and_its_kind_go_together(tmp_path, capsys):
    pool = pool_of(tmp_path / "pool.parquet", 0.01)
    assert main(["repeats=2", "kinds=recorded", "gains=0", "budgets=14", f"pool={pool}"]) == 0
    (said,) = re.findall(r"residual is ([\d.]+) mAP", capsys.readouterr().out)
    assert float(said) == pytest.approx(recorded(pool).std(), abs=0.06)
    for argument in ("kinds=recorded", f"pool={pool}"):
        with pytest.raises(SystemExit, match="go together"):
            main([argument])


def test_a_search_is_the_policys_and_its_choice_the_models():
    world = Simulated("normal", 2.0, 0)
    runs: list[PointRun] = []
    train = world.train
    world.train = lambda proposal: runs.append(proposal) or train(proposal)
    first, second = search(world, [16, 24])
    assert len(runs) == 24
    assert runs[0].point is None
    assert dict(runs[1].scalars) == PUBLISHED[0][1]
    alone = next(iter(search(Simulated("normal", 2.0, 0), [16])))
    assert (alone.truth, alone.expected) == (first.truth, first.expected)
    assert second.told.interval.count >= 5


def test_the_model_chooses_and_the_published_point_is_not_compared_with_itself():
    def run(number, point, value):
        scalars = {} if point is None else dict.fromkeys(RANGES, 0.5 if point == 0 else 0.1 * point)
        return PointRun(number, point, scalars, Replicate(number % 5, 0), "finished", {200: value})

    world = Simulated("normal", 1.0, 0)
    for best in (0, 2):
        runs = [run(0, None, 0.3), *(run(1 + point, point, 0.5 if point == best else 0.3) for point in range(4))]
        one = judged(world, runs)
        assert fit(runs, RANGES).best_point == best
        assert one.truth == pytest.approx(world.gain(runs[1 + best].scalars))
        assert (one.over_published == 0.0) == (best == 0)
        if best == 0:
            assert one.told.published == "not tested"


def test_shares_by_hand():
    world = Simulated("normal", 2.0, 0)
    one = next(iter(search(world, [16])))
    interval = dataclasses.replace(one.told.interval, mean=1.0, half_width=0.5, count=5)
    better = dataclasses.replace(one.told, interval=interval, outcome="better", published="better")
    true = dataclasses.replace(one, truth=1.2, told=better, over_published=0.3, expected=1.0, deviation=0.05)
    lost = dataclasses.replace(true, truth=-0.1)
    published = dataclasses.replace(true, over_published=0.0)
    found = counted([true, lost, published])
    assert (found.held, found.better, found.false, found.worse, found.model) == (2, 3, 2, 0, 0)
    assert found.found == pytest.approx((1.2 - 0.1 + 1.2) / 3)
    assert found.pairs == 5


def test_the_table(capsys):
    assert main(["repeats=2", "kinds=normal;unequal", "gains=0;1", "budgets=14;16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines if line.startswith(("normal", "unequal"))] == [
        [kind, gain, budget] for gain in "01" for kind in ("normal", "unequal") for budget in ("14", "16")
    ]
    for argument in ("kinds=uneven", "repeat=3"):
        with pytest.raises(SystemExit, match="unknown"):
            main([argument])
