"""What a search costs and when its time is up, by hand-made clocks."""

import json
from types import SimpleNamespace

import pytest
from toy import PAPER, toy_config

from dce_ray.experiment.record import RunRecord
from dce_ray.search import cost as module
from dce_ray.search.cost import Clock, Cost
from dce_ray.search.stages import Search


@pytest.fixture
def now(monkeypatch):
    """A clock that is set by hand."""
    clock = SimpleNamespace(at=100.0)
    read = lambda: clock.at  # noqa: E731
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=read, time=read))
    return clock


def record(key, state="finished", started=None, ended=None):
    return RunRecord(key, "trial", "point 0", 0, state, toy_config(PAPER), 0, started=started, ended=ended)


def run(cost, now, key, seconds, state="finished"):
    began = now.at
    now.at += seconds
    cost.ended(record(key, state, started=began, ended=now.at))


def test_a_budget_counts_all_sessions(experiment_folder, now):
    clock = Clock(experiment_folder, budget_s=60.0)
    now.at += 600  # a cluster's first node is waited for
    assert (clock.used_s, clock.left_s) == (0, 60)
    clock.begin()
    now.at += 25
    assert (clock.used_s, clock.left_s) == (25, 35)
    clock.ended(record("a"))
    now.at += 1000  # nobody runs it
    again = Clock(experiment_folder, budget_s=60.0)
    again.begin()
    now.at += 5
    assert again.left_s == 30
    assert Clock(experiment_folder).left_s == float("inf")


def test_a_search_that_time_ended_stays_ended_until_more_is_given(experiment_folder, now):
    Clock(experiment_folder, budget_s=60.0).close(32)
    assert Clock(experiment_folder, budget_s=60.0).closed(32)
    assert not Clock(experiment_folder, budget_s=90.0).closed(32)
    assert not Clock(experiment_folder, budget_s=60.0).closed(33)
    assert json.loads(experiment_folder.clock.read_text())["closed"] == [32, 60.0]


def test_the_first_run_of_a_slot_says_little_of_the_others(now):
    """It starts the slot's process as well; it is believed only while there is nothing better."""
    cost = Cost(10, 6, 0, 2, 1.0, 0.0)
    assert cost.confirmation_s == 0
    run(cost, now, "a", 9)
    assert cost.run_s == 9
    run(cost, now, "b", 11)
    assert cost.run_s == 10
    for key in "cde":
        run(cost, now, key, 2)
    assert cost.run_s == 2
    run(cost, now, "f", 90, "failed")
    assert cost.run_s == 2
    assert cost.confirmation_s == 6  # six runs, two at once


def test_what_a_run_costs_is_known_from_earlier_sessions(now):
    former = [record("a", started=0.0, ended=4.0), record("b", started=5.0, ended=11.0), record("c", "failed")]
    assert Cost(10, 4, 0, 1, 1.0, 0.0, former).confirmation_s == 20


def test_a_run_that_did_not_run_in_one_piece_does_not_say_what_one_costs(now):
    cost = Cost(10, 6, 0, 1, 1.0, 0.0)
    cost.ended(record("left by an earlier session", started=now.at - 5000, ended=now.at + 1))
    cost.retried(record("lost"), "its process was killed")
    run(cost, now, "lost", 50)
    assert cost.run_s is None
    run(cost, now, "whole", 7)
    assert cost.run_s == 7


def test_the_confirmation_is_kept_time_but_no_more_than_half(experiment_folder, now):
    search = SimpleNamespace(clock=Clock(experiment_folder, budget_s=100.0))
    search.clock.begin()
    few, many = Cost(9, 3, 0, 1, 1.0, 0.0), Cost(9, 300, 0, 1, 1.0, 0.0)
    for cost in (few, many):
        run(cost, now, "a", 10)
    now.at = 100.0 + 45
    assert not Search.time_is_up(search, many)
    assert not Search.time_is_up(search, few)
    now.at = 100.0 + 51
    assert Search.time_is_up(search, many)
    assert not Search.time_is_up(search, few)
    now.at = 100.0 + 71
    assert Search.time_is_up(search, few)


