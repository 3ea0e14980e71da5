"""Everything that one MLflow run shall hold, and a fingerprint that tells whether it holds it already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.records import Records, Stamp, stamp_of
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.experiment.single import SingleRun
from dce_ray.tracking.artifacts import (
    run_files,
    run_tables,
    search_files,
    search_tables,
    single_files,
    single_on_test,
    single_tables,
    values_on_test,
)
from dce_ray.tracking.content import RunContent, Value, progress_values, run_content, search_content
from dce_ray.tracking.points import PointContent, PointReader
from dce_ray.tracking.tables import Table

VERSION = "3"
"""Of what is sent; a later version of this program sends everything again."""


@dataclass(frozen=True, slots=True)
class RunUpload:
    """The content of one run; what is costly to read is read when it is asked for."""

    content: RunContent
    files: tuple[tuple[Path, str], ...]
    """Files and their artifact folders."""
    fingerprint: str
    """Changes when anything of this does; not when the values of a model are the same as of another time."""
    readings: Callable[[], list[list[Value]]]
    """The curve, one list per reading."""
    results: Callable[[], list[Value]]
    """Values that exist once the run has ended; of a point, what the model says now."""
    tables: Callable[[], Mapping[str, Table]]


class Uploads:
    """What MLflow shall hold of a folder, pass by pass: of a run that has ended it is read and made up once.

    Args:
        folder: of the search.
        identity: names the search; see :func:`dce_ray.tracking.state.search_identity`.
        points: its points; None reads them from the folder.
    """

    def __init__(self, folder: ExperimentFolder, identity: str, points: PointReader | None = None) -> None:
        self.folder, self.identity = folder, identity
        self.records = Records(folder)
        self.points = points or PointReader(folder)
        self._ended: dict[Path, tuple[RunRecord, Stamp | None, RunUpload]] = {}

    def read(self, *, live: bool) -> Iterator[RunUpload]:
        """The search itself first, then its points, then its runs, as the folder lists them: a parent before its own.

        Args:
            live: whether the search is running.
        """
        if isinstance(self.folder, SingleRun):
            yield _single_upload(self.folder, live=live, identity=self.identity)
            return
        searched = self.records.trials()  # before the points: a run that starts now has no point yet
        runs = [*searched, *self.records.confirmations()]
        yield _search_upload(self.folder, [record for _, record in runs], live=live, identity=self.identity)
        yield from (_point_upload(point) for point in self.points.read(self.records.trials(), live=live))
        for run, record in runs:
            yield self._run_upload(run, record, live=live)

    def _run_upload(self, run: RunFolder, record: RunRecord, *, live: bool) -> RunUpload:
        if record.state == "running" or record.on_test:  # files of a run on test may come behind its record
            return _run_upload(self.folder, run, record, live=live)
        known, stamp = self._ended.get(run.path), stamp_of(run.progress)
        if known is None or known[:2] != (record, stamp):
            known = self._ended[run.path] = (record, stamp, _run_upload(self.folder, run, record, live=live))
        return known[2]


def _search_upload(folder: ExperimentFolder, records: list[RunRecord], *, live: bool, identity: str) -> RunUpload:
    content = search_content(folder, records, live=live, identity=identity)
    files = () if content.status == "RUNNING" else tuple(search_files(folder))
    return RunUpload(
        content=content,
        files=files,
        fingerprint=_fingerprint(content, files),
        readings=list,
        results=list,
        tables=lambda: search_tables(folder),
    )


def _point_upload(point: PointContent) -> RunUpload:
    return RunUpload(
        content=point.content,
        files=(),
        fingerprint=_fingerprint(point.content, (), point.state),
        readings=list,
        results=lambda: list(point.values),
        tables=point.tables,
    )


def _run_upload(folder: ExperimentFolder, run: RunFolder, record: RunRecord, *, live: bool) -> RunUpload:
    content = run_content(folder, record, live=live)
    files = () if content.status == "RUNNING" else tuple(run_files(run, on_test=record.on_test))
    return RunUpload(
        content=content,
        files=files,
        fingerprint=_fingerprint(content, (*files, (run.progress, ""))),
        readings=lambda: progress_values(run),
        results=lambda: [] if content.status == "RUNNING" else [*content.results, *values_on_test(run, content)],
        tables=lambda: run_tables(run),
    )


def _single_upload(folder: SingleRun, *, live: bool, identity: str) -> RunUpload:
    """A run by itself: nested below nothing, with a table for each split that it was measured on."""
    content = replace(run_content(folder, folder.record(), live=live), identity=identity)
    files = () if content.status == "RUNNING" else tuple(single_files(folder))
    return RunUpload(
        content=content,
        files=files,
        fingerprint=_fingerprint(content, (*files, (folder.run.progress, ""))),
        readings=lambda: progress_values(folder.run),
        results=lambda: [] if content.status == "RUNNING" else [*content.results, *single_on_test(folder, content)],
        tables=lambda: single_tables(folder),
    )


def _fingerprint(content: RunContent, files: tuple[tuple[Path, str], ...], state: str = "") -> str:
    """Hash over what the run says, over name and size of its files, and over ``state``."""
    sizes = [(path.name, place, path.stat().st_size) for path, place in files if path.is_file()]
    told = (VERSION, content.status, sorted(content.tags.items()), sorted(content.params.items()), content.end_ms)
    return hashlib.sha256(repr((told, content.results, sizes, state)).encode()).hexdigest()[:32]
