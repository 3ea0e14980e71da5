"""Runs of ``python -m dce_ray.train`` in MLflow: mirrored while they train, killed and gone on with, sent later."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mirrored import client_of, curve
from mlflow.entities import Run

from dce_ray.errors import NonFiniteError
from dce_ray.experiment.single import SingleRun, open_folder
from dce_ray.files import write_json
from dce_ray.tracking import sync
from dce_ray.train.outcome import outcome_kept
from dce_ray.train.run_files import best_of

QUICK = (
    *("baseline=delu", "training.iterations=40", "training.eval_every=10", "training.log_every=5", "device=cpu"),
    *("sampling.segments=24", "sampling.batch=6", "sampling.pairs=2", "test=on", "folder=one", "tracking=on"),
)


def start(cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "dce_ray.train", *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition, seconds: float = 180.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)
    return found


def only_run(folder: SingleRun) -> Run | None:
    client = client_of(folder)
    experiment = client.get_experiment_by_name("synthetic/delu")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    assert len(runs) < 2, "it is one run, however often it was begun"
    return runs[0] if runs else None


@pytest.fixture(scope="module")
def trained(tiny_store, empty_database, tmp_path_factory) -> tuple[SingleRun, str]:
    """A run that was killed when MLflow had heard of it, and gone on with; what the last session printed."""
    cwd = tmp_path_factory.mktemp("single")
    shutil.copy(empty_database, cwd / "mlflow.db")
    long = [part.replace("=40", "=100000") for part in QUICK]
    process = start(cwd, *long, f"data={tiny_store}")
    wait_for((cwd / "one" / "best.pt").is_file)
    folder = SingleRun(cwd / "one")
    wait_for(lambda: only_run(folder))
    assert (only_run(folder).info.status, folder.in_use) == ("RUNNING", True)
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: only_run(folder).info.status == "KILLED")
    process.communicate()
    assert folder.record().state == "running"
    assert not folder.in_use
    config = json.loads((folder.path / "config.json").read_text())
    config["training"]["iterations"] = 20  # begun anew and short, so that the test need not wait for its end
    write_json(folder.path / "config.json", config)
    for checkpoint in folder.path.glob("*.pt"):
        checkpoint.unlink()
    output, _ = (process := start(cwd, "resume=one")).communicate(timeout=300)
    assert process.returncode == 0, output
    return folder, output


def test_a_killed_run_is_killed_in_mlflow_and_finished_when_it_has_gone_on(trained):
    folder, output = trained
    run, client = only_run(folder), client_of(folder)
    assert run.info.status == "FINISHED"
    assert {key: run.data.tags[key] for key in ("kind", "status", "components", "search")} == {
        "kind": "train",
        "status": "finished",
        "components": "scs+mcm",
        "search": "one",
    }
    read = {(line.iteration, line.metrics["loss/total"]) for line in folder.run.readings()}
    assert len(read) == 4
    assert read <= set(curve(client, run, "loss/total"))
    table = json.loads((folder.path / "table-test.json").read_text())
    assert run.data.metrics["test/mAP/avg_0.1:0.7"] == pytest.approx(table["averages"]["0.1:0.7"])
    assert best_of(folder.run.scores()) in curve(client, run, "best_score")
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"best.pt", "curves.png", "detections.json", "table-holdout.tex", "config.json"} <= files
    tables = {item.path for item in client.list_artifacts(run.info.run_id, "tables")}
    assert {f"tables/{kind}_{split}.json" for kind in ("map", "class_ap") for split in ("holdout", "test")} <= tables
    assert "Compare in MLflow:" in output


def test_sync_sends_a_run_and_mends_its_status(trained):
    folder, _ = trained
    report = sync(folder.path)
    assert (report.runs, report.current, report.created, report.values) == (1, 1, 0, 0)
    with sqlite3.connect(folder.root / "mlflow.db") as database:
        database.execute("UPDATE runs SET status = 'RUNNING', end_time = NULL")
    assert sync(folder.path).complete
    assert only_run(folder).info.status == "FINISHED"
    elsewhere = f"sqlite:///{shutil.copy(folder.root / 'mlflow.db', folder.root / 'other.db')}"
    with sqlite3.connect(folder.root / "other.db") as database:
        database.execute("DELETE FROM tags WHERE key = 'dce.sent'")  # as if nothing had been sent there
    assert sync(folder.path, elsewhere).values > 20


def test_a_run_that_failed_says_why(trained, tmp_path):
    shutil.copytree(trained[0].path, tmp_path / "one")
    folder = open_folder(tmp_path / "one")
    assert isinstance(folder, SingleRun)

    def fail() -> None:
        with outcome_kept(folder.path):
            assert folder.record().state == "running", "what a former session came to counts no more"
            raise NonFiniteError(7, "total")

    with pytest.raises(NonFiniteError):
        fail()
    assert (folder.record().state, folder.record().error) == ("failed", str(NonFiniteError(7, "total")))


def test_a_run_of_before_outcomes_were_kept_has_finished_where_it_has_a_table(trained, tmp_path):
    shutil.copytree(trained[0].path, tmp_path / "one")
    (tmp_path / "one" / "outcome.json").unlink()
    write_json(tmp_path / "one" / "options.json", {"test": True})
    folder = SingleRun(tmp_path / "one")
    assert folder.record().state == "finished"
    assert folder.config["data_set"] == Path(folder.config["run"]["data"]).name
    for table in folder.tables.values():
        table.unlink()
    assert folder.record().state == "running"