def test_costs_are_said_in_runs_before_and_in_time_after_the_first_one(now, capsys):
    cost = Cost(32, 30, 30, 2, 1.0, 0.5)
    assert cost.plan() == (
        "cost: 32 runs of the search (the plain baseline's included), then up to 30 runs of the confirmation and at "
        "most 30 more; how long they take is told when the first has ended, and again where it turns out otherwise"
    )
    run(cost, now, "a", 60)
    assert capsys.readouterr().out == (
        "cost: the first run took 60 s, its process's start included, at which pace the search takes about 16.0 min "
        "more, its confirmation about 15.0 min or less and at most 15.0 min beyond that; 0.51 GPU hours in "
        "all that is left\n"
    )


def test_what_was_told_is_told_again_where_it_turns_out_otherwise(now, capsys):
    cost = Cost(20, 0, 0, 2, 1.0, 0.0)
    for key in "ab":
        run(cost, now, key, 60)
    assert len(capsys.readouterr().out.splitlines()) == 1, "the second slot's first run says no more than the first's"
    run(cost, now, "c", 20)
    assert capsys.readouterr().out.startswith(
        "cost: a run takes about 20 s; the search takes about 3.0 min more; 0.094 core"
    )
    run(cost, now, "d", 18)
    run(cost, now, "e", 22)
    assert capsys.readouterr().out == "", "it is still about what was told"
    for key in "fghij":
        run(cost, now, key, 40)
    assert capsys.readouterr().out.startswith(
        "cost: a run takes about 31 s (18 s to 40 s so far); the search takes about"
    )


def confirmed(cost, now, key, seconds, stop_at=100):
    config = toy_config(PAPER) | {"training": {"iterations": 400, "stop_at": stop_at}}
    begun = RunRecord(key, "confirm", "top1", 0, "running", config, 0, started=now.at)
    cost.started(begun)
    now.at += seconds
    cost.ended(begun.replace(state="finished", ended=now.at))


def test_the_confirmation_is_told_by_the_iterations_it_trains_and_by_its_own_runs(now, capsys):
    cost = Cost(2, 6, 4, 1, 1.0, 0.0)
    run(cost, now, "a", 90)
    run(cost, now, "b", 80)
    capsys.readouterr()
    confirmed(cost, now, "x", 50)
    assert capsys.readouterr().out == (
        "cost: a run of the confirmation takes about 20 s, up to the iteration that was chosen; they take about "
        "2.0 min more, and at most 80 s beyond that\n"
    ), "a quarter of what a run of the search takes; its own first run started a process and is not believed"
    confirmed(cost, now, "y", 40)
    text = capsys.readouterr().out
    assert "takes about 40 s, up to the iteration that was chosen; they take about 2.7 min more" in text
    for key in "abcdefgh":
        confirmed(cost, now, key, 400)
    assert capsys.readouterr().out.count("cost:") == 2, (
        "of further runs, whose number is fixed later, the display tells"
    )


def test_a_resumed_search_counts_what_is_left(now):
    former = [record("a", started=0.0, ended=4.0), record("b", "running", started=5.0)]
    former += [record("c", started=0.0, ended=8.0).replace(role="confirm")]
    cost = Cost(10, 4, 0, 1, 1.0, 0.0, former)
    assert cost.outlook().startswith("cost: a run takes about 4 s; the search takes about 36 s more")
    assert "a run of the confirmation takes about 8 s, up to the iteration that was chosen; they take about 24 s" in (
        cost.confirming()
    )


def test_a_run_that_is_tried_again_is_still_to_come(now):
    former = [record("a", started=0.0, ended=4.0), record("b", "failed", started=0.0, ended=1.0)]
    cost = Cost(10, 0, 0, 1, 1.0, 0.0, former)
    assert "the search takes about 32 s more" in cost.outlook()
    cost.started(record("b", "running"))
    assert "the search takes about 36 s more" in cost.outlook()
    cost.started(record("b", "running"))  # after a retry elsewhere
    assert "the search takes about 36 s more" in cost.outlook()
