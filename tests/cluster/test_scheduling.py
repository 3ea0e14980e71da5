"""A search on real nodes that come, go and differ: every run once, and the numbers of an undisturbed search."""

import json
import os
import subprocess
import sys
import time

import pytest

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.study import read_study

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]
RUNS = 8
ASKED = [
    *("baseline=delu", "training.iterations=360", "training.eval_every=30", "sampling.segments=24"),
    *("evaluation.proposal_thresholds=5", "policy=single", "sampler=random", "scheduler=none", "tracking=off"),
    *(
        f"search.num_runs={RUNS}",
        "search.cpus_per_trial=1",
        "confirm.top=1",
        "confirm.seeds=2",
        "confirm.precision=null",
    ),
    "name=one",
]
SOON_S = 60.0
"""The promise: a fault of the whole cluster ends the search so soon, and a late node is used so soon."""
BUSY = 3.0
"""How much slower a machine with other work may be."""


def start(results, *words, **environment):
    results.mkdir(exist_ok=True)
    with (results / "out.txt").open("a") as log:
        command = [sys.executable, "-m", "dce_ray.search", *words]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def said(results):
    return (results / "out.txt").read_text()


def folder_in(results):
    return next(path.parent for path in results.glob("*/delu/one/config.json"))


def runs_of(results):
    return (
        list(ExperimentFolder.open(folder_in(results)).trials()) if list(results.glob("*/delu/one/config.json")) else []
    )


def until(condition, process, results, seconds=600.0):
    """Wait until something holds while the search runs; how long it took."""
    began = time.monotonic()
    while not condition():
        assert process.poll() is None, said(results)
        assert time.monotonic() - began < seconds, said(results)
        time.sleep(0.1)
    return time.monotonic() - began


def told(results):
    """Number, state, value and parameters of every run, each with one key."""
    trials = read_study(ExperimentFolder.open(folder_in(results)).study).trials
    assert len({trial.user_attrs["key"] for trial in trials}) == len(trials)
    return [(trial.number, trial.state.name, trial.value, trial.params) for trial in trials]


def tables(results):
    return {
        run.key: json.loads(run.table.read_text()) for run in ExperimentFolder.open(folder_in(results)).confirmations()
    }


def assert_equal_to(calm, wild):
    assert told(wild) == told(calm)
    assert len(told(wild)) == RUNS - 1  # plain is planned, not proposed
    assert tables(wild) == tables(calm)
    for run in runs_of(wild):
        iterations = [reading.iteration for reading in run.readings()]
        assert iterations == sorted(set(iterations))


@pytest.fixture(scope="module")
def calm(tmp_path_factory, tiny_store):
    """The search that nobody disturbs, on this machine alone."""
    results = tmp_path_factory.mktemp("calm")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": ""}
    process = start(results, f"data={tiny_store}", f"results={results}", *ASKED, "ray.num_cpus=2", **environment)
    assert process.wait(timeout=900) == 0, said(results)
    return results


def test_a_node_dies_and_a_late_one_is_used(loopback, calm, tiny_store, tmp_path):
    wild = tmp_path / "wild"
    process = start(wild, f"data={tiny_store}", f"results={wild}", *ASKED, **loopback.driver_environment())
    try:
        hosts = lambda: {run.record().host for run in runs_of(wild)}  # noqa: E731
        until(lambda: len(hosts() & loopback.members.keys()) == 2, process, wild)
        victim = next(node for node, _ in loopback._wishes if node.pids() and node.name in hosts())
        victim.kill()
        late = loopback.add()
        # Runs of seconds end before a process on a new node is up, and who is free takes the next: now nobody else is.
        for node, _ in loopback._wishes:
            if node is not late and node.pids():
                node.kill()
        assert until(lambda: late.name in hosts(), process, wild) < BUSY * SOON_S
        assert process.wait(timeout=900) == 0, said(wild)
    finally:
        process.kill()
    text = said(wild)
    assert "goes on in another process" in text
    assert "2 runs at once, each with 1 CPU of 2 on 2 nodes" in text
    assert "utilisation: " in text
    assert_equal_to(calm, wild)
