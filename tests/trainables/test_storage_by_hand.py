"""Trainables on machines that share a bucket and no disk, by hand: one is lost, another goes on; without a cluster."""

from __future__ import annotations

import shutil

import pytest
import torch
from dce_ray.trainables import DeluTrainable, keeping

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.run_folder import Common
from dce_ray.places import Place, faults, place
from dce_ray.places.place import AWAY, FINE, REFUSED
from dce_ray.presets import merge, run_config
from dce_ray.search import in_flight
from dce_ray.store import open_store
from dce_ray.store.sending import send_store
from dce_ray.train import driver

SHORT = {
    "training": {"iterations": 6, "eval_every": 2, "log_every": 1},
    "sampling": {"segments": 24},
    "evaluation": {"proposal_thresholds": 5},
    "device": "cpu",
}


@pytest.fixture
def make_run(tmp_path, tiny_store, bucket, monkeypatch):
    """Folders of runs whose data and storage lie in a bucket."""
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(driver, "CHECKPOINT_SHARE", 1e9)  # one at every evaluation, however long it takes
    store = open_store(tiny_store)
    send_store(store, f"{bucket}/tiny")
    folder = ExperimentFolder.create(tmp_path / "synthetic" / "delu" / "one", {}, {})
    place = Place.at(f"{bucket}/kept/synthetic/delu/one")
    folder = ExperimentFolder(folder.path, Common(store.digest, place, 0))

    def make(key, kind="trial", **changes):
        config = run_config("delu", f"{bucket}/tiny", data_set="synthetic", overrides=merge(SHORT, changes))
        run = folder.trial(key) if kind == "trial" else folder.confirm(key)
        run.write(RunRecord(key, kind, "trial 0", 0, "running", config.to_mapping(), 0))
        return run

    return make


def on_another_machine(run, **told):
    """A process that begins the run's next attempt with an empty disk of its own."""
    keeping._own.cache_clear()
    run.update(attempt=run.record().attempt + 1)
    return DeluTrainable({**run.for_worker(), "threads": 1, **told})


def scores(results):
    told = [reading for result in results for reading in result["readings"]]
    return {each["iteration"]: each["metrics"]["score"] for each in told if "score" in each["metrics"]}


def to_the_end(trainable):
    results = [trainable.train()]
    while not results[-1]["done"]:
        results.append(trainable.train())
    return results


def test_another_machine_goes_on_from_the_last_checkpoint_bit_for_bit(make_run):
    broken, whole = make_run("a"), make_run("b")
    first = on_another_machine(broken)
    first.train()
    first.train()
    shutil.rmtree(first.attempts.root)  # the machine is lost with its disk
    second = on_another_machine(broken)
    assert second.run.iteration == 4
    results = to_the_end(second)
    assert [[each["iteration"] for each in result["readings"]] for result in results] == [[2, 4, 6]]
    unbroken = on_another_machine(whole)
    assert scores(results) == scores(to_the_end(unbroken))
    for ours, theirs in zip(second.run.network.parameters(), unbroken.run.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not (broken.path / "state").exists()  # nobody but the driver writes there
    broken.attempts.clear()
    assert broken.attempts.place.files() == {}


def test_checkpoint_and_detections_of_a_run_on_test_reach_the_driver(make_run):
    run = make_run("top1-0", kind="confirm", protocol="confirm")
    trainable = on_another_machine(run)
    to_the_end(trainable)
    checkpoint = trainable.driver.files.checkpoint.read_bytes()
    detections = trainable.driver.files.detections.read_bytes()
    own = trainable.attempts.root
    trainable.cleanup()
    assert not own.exists()
    run.adopt()
    assert (run.checkpoint.read_bytes(), run.detections.read_bytes()) == (checkpoint, detections)


def test_storage_that_answers_503_for_a_while_loses_nothing(make_run, s3):
    run = make_run("a")
    trainable = on_another_machine(run)
    s3.tell("fail", status=503, seconds=3)
    results = to_the_end(trainable)
    assert results[-1]["finished"]
    assert set(scores(results)) == {2, 4, 6}


def test_storage_that_does_not_answer_or_refuses_is_named_for_the_driver_to_ask_it_too(make_run, s3, monkeypatch):
    run = make_run("a")
    trainable = on_another_machine(run)
    monkeypatch.setattr(place, "patiently", lambda address, action: faults.patiently(address, action, 1.0))
    s3.tell("fail", status=503, seconds=600)
    try:
        result = trainable.train()
        assert result["fault_kind"] == "environment"
        assert "StorageAwayError" in result["fault"]
        assert in_flight.state_of(result["fault_place"], run) == AWAY
    finally:
        s3.tell("fail", status=503, seconds=0)
    assert in_flight.state_of(result["fault_place"], run) == FINE
    assert in_flight.state_of(None, run) == FINE
    s3.tell("key", only="another")
    try:
        assert in_flight.state_of(result["fault_place"], run) == REFUSED
    finally:
        s3.tell("key")


def test_storage_that_refuses_the_key_is_the_environments_fault(make_run, s3):
    trainable = on_another_machine(make_run("a"))
    s3.tell("key", only="another")
    try:
        result = trainable.train()
    finally:
        s3.tell("key")
    assert result["fault_kind"] == "environment"
    assert "StorageError" in result["fault"]
    assert result["fault_place"] == trainable.attempts.of(1).place.address
    assert "the key is not accepted" in result["fault"]


def test_other_data_than_the_search_began_with_are_refused(make_run):
    result = on_another_machine(make_run("a"), digest="f" * 64).train()
    assert result["fault_kind"] == "environment"
    assert "this node's data are not those of the search" in result["fault"]
