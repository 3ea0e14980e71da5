"""What an experiment folder says, in MLflow's words: runs, tags, parameters, metrics with steps.

Everything here is a function of the folder alone, timestamps included, so that sending it twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dce_ray.commandline import flatten
from dce_ray.config import SCALARS
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, PLAIN_LABEL, RunRecord
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.experiment.sessions import sessions_of, told
from dce_ray.files import read_json
from dce_ray.words import runnable

EXPERIMENT_TAG = "dce.experiment"
"""Tag with the identity of the experiment folder; see :func:`dce_ray.tracking.state.search_identity`."""
RUN_TAG = "dce.run"
"""Tag with the identity of the run within it; see :class:`RunContent`."""
SEARCH, ABLATIONS, CONFIRMATION = "search", "ablations", "confirmation"
"""Kinds of a parent run: what the runs of the folder belong to; the last one is a confirmation made anew."""
PARENT_KINDS: Mapping[str, str] = {"ablation": ABLATIONS, "confirmation": CONFIRMATION}
"""By what ``kind`` says in ``config.json``; where there is none, the folder is a search's."""
UNCONFIRMED = "unconfirmed"
"""Outcome of a verdict without a confirmation, as ``confirmation.json`` has it."""
POINT = "point"
"""Kind of a run that stands for a point, or for the plain baseline, and has its replicates below it
(``policy=replicates``). All other kinds are roles of records."""
LONGEST_TEXT = 5000
"""Longest tag that every MLflow store takes, in characters."""
STATUS = {"finished": "FINISHED", "failed": "FAILED", "pruned": "KILLED", "interrupted": "KILLED", "running": "RUNNING"}
"""MLflow's status of a state; a pruned trial was stopped from outside, its tag ``status`` says why."""
NOTE_TAG = "mlflow.note.content"
"""What MLflow's UI shows as the description of a run."""
NO_VERDICT = "verdict: none yet"
"""Description of a search without a verdict; those that have one begin with ``verdict:`` too."""
SUPERSEDED = "superseded"
"""The tag ``status`` of a run that its folder holds no more: the confirmation was planned anew."""


@dataclass(frozen=True, slots=True)
class Value:
    """One point of a metric's curve."""

    key: str
    value: float
    step: int
    """Iteration."""
    time_ms: int
    """Unix time in milliseconds."""


@dataclass(frozen=True, slots=True)
class RunContent:
    """One MLflow run: the search itself, or one of its runs."""

    kind: str
    """:data:`SEARCH`, :data:`ABLATIONS` or :data:`POINT`, or the record's role."""
    identity: str
    """Names the run within its search for ever."""
    name: str
    """What the UI shows."""
    status: str
    """``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    start_ms: int
    end_ms: int | None
    results: tuple[Value, ...] = ()
    """Values that exist once the run has ended."""
    parent: str | None = None
    """Identity of the run that this one is nested below; None: the search's, which itself is nested below none."""


def baseline_name(folder: ExperimentFolder) -> str:
    """Name of the baseline."""
    return str(folder.config.get("run", {}).get("baseline", folder.path.parent.name))


def experiment_name(folder: ExperimentFolder) -> str:
    """``<data>/<baseline>``; of the searches of a campaign one for all of them, ``campaigns/<name>``."""
    campaign = folder.config.get("campaign")
    return f"campaigns/{campaign}" if campaign else f"{folder.data_name}/{baseline_name(folder)}"


def shown_name(folder: ExperimentFolder) -> str:
    """What tells a search's runs apart from those of the other searches of its MLflow experiment."""
    campaign = folder.config.get("campaign")
    return f"{folder.data_name}/{baseline_name(folder)}" if campaign else folder.path.name


def ranking_metric(folder: ExperimentFolder) -> str:
    """Name of the curve that ranks trials: the last average of the run's evaluation, or the classification mAP."""
    if folder.config.get("run", {}).get("metric") == "classification":
        return "mAP/classification"
    averages = folder.config.get("run", {}).get("evaluation", {}).get("averages") or ["0.1:0.7"]
    return f"mAP/avg_{averages[-1]}"


