"""Where MLflow keeps the runs of an experiment folder, and how a user opens them.

Default: ``<results root>/mlflow.db`` with artifacts in ``<results root>/mlartifacts``, one database for all searches
under one results folder, so that the UI compares them without a server.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dce_ray.errors import TrackingError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.words import masked, runnable

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https")
VARIABLE = "MLFLOW_TRACKING_URI"
UI_PORT = 5000


@dataclass(frozen=True, slots=True)
class Address:
    """One MLflow store."""

    uri: str
    """What MLflow calls the tracking URI."""
    artifacts: str | None = None
    """Folder for the artifacts of new experiments; None leaves it to the server."""

    @property
    def shown(self) -> str:
        """The URI without its password, for messages and files."""
        return masked(self.uri)

    @property
    def server(self) -> bool:
        """Whether a server stands between us and the store."""
        return urlsplit(self.uri).scheme in SERVERS

    @property
    def database_file(self) -> Path | None:
        """File of a local database; None for servers and for databases that are servers themselves."""
        if not self.uri.startswith("sqlite:///"):
            return None
        return Path(self.uri.removeprefix("sqlite:///")).expanduser().resolve()


def address_of(folder: ExperimentFolder, uri: str | None = None, *, key: str = "tracking.uri") -> Address:
    """Where the runs of ``folder`` go: ``uri``, else ``MLFLOW_TRACKING_URI``, else the database of its results root.

    Args:
        folder: of the experiment.
        uri: as the user gave it.
        key: that it was given as, for the message.

    Raises:
        TrackingError: for an address that MLflow cannot keep runs at, or when mlflow is not installed.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise TrackingError("mlflow is not installed; pip install mlflow, or search with tracking=off")
    root = folder.root
    text = uri or os.environ.get(VARIABLE) or f"sqlite:///{root / 'mlflow.db'}"
    scheme = urlsplit(text).scheme.split("+")[0]
    if scheme not in (*DATABASES, *SERVERS):
        raise TrackingError(
            f"{key}={masked(text)}: neither a server (http://host:port) nor a database "
            f"(sqlite:////folder/mlflow.db, postgresql://...); leave it out for {root / 'mlflow.db'}"
            + (", or switch MLflow off: tracking=off" if key == "tracking.uri" else "")
        )
    if scheme in SERVERS and not urlsplit(text).netloc:
        raise TrackingError(f"tracking.uri={masked(text)}: names no host; write http://host:port")
    address = Address(text)
    if address.server:
        return address
    file = address.database_file
    if file is None:
        return Address(text, str(root / "mlartifacts"))
    return Address(f"sqlite:///{file}", str(file.parent / "mlartifacts"))


def ui_command(address: Address) -> str | None:
    """The command that opens the UI of a database; None where a server shows it already."""
    if address.server:
        return None
    options = ["--host", "127.0.0.1", "--port", str(UI_PORT), "--backend-store-uri", address.shown]
    return runnable(shlex.join(["python", "-m", "mlflow", "ui", *options]))


def ui_url(address: Address, experiment_id: str, view: str) -> str:
    """The page of an experiment, in the layout for training runs, with our columns and charts.

    Args:
        experiment_id: MLflow's number of the experiment.
        view: key of the view that ``views.py`` stored on the experiment.
    """
    base = address.shown.rstrip("/") if address.server else f"http://127.0.0.1:{UI_PORT}"
    return f"{base}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={view}"


def sync_command(folder: ExperimentFolder, uri: str | None) -> str:
    """The command that sends what is still unsent."""
    target = [f"uri={masked(uri)}"] if uri else []
    return runnable(shlex.join(["python", "-m", "dce_ray.tracking", "sync", str(folder.path), *target]))
