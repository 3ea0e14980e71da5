"""Experiment folders as a search writes them, and a real MLflow server to send them to."""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run

from dce_ray.evaluation import MapTable
from dce_ray.evaluation.tables import map_table
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, WITHOUT_METHOD, RunRecord
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.files import write_json

START_S = 1_790_000_000.0
RUN = {
    "baseline": "delu",
    "data": "/nowhere/store",
    "preset": "paper",
    "protocol": "holdout",
    "seed": 0,
    "scs": True,
    "mcm": True,
    "method": {"delta": 0.7, "theta_rep": 0.8, "theta_pro": 0.55, "beta": 0.5, "gamma": 0.5, "lambda": 1.0},
    "training": {"iterations": 100, "learning_rate": 5e-05},
    "evaluation": {"averages": ["0.1:0.5", "0.1:0.7"]},
}

CONFIG = {
    "baseline": "delu",
    "protocol": "holdout",
    "metric": "detection",
    "policy": "single",
    "sampler": "tpe",
    "search": {"num_runs": 6, "time_budget": None},
    "confirm": {"top": 1, "seeds": 2},
    "space": {"delta": {"low": 0.1, "high": 1.0}},
    "data_set": "hapt",
    "digest": "5f1c" * 16,
    "run": RUN,
}


def readings(trial: RunFolder, first: int, last: int, *, level: float = 0.3, offset_s: float = 0.0) -> None:
    """One line of progress per 10 iterations, from ``first`` to ``last``."""
    for iteration in range(first, last + 1, 10):
        score = level + iteration / 1000
        trial.append(
            iteration,
            {
                "mAP/0.5": score,
                "mAP/0.7": score / 2,
                "mAP/avg_0.1:0.7": score * 0.75,
                "loss/total": 5.0 / iteration,
                "psi_share": 0.2,
                "mcm_share": 0.1,
                "iterations_per_second": 20.0 + offset_s,
            },
            START_S + iteration + offset_s,
        )


def add_trial(folder: ExperimentFolder, number: int, state: str = "finished", iterations: int = 100) -> RunFolder:
    draw = random.Random(number)
    params = {name: round(draw.uniform(0.1, 0.9), 4) for name in RUN["method"]}
    trial = folder.trial(f"{number:016x}")
    record = RunRecord(
        key=trial.key,
        role="trial",
        setting=f"trial {number}",
        number=number,
        state="running",
        config=RUN | {"method": params},
        seed=0,
        fold=0,
        origin="paper" if number == 0 else "search",
        started=START_S + number,
        host="node-1",
    )
    trial.write(record)
    level = 0.2 + params["delta"] / 10
    readings(trial, 10, iterations, level=level)
    if state != "running":
        score = (level + iterations / 1000) * 0.75
        ending = {"value": score, "iteration": iterations, "ended": START_S + number + iterations}
        trial.update(state=state, **(ending | {"error": "loss is not finite"} if state == "failed" else ending))
    return trial


def table_of(score: float) -> MapTable:
    """Three thresholds, three classes, the last of which has no instance."""
    class_ap = np.array([[score, score / 2, math.nan], [score / 2, score / 4, math.nan], [0.0, 0.1, math.nan]])
    return map_table(
        class_ap,
        thresholds=(0.1, 0.5, 0.7),
        averages=("0.1:0.5", "0.1:0.7"),
        class_names=("walk", "run", "never"),
        videos=12,
        instances=40,
        classification_map=0.9,
        caption="DELU on HAPT, test",
    )


def add_confirmation(folder: ExperimentFolder, name: str, seed: int, number: int) -> RunFolder:
    """A finished run of a confirmation: ``top1`` or ``baseline``."""
    run = folder.confirm(f"{name}-{seed}")
    method = WITHOUT_METHOD if name == PLAIN else {}
    table = table_of(0.6 + seed / 100)
    record = RunRecord(
        key=run.key,
        role="confirm",
        setting=name,
        number=number,
        state="finished",
        config=RUN | {"protocol": "confirm", "seed": seed, **method},
        seed=seed,
        origin=PLAIN if name == PLAIN else "search",
        value=table.ranking,
        iteration=100,
        started=START_S + 200,
        ended=START_S + 300,
        host="node-1",
    )
    run.write(record)
    run.append(100, {"loss/total": 0.5}, START_S + 299)
    write_json(run.table, table.to_mapping())
    write_json(run.detections, {"version": "VERSION 1.3", "results": {"video": []}})
    run.checkpoint.write_bytes(b"weights")
    return run


