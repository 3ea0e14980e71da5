"""Tune actors over a ledger: states in the study, lost workers, stops. A real Ray, toy runs."""

import os
import resource
import signal
import socket
from collections import Counter

import pytest
from optuna.trial import TrialState
from toy import PAPER, MeetingTrainable, ToyTrainable, toy_config

from dce_ray.errors import OutputError, SearchError
from dce_ray.search.fleet import Fleet
from dce_ray.search.observers import Observer
from dce_ray.search.space_file import load_space
from dce_ray.search.tune_run import run_ledger
from dce_ray.session.resources import Resources

pytestmark = pytest.mark.ray
ONE_CPU = Resources(1.0, 0.0)


class Watcher(Observer):
    def __init__(self):
        self.lost, self.finished = [], []

    def retried(self, record, error):
        self.lost.append((record.key, error))

    def ended(self, record):
        self.finished.append(record)


def states(ledger):
    return Counter(trial.state.name for trial in ledger.study.trials)


def test_as_many_processes_start_at_once_as_there_are_slots(cluster, make_ledger, tmp_path):
    meet = tmp_path / "meet"
    meet.mkdir()
    ledger = make_ledger(num_trials=2, sampler="random", meet=str(meet))
    assert run_ledger(ledger, MeetingTrainable, ONE_CPU, max_failures=0) is None
    assert states(ledger) == {"COMPLETE": 2}


def test_a_stop_before_the_first_run_is_a_stop_like_any_other(cluster, make_ledger):
    """Tune has no snapshot then, which it misses at its end."""

    def signalled():
        os.kill(os.getpid(), signal.SIGTERM)
        return False

    ledger = make_ledger(num_trials=3, sampler="random")
    stop = run_ledger(ledger, ToyTrainable, ONE_CPU, out_of_time=signalled)
    assert stop is not None
    assert stop.interrupted
    assert ledger.started == 0


def test_prune_fail_and_complete_are_all_in_the_study(cluster, make_ledger, experiment_folder):
    ledger = make_ledger(num_trials=16, sampler="random", scheduler="asha", nan_above=0.5)
    ledger.enqueue({"paper": PAPER})
    watcher = Watcher()
    assert run_ledger(ledger, ToyTrainable, ONE_CPU, observer=watcher) is None
    count = states(ledger)
    assert sum(count.values()) == 16
    assert min(count["COMPLETE"], count["PRUNED"], count["FAIL"]) >= 1
    for trial in ledger.study.trials:
        record = experiment_folder.trial(trial.user_attrs["key"]).record()
        if trial.state == TrialState.COMPLETE:
            assert max(trial.intermediate_values) == 9
            assert trial.value == max(trial.intermediate_values.values()) == record.value
        elif trial.state == TrialState.PRUNED:
            assert 1 <= max(trial.intermediate_values) < 9
        else:
            assert trial.params["beta"] > 0.5
            assert "NonFiniteError" in trial.user_attrs["error"]
            assert "mcm_feature" in record.error
    assert ledger.study.trials[0].params == PAPER
    assert ledger.study.trials[0].state == TrialState.COMPLETE
    assert len(watcher.finished) == 16


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [("tpe", "hyperband"), ("gp", "none"), ("cmaes", "median")],  # random and asha: above
)
def test_every_sampler_and_scheduler_runs_to_the_end(cluster, make_ledger, sampler, scheduler):
    ledger = make_ledger(num_trials=12, sampler=sampler, scheduler=scheduler)
    assert run_ledger(ledger, ToyTrainable, ONE_CPU) is None
    assert ledger.complete
    assert states(ledger)["COMPLETE"] + states(ledger)["PRUNED"] == 12
    assert len({trial.user_attrs["key"] for trial in ledger.study.trials}) == 12


@pytest.mark.parametrize(
    "moment",
    [
        {"kill_at": 6},  # while it trains
        {"kill_begin": 0},  # while its process starts
        {"kill_begin": 3},  # while it is taken over from the run before, where Tune gives up at once
        {"kill_behind": 4},  # its evaluation written, but not told
        {"kill_behind": 9},  # the last one
    ],
)
def test_killed_worker_goes_on_from_its_checkpoint(cluster, make_ledger, tmp_path, moment):
    ledger = make_ledger(num_trials=4, kill_once=str(tmp_path / "killed"), **moment)
    watcher = Watcher()
    assert run_ledger(ledger, ToyTrainable, ONE_CPU, observer=watcher) is None
    assert (tmp_path / "killed").exists()
    # Ray starts an actor again by itself where its process dies before Ray heard that it began.
    assert len(watcher.lost) == 1 or (moment == {"kill_begin": 0} and not watcher.lost)
    host = socket.gethostname()
    assert all(error.endswith(f"(on {host})") for _, error in watcher.lost)  # its process had told where it is
    assert states(ledger) == {"COMPLETE": 4}
    for trial in ledger.study.trials:
        assert sorted(trial.intermediate_values) == list(range(1, 10))


def test_trial_that_loses_every_process_fails_with_a_reason(cluster, make_ledger, monkeypatch):
    ledger = make_ledger(num_trials=1, kill_always=True)
    watcher = Watcher()
    assert run_ledger(ledger, ToyTrainable, ONE_CPU, max_failures=1, observer=watcher) is None
    assert states(ledger) == {"FAIL": 1}
    assert len(watcher.lost) == 1
    assert "actor" in ledger.study.trials[0].user_attrs["error"].lower()
    assert ledger.study.trials[0].user_attrs["lost"]


