"""Searches that an MLflow store holds, brought back as experiment folders that a report can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dce_ray.errors import TrackingError
from dce_ray.tracking.address import Address
from dce_ray.tracking.connection import connect, short_requests
from dce_ray.tracking.content import EXPERIMENT_TAG, RUN_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SEARCH_FILES = ("config.json", "confirmation.json")
CONFIRM_FILES = ("record.json", "table.json")
RUNS_PER_PAGE = 1000


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
            folders = {
                run.data.tags[EXPERIMENT_TAG]: _fetch_search(client, run, target)
                for run in _runs(client, experiments, "search")
            }
            newest = {(run.data.tags[EXPERIMENT_TAG], _key(run)): run for run in _runs(client, experiments, "confirm")}
            for (identity, key), run in newest.items():
                if identity in folders:
                    _fetch(client, run, CONFIRM_FILES, folders[identity] / "confirm" / key)
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


def _key(run: Run) -> str:
    """Name of a confirmation run's folder; what follows in the tag tells a later run of that name from an earlier."""
    return str(run.data.tags[RUN_TAG]).removeprefix("confirm/").split("/")[0]
