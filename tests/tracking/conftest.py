"""Experiment folders as a search writes them, and a real MLflow server to send them to."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dce_ray.search.folder import ExperimentFolder, TrialFolder, TrialRecord

START_S = 1_790_000_000.0
RUN = {
    "baseline": "delu",
    "data": "/nowhere/store",
    "preset": "paper",
    "protocol": "holdout",
    "seed": 0,
    "method": {"delta": 0.7, "theta_rep": 0.8, "theta_pro": 0.55, "beta": 0.5, "gamma": 0.5, "lambda": 1.0},
    "training": {"iterations": 100, "learning_rate": 5e-05},
    "evaluation": {"averages": ["0.1:0.5", "0.1:0.7"]},
}


@pytest.fixture(autouse=True)
def _no_outer_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def readings(trial: TrialFolder, first: int, last: int, *, level: float = 0.3, offset_s: float = 0.0) -> None:
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


def add_trial(folder: ExperimentFolder, number: int, state: str = "finished", iterations: int = 100) -> TrialFolder:
    draw = random.Random(number)
    params = {name: round(draw.uniform(0.1, 0.9), 4) for name in RUN["method"]}
    trial = folder.trial(f"{number:016x}")
    record = TrialRecord(
        key=trial.key,
        number=number,
        kind="trial",
        state="running",
        params=params,
        config=RUN | {"method": params},
        seed=0,
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


def add_confirmation(folder: ExperimentFolder, components: str, seed: int, number: int) -> TrialFolder:
    run = folder.confirm(f"{components}-{seed}")
    record = TrialRecord(
        key=run.key,
        number=number,
        kind="confirm",
        state="finished",
        params=RUN["method"],
        config=RUN | {"protocol": "confirm", "seed": seed},
        seed=seed,
        components=components,
        origin="baseline" if components == "baseline" else "search",
        value=0.4 + seed / 100,
        iteration=100,
        started=START_S + 200,
        ended=START_S + 300,
        host="node-1",
    )
    run.write(record)
    run.append(100, {"loss/total": 0.5}, START_S + 299)
    return run


@pytest.fixture
def make_experiment(tmp_path: Path) -> Callable[..., ExperimentFolder]:
    """A search with finished, pruned, failed and running trials."""

    def make(name: str = "first", root: Path | None = None, data: str = "hapt") -> ExperimentFolder:
        path = (root or tmp_path / "results") / data / "delu" / name
        config = {
            "run": RUN,
            "search": {"num_trials": 5, "sampler": "tpe"},
            "space": {"delta": {"low": 0.1, "high": 1}},
        }
        folder = ExperimentFolder.create(path, config, {"commit": "abc1234", "host": "node-1"})
        for number, state in enumerate(("finished", "pruned", "failed", "finished", "running")):
            add_trial(folder, number, state, iterations=100 if state != "pruned" else 30)
        return folder

    return make


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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

    def wait(self, patience_s: float = 90.0) -> None:
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


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("mlflow"), free_port())
    one.start()
    yield one
    one.kill()
