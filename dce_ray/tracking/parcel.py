"""A parcel: everything that one MLflow run shall hold, and a fingerprint that tells whether it holds it already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dce_ray.experiment.folder import ExperimentFolder, RunFolder
from dce_ray.tracking.content import RunContent, Value, progress_values, search_content, trial_content
from dce_ray.tracking.files import confirmed_values, search_files, search_tables, trial_files, trial_tables
from dce_ray.tracking.tables import Table

VERSION = "1"
"""Of what is sent; a later version of this program sends everything again."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """The content of one run; what is costly to read is read when it is asked for."""

    content: RunContent
    files: tuple[tuple[Path, str], ...]
    """Files and their artifact folders."""
    fingerprint: str
    """Changes when anything in the parcel does."""
    readings: Callable[[], list[list[Value]]]
    """The curve, one list per reading."""
    results: Callable[[], list[Value]]
    """Values that exist once the run has ended."""
    tables: Callable[[], Mapping[str, Table]]


def parcels(folder: ExperimentFolder, *, live: bool, identity: str) -> Iterator[Parcel]:
    """The search itself first, then its trials and confirmation runs."""
    yield _search_parcel(folder, live=live, identity=identity)
    for trial in (*folder.trials(), *folder.confirmations()):
        yield _trial_parcel(folder, trial, live=live)


def _search_parcel(folder: ExperimentFolder, *, live: bool, identity: str) -> Parcel:
    content = search_content(folder, live=live, identity=identity)
    files = () if content.status == "RUNNING" else tuple(search_files(folder))
    return Parcel(
        content=content,
        files=files,
        fingerprint=_fingerprint(content, files),
        readings=list,
        results=list,
        tables=lambda: search_tables(folder),
    )


def _trial_parcel(folder: ExperimentFolder, trial: RunFolder, *, live: bool) -> Parcel:
    content = trial_content(folder, trial, live=live)
    files = () if content.status == "RUNNING" else tuple(trial_files(trial))

    return Parcel(
        content=content,
        files=files,
        fingerprint=_fingerprint(content, (*files, (trial.path / "progress.jsonl", ""))),
        readings=lambda: progress_values(trial),
        results=lambda: [] if content.status == "RUNNING" else [*content.results, *confirmed_values(trial, content)],
        tables=lambda: trial_tables(trial),
    )


def _fingerprint(content: RunContent, files: tuple[tuple[Path, str], ...]) -> str:
    """Hash over what the run says and over name and size of its files."""
    sizes = [(path.name, place, path.stat().st_size) for path, place in files if path.is_file()]
    told = (VERSION, content.status, sorted(content.tags.items()), sorted(content.params.items()), content.end_ms)
    return hashlib.sha256(repr((told, content.results, sizes)).encode()).hexdigest()[:32]
