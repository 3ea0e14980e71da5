"""A search's folder and an MLflow server, ready to use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import free_port
from mirrored import Server, finished_without_model, new_experiment

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.tracking import sync


@pytest.fixture(autouse=True)
def _no_outer_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def make_experiment(tmp_path: Path, empty_database: Path) -> Callable[..., ExperimentFolder]:
    """Make a search with finished, pruned, failed and running trials."""

    def make(name: str = "first") -> ExperimentFolder:
        return new_experiment(tmp_path / "results", name, empty_database)

    return make


@pytest.fixture
def finished(make_experiment: Callable[..., ExperimentFolder]) -> ExperimentFolder:
    return finished_without_model(make_experiment())


@pytest.fixture(scope="session")
def sent(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> ExperimentFolder:
    """A finished search that was sent; only looked at."""
    results = tmp_path_factory.mktemp("sent") / "results"
    folder = finished_without_model(new_experiment(results, "first", empty_database))
    report = sync(folder)
    assert report.complete, report
    assert (report.runs, report.created, report.current) == (10, 10, 10)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("mlflow"), free_port())
    one.start()
    yield one
    one.kill()