def finish(folder: ExperimentFolder, seeds: int = 2) -> None:
    """What a search adds at its end."""
    for trial in folder.trials():
        if trial.record().state == "running":
            trial.update(state="finished", value=0.3, iteration=100, ended=START_S + 150)
    runs = [(name, seed) for seed in range(seeds) for name in ("top1", "baseline")]
    for number, (name, seed) in enumerate(runs):
        add_confirmation(folder, name, seed, number)
    write_json(folder.confirmation, {"winner": "top1"})
    folder.confirmation.with_suffix(".csv").write_text("configuration,0.5,avg\ntop1,61.2,40.1\nbaseline,58.0,\n")
    folder.confirmation.with_suffix(".md").write_text("| | 0.5 |\n")
    (folder.path / "report.html").write_text("<html></html>")
    folder.best.write_text("baseline: delu\n")
    folder.figures.mkdir()
    (folder.figures / "history.svg").write_text("<svg/>")


def finished_without_model(folder: ExperimentFolder) -> ExperimentFolder:
    """A search that has ended, but for the winner's model: that has its own test."""
    finish(folder)
    for run in folder.confirmations():
        run.checkpoint.unlink()
    return folder


def outdated(folder: ExperimentFolder) -> ExperimentFolder:
    """As versions before records of roles wrote it."""
    config = {key: value for key, value in folder.config.items() if key != "format"}
    write_json(folder.path / "config.json", config)
    return folder


def new_experiment(results: Path, name: str, database: Path | None = None) -> ExperimentFolder:
    """A search with finished, pruned, failed and running trials; ``database`` is a new one to start from."""
    if database is not None and not (results / "mlflow.db").exists():
        results.mkdir(parents=True, exist_ok=True)
        shutil.copy(database, results / "mlflow.db")
    path = results / "hapt" / "delu" / name
    folder = ExperimentFolder.create(path, CONFIG, {"commit": "abc1234", "host": "node-1"})
    for number, state in enumerate(("finished", "pruned", "failed", "finished", "running")):
        add_trial(folder, number, state, iterations=100 if state != "pruned" else 30)
    return folder


def client_of(folder: ExperimentFolder) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder.root / 'mlflow.db'}")


def runs_of(client: MlflowClient, search: str, name: str = "hapt/delu") -> dict[str, Run]:
    """Runs of a search by the run's name."""
    experiment = client.get_experiment_by_name(name)
    found = list(client.search_runs([experiment.experiment_id], f"tags.search = '{search}'", max_results=1000))
    assert len({run.info.run_name for run in found}) == len(found), "a run is there twice"
    return {run.info.run_name: run for run in found}


def curve(client: MlflowClient, run: Run, key: str) -> list[tuple[int, float]]:
    """All points of a metric, repetitions included."""
    return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))


def assert_all_there_once(client: MlflowClient, folder: ExperimentFolder) -> None:
    """Every trial of the folder is one run, every value of its curve one point."""
    runs = runs_of(client, folder.path.name)
    assert len(runs) == 1 + len(folder.trials()) + len(folder.confirmations())
    for trial in folder.trials():
        run = runs[f"{folder.path.name} trial {trial.record().number:03d}"]
        for key in ("mAP/0.5", "loss/total", "iterations_per_second"):
            assert curve(client, run, key) == [(line.iteration, line.metrics[key]) for line in trial.readings()]


@dataclass
class Server:
    """``mlflow server`` on loopback with a database and an artifact folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        options += ["--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"]
        options += ["--host", "127.0.0.1", "--port", str(self.port)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait()

    def wait(self, patience_s: float = 240.0) -> None:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                assert self.process is not None
                assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
                time.sleep(0.2)
        raise AssertionError("the server did not start")

    def signal(self, number: signal.Signals) -> None:
        """To the server and its workers: they are one process group."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
