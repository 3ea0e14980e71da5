"""Sending an experiment folder to MLflow so that every run and every value arrives once, whatever happens in between.

A run is looked for by its tags before it is created; values carry the folder's own times, so that sending them again
adds nothing; files are replaced. What this process has sent it remembers, what earlier ones have sent the store tells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dce_ray.errors import DceError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.single import open_folder
from dce_ray.tracking.address import Address, address_of, ui_url
from dce_ray.tracking.connection import connect, short_requests
from dce_ray.tracking.content import (
    ABLATIONS,
    CONFIRMATION,
    EXPERIMENT_TAG,
    NOTE_TAG,
    POINT,
    RUN_TAG,
    SEARCH,
    SUPERSEDED,
    Value,
    experiment_name,
    ranking_metric,
    run_identity,
)
from dce_ray.tracking.data_input import data_input
from dce_ray.tracking.run_store import PARENT_TAG, SENT_TAG, KnownRun, RunStore, StoreDown
from dce_ray.tracking.state import keep_report, only_sender, search_identity
from dce_ray.tracking.sync_report import SyncReport
from dce_ray.tracking.tables import LIST_TAG, table_tag
from dce_ray.tracking.upload import RunUpload, Uploads
from dce_ray.tracking.views import KIND_TAGS, view_of, view_tags

PARENTS = (SEARCH, ABLATIONS, CONFIRMATION, POINT)
"""Kinds of runs that others are nested below."""


def sync(folder: ExperimentFolder | Path | str, uri: str | None = None, *, patience_s: float = 30.0) -> SyncReport:
    """Bring an experiment folder into MLflow; a second time changes nothing.

    Args:
        folder: what a search, ablations or a single run wrote, finished or not.
        uri: tracking URI; None is ``MLFLOW_TRACKING_URI``, else the database of the results folder.
        patience_s: how long to wait for another process that sends the same folder.

    Raises:
        TrackingError: for an address that is none, or a folder that another process keeps sending.
        SearchError: for a folder that holds no experiment.
    """
    experiment = folder if isinstance(folder, ExperimentFolder) else open_folder(folder)
    address = address_of(experiment, uri)
    with only_sender(experiment, address.uri, patience_s):
        return Writer(experiment, address).send(live=experiment.in_use)


@dataclass(slots=True)
class Memory:
    """What this process has sent of one run."""

    fingerprint: str = ""
    readings: int = 0
    files: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Size and time of each file."""
    values: dict[str, float] = field(default_factory=dict)
    """What a point's metrics were last: the model is asked often, and says the same of most points."""


