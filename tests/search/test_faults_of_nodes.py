"""One node's fault is not the search's: runs are handed out by hand here, and end as their nodes let them."""

from collections import Counter
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from dce_ray.errors import StorageAwayError
from dce_ray.places.place import AWAY, FINE, REFUSED
from dce_ray.search import in_flight
from dce_ray.search.fleet import Fleet
from dce_ray.search.in_flight import RunsInFlight
from dce_ray.search.observers import Observer
from dce_ray.search.tune_hooks import LedgerCallback, LedgerSearcher
from dce_ray.search.tune_run import NODE_ID, placement
from dce_ray.session.resources import Node, Resources

FULL = "OutputError: no space left"


class Watcher(Observer):
    def __init__(self):
        self.retries, self.notes = [], []

    def retried(self, record, error):
        self.retries.append(error)

    def noted(self, text):
        self.notes.append(text)


@pytest.fixture
def handed(make_ledger):
    """Runs handed out one by one to nodes of one CPU; ``play(bad)`` ends each on the first node that may have it."""

    def make(names, runs=6, max_failures=2):
        nodes = [Node(1, id=name, host=f"host-{name}") for name in names]
        state = RunsInFlight(
            make_ledger(num_trials=runs),
            Fleet(Resources(1.0, 0.0), lambda: nodes),
            Watcher(),
            max_failures=max_failures,
        )
        searcher = LedgerSearcher(state)

        def play(bad, fault_kind="environment", **fault):
            places = []
            for number in range(100):
                config = searcher.suggest(f"t{number}")
                if not isinstance(config, dict):
                    return places
                place = (config["nodes"] or names)[0]
                places.append(place)
                result = {"node": place, "hostname": f"host-{place}"}
                if place in bad:
                    result |= {"done": True, "finished": False, "fault": FULL, "fault_kind": fault_kind, **fault}
                else:
                    reading = {"iteration": 9, "metrics": {"score": 0.5}, "time": 1.0}
                    told = {"done": True, "finished": True, "iteration": 9, "score": 0.5, "readings": [reading]}
                    state.fleet.fine(place)
                    result |= told
                searcher.on_trial_complete(f"t{number}", result)
            raise AssertionError("it never ends")

        return state, play

    return make


def ended(state):
    return Counter(trial.state for trial in state.ledger.trials())


def test_runs_of_a_node_at_fault_go_on_elsewhere_and_none_fails(handed):
    state, play = handed(["a", "b"])
    assert play(bad={"a"}) == ["a", "b", "a", *["b"] * 5]
    assert ended(state) == {TrialState.COMPLETE: 6}
    assert state.reason is None
    assert state.observer.retries == [f"{FULL} (on host-a)"] * 2
    assert state.observer.notes == [f"no more runs go to host-a, where 2 in a row ended with: {FULL}"]


def test_when_all_nodes_are_at_fault_the_search_ends_and_blames_no_run(handed):
    state, play = handed(["a", "b"], max_failures=9)
    assert play(bad={"a", "b"}) == ["a", "b", "a", "b"]
    assert state.reason == f"{FULL} (on host-a); {FULL} (on host-b)"
    assert state.failure
    assert ended(state) == {TrialState.RUNNING: 1}


def test_several_nodes_at_fault_end_it_though_one_is_left(handed):
    state, play = handed(["a", "b", "c", "d"], max_failures=9)
    assert play(bad={"a", "b", "c"}) == ["a", "b", "c", "d", "a", "b", "c"]
    assert "host-c" in state.reason


def test_what_faults_wherever_it_goes_fails_alone_and_nodes_at_fault_cost_no_other_run(handed):
    state, play = handed(list("abcdefg"), max_failures=2)
    assert play(bad=set("abc"))[:7] == [*"abc", *"abcd"]
    assert ended(state) == {TrialState.FAIL: 1, TrialState.COMPLETE: 5}
    assert len(state.observer.notes) == 3
    assert state.reason is None


def test_storage_that_is_away_counts_against_no_node_and_no_run_for_as_long_as_it_takes(handed, monkeypatch):
    tries = iter([AWAY] * 12)
    monkeypatch.setattr(in_flight, "state_of", lambda address, folder: next(tries, FINE))
    state, play = handed(["a", "b"], runs=2)
    assert play(bad={"a"}, fault_place="s3://bucket") == [*["a"] * 13, "b", "a", "b"]  # then it is that node's fault
    assert ended(state) == {TrialState.COMPLETE: 2}
    assert len(state.observer.retries) == 14


