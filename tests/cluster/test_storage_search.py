"""Searches on nodes that share no disk: a node is lost, S3 is away for a while, the driver is lost with its machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from cluster.driving import done_alone, said, scores, start, until

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.experiment.study import read_study
from dce_ray.places import Place
from dce_ray.store import open_store
from dce_ray.store.sending import send_store

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]

RUNS = 5
ASKED = [
    *("policy=single", "sampler=random", "scheduler=none", f"search.num_runs={RUNS}", "search.cpus_per_trial=1"),
    *("confirm.top=1", "confirm.seeds=1", "confirm.precision=null", "tracking=off", "baseline=delu", "name=one"),
    *("training.iterations=100", "training.eval_every=10", "sampling.segments=24", "evaluation.proposal_thresholds=5"),
]
NAMES = ("synthetic", "delu", "one")


def experiment(results: Path) -> ExperimentFolder:
    return ExperimentFolder.open(results.joinpath(*NAMES))


def measured(results: Path) -> tuple[list, dict]:
    """Every run with its scores, and every run on test with its table; each run once."""
    folder = experiment(results)
    trials = read_study(folder.study).trials
    assert len({trial.user_attrs["key"] for trial in trials}) == len(trials) == RUNS - 1  # plain is no proposal
    runs = sorted((run.record().label, run.record().state, run.scores()) for run in folder.trials())
    assert len(runs) == RUNS
    return runs, {run.key: json.loads(run.table.read_text()) for run in folder.confirmations()}


def lose_node(cluster, runs: list[RunFolder]) -> RunFolder | None:
    """Kill the node of a run in flight, held still before: one that ends meanwhile is not lost."""
    for run in runs:
        node = cluster.members[run.record().host]
        tell(node, signal.SIGSTOP)
        time.sleep(1.0)  # for the driver to hear of what was on its way
        if run.record().state == "running":
            node.kill()
            return run
        tell(node, signal.SIGCONT)
    return None


def tell(node, what: signal.Signals) -> None:
    for pid in node.pids():
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            os.kill(pid, what)


def running(results: Path) -> list[RunFolder]:
    """Runs in flight that were heard of twice or more; their node is known."""
    if not results.joinpath(*NAMES, "config.json").is_file():
        return []
    runs = [run for run in experiment(results).trials() if run.record().state == "running"]
    return [run for run in runs if 2 <= len(run.readings()) <= 5]


@pytest.fixture(scope="module")
def without(shared_cluster, s3, tiny_store, tmp_path_factory):
    """A search without storage, its data in a bucket, that loses a node."""
    environment = pytest.MonkeyPatch()
    for name, value in s3.environment.items():
        environment.setenv(name, value)
    environment.setenv("DCE_CACHE", str(tmp_path_factory.mktemp("cache")))
    data = f"{s3.bucket('stores')}/tiny"
    send_store(open_store(tiny_store), data)
    home = shared_cluster.driver / "without"
    driver = start(shared_cluster, home, f"data={data}", "results=results", *ASKED)
    try:
        lost = until(lambda: lose_node(shared_cluster, running(home / "results")), driver, home)
        assert driver.wait(timeout=900) == 0, said(home)
    finally:
        driver.kill()
    shared_cluster.restore()
    yield home, lost
    environment.undo()


def test_without_storage_a_lost_run_starts_again_and_the_start_says_so(without, tmp_path):
    home, lost = without
    assert "a run that loses its process there starts again; storage=<a folder that all nodes reach" in said(home)
    assert "goes on in another process" in said(home)
    assert lost.record().attempt == 2
    assert scores(lost) == done_alone(lost, tmp_path / "alone")
    for run in experiment(home / "results").confirmations():
        assert run.checkpoint.is_file()  # they came with the table: no other machine's disk is read
        assert run.detections.is_file()


def test_with_storage_runs_go_on_elsewhere_and_the_search_on_another_machine(
    loopback, without, s3, bucket, tiny_store, tmp_path
):
    first = loopback.driver / "first"
    shutil.copytree(tiny_store, first / "data")  # the nodes do not see it
    storage = f"{bucket}/kept"
    driver = start(loopback, first, f"data={first / 'data'}", "results=results", f"storage={storage}", *ASKED)
    place = Place.at(storage).below(*NAMES)
    try:
        lost = until(lambda: lose_node(loopback, kept(running(first / "results"), place)), driver, first)
        time_of_loss = time.time()
        carried = until(lambda: place.read(f"trials/{lost.key}/state/2/progress.jsonl"), driver, first)
        assert json.loads(carried.splitlines()[0])["time"] < time_of_loss  # it went on, and did not start again
        until(lambda: len(finished_there(place)) >= 2, driver, first)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    known = finished_there(place)
    shutil.rmtree(first)
    loopback.restore()

    other = loopback.driver / "other"
    driver = start(loopback, other, f"resume={place}", "results=mine")
    try:
        until(lambda: "the first run has started" in said(other), driver, other)
        s3.tell("fail", status=503, seconds=10)
        assert driver.wait(timeout=900) == 0, said(other)
    finally:
        driver.kill()
    assert f"storage: {place} holds this experiment, for resume= from any machine" in said(other)
    assert measured(other / "mine") == measured(without[0] / "results")
    again = experiment(other / "mine")
    assert scores(again.trial(lost.key)) == done_alone(again.trial(lost.key), tmp_path / "alone")
    assert {run.key for run in again.trials() if run.record().attempt == 1} >= known - {lost.key}
    assert not [name for name in place.files() if "/state/" in name]
    for run in again.confirmations():
        assert run.checkpoint.is_file()
        assert place.read(f"confirm/{run.key}/checkpoint.pt") == run.checkpoint.read_bytes()


def kept(runs: list[RunFolder], place: Place) -> list[RunFolder]:
    """Runs whose checkpoint is at the storage."""
    return [run for run in runs if place.read(f"trials/{run.key}/state/1/checkpoint.pt")]


def finished_there(place: Place) -> set[str]:
    records = [name for name in place.files() if name.startswith("trials/") and name.endswith("/record.json")]
    found = [json.loads(place.read(name) or b"{}") for name in records]
    return {record["key"] for record in found if record.get("state") == "finished"}


def test_data_that_the_nodes_do_not_see_are_refused_before_anything_trains(loopback, tiny_store):
    home = loopback.driver / "alone"
    shutil.copytree(tiny_store, home / "data")
    driver = start(loopback, home, f"data={home / 'data'}", "results=results", *ASKED)
    assert driver.wait(timeout=300) == 2
    assert "2 of 2 further nodes cannot run this search:" in said(home)
    assert "does not exist; give the folder of a store" in said(home)
    assert "every node must reach the data: data=s3://..." in said(home)
    assert not list(home.glob("results/*"))