class Writer:
    """Sends one folder to one store, pass by pass.

    Args:
        folder: the search.
        address: the store; opened with the first pass.
    """

    def __init__(self, folder: ExperimentFolder, address: Address) -> None:
        self.folder = folder
        self.address = address
        self.identity = search_identity(folder)
        self.uploads = Uploads(folder, self.identity)
        self.store: RunStore | None = None
        self.experiment_id = ""
        self.known: dict[str, KnownRun] = {}
        """Runs in the store by identity."""
        self.memory: dict[str, Memory] = {}
        """By run id."""

    def send(self, *, live: bool) -> SyncReport:
        """One pass: all that the folder holds and the store does not.

        Args:
            live: whether the search is running.

        Returns:
            What was done, and what could not be; a store that does not answer ends the pass early.
        """
        report = SyncReport(self.address.shown, experiment_name(self.folder))
        with short_requests():
            try:
                store = self._open()
                report.experiment_id = self.experiment_id
                report.url = ui_url(self.address, self.experiment_id, view_of(self.folder.config))
                self._send_all(store, report, live=live)
            except StoreDown as fault:
                self.store = None  # a request may have been carried out without our knowing: look again first
                report.faults.append(str(fault))
            except DceError as fault:
                report.faults.append(str(fault))
        keep_report(self.folder, self.address.uri, report)
        return report

    def _open(self) -> RunStore:
        if self.store is None:
            store = RunStore(connect(self.address), self.address, self.identity)
            tags = KIND_TAGS | view_tags(self.folder.config, ranking_metric(self.folder))
            self.experiment_id = store.experiment(experiment_name(self.folder), tags)
            self.known = store.runs(self.experiment_id)
            self.store = store
        return self.store

    def _send_all(self, store: RunStore, report: SyncReport, *, live: bool) -> None:
        everything = list(self.uploads.read(live=live))
        report.runs = len(everything)
        for upload in everything:
            if upload.content.kind in PARENTS:
                self._run(store, report, upload)
        # The search comes last: it is up to date only when its runs are.
        for upload in (*everything[1:], everything[0]):
            known = self._run(store, report, upload)
            memory = self.memory.setdefault(known.run_id, Memory())
            try:
                # A search that goes on with nothing left to do ends as it was sent before, but was RUNNING in between.
                as_sent = upload.fingerprint in (known.sent, memory.fingerprint)
                if not as_sent or known.status != upload.content.status:
                    self._deliver(store, report, upload, known, memory)
                    memory.fingerprint = upload.fingerprint
                report.current += 1
            except StoreDown:
                raise
            except DceError as fault:  # refused, or a damaged file of this run: the others are sent all the same
                report.faults.append(str(fault))
        self._retire(store, {upload.content.identity for upload in everything})
        if not live:
            self._send_model(store)

    def _send_model(self, store: RunStore) -> None:
        """The winner as a model of its confirmation run; a tag of that run says which checkpoint was logged."""
        if not self.folder.confirmation.is_file() or self.folder.config.get("kind"):  # the search has logged it
            return
        from dce_ray.tracking.winner import MODEL_TAG, log_winner, winning_run  # brings torch

        run = winning_run(self.folder)
        if run is None:
            return
        known = self.known[run_identity(run.record())]
        state = f"{run.checkpoint.stat().st_size} bytes"
        if known.tags.get(MODEL_TAG) != state:
            log_winner(store, self.experiment_id, known, run)
            store.send(known, (), {}, {MODEL_TAG: state})

    def _retire(self, store: RunStore, present: set[str]) -> None:
        """Mark confirmation runs that a later plan of the same search has replaced: the folder holds them no more."""
        for identity in self.known.keys() - present:
            known = self.known[identity]
            if known.tags.get("kind") == "confirm" and known.tags.get("status") != SUPERSEDED:
                store.send(known, (), {}, {"status": SUPERSEDED, SENT_TAG: ""})  # "": sent anew if the plan returns
                store.set_status(known, "KILLED", None)
                self.memory.pop(known.run_id, None)

    def _run(self, store: RunStore, report: SyncReport, upload: RunUpload) -> KnownRun:
        """The run in the store, created where it is not there yet; what it is nested below is there already."""
        content = upload.content
        known = self.known.get(content.identity)
        if known is None:
            tags = dict(content.tags) | {EXPERIMENT_TAG: self.identity, RUN_TAG: content.identity}
            if content.identity != self.identity:
                tags[PARENT_TAG] = self.known[content.parent or self.identity].run_id
            known = self.known[content.identity] = store.create(self.experiment_id, content, tags)
            report.created += 1
        return known

    def _deliver(self, store: RunStore, report: SyncReport, upload: RunUpload, known: KnownRun, memory: Memory) -> None:
        content, ended = upload.content, upload.content.status != "RUNNING"
        if not ended and known.status != "RUNNING":
            store.set_status(known, "RUNNING", None)
        readings = upload.readings()
        values = [value for reading in readings[memory.readings :] for value in reading]
        values += self._changed(upload, memory)
        tags = {key: value for key, value in content.tags.items() if known.tags.get(key) != value}
        if known.tags.get("error") and "error" not in content.tags:
            tags["error"] = ""  # of an attempt before: the run was tried again
        if not known.tags.get(NOTE_TAG, "verdict:").startswith("verdict:"):
            tags.pop(NOTE_TAG, None)  # somebody's own words in the place of ours
        store.send(known, values, self._new_params(report, upload, known), tags)
        memory.readings = len(readings)
        report.values += len(values)
        if ended:
            self._send_input(store, upload, known)
            self._send_files(store, upload, known, memory)
            store.set_status(known, content.status, content.end_ms)
            store.send(known, (), {}, {SENT_TAG: upload.fingerprint})

    @staticmethod
    def _changed(upload: RunUpload, memory: Memory) -> list[Value]:
        """Values beside the curve; of a point those that differ from what was sent before."""
        values = upload.results()
        if upload.content.kind == POINT:
            values = [value for value in values if memory.values.get(value.key) != value.value]
            memory.values |= {value.key: value.value for value in values}
        return values

    def _new_params(self, report: SyncReport, upload: RunUpload, known: KnownRun) -> dict[str, str]:
        """Parameters that the run lacks; those that it has cannot be changed in MLflow."""
        params, name = upload.content.params, upload.content.name
        for key, value in params.items():
            if known.params.get(key, value) != value:
                report.notes.append(f"{name}: MLflow keeps {key}={known.params[key]}, it is now {value}")
        return {key: value for key, value in params.items() if key not in known.params}

    def _send_input(self, store: RunStore, upload: RunUpload, known: KnownRun) -> None:
        config = self.folder.config
        data, read = data_input(config, self.folder.data_name), config.get("run", {}).get("data")
        drew = config.get("kind") == "ablation" and upload.content.params.get("data", read) != read  # data of its own
        if data is not None and not drew:
            store.add_input(known, data)

    def _send_files(self, store: RunStore, upload: RunUpload, known: KnownRun, memory: Memory) -> None:
        for path, place in upload.files:
            state = (path.stat().st_size, path.stat().st_mtime_ns)
            if memory.files.get(path) != state:
                store.upload(known, path, place)
                memory.files[path] = state
        tables = upload.tables()
        for name, table in tables.items():
            store.write(known, table.split_json(), f"tables/{name}.json")
            store.write(known, table.comma_separated(), f"tables/{name}.csv")
            store.write(known, table.markdown(), f"tables/{name}.md")
        store.send(known, (), {}, {LIST_TAG: table_tag([f"tables/{name}.json" for name in tables])} if tables else {})
