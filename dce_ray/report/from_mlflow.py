"""Searches that an MLflow store holds, brought back as experiment folders that a report can read."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dce_ray.errors import TrackingError
from dce_ray.experiment.folder import FORMAT
from dce_ray.experiment.run_folder import RECORD
from dce_ray.tracking.address import Address
from dce_ray.tracking.connection import connect, short_requests
from dce_ray.tracking.content import EXPERIMENT_TAG, SEARCH, SUPERSEDED

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SEARCH_FILES = ("config.json", "confirmation.json")
CONFIRM_FILES = (RECORD, "table.json")
RUNS_PER_PAGE = 1000
log = logging.getLogger(__name__)


def fetch_experiments(uri: str, target: Path) -> list[Path]:
    """Write what a report needs of every search of a store into ``target/<data>/<baseline>/<name>``.

    Args:
        uri: a server (``http://host:port``) or a database (``sqlite:////folder/mlflow.db``).
        target: an empty folder.

    Returns:
        The experiment folders, in the order in which the searches began.

    Raises:
        TrackingError: the store does not answer, or gives its files to nobody.
    """
    with short_requests():
        client = connect(Address(uri))
        try:
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            searches = [run for run in _runs(client, experiments, SEARCH) if _readable(run)]
            folders = {run.data.tags[EXPERIMENT_TAG]: _fetch_search(client, run, target) for run in searches}
            for run in _confirmations(client, experiments):
                folder = folders.get(run.data.tags[EXPERIMENT_TAG])
                if folder is not None:
                    _fetch(client, run, CONFIRM_FILES, folder / "confirm" / run.info.run_id)
        except (OSError, ValueError, KeyError, RuntimeError) as fault:  # MlflowException is a RuntimeError or Exception
            raise TrackingError(
                f"{uri}: cannot be read ({fault}); is its artifact store reachable from here?"
            ) from fault
    return list(folders.values())


def _runs(client: MlflowClient, experiments: Sequence[str], kind: str) -> Iterator[Run]:
    """Runs of one kind that were not deleted, oldest first."""
    token: str | None = None
    while experiments:
        page = client.search_runs(
            list(experiments),
            f"tags.kind = '{kind}'",
            max_results=RUNS_PER_PAGE,
            order_by=["start_time"],
            page_token=token,
        )
        yield from (run for run in page if EXPERIMENT_TAG in run.data.tags)
        token = page.token
        if not token:
            return


def _readable(run: Run) -> bool:
    """Whether this version reads the folder that a search was sent from; said where it does not."""
    found = run.data.params.get("format", "1")
    if found == str(FORMAT):
        return True
    log.warning("left out %s: written in format %s, this version reads format %s", run.info.run_name, found, FORMAT)
    return False


def _confirmations(client: MlflowClient, experiments: Sequence[str]) -> list[Run]:
    """Confirmation runs that count: of each setting, fold and seed of a search the newest."""
    newest = {}
    for run in _runs(client, experiments, "confirm"):
        tags = run.data.tags
        if tags.get("status") != SUPERSEDED:
            newest[(tags[EXPERIMENT_TAG], tags.get("setting"), tags.get("fold"), tags["seed"])] = run
    return list(newest.values())


def _fetch_search(client: MlflowClient, run: Run, target: Path) -> Path:
    tags = run.data.tags
    folder: Path = target / tags["data"] / tags["baseline"] / tags["search"]
    if folder.exists():  # two results folders may hold a search of the same name
        folder = folder.with_name(f"{folder.name}-{tags[EXPERIMENT_TAG][:8]}")
    _fetch(client, run, SEARCH_FILES, folder)
    return folder


def _fetch(client: MlflowClient, run: Run, names: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    there = {item.path for item in client.list_artifacts(run.info.run_id)}
    for name in names:
        if name in there:
            client.download_artifacts(run.info.run_id, name, str(folder))
