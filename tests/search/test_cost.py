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
    now.at += 25
    assert (clock.used_s, clock.left_s) == (25, 35)
    clock.ended(record("a"))
    now.at += 1000  # nobody runs it
    again = Clock(experiment_folder, budget_s=60.0)
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
        "cost: 32 runs of the search (the plain baseline's included), then 30 runs of the confirmation "
        "and at most 30 more"
    )
    run(cost, now, "a", 60)
    text = capsys.readouterr().out
    assert "a run takes about 60 s; the search about 16.0 min, its confirmation about 15.0 min" in text
    assert "at most 15.0 min more; 0.52 GPU hours in all" in text
