"""Trainables by hand, without a cluster: one process, several runs, kills between the files they write."""

import json
import weakref

import pytest
import torch
from dce_ray.trainables import TRAINABLES, DeluTrainable, trainable_named

from dce_ray.errors import ConfigError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.presets import merge, run_config
from dce_ray.store import open_store

PARAMS = {"delta": 0.8, "theta_rep": 0.9, "theta_pro": 0.6, "beta": 0.5, "gamma": 0.5, "lambda": 1.0}
SHORT = {
    "training": {"iterations": 6, "eval_every": 2, "log_every": 1},
    "sampling": {"segments": 24},
    "evaluation": {"proposal_thresholds": 5},
    "device": "cpu",
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from dce_ray.data.synthetic import generate_synthetic

    return generate_synthetic(tmp_path_factory.mktemp("data") / "tiny", size="tiny", seed=0)


@pytest.fixture
def make_trial(tmp_path, tiny):
    folder = ExperimentFolder.create(tmp_path / "experiment", {}, {})

    def make(key, baseline="delu", kind="trial", stop_at=None, **changes):
        changes = merge(changes, {"training": {"stop_at": stop_at}})
        config = run_config(baseline, tiny, data_set="synthetic", overrides=merge(SHORT, changes)).to_mapping()
        place = folder.trial(key) if kind == "trial" else folder.confirm(key)
        place.write(RunRecord(key, kind, "trial 0", 0, "running", config, config["seed"]))
        return place

    return make


def configuration(place):
    """As of a run that begins, or goes on: every process is another attempt."""
    record = place.update(attempt=place.record().attempt + 1)
    return {"record": record.to_mapping(), "state": str(place.attempts.root), "threads": 1}


def to_the_end(trainable):
    """All results."""
    results = [trainable.train()]
    while not results[-1]["done"]:
        results.append(trainable.train())
    return results


def told_by(results):
    """The readings of all results."""
    return [reading for result in results for reading in result["readings"]]


def scores(results):
    """By iteration, as the results' readings told them."""
    return {each["iteration"]: each["metrics"]["score"] for each in told_by(results) if "score" in each["metrics"]}


@pytest.mark.parametrize("baseline", sorted(TRAINABLES))
def test_steps_are_evaluation_periods(make_trial, baseline):
    place = make_trial("a", baseline)
    results = to_the_end(trainable_named(baseline)(configuration(place)))
    assert [result["iteration"] for result in results] == [2, 4, 6]
    assert [result["done"] for result in results] == [False, False, True]
    assert scores(results) == {result["iteration"]: result["score"] for result in results}
    first = results[0]["readings"][0]["metrics"]
    assert {"psi_share", "mcm_share", "loss/total", "mAP/avg_0.1:0.7"} <= first.keys()


def test_a_run_tells_what_it_takes_of_its_machine_where_it_is_asked(make_trial):
    keys = []
    for key, asked in (("a", True), ("b", False)):
        results = to_the_end(DeluTrainable(configuration(make_trial(key)) | {"system": asked}))
        keys.append([sorted(name for name in reading["metrics"] if "system" in name) for reading in told_by(results)])
    assert keys == [[["system/cpu_percent", "system/memory_mib"]] * 3, [[]] * 3]


def test_a_worker_writes_nothing_but_its_attempts(make_trial):
    place = make_trial("a")
    arguments = configuration(place)
    before = place.record()
    to_the_end(DeluTrainable(arguments))
    assert sorted(path.name for path in place.path.iterdir()) == ["record.json", "state"]
    assert place.record() == before


def test_reset_takes_on_another_run_and_keeps_the_store(make_trial, tiny):
    first, second, alone = make_trial("a"), make_trial("b", seed=1), make_trial("c", seed=1)
    trainable = DeluTrainable(configuration(first))
    store = trainable.run.store
    begun = trainable.train()
    assert trainable.reset(configuration(second))
    assert trainable.run.store is store is open_store(tiny)
    found = scores(to_the_end(trainable))
    assert found == scores(to_the_end(DeluTrainable(configuration(alone))))
    assert found[2] != scores([begun])[2]


def test_new_process_goes_on_from_the_checkpoint_bit_for_bit(make_trial):
    broken, whole = make_trial("a"), make_trial("b")
    DeluTrainable(configuration(broken)).train()  # its process is gone, and its result with it
    again = DeluTrainable(configuration(broken))
    assert again.run.iteration == 2
    results = to_the_end(again)
    assert [[each["iteration"] for each in result["readings"]] for result in results] == [[2, 4], [6]]
    unbroken = DeluTrainable(configuration(whole))
    assert scores(results) == scores(to_the_end(unbroken))
    for ours, theirs in zip(again.run.network.parameters(), unbroken.run.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_process_that_was_thought_dead_changes_nothing_for_the_next(make_trial):
    place, whole = make_trial("a"), make_trial("b")
    parted = DeluTrainable(configuration(place))
    parted.train()
    again = DeluTrainable(configuration(place))
    told = [again.train()]
    parted.train()  # it lives after all, and writes a checkpoint and a reading of its own
    third = DeluTrainable(configuration(place))
    assert third.run.iteration == again.run.iteration == 4
    told += to_the_end(third)
    assert scores(told) == scores(to_the_end(DeluTrainable(configuration(whole))))


def test_damaged_checkpoint_starts_again(make_trial):
    place = make_trial("a")
    DeluTrainable(configuration(place)).train()
    place.attempts.of(1).checkpoint.write_bytes(b"nothing of use")
    assert DeluTrainable(configuration(place)).train()["iteration"] == 2


def test_damaged_checkpoint_falls_back_to_the_attempt_before(make_trial):
    place = make_trial("a")
    DeluTrainable(configuration(place)).train()
    late = place.attempts.of(2)
    late.path.mkdir()
    late.checkpoint.write_bytes(b"nothing of use")
    place.update(attempt=2)
    assert DeluTrainable(configuration(place)).train()["iteration"] == 4


def test_confirmation_stops_where_holdout_said_and_reads_test_once(make_trial, monkeypatch):
    place = make_trial("top1-0", kind="confirm", stop_at=3, protocol="confirm")
    trainable = DeluTrainable(configuration(place))
    evaluated = []
    evaluate = trainable.run.evaluate
    monkeypatch.setattr(trainable.run, "evaluate", lambda split: evaluated.append(split) or evaluate(split))
    results = to_the_end(trainable)
    assert [result["iteration"] for result in results] == [2, 3]
    assert evaluated == ["test"]
    assert scores(results) == {}
    table = json.loads(results[1]["table"])
    assert table["averages"]["0.1:0.7"] == results[1]["score"]
    assert "test" in table["caption"]
    place.adopt()
    assert place.checkpoint.read_bytes() == place.attempts.of(1).checkpoint.read_bytes()
    assert place.detections.read_bytes() == place.attempts.of(1).detections.read_bytes()
    again = to_the_end(DeluTrainable(configuration(place)))  # killed before anybody heard of its end
    assert again[-1]["table"] == results[1]["table"]
    assert [each["iteration"] for each in again[-1]["readings"]] == [2, 3]


def test_not_finite_loss_is_the_runs_fault(make_trial):
    place = make_trial("a", training={"learning_rate": 10.0, "iterations": 200, "eval_every": 100})
    trainable = DeluTrainable(configuration(place))
    with torch.no_grad():
        next(trainable.run.network.parameters()).fill_(float("nan"))
    result = trainable.train()
    assert (result["done"], result["finished"], result["fault_kind"]) == (True, False, "run")
    assert "NonFiniteError" in result["fault"]


def test_outputs_that_are_not_finite_are_the_runs_fault(make_trial):
    """The last step may diverge: the loss before it was finite, and the evaluation is what meets it."""
    trainable = DeluTrainable(configuration(make_trial("a")))
    advance = trainable.run.advance

    def diverge(*given, **named):
        told = advance(*given, **named)
        with torch.no_grad():
            next(trainable.run.network.parameters()).fill_(float("nan"))
        return told

    trainable.run.advance = diverge
    result = trainable.train()
    assert (result["finished"], result["fault_kind"]) == (False, "run")
    assert "NonFiniteOutputError" in result["fault"]


def test_store_that_is_gone_is_the_environments_fault(make_trial, tmp_path):
    place = make_trial("a")
    record = place.record()
    place.write(record.replace(config=merge(record.config, {"data": str(tmp_path / "gone")})))
    result = DeluTrainable(configuration(place)).train()
    assert (result["done"], result["fault_kind"]) == (True, "environment")
    assert "StoreError" in result["fault"]


def test_tune_checkpoints_hold_the_run(make_trial, tmp_path):
    first, second = DeluTrainable(configuration(make_trial("a"))), DeluTrainable(configuration(make_trial("b")))
    first.train()
    (tmp_path / "saved").mkdir()
    first.save_checkpoint(str(tmp_path / "saved"))
    second.load_checkpoint(str(tmp_path / "saved"))
    assert second.run.iteration == 2


def test_unknown_baseline_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean co2net"):
        trainable_named("co2nett")


def test_the_run_before_is_dropped_first_and_its_resident_features_are_kept(make_trial, monkeypatch):
    kept = {"training": {"resident": "device"}}
    trainable = DeluTrainable(configuration(make_trial("a", **kept)))
    trainable.train()
    before, features = weakref.ref(trainable.run.network), trainable.run.source.shared
    make_run, gone = trainable.make_run, []

    def make(record):
        gone.append(before() is None)
        return make_run(record)

    monkeypatch.setattr(trainable, "make_run", make)
    where = id(features)
    del features
    trainable.reset(configuration(make_trial("b", seed=1, **kept)))
    assert gone == [True]
    assert id(trainable.run.source.shared) == where


@pytest.mark.parametrize(("share", "device"), [(0.0, "cpu"), (0.25, "auto")])
def test_without_a_share_of_a_gpu_auto_is_the_cpu(make_trial, share, device):
    place = make_trial("a", device="auto")
    trainable = DeluTrainable(configuration(place) | {"share": {"CPU": 1.0, "GPU": share, "memory": 0}})
    assert trainable.run.config.device == device
    assert place.record().config["device"] == "auto"