def run_content(folder: ExperimentFolder, record: RunRecord, *, live: bool) -> RunContent:
    """A run of the experiment, whatever its role.

    Args:
        folder: the search it belongs to.
        record: of the run.
        live: whether the search is running; where it is not, a run that still says so was interrupted.
    """
    state = "interrupted" if record.state == "running" and not live else record.state
    replicated = record.role in ("plain", "trial") and folder.config.get("policy") == "replicates"
    tags = common_tags(folder, record) | {
        "kind": record.role,
        "setting": record.setting,
        "components": record.components,
        "protocol": str(record.config.get("protocol", "")),
        "seed": str(record.seed),
        "origin": record.origin,
        "status": state,
        "host": record.host,
        "search": folder.path.name,
    }
    if record.error:
        tags["error"] = record.error[:LONGEST_TEXT]
    if record.fold is not None:
        tags["fold"] = str(record.fold)
    if replicated and record.point is not None:
        tags["point"] = str(record.point)
    return RunContent(
        kind=record.role,
        identity=run_identity(record),
        name=f"{shown_name(folder)} {_name(record, replicated=replicated)}",
        status=STATUS[state],
        tags=tags,
        params=_params(record),
        start_ms=milliseconds(record.started),
        end_ms=None if record.ended is None else milliseconds(record.ended),
        results=tuple(_results(record, replicated=replicated)),
        parent=point_identity(record.point) if replicated else None,
    )


def run_identity(record: RunRecord) -> str:
    """Names the run within its search for ever.

    A confirmation that is planned anew uses the same folders for other settings: these are other runs.
    """
    if record.role != "confirm":
        return f"{record.role}/{record.key}"
    config = hashlib.sha256(json.dumps(record.config, sort_keys=True).encode()).hexdigest()[:8]
    return f"{record.role}/{record.key}/{config}"


def point_identity(point: int | None) -> str:
    """Names the run of a point, or of the plain baseline (None), within its search for ever.

    >>> point_identity(7), point_identity(None)
    ('point/7', 'point/baseline')
    """
    return f"{POINT}/{PLAIN if point is None else point}"


def point_name(record: RunRecord) -> str:
    """What the UI shows of the point of a run: ``point 007``, or that it is the plain baseline; its number is padded,
    so that the UI sorts it."""
    if record.point is None:
        return PLAIN_LABEL
    return f"{PLAIN_LABEL} {record.point:03d}" if record.role == "plain" else f"point {record.point:03d}"


def search_content(folder: ExperimentFolder, records: list[RunRecord], *, live: bool, identity: str) -> RunContent:
    """The search itself, or the ablations that share the folder: the parent of all its runs.

    Args:
        folder: the search.
        records: of all its runs.
        live: whether it is running.
        identity: names the search; see :func:`dce_ray.tracking.state.search_identity`.
    """
    config = folder.config
    state = "running" if live else _search_state(folder, config, records)
    starts = [record.started for record in records if record.started is not None]
    ends = [record.ended for record in records if record.ended is not None]
    run = config.get("run", {})
    kind = PARENT_KINDS.get(config.get("kind", ""), SEARCH)
    return RunContent(
        kind=kind,
        identity=identity,
        name=shown_name(folder),
        status=STATUS[state],
        tags=common_tags(folder)
        | {
            "kind": kind,
            "protocol": str(run.get("protocol", "")),
            "status": state,
            "host": told(folder.sessions, "host") or (records[0].host if records else ""),
            "search": folder.path.name,
            **{f"trials.{name}": str(count) for name, count in _counts(records).items()},
            **({} if kind == ABLATIONS else {NOTE_TAG: _verdict(folder)}),
            **_point_counts(config, records),
        },
        params={key: _text(value) for key, value in flatten(config).items()},
        start_ms=milliseconds(min(starts, default=(folder.path / "config.json").stat().st_mtime)),
        end_ms=None if live else milliseconds(max(ends, default=folder.path.stat().st_mtime)),
    )


