"""A folder sent to a local database: what MLflow then holds, and that nothing is there twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mirrored import (
    RUN,
    START_S,
    add_trial,
    client_of,
    curve,
    finished_without_model,
    readings,
    runs_of,
    table_of,
)

from dce_ray.errors import ConfigError, TrackingError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.provenance import TIME, environment
from dce_ray.search.settings import Settings
from dce_ray.tracking import start_mirror, sync
from dce_ray.tracking.address import Address
from dce_ray.tracking.content import run_content, search_content
from dce_ray.tracking.mirror import closing_lines
from dce_ray.tracking.state import keep_report, only_sender, search_identity
from dce_ray.tracking.sync_report import SyncReport

Make = Callable[..., ExperimentFolder]


def rows(folder: ExperimentFolder) -> Counter[str]:
    """Rows of the tables that grow when something is sent."""
    with sqlite3.connect(folder.root / "mlflow.db") as database:
        names = ("runs", "metrics", "params", "inputs", "datasets", "experiments", "logged_models")
        return Counter({name: database.execute(f"select count(*) from {name}").fetchone()[0] for name in names})


def test_runs_are_nested_tagged_and_carry_the_six_parameters(sent: ExperimentFolder):
    runs = runs_of(client_of(sent), "first")
    parent = runs["first"]
    children = {name: run for name, run in runs.items() if name != "first"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert set(children) == {f"first trial 00{n}" for n in range(5)} | {
        f"first confirm {name}, seed {seed}" for name in ("top1", "baseline") for seed in (0, 1)
    }
    first = runs["first trial 000"]
    record = sent.trials()[0].record()
    assert {name: float(first.data.params[name]) for name in record.params} == record.params
    assert first.data.params["training.learning_rate"] == "5e-05"
    assert "method.delta" not in first.data.params
    tags = {"kind": "trial", "baseline": "delu", "data": "hapt", "protocol": "holdout", "components": "scs+mcm"}
    tags |= {"seed": "0", "status": "finished", "commit": "abc1234", "host": "node-1", "origin": "paper"}
    tags |= {"setting": "trial 0", "fold": "0"}
    assert {key: first.data.tags[key] for key in tags} == tags
    assert runs["first confirm baseline, seed 1"].data.tags["components"] == "baseline"
    assert runs["first confirm baseline, seed 1"].data.tags["protocol"] == "confirm"


def test_every_commit_and_machine_is_told_where_a_search_was_gone_on_with(make_experiment: Make):
    folder = make_experiment()
    records = [run.record() for run in folder.trials()]
    before, cut_off = records[1], records[4]
    assert (before.ended is None, cut_off.ended is None) == (False, True)
    began = time.strftime(TIME, time.gmtime(START_S + 3600))
    folder.note_session(folder.environment | {"commit": "bbbbbbb", "host": "node-2", "started": began})
    whole = search_content(folder, records, live=False, identity="x").tags
    assert (whole["commit"], whole["host"]) == ("abc1234, bbbbbbb", "node-1, node-2")
    assert run_content(folder, before, live=False).tags["commit"] == "abc1234"
    assert run_content(folder, cut_off, live=True).tags["commit"] == "abc1234, bbbbbbb"
    later = cut_off.replace(started=START_S + 3700)
    assert run_content(folder, later, live=True).tags["commit"] == "bbbbbbb"


def test_states_become_mlflow_states(make_experiment: Make):
    folder = make_experiment()
    sync(folder)
    runs = runs_of(client_of(folder), "first")
    states = {name: (run.info.status, run.data.tags["status"]) for name, run in runs.items()}
    assert states["first trial 000"] == ("FINISHED", "finished")
    assert states["first trial 001"] == ("KILLED", "pruned")
    assert states["first trial 002"] == ("FAILED", "failed")
    assert runs["first trial 002"].data.tags["error"] == "loss is not finite"
    assert states["first trial 004"] == ("KILLED", "interrupted"), "no search runs, so this trial does not either"
    assert states["first"] == ("KILLED", "interrupted")
    with folder.lock():
        sync(folder)
    runs = runs_of(client_of(folder), "first")
    assert {runs[name].info.status for name in ("first", "first trial 004")} == {"RUNNING"}
    finished_without_model(folder)
    sync(folder)
    assert runs_of(client_of(folder), "first")["first"].info.status == "FINISHED"


def test_values_are_the_folder_s(sent: ExperimentFolder):
    client = client_of(sent)
    runs = runs_of(client, "first")
    for trial in sent.trials():
        run = runs[f"first trial {trial.record().number:03d}"]
        for key in ("mAP/0.5", "mAP/avg_0.1:0.7", "loss/total", "psi_share", "iterations_per_second"):
            assert curve(client, run, key) == [(line.iteration, line.metrics[key]) for line in trial.readings()]
        assert run.data.metrics["best_score"] == trial.record().value
        assert run.info.start_time == round(trial.record().started * 1000)
        assert run.info.end_time == round(trial.record().ended * 1000)
    confirmed = runs["first confirm top1, seed 1"]
    assert confirmed.data.metrics["test/mAP/0.5"] == pytest.approx((0.305 + 0.1525) / 2)
    assert confirmed.data.metrics["test_score"] == table_of(0.61).ranking
    assert "best_score" not in confirmed.data.metrics, "a test result must not rank beside holdout scores"


def test_tables_read_back_through_the_client(sent: ExperimentFolder, monkeypatch: pytest.MonkeyPatch):
    client = client_of(sent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)  # load_table looks there, not at its client
    runs = runs_of(client, "first")
    number = client.get_experiment_by_name("hapt/delu").experiment_id
    run_id = runs["first confirm top1, seed 0"].info.run_id
    whole = client.load_table(number, "tables/map.json", [run_id])
    assert whole["tIoU"].tolist() == ["0.1", "0.5", "0.7", "average 0.1:0.5", "average 0.1:0.7"]
    assert whole["mAP"].tolist() == pytest.approx([0.45, 0.225, 0.05, 0.3375, 0.725 / 3])
    classes = client.load_table(number, "tables/class_ap.json", [run_id])
    assert classes["class"].tolist() == ["walk", "run", "never"]
    assert classes["AP@0.5"].tolist()[:2] == pytest.approx([0.3, 0.15])
    assert classes["AP@0.5"].isna().tolist() == [False, False, True]
    trial = client.load_table(number, "tables/map.json", [runs["first trial 000"].info.run_id])
    best = sent.trials()[0].readings()[-1].metrics
    assert dict(zip(trial["tIoU"], trial["mAP"], strict=True)) == {
        "0.5": best["mAP/0.5"],
        "0.7": best["mAP/0.7"],
        "average 0.1:0.7": best["mAP/avg_0.1:0.7"],
    }
    confirmation = client.load_table(number, "tables/confirmation.json", [runs["first"].info.run_id])
    assert confirmation["configuration"].tolist() == ["top1", "baseline"]
    assert confirmation["0.5"].tolist() == [61.2, 58.0]
    listed = json.loads(runs["first confirm top1, seed 0"].data.tags["mlflow.loggedArtifacts"])
    assert {"path": "tables/map.json", "type": "table"} in listed


def test_files_and_data_set_are_logged(sent: ExperimentFolder, tmp_path: Path):
    client = client_of(sent)
    runs = runs_of(client, "first")
    confirmed = {item.path for item in client.list_artifacts(runs["first confirm top1, seed 0"].info.run_id)}
    assert confirmed == {"record.json", "table.json", "detections.json", "tables"}
    parent = runs["first"]
    top = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"config.json", "environment.json", "best.yaml", "report.html", "confirmation.md", "figures"} <= top
    local = client.download_artifacts(parent.info.run_id, "figures/history.svg", str(tmp_path))
    assert Path(local).read_text() == "<svg/>"
    for run in (parent, runs["first trial 000"]):
        (data,) = run.inputs.dataset_inputs
        assert (data.dataset.name, data.dataset.digest) == ("hapt", ("5f1c" * 16)[:36])
        assert json.loads(data.dataset.source) == {"uri": RUN["data"]}


def test_syncing_twice_changes_nothing(finished: ExperimentFolder):
    sync(finished)
    before = rows(finished)
    again = sync(finished)
    assert (again.created, again.values, again.complete) == (0, 0, True)
    assert rows(finished) == before
    with sqlite3.connect(finished.root / "mlflow.db") as database:  # the store forgets what was sent
        database.execute("delete from tags where key = 'dce.sent'")
    forced = sync(finished)
    assert forced.created == 0
    assert forced.values > 0
    assert rows(finished) == before, "the same values a second time made new rows"


def test_a_copy_of_the_folder_is_the_same_search(finished: ExperimentFolder, tmp_path: Path):
    sync(finished)
    before = rows(finished)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(finished.path, copy)
    report = sync(copy, f"sqlite:///{finished.root / 'mlflow.db'}")
    assert report.complete
    assert report.experiment == "hapt/delu"
    assert rows(finished) == before


def test_a_search_of_the_same_settings_is_another_one(make_experiment: Make):
    one, two = make_experiment("first"), make_experiment("second")
    assert sync(one).created == 6
    assert sync(two).created == 6
    assert len(runs_of(client_of(one), "first")) == len(runs_of(client_of(one), "second")) == 6


def test_a_resumed_search_goes_on_in_its_runs(make_experiment: Make):
    folder = make_experiment()
    sync(folder)
    ids = {name: run.info.run_id for name, run in runs_of(client_of(folder), "first").items()}
    interrupted = folder.trials()[4]
    interrupted.update(state="failed", error="its process was lost")
    sync(folder)
    assert runs_of(client_of(folder), "first")["first trial 004"].data.tags["error"] == "its process was lost"
    # Resumed from the checkpoint of iteration 80: two readings come again, later and at another speed.
    readings(interrupted, 90, 150, level=interrupted.readings()[0].metrics["mAP/0.5"] - 0.01, offset_s=600.0)
    interrupted.update(state="finished", value=0.3, iteration=150, ended=START_S + 900, error=None)
    add_trial(folder, 5)
    report = sync(folder)
    assert report.created == 1
    client = client_of(folder)
    runs = runs_of(client, "first")
    assert {name: runs[name].info.run_id for name in ids} == ids
    resumed = runs["first trial 004"]
    assert resumed.info.status == "FINISHED"
    assert not resumed.data.tags["error"]
    for key in ("iterations_per_second", "mAP/0.5"):
        assert [step for step, _ in curve(client, resumed, key)] == list(range(10, 151, 10)), key


def test_a_search_that_is_resumed_with_nothing_to_do_does_not_stay_running(finished: ExperimentFolder):
    sync(finished)
    client = client_of(finished)
    assert runs_of(client, "first")["first"].info.status == "FINISHED"
    with finished.lock():  # what resume= does: the search is running, and has nothing to run
        sync(finished)
    assert runs_of(client, "first")["first"].info.status == "RUNNING"
    assert sync(finished).complete
    assert {run.info.status for name, run in runs_of(client, "first").items() if name == "first"} == {"FINISHED"}
    before = rows(finished)
    sync(finished)
    assert rows(finished) == before


def test_a_torn_last_line_waits_for_its_end(make_experiment: Make):
    folder = make_experiment()
    trial = folder.trials()[4]
    path = trial.path / "progress.jsonl"
    whole = path.read_bytes()
    line = json.dumps({"iteration": 110, "time": START_S + 110, "metrics": {"mAP/0.5": 0.5}}).encode() + b"\n"
    path.write_bytes(whole + line[:31])
    sync(folder)
    client = client_of(folder)
    assert len(curve(client, runs_of(client, "first")["first trial 004"], "mAP/0.5")) == 10
    path.write_bytes(whole + line)
    sync(folder)
    assert curve(client, runs_of(client, "first")["first trial 004"], "mAP/0.5")[-1] == (110, 0.5)


def test_a_run_that_was_created_twice_is_kept_once(make_experiment: Make):
    """What a server does that carries out a request after its sender gave up on it."""
    folder = make_experiment()
    sync(folder)
    client = client_of(folder)
    first = runs_of(client, "first")["first trial 000"]
    tags = {key: first.data.tags[key] for key in ("dce.experiment", "dce.run", "kind")}
    client.create_run(first.info.experiment_id, tags=tags, run_name="twin")
    report = sync(folder)
    assert report.complete
    names = Counter(run.data.tags["dce.run"] for run in client.search_runs([first.info.experiment_id]))
    assert set(names.values()) == {1}
    assert len(names) == 6


def test_a_damaged_run_is_named_and_hides_no_other(finished: ExperimentFolder):
    damaged = finished.trials()[1]
    lines = damaged.progress.read_bytes().splitlines(keepends=True)
    damaged.progress.write_bytes(b"".join([lines[0], b"{damaged}\n", *lines[2:]]))
    report = sync(finished)
    (fault,) = report.faults
    assert f"{damaged.progress}, line 2" in fault
    assert (report.current, report.runs) == (9, 10)
    assert not report.complete
    damaged.progress.write_bytes(b"".join(lines))
    assert sync(finished).complete


def test_an_archive_that_cannot_be_written_is_one_search(finished: ExperimentFolder, monkeypatch: pytest.MonkeyPatch):
    """Root may write anywhere, so the system's refusal is put in its place."""
    uri = f"sqlite:///{finished.root / 'mlflow.db'}"

    def refuse(path: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as archive:
        archive.setattr("dce_ray.tracking.state.Path.mkdir", refuse)
        name = search_identity(finished)
        assert search_identity(finished) == name
        with only_sender(finished, uri, patience_s=1.0):
            pass
        keep_report(finished, uri, SyncReport(uri, "hapt/delu"))
    assert not (finished.path / "tracking").exists()
    assert len(name) == 32


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("./mlruns", "neither a server"),
        ("file:///tmp/mlruns", "neither a server"),
        ("htp://host:5000", "neither a server"),
        ("http:///", "names no host"),
    ],
)
def test_an_address_that_is_none_is_refused_with_the_remedy(make_experiment: Make, uri: str, part: str):
    with pytest.raises(TrackingError, match=part):
        sync(make_experiment(), uri)