def test_a_run_that_waits_for_a_node_that_is_gone_goes_on_on_another(cluster, make_ledger):
    class Late(Fleet):
        """The first run may go to a node alone that is gone when it waits for it."""

        asked = 0

        def where(self, share, avoid=()):
            self.asked += 1
            return ["f" * 56] if self.asked == 1 else None

    ledger, watcher = make_ledger(num_trials=3), Watcher()
    assert run_ledger(ledger, ToyTrainable, ONE_CPU, observer=watcher, fleet=Late(ONE_CPU)) is None
    assert states(ledger) == {"COMPLETE": 3}
    assert [error for _, error in watcher.lost] == ["the nodes for which it waited are gone"]
    assert len({trial.user_attrs["key"] for trial in ledger.study.trials}) == 3


def test_bug_in_a_run_is_told_with_its_message(cluster, make_ledger):
    ledger = make_ledger(num_trials=1, raise_message="the toy broke")
    run_ledger(ledger, ToyTrainable, ONE_CPU, max_failures=0)
    assert "the toy broke" in ledger.study.trials[0].user_attrs["error"]


def test_five_failures_in_a_row_stop_the_search(cluster, make_ledger):
    ledger = make_ledger(num_trials=30, nan_above=0.0)
    stop = run_ledger(ledger, ToyTrainable, ONE_CPU)
    assert stop.failure
    assert "failed in a row" in stop.reason
    assert 5 <= states(ledger)["FAIL"] <= 7


def test_settings_that_diverge_do_not_stop_a_search_in_which_another_finished(cluster, make_ledger):
    """A wide range of learning rates has a part where every run diverges: that is no fault of the environment."""
    space = load_space("delu", "default", {"beta": {"low": 0.5, "high": 0.9}})
    ledger = make_ledger(num_trials=9, sampler="random", nan_above=0.5, space=space)
    ledger.enqueue({"paper": PAPER})
    assert run_ledger(ledger, ToyTrainable, ONE_CPU) is None
    assert states(ledger) == {"COMPLETE": 1, "FAIL": 8}


def test_fault_of_the_environment_stops_and_blames_no_trial(cluster, make_ledger):
    ledger = make_ledger(num_trials=6, environment="StoreError: the store is gone")
    stop = run_ledger(ledger, ToyTrainable, ONE_CPU)
    assert stop.failure
    assert "the store is gone" in stop.reason
    assert states(ledger)["FAIL"] == 0
    healthy = make_ledger(num_trials=6)
    assert run_ledger(healthy, ToyTrainable, ONE_CPU) is None
    assert states(healthy) == {"COMPLETE": 6}


def test_time_budget_keeps_what_is_done_and_the_rest_goes_on(cluster, make_ledger):
    ledger, watcher = make_ledger(num_trials=200), Watcher()
    out_of_time = lambda: len(watcher.finished) >= 3  # noqa: E731
    stop = run_ledger(ledger, ToyTrainable, ONE_CPU, out_of_time=out_of_time, observer=watcher)
    assert "time budget" in stop.reason
    assert not stop.failure
    count = states(ledger)
    assert count["COMPLETE"] >= 3
    assert count["FAIL"] == count["PRUNED"] == 0
    again = make_ledger(num_trials=sum(count.values()))
    assert run_ledger(again, ToyTrainable, ONE_CPU) is None
    assert states(again) == {"COMPLETE": sum(count.values())}


def test_interrupt_is_tidy(cluster, make_ledger):
    class Impatient(Watcher):
        def ended(self, record):
            super().ended(record)
            if len(self.finished) == 2:
                os.kill(os.getpid(), signal.SIGINT)

    ledger = make_ledger(num_trials=200)
    stop = run_ledger(ledger, ToyTrainable, ONE_CPU, observer=Impatient())
    assert stop.interrupted
    count = states(ledger)
    assert 2 <= count["COMPLETE"] <= 4
    assert count["FAIL"] == count["PRUNED"] == 0
    assert count["RUNNING"] <= 2


def test_full_disk_is_told_with_its_remedy(cluster, make_ledger, experiment_folder):
    ledger = make_ledger(num_trials=500)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match="free space"):
            run_ledger(ledger, ToyTrainable, ONE_CPU)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ended = states(ledger)["COMPLETE"]
    assert ended >= 1
    again = make_ledger(num_trials=ended + 2)
    assert run_ledger(again, ToyTrainable, ONE_CPU) is None
    assert states(again) == {"COMPLETE": ended + 2}


def test_unwritable_folder_is_a_search_error(cluster, make_ledger, monkeypatch):
    ledger = make_ledger(num_trials=3)

    def full(*arguments):
        raise SearchError("no space left")

    monkeypatch.setattr("dce_ray.experiment.run_folder.write_json", full)
    with pytest.raises(SearchError, match="no space left"):
        run_ledger(ledger, ToyTrainable, ONE_CPU)


def test_actors_are_reused(cluster, make_ledger):
    ledger = make_ledger(num_trials=10, note_pid=True)
    run_ledger(ledger, ToyTrainable, ONE_CPU)
    pids = {line.metrics["pid"] for item in ledger.folder.trials() for line in item.readings()}
    assert len(pids) <= 3


def test_toy_config_has_what_a_key_needs():
    assert toy_config(PAPER)["method"] == PAPER