def _verdict(folder: ExperimentFolder) -> str:
    """The verdict in Markdown, its sentence first for those who read nothing else."""
    found = read_json(folder.confirmation).get("verdict") if folder.confirmation.is_file() else None
    if not found:
        return NO_VERDICT
    lines = [str(found["sentence"]), *(f"- {line}" for line in found.get("details", ()))]
    command = [f"```\n{runnable(found['command'], anywhere=True)}\n```"] if found.get("command") else []
    return "\n\n".join(["\n".join([lines[0], "", *lines[1:]]).rstrip(), *command])[:LONGEST_TEXT]


def _search_state(folder: ExperimentFolder, config: Mapping[str, Any], records: list[RunRecord]) -> str:
    """``finished``, ``failed`` or ``interrupted``: what a search that no longer runs has come to."""
    states = {record.state for record in records}
    if states == {"failed"}:
        return "failed"
    nothing_to_confirm = config.get("kind") == "ablation" or config.get("confirm", {}).get("seeds") == 0
    confirmed = nothing_to_confirm or (folder.confirmation.is_file() and not _cut_off(folder))
    return "finished" if confirmed and states and "running" not in states else "interrupted"


def _cut_off(folder: ExperimentFolder) -> bool:
    """Whether the time budget has ended the confirmation before anything could be said."""
    return (read_json(folder.confirmation).get("verdict") or {}).get("outcome") == UNCONFIRMED


def _name(record: RunRecord, *, replicated: bool) -> str:
    """Numbers of runs are padded, so that the UI sorts them; else the record's own label."""
    if replicated:
        return f"run {record.number:03d} of {point_name(record)}"
    return f"trial {record.number:03d}" if record.role == "trial" else record.label


def progress_values(run: RunFolder) -> list[list[Value]]:
    """The curve of a run, one list per reading."""
    return [
        [
            Value(key, float(value), reading.iteration, milliseconds(reading.time))
            for key, value in reading.metrics.items()
            if value is not None
        ]
        for reading in run.readings()
    ]


def _results(record: RunRecord, *, replicated: bool) -> Iterator[Value]:
    if record.value is not None and record.ended is not None:
        # Never one column: a trial's score ranks on the selecting split, a confirmation run's is the test result, and
        # that of a replicate was read where other runs said.
        key = "test_score" if record.on_test else "fair_score" if replicated else "best_score"
        yield Value(key, record.value, record.iteration or 0, milliseconds(record.ended))


def common_tags(folder: ExperimentFolder, record: RunRecord | None = None) -> dict[str, str]:
    """Tags that all runs of a folder have.

    Args:
        folder: the search, or ablations.
        record: of the run, whose commits are those of the sessions that may have trained it; None for what stands for
            many runs and has the commits of all sessions.
    """
    sessions = folder.sessions
    return {
        "data": folder.data_name,
        "baseline": baseline_name(folder),
        "commit": told(sessions_of(record, sessions) if record else sessions, "commit") or "unknown",
    }


def _params(record: RunRecord) -> dict[str, str]:
    """The six under the paper's names, all else under its dotted key."""
    scalars = {f"method.{name}" for name in SCALARS}
    fixed = {key: _text(value) for key, value in flatten(record.config).items() if key not in scalars}
    return scalar_params(record) | fixed


def scalar_params(record: RunRecord) -> dict[str, str]:
    """The six under the paper's names, which the plain baseline has not, and what is searched beside them."""
    return {name: _text(value) for name, value in record.params.items()}


def _counts(records: list[RunRecord]) -> dict[str, int]:
    states = [record.state for record in records if record.role == "trial"]
    return {name: states.count(name) for name in ("finished", "pruned", "failed")}


def _point_counts(config: Mapping[str, Any], records: list[RunRecord]) -> dict[str, str]:
    if config.get("policy") != "replicates":
        return {}
    return {"points": str(len({record.point for record in records if record.role == "trial"}))}


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:LONGEST_TEXT]


def milliseconds(seconds: float | None) -> int:
    """MLflow's times; 0 where there is none."""
    return round((seconds or 0.0) * 1000)