def test_storage_that_refuses_here_too_ends_the_search_and_counts_against_no_run(handed, monkeypatch):
    monkeypatch.setattr(in_flight, "state_of", lambda address, folder: REFUSED)
    state, play = handed(["a", "b"], max_failures=0)
    assert play(bad={"a"}, fault_place="s3://bucket") == ["a"]
    assert (state.reason, state.failure) == (FULL, True)
    assert ended(state) == {TrialState.RUNNING: 1}


def lose(state, node, monkeypatch, host="host"):
    """The next run, whose process is lost on a node, wherever else it might have gone."""
    config = state.start("lost")
    monkeypatch.setattr(in_flight, "noted", lambda name: (node, host) if node else None)
    state.lost("lost", "the worker died")
    return config["record"]["key"], config["nodes"]


def test_processes_that_are_lost_on_a_node_are_held_against_it_and_the_run_goes_elsewhere(handed, monkeypatch):
    state, _ = handed(["a", "b", "c"], max_failures=0)
    state.fleet.loss("a", "host-a", "the worker died", "another run")
    first, nodes = lose(state, "a", monkeypatch, "host-a")
    assert nodes is None
    assert state.observer.notes == ["no more runs go to host-a, where 2 in a row ended with: the worker died"]
    assert state.observer.retries == ["the worker died (on host-a)"]
    config = state.start("again")
    assert (config["record"]["key"], config["nodes"]) == (first, ["b", "c"])


def test_a_run_that_is_lost_wherever_it_goes_is_held_against_itself(handed, monkeypatch):
    state, _ = handed(["a", "b", "c", "d"], max_failures=2)
    seen = [lose(state, node, monkeypatch) for node in "abc"]
    assert [nodes for _, nodes in seen] == [None, ["b", "c", "d"], ["c", "d"]]
    assert len({key for key, _ in seen}) == 1
    assert ended(state) == {TrialState.FAIL: 1}
    assert state.observer.notes == []


def test_the_only_node_is_not_set_aside_for_lost_processes(handed, monkeypatch):
    state, play = handed(["a"], runs=3, max_failures=0)
    for _ in range(2):
        lose(state, "a", monkeypatch)
    assert state.fleet.lost() is None
    assert ended(state)[TrialState.FAIL] == 2
    assert play(bad=()) == ["a"]


def test_a_run_whose_end_cannot_be_brought_goes_on(handed, monkeypatch):
    state, play = handed(["a"], runs=2)
    finish, tries = state.ledger.finish, []

    def away(key):
        tries.append(key)
        if len(tries) < 4:
            raise StorageAwayError("s3://bucket: it does not answer", "s3://bucket")
        finish(key)

    monkeypatch.setattr(state.ledger, "finish", away)
    assert play(bad=()) == ["a"] * 5
    assert len(set(tries[:4])) == 1
    assert ended(state) == {TrialState.COMPLETE: 2}


def test_divergence_is_the_runs_own(handed):
    state, play = handed(["a", "b"], runs=3)
    assert play(bad={"a"}, fault_kind="run") == ["a"] * 3
    assert ended(state) == {TrialState.FAIL: 3}
    assert state.observer.notes == []


def test_nothing_that_starts_is_told_once_and_again_when_it_happens_again(handed, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(in_flight.time, "monotonic", lambda: now[0])
    state, _ = handed(["a", "b"])
    callback = LedgerCallback(state)
    state.start("one")
    now[0] = 59.0
    assert not state.stopping
    assert state.observer.notes == []
    now[0] = 61.0
    assert not state.stopping
    assert not state.stopping
    assert len(state.observer.notes) == 1
    assert "nothing has started for 60 s: a run needs 1 CPU of one node" in state.observer.notes[0]
    assert "host-a with 1 CPU" in state.observer.notes[0]
    assert "or the run's process is still starting" in state.observer.notes[0]
    callback.on_trial_start(0, [], SimpleNamespace(trial_id="one"))
    now[0] = 200.0
    assert not state.stopping
    assert len(state.observer.notes) == 1
    state.close()
    assert state.fleet.busy["CPU"] == 200.0 - 61.0


def test_ray_is_asked_for_the_share_and_for_the_nodes_that_are_left():
    share = {"CPU": 2.0, "GPU": 0.0, "memory": 2**30}
    anywhere = placement({"share": share, "nodes": None})
    assert anywhere.bundles == [{"CPU": 2.0, "memory": float(2**30)}]
    pinned = placement({"share": share, "nodes": ["a", "b"]})
    assert pinned._kwargs == {"bundle_label_selector": [{NODE_ID: "in(a,b)"}]}
    assert anywhere != pinned