def test_a_server_that_is_not_there_is_named_and_nothing_is_lost(make_experiment: Make):
    folder = make_experiment()
    report = sync(folder, "http://127.0.0.1:9")
    assert not report.complete
    assert "http://127.0.0.1:9 does not answer" in report.faults[0]
    assert "start the server" in report.faults[0]
    assert sync(folder).complete


def test_a_full_disk_is_told_to_be_made_room_on(make_experiment: Make):
    """The database takes no page more, as where its disk is full: SQLite says the same of both."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    folder = make_experiment()

    def full(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA max_page_count=1")  # SQLite takes the present size where that is more

    event.listen(Engine, "connect", full)
    try:
        report = sync(folder)
    finally:
        event.remove(Engine, "connect", full)
    told = " ".join(report.faults)
    assert "database or disk is full" in told
    assert not report.complete
    assert f"make room in {folder.root}, then sync" in told
    assert "another program" not in told
    assert "does not answer" not in told


def test_another_sender_is_told_without_the_password(make_experiment: Make):
    folder, uri = make_experiment(), "http://me:s3cret@127.0.0.1:9"
    with (
        only_sender(folder, uri, patience_s=1.0),
        pytest.raises(TrackingError, match=r"http://me:\*\*\*@127.0.0.1:9 by another process") as refused,
        only_sender(folder, uri, patience_s=0.1),
    ):
        pass
    assert "s3cret" not in str(refused.value)


def test_no_password_is_written_whoever_gives_it(make_experiment: Make, monkeypatch: pytest.MonkeyPatch):
    """A search refuses it in its own keys; from the environment it reaches MLflow and no file; sys.argv is masked."""
    uri = "http://me:s3cret@127.0.0.1:9"
    with pytest.raises(ConfigError, match=r"tracking.uri=http://me:\*\*\*@127.0.0.1:9: holds a password") as refused:
        Settings.from_mapping({"tracking": {"uri": uri}})
    assert "s3cret" not in str(refused.value)
    monkeypatch.setattr(sys, "argv", ["search", f"tracking.uri={uri}", "data=s3://k:s3cret@bucket/x?token=s3cret"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    folder = make_experiment()
    folder = ExperimentFolder.create(folder.path.with_name("again"), folder.config, environment())
    with start_mirror(folder, limit_s=1.0) as mirror:
        assert mirror.address.uri == uri
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    assert {"environment.json", "config.json", "log.txt"} <= {path.name for path in files}
    assert [path.name for path in files if b"s3cret" in path.read_bytes()] == []
    assert "data=s3://k:***@bucket/x?token=***" in folder.environment["command"]
    assert "s3cret" not in mirror.message


def test_a_password_is_neither_printed_nor_kept(make_experiment: Make):
    folder = make_experiment()
    report = sync(folder, "http://me:secret@127.0.0.1:9")
    kept = "".join(path.read_text() for path in (folder.path / "tracking").glob("*.json"))
    assert "secret" not in f"{report}{kept}{closing_lines(folder, 'http://me:secret@127.0.0.1:9', Address('x'))}"
    assert "me:***@127.0.0.1" in str(report)
