"""Where a run's curve is read, on curves that one can follow by eye."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from planted import run

from dce_ray.errors import SearchError
from dce_ray.points.scores import RunningScores, Scored, chosen_iteration, fair_scores, pooled_iteration


def curve(*values: float) -> dict[int, float]:
    return {10 * (place + 1): value for place, value in enumerate(values)}


def test_a_run_alone_is_read_at_its_last_iteration():
    assert fair_scores([run(7, 0, curve(0.1, 0.9, 0.3))]) == {7: Scored(30, 0.3)}


def test_the_only_point_is_read_at_the_end_while_it_has_two_runs():
    runs = [run(0, 0, curve(0.1, 0.9, 0.3)), run(1, 0, curve(0.1, 0.9, 0.4), fold=1)]
    assert fair_scores(runs) == {0: Scored(30, 0.3), 1: Scored(30, 0.4)}


def test_a_point_is_read_where_the_others_are_best():
    runs = [
        run(0, 0, curve(0.9, 0.2, 0.3)),  # its own best evaluation is of no account
        run(1, 1, curve(0.1, 0.4, 0.3)),
        run(2, None, curve(0.1, 0.2, 0.5)),
    ]
    found = fair_scores(runs)
    assert found[0] == Scored(30, 0.3)  # (0.1, 0.3, 0.4) of runs 1 and 2
    assert found[1] == Scored(10, 0.1)  # (0.5, 0.2, 0.4) of runs 0 and 2
    assert found[2] == Scored(10, 0.1)  # (0.5, 0.3, 0.3) of runs 0 and 1


def test_two_runs_of_a_point_are_read_at_one_iteration_that_neither_chose():
    runs = [
        run(0, 0, curve(0.9, 0.1, 0.2)),
        run(1, 0, curve(0.8, 0.1, 0.3), fold=1),
        run(2, 1, curve(0.1, 0.5, 0.4)),
    ]
    found = fair_scores(runs)
    assert found[0] == Scored(20, 0.1)
    assert found[1] == Scored(20, 0.1)
    assert found[2] == Scored(10, 0.1)  # (0.85, 0.1, 0.25)


def test_from_three_runs_on_each_is_read_where_the_points_other_two_are_best():
    runs = [
        run(0, 0, curve(0.6, 0.1, 0.0)),
        run(1, 0, curve(0.1, 0.6, 0.5), fold=1),
        run(2, 0, curve(0.2, 0.3, 0.7), fold=2),
        run(3, 1, curve(0.9, 0.0, 0.0)),
    ]
    found = fair_scores(runs)
    assert found[0] == Scored(30, 0.0)  # (0.15, 0.45, 0.6)
    assert found[1] == Scored(10, 0.1)  # (0.4, 0.2, 0.35)
    assert found[2] == Scored(10, 0.2)  # (0.35, 0.35, 0.25): the earliest of equals


def test_unusable_runs_choose_nothing_and_do_not_count_towards_three():
    runs = [
        run(0, 0, curve(0.1, 0.2)),
        run(1, 0, curve(0.1, 0.3), fold=1),
        run(2, 0, curve(0.9, 0.0), fold=2, state="failed"),
        run(3, 1, curve(0.5, 0.4)),
        run(4, 2, curve(0.0, 0.9), state="pruned"),
        run(5, 3, curve(0.0, 0.9), state="running"),
        run(6, 4, {}),
    ]
    assert fair_scores(runs) == {0: Scored(10, 0.1), 1: Scored(10, 0.1), 3: Scored(20, 0.4)}


def test_no_runs_have_no_scores():
    assert fair_scores([]) == {}


def test_means_are_taken_where_all_the_others_were_evaluated():
    runs = [run(0, 0, curve(0.1, 0.2, 0.3)), run(1, 1, curve(0.1, 0.2, 0.9)), run(2, 2, curve(0.1, 0.2))]
    assert fair_scores(runs)[0] == Scored(20, 0.2)


def test_a_run_is_read_only_where_it_was_evaluated():
    runs = [run(0, 0, curve(0.1, 0.2)), run(1, 1, curve(0.1, 0.2, 0.9)), run(2, 2, curve(0.1, 0.2, 0.9))]
    assert fair_scores(runs)[0] == Scored(20, 0.2)


def test_where_the_others_share_nothing_most_of_them_decide():
    runs = [run(0, 0, curve(0.1, 0.2, 0.3)), run(1, 1, {10: 0.5, 20: 0.1}), run(2, 2, {20: 0.1}), run(3, 3, {30: 0.9})]
    assert fair_scores(runs)[0] == Scored(20, 0.2)
    assert fair_scores([run(0, 0, curve(0.1, 0.2)), run(1, 1, {5: 0.9})])[0] == Scored(20, 0.2)


def test_equal_means_are_equal_whatever_the_order_of_summing():
    runs = [run(n, n, {10: 0.1 * (n + 1), 20: 0.1 * (9 - n)}) for n in range(9)]  # both columns sum to 4.5
    others = [run(100 + n, 50 + n, {10: 0.3, 20: 0.3}) for n in range(3)]
    found = fair_scores([*runs, *others])
    assert [found[100 + n].iteration for n in range(3)] == [10, 10, 10]


def test_runs_of_one_worth_are_not_valued_at_their_luckiest_evaluations():
    """Reading each run at its own best would favour the point that wobbles; all of these are worth the same."""
    wobbling = [run(n, n, curve(*(0.5 + 0.1 * ((n * 7 + place * 3) % 5 - 2) for place in range(5)))) for n in range(40)]
    mean = sum(scored.value for scored in fair_scores(wobbling).values()) / 40
    assert max(wobbling[0].curve.values()) == pytest.approx(0.7)
    assert mean < 0.56


def test_the_chosen_iteration_is_the_points_own_from_three_runs_on_and_all_points_before():
    runs = [
        run(0, 0, curve(0.1, 0.6, 0.5)),
        run(1, 0, curve(0.1, 0.2, 0.5), fold=1),
        run(2, 1, curve(0.9, 0.1, 0.1)),
        run(3, None, curve(0.3, 0.1, 0.1)),
    ]
    assert chosen_iteration(runs, 0) == 10  # (1.4, 1.0, 1.2) of all four
    assert chosen_iteration(runs, None) == 10
    runs.append(run(4, 0, curve(0.0, 0.4, 0.3), fold=2))
    assert chosen_iteration(runs, 0) == 30  # (0.2, 1.2, 1.3) of its own
    runs.append(run(5, 0, curve(1.0, 1.0, 0.0), state="failed"))
    assert chosen_iteration(runs, 0) == 30


def test_an_iteration_that_the_point_never_reached_is_not_chosen():
    runs = [run(0, 0, curve(0.1, 0.3)), run(1, 1, curve(0.1, 0.2, 0.9)), run(2, 1, curve(0.1, 0.2, 0.9), fold=1)]
    assert chosen_iteration(runs, 0) == 20


def test_a_point_without_a_run_has_no_iteration():
    with pytest.raises(SearchError, match="point 3 has no finished run"):
        chosen_iteration([run(0, 0, 0.5)], 3)
    with pytest.raises(SearchError, match="the plain baseline has no finished run"):
        chosen_iteration([run(0, 0, 0.5)], None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float):
    runs = [run(4, 0, {10: 0.5, 20: bad})]
    with pytest.raises(SearchError, match=r"run 4, iteration 20: (nan|inf)"):
        fair_scores(runs)
    with pytest.raises(SearchError, match="run 4"):
        chosen_iteration(runs, 0)


def test_a_run_that_comes_twice_is_refused():
    with pytest.raises(SearchError, match=r"\[3\] came up twice"):
        fair_scores([run(3, 0, 0.5), run(3, 1, 0.6)])


def test_runs_of_different_length_are_compared_at_equal_shares():
    """Lengths 40, 80 and 20, each evaluated at a half and at the end."""
    runs = [
        replace(run(0, 0, {20: 0.9, 40: 0.1}), length=40),
        replace(run(1, 1, {40: 0.2, 80: 0.5}), length=80),
        replace(run(2, 2, {10: 0.3, 20: 0.4}), length=20),
    ]
    found = fair_scores(runs)
    assert found[0] == Scored(40, 0.1)  # (0.25, 0.45) of runs 1 and 2
    assert found[1] == Scored(40, 0.2)  # (0.6, 0.25) of runs 0 and 2
    assert found[2] == Scored(10, 0.3)  # (0.55, 0.3) of runs 0 and 1
    assert [chosen_iteration(runs, point) for point in range(3)] == [20, 40, 10]  # (0.467, 0.333) of all
    assert pooled_iteration(runs, 60) == 30
    assert pooled_iteration([run(0, 0, curve(0.1, 0.9, 0.3))], 1) == 20


def test_lengths_that_are_all_equal_change_nothing():
    runs = [run(0, 0, curve(0.9, 0.2, 0.3)), run(1, 1, curve(0.1, 0.4, 0.3)), run(2, None, curve(0.1, 0.2, 0.5))]
    assert fair_scores([replace(one, length=30) for one in runs]) == fair_scores(runs)


def test_without_a_usable_run_nothing_chooses_an_iteration():
    with pytest.raises(SearchError, match="nothing chooses an iteration"):
        pooled_iteration([run(0, 0, {})], 1)


@pytest.mark.parametrize("seed", range(30))
def test_scores_as_runs_end_are_those_of_all_runs_at_once(seed: int):
    draw = random.Random(seed)
    runs = []
    for number in range(draw.randint(1, 25)):
        length = draw.choice([1, 1, 40, 60]) if seed % 2 else 1
        places = sorted(draw.sample(range(1, 6), draw.randint(1, 5)))
        scores = {place * max(length // 5, 1): round(draw.random(), 1) for place in places}  # with ties
        one = run(number, draw.choice([None, 0, 1, 2]), scores, fold=number)
        runs.append(replace(one, length=length, state=draw.choice(["finished", "finished", "failed"])))
    running = RunningScores([])
    for place, one in enumerate(runs):
        if one.usable:
            running.add(one)
            assert running.of(one) == fair_scores(runs[: place + 1])[one.number]
    for one in runs:
        if one.usable:
            assert running.chosen(one.point) == chosen_iteration(runs, one.point)


def test_a_run_that_ends_twice_is_refused():
    running = RunningScores([run(7, 0, curve(0.1))])
    with pytest.raises(SearchError, match="7"):
        running.add(run(7, 1, curve(0.1)))
