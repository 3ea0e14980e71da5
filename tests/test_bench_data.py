"""The benchmark of the embedded data: its analysis of variance by hand, its dials, and a run of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks import bench_data
from benchmarks.bench_data import components, draw_points, planned, ratio_interval, without_worst
from dce_ray.data.synthetic import SIZES
from dce_ray.search.space_file import load_space


def test_a_table_that_adds_up_has_no_residual():
    found = components([np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])])
    assert found.level == 3.5
    assert found.spread == pytest.approx(2.0)  # deviation of 1.5, 3.5, 5.5
    assert found.seed == pytest.approx(math.sqrt(0.5))  # deviation of 3, 4
    assert found.residual == pytest.approx(0.0)


def test_components_by_hand():
    # Points' means 1, 5, seeds' means 3, 3, residuals -1, 1 / 1, -1: P = 2 * (4 + 4) = 16, S = 0, E = 4.
    found = components([np.array([[0.0, 2.0], [6.0, 4.0]])])
    assert (found.residual, found.seed) == (2.0, 0.0)
    assert found.spread == pytest.approx(math.sqrt((16 - 4) / 2))
    assert found.ratio == pytest.approx(math.sqrt(6) / 2)


def test_points_that_differ_less_than_noise_have_no_spread():
    found = components([np.array([[0.0, 2.0], [2.0, 0.0]])])
    assert (found.spread, found.ratio) == (0.0, 0.0)


def test_tables_average_their_variances():
    # Variances between points (16 - 4) / 2 and (0 - 4) / 2: a table below 0 counts as it is, not as 0.
    found = components([np.array([[0.0, 2.0], [6.0, 4.0]]), np.array([[0.0, 2.0], [2.0, 0.0]])])
    assert found.spread == pytest.approx(math.sqrt((6 - 2) / 2))
    assert found.residual == pytest.approx(2.0)


def test_components_are_those_that_the_scores_were_made_of():
    random = np.random.default_rng(0)
    tables = [
        2 * random.standard_normal((30, 1)) + 3 * random.standard_normal((1, 8)) + random.standard_normal((30, 8))
        for _ in range(40)
    ]
    found = components(tables)
    assert (found.spread, found.seed, found.residual) == pytest.approx((2, 3, 1), rel=0.15)
    low, high = ratio_interval(tables[:3])
    assert low < components(tables[:3]).ratio < high
    one_low, one_high = ratio_interval(tables[:1])
    assert one_high - one_low > high - low


def test_the_worst_point_is_left_out():
    table = np.array([[3.0, 3.0], [9.0, 0.0], [1.0, 4.0]])
    assert without_worst(table).tolist() == [[3.0, 3.0], [9.0, 0.0]]


def test_points_lie_in_the_search_space_and_differ_between_draws():
    space = load_space("delu", "default", {}).searched
    plain, paper, *others = draw_points(50, 1)
    assert plain == {"scs": False, "mcm": False}
    assert paper == {}
    for name, item in space.items():
        values = [point["method"][name] for point in others]
        assert item.low <= min(values) < max(values) <= item.high
    assert draw_points(50, 1) == [plain, paper, *others]
    assert draw_points(50, 2)[2:] != others


def test_dials_turn_a_size():
    plan = planned("tiny", {"test_videos": "6", "chance": "1", "rim_strength": "0.1:0.2", "noise": "0.3"})
    assert (plan.test_videos, plan.train_videos) == (6, SIZES["tiny"].train_videos)
    assert (plan.confounding.chance, plan.confounding.rim_strength) == (1.0, (0.1, 0.2))
    assert (plan.clarity.noise, plan.clarity.drift) == (0.3, SIZES["tiny"].clarity.drift)
    assert planned("bench", {}) == SIZES["bench"]
    with pytest.raises(SystemExit, match="unknown: nois"):
        planned("tiny", {"nois": "0.3"})


@pytest.fixture
def _own_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_own_threads")
def test_it_measures_draws_and_all_of_them(capsys):
    bench_data.main(["size=tiny", "draws=1,2", "points=2", "seeds=2", "iterations=30", "chance=1"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split()[:2] for line in lines if line.split()[1:2] in (["holdout"], ["test"])]
    assert rows == [[draw, split] for draw in ("1", "2", "all") for split in ("holdout", "test")]
    assert "chance=1.0" in "".join(lines)
    assert lines[-1].startswith("16 runs, ")


def test_a_residual_needs_two_seeds():
    with pytest.raises(SystemExit, match="seeds=2"):
        bench_data.main(["size=tiny", "seeds=1"])
