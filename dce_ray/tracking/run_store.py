"""What the writer needs of MLflow: each request one method, each failure one of two errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dce_ray.errors import DceError, TrackingError
from dce_ray.tracking.address import Address
from dce_ray.tracking.connection import unreachable
from dce_ray.tracking.content import EXPERIMENT_TAG, RUN_TAG, RunContent, Value
from dce_ray.tracking.data_input import DataInput

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT_TAG = "mlflow.parentRunId"
SENT_TAG = "dce.sent"
MOST_VALUES, MOST_OTHERS, MOST_RUNS = 1000, 100, 1000
"""What one request carries: metric values; parameters and tags; runs found."""


class StoreDown(TrackingError):
    """The store does not answer: nothing more can be sent now."""


class StoreRefused(TrackingError):
    """The store answers, and does not take this."""


@dataclass(slots=True)
class KnownRun:
    """A run that the store holds, and what it holds of it."""

    run_id: str
    status: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def sent(self) -> str | None:
        """Fingerprint of the content that was sent completely."""
        return self.tags.get(SENT_TAG)


class RunStore:
    """The runs of one search in one MLflow store.

    Args:
        client: answers; see :func:`dce_ray.tracking.connection.connect`.
        address: where it points.
        search: identity of the search.
    """

    def __init__(self, client: MlflowClient, address: Address, search: str) -> None:
        self.client = client
        self.address = address
        self.search = search

    @contextlib.contextmanager
    def _request(self, what: str) -> Iterator[None]:
        """Turn whatever MLflow and its drivers raise into StoreDown or StoreRefused."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except DceError:
            raise
        except MlflowException as fault:
            if fault.get_http_status_code() < 500:
                raise StoreRefused(f"{what}: MLflow refuses it ({str(fault).splitlines()[0][:300]})") from fault
            raise StoreDown(str(unreachable(self.address, fault))) from fault
        except Exception as fault:  # requests, urllib3, SQLAlchemy and operating system errors of the transport
            raise StoreDown(str(unreachable(self.address, fault))) from fault

    def experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """Number of the experiment ``name``, made where it does not exist; ``tags`` are set where they differ."""
        with self._request(f"experiment {name}"):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                with contextlib.suppress(StoreRefused), self._request(f"experiment {name}"):  # another search was first
                    self.client.create_experiment(name, artifact_location=self._artifacts(name), tags=dict(tags))
                found = self.client.get_experiment_by_name(name)
            if found is None or found.lifecycle_stage != "active":
                number = found.experiment_id if found else "<number>"
                raise StoreRefused(
                    f"experiment {name} was deleted in MLflow; bring it back: mlflow experiments restore -x {number}"
                )
            for key, value in tags.items():
                if found.tags.get(key) != value:
                    self.client.set_experiment_tag(found.experiment_id, key, value)
            return str(found.experiment_id)

    def _artifacts(self, name: str) -> str | None:
        return None if self.address.artifacts is None else (Path(self.address.artifacts) / name).as_uri()

    def runs(self, experiment_id: str) -> dict[str, KnownRun]:
        """All runs of the search by identity.

        A run that was created twice (its creator was cut off before the answer came, and the request was carried out
        later than the next search for it) is kept once.
        """
        found: dict[str, KnownRun] = {}
        with self._request("search for runs"):
            for run in self._pages(experiment_id):
                identity = run.data.tags[RUN_TAG]
                known = KnownRun(run.info.run_id, run.info.status, dict(run.data.params), dict(run.data.tags))
                twin = found.get(identity)
                if twin is not None:
                    known, spare = sorted((known, twin), key=lambda item: item.run_id)
                    self.client.delete_run(spare.run_id)
                found[identity] = known
        return found

    def _pages(self, experiment_id: str) -> Iterator[Run]:
        token = None
        while True:
            page = self.client.search_runs(
                [experiment_id], f"tags.`{EXPERIMENT_TAG}` = '{self.search}'", max_results=MOST_RUNS, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def create(self, experiment_id: str, content: RunContent, tags: Mapping[str, str]) -> KnownRun:
        """A new run; ``tags`` are those by which it is found again."""
        with self._request(content.name):
            run = self.client.create_run(experiment_id, content.start_ms, dict(tags), content.name)
        return KnownRun(run.info.run_id, run.info.status, {}, dict(run.data.tags))

    def add_input(self, known: KnownRun, data: DataInput) -> None:
        """Say which data set the run read."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entry = Dataset(data.name, data.digest, data.source_type, data.source)
        with self._request(f"data set of {known.run_id}"):
            self.client.log_inputs(known.run_id, [DatasetInput(entry, [InputTag("mlflow.data.context", "training")])])

    def send(
        self, known: KnownRun, values: Sequence[Value], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Add values and parameters, set tags: as few requests as MLflow's limits allow."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(item.key, item.value, item.time_ms, item.step) for item in values]
        rest_params = [Param(key, value) for key, value in params.items()]
        rest_tags = [RunTag(key, value) for key, value in tags.items()]
        while metrics or rest_params or rest_tags:
            with self._request(f"run {known.run_id}"):
                self.client.log_batch(
                    known.run_id, metrics[:MOST_VALUES], rest_params[:MOST_OTHERS], rest_tags[:MOST_OTHERS]
                )
            known.params |= {item.key: item.value for item in rest_params[:MOST_OTHERS]}
            known.tags |= {item.key: item.value for item in rest_tags[:MOST_OTHERS]}
            del metrics[:MOST_VALUES], rest_params[:MOST_OTHERS], rest_tags[:MOST_OTHERS]

    def upload(self, known: KnownRun, path: Path, folder: str) -> None:
        """Put a file among the run's artifacts, in place of one of the same name."""
        with self._request(f"artifact {path}"):
            self.client.log_artifact(known.run_id, str(path), folder or None)

    def write(self, known: KnownRun, text: str, file: str) -> None:
        """Write an artifact, in place of one of the same name."""
        with self._request(f"artifact {file}"):
            self.client.log_text(known.run_id, text, file)

    def set_status(self, known: KnownRun, status: str, end_ms: int | None) -> None:
        """End a run, or take it up again."""
        with self._request(f"run {known.run_id}"):
            if status == "RUNNING":
                self.client.update_run(known.run_id, status)
            else:
                self.client.set_terminated(known.run_id, status, end_ms)
        known.status = status

    def call(self, what: str, function: Any, *args: Any) -> Any:
        """Any other request of the client, with the same two errors."""
        with self._request(what):
            return function(*args)
