"""Opening an MLflow store: created by one process alone if it is a local database, given up soon if it is silent."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dce_ray.errors import TrackingError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.tracking.address import Address, sync_command
from dce_ray.tracking.locks import wait_for_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Requests that create a run must not be repeated below us: the writer looks before it creates again.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""What MLflow reads from the environment at every request; its own default retries for four minutes."""
TIMEOUT, TIMEOUT_S = "MLFLOW_HTTP_REQUEST_TIMEOUT", "20"
"""Seconds until a request is given up, unless the user's environment says otherwise; MLflow's own default is 120."""
CREATION_PATIENCE_S = 180.0
ANSWER_S = 3.0
"""For so long a server may take to let itself be spoken to."""
PORTS = {"http": 80, "https": 443}
FULL = ("database or disk is full", "no space left on device", "disk quota exceeded")
"""What SQLite and the operating system say where nothing more can be written."""


@contextlib.contextmanager
def short_requests() -> Iterator[None]:
    """Inside, MLflow gives up on a request after seconds and does not report usage."""
    settings = ENVIRONMENT | {TIMEOUT: os.environ.get(TIMEOUT, TIMEOUT_S)}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    quiet = {name: logging.getLogger(name).level for name in ("alembic", "mlflow")}
    for name in quiet:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in quiet.items():
            logging.getLogger(name).setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def connect(address: Address) -> MlflowClient:
    """A client of the store, which answers; a local database is created first, by one process at a time.

    Several processes that create one SQLite database at once leave it unusable.

    Raises:
        TrackingError: the store does not answer or is none.
    """
    from mlflow import MlflowClient

    try:
        _ask_once(address)
        with _creation(address):
            client = MlflowClient(tracking_uri=address.uri)
            client.search_experiments(max_results=1)
    except TrackingError:
        raise
    except Exception as fault:  # whatever the drivers of the databases raise
        raise unreachable(address, fault) from fault
    return client


def _ask_once(address: Address) -> None:
    """Open a database that is a server: MLflow itself asks one that lets nobody in again and again, for 100 s."""
    if address.server or address.database_file is not None:
        return
    from sqlalchemy import create_engine

    engine = create_engine(address.uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


@contextlib.contextmanager
def _creation(address: Address) -> Iterator[None]:
    file = address.database_file
    if file is None:
        yield
        return
    made = file.with_name(f".{file.name}.made")
    if made.exists() and file.exists():
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        wait_for_lock(lock.fileno(), CREATION_PATIENCE_S, f"{file} is being made by another process; try again")
        if not file.exists():
            made.unlink(missing_ok=True)
        yield
        made.touch()


def unreachable(address: Address, fault: Exception) -> TrackingError:
    """What to tell the user when the store does not answer."""
    text = str(fault).strip().replace(address.uri, address.shown)
    reason = text.splitlines()[0][:300] if text else type(fault).__name__
    if address.server and "timed out" in text.lower():
        reason = "no answer in time"
    elif address.server and any(word in text for word in ("Failed to establish", "Connection refused")):
        reason = "nobody listens there"
    full = next((words for words in FULL if words in text.lower()), None)
    if address.database_file is not None and full:
        place = address.database_file.parent
        return TrackingError(f"MLflow at {address.shown} takes no more ({full}); make room in {place}, then sync")
    if address.server:
        remedy = "start the server or mend tracking.uri"
    elif address.database_file is not None:
        remedy = "see whether another program uses the file"
    elif any(word in text for word in ("No module named", "Can't load plugin")):
        remedy = "install the database's driver (PostgreSQL's: pip install 'dce-ray[postgres]')"
    else:
        remedy = "start the database, or mend tracking.uri and its password"
    return TrackingError(f"MLflow at {address.shown} does not answer ({reason}); {remedy}, then sync")


def silent_server(folder: ExperimentFolder, address: Address, uri: str | None) -> list[str]:
    """A warning where nobody listens at the address of an MLflow server; what is tracked goes on without it."""
    if not address.server:
        return []
    parts = urlsplit(address.uri)
    try:
        socket.create_connection((parts.hostname, parts.port or PORTS[parts.scheme]), ANSWER_S).close()
    except (OSError, UnicodeError) as fault:
        return [
            f"warning: nobody answers at {address.shown} ({fault}): MLflow gets what is done once the server is there; "
            f"after it has ended: {sync_command(folder, uri)} (or switch it off: tracking=off)"
        ]
    return []
