"""The experiment folder: everything that one search writes, laid out so that tracking and reports need nothing else.

``results/<data>/<baseline>/<name>/``::

    config.json  environment.json  study.journal  log.txt     what was asked, where, and Optuna's study (the truth)
    trials/<key>/{trial.json, progress.jsonl, checkpoint.pt}   one folder per trial of the study
    tracking/                                                  what the mirror into MLflow knows of itself
    confirm/<component>-<seed>/{trial.json, progress.jsonl, checkpoint.pt, table.json, detections.json}

JSON files are replaced atomically, ``progress.jsonl`` is only appended to: a reader needs no lock and a process that is
killed at any moment leaves nothing that cannot be read. Numbers that are not finite are written as ``null``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dce_ray.errors import SearchError
from dce_ray.files import append_line, finite, not_written, read_json, whole_lines, write_json

STATES = ("running", "pruned", "failed", "finished")
KINDS = ("trial", "confirm")


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """The content of ``trial.json``: one trial of the search or one run of the confirmation."""

    key: str
    """Name of the folder; decided by parameters, seed and data, so that a resumed trial finds itself."""
    number: int
    """Number of the trial in the study; for confirmation runs, the order in which they were planned."""
    kind: str
    """One of :data:`KINDS`."""
    state: str
    """One of :data:`STATES`."""
    params: Mapping[str, float]
    """delta, theta_rep, theta_pro, beta, gamma, lambda: all six, fixed and tied ones included."""
    config: Mapping[str, Any]
    """The whole RunConfig as a mapping."""
    seed: int
    components: str = "scs+mcm"
    """``baseline``, ``scs``, ``mcm`` or ``scs+mcm``."""
    origin: str = "search"
    """``paper``, ``released``, ``search`` or ``baseline``: where the parameters come from."""
    value: float | None = None
    """What ranks, a fraction in [0, 1]: best score so far on the selecting split, or the test score (confirm)."""
    iteration: int | None = None
    """Iteration at which ``value`` was reached."""
    error: str | None = None
    """Why it failed."""
    started: float | None = None
    """Unix time in seconds."""
    ended: float | None = None
    """Unix time in seconds; None while it runs."""
    host: str = field(default_factory=socket.gethostname)

    def __post_init__(self) -> None:
        if self.state not in STATES or self.kind not in KINDS:
            raise SearchError(
                f"trial {self.key}: state={self.state!r} must be of {STATES}, kind={self.kind!r} of {KINDS}"
            )

    @property
    def stop_at(self) -> int | None:
        """Iteration at which a confirmation run ends, chosen on holdout; None where it trains the full length."""
        stop_at: int | None = self.config.get("training", {}).get("stop_at")
        return stop_at

    def to_mapping(self) -> dict[str, Any]:
        """Plain mapping, ready for JSON."""
        return {item.name: finite(getattr(self, item.name)) for item in dataclasses.fields(self)}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """The record of a mapping; keys of later versions are ignored."""
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in mapping.items() if name in known})

    def replace(self, **changes: Any) -> TrialRecord:
        """A copy with other values."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of ``progress.jsonl``."""

    iteration: int
    time: float
    """Unix time in seconds."""
    metrics: Mapping[str, float | None]
    """By name: ``mAP/0.5``, ``mAP/avg_0.1:0.7``, ``loss/<term>``, ``psi_share``, ...; None where not finite."""


@dataclass(frozen=True, slots=True)
class TrialFolder:
    """Folder of one trial or confirmation run."""

    path: Path

    @property
    def key(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def checkpoint(self) -> Path:
        """Where the run's state is kept."""
        return self.path / "checkpoint.pt"

    @property
    def table(self) -> Path:
        """MapTable of a finished confirmation run, JSON."""
        return self.path / "table.json"

    @property
    def detections(self) -> Path:
        """Detections of a finished confirmation run, JSON."""
        return self.path / "detections.json"

    def exists(self) -> bool:
        """Whether a record was written."""
        return (self.path / "trial.json").is_file()

    def record(self) -> TrialRecord:
        """What ``trial.json`` holds now."""
        return TrialRecord.from_mapping(read_json(self.path / "trial.json"))

    def write(self, record: TrialRecord) -> None:
        """Replace ``trial.json`` atomically."""
        write_json(self.path / "trial.json", record.to_mapping())

    def update(self, **changes: Any) -> TrialRecord:
        """Change some values of ``trial.json``; the new record."""
        record = self.record().replace(**changes)
        self.write(record)
        return record

    def discard_checkpoint(self) -> None:
        """Remove the run's state, the kept predecessor included: an ended trial needs none."""
        for path in self.path.glob(f"{self.checkpoint.stem}*{self.checkpoint.suffix}"):
            path.unlink(missing_ok=True)

    def append(self, iteration: int, metrics: Mapping[str, float], time_s: float | None = None) -> None:
        """Append one line of progress, after cutting off what a killed writer left of its last one.

        Raises:
            OutputError: the disk is full or not writable.
        """
        moment = time.time() if time_s is None else time_s
        line = {"iteration": iteration, "time": moment, "metrics": dict(metrics)}
        append_line(self.path / "progress.jsonl", line)

    def progress(self) -> list[Progress]:
        """All lines by rising iteration; where a resumed run repeated iterations, the later line counts."""
        lines: dict[int, Progress] = {}
        for line in whole_lines(self.path / "progress.jsonl"):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that its writer never ended
                value = json.loads(line)
                lines[int(value["iteration"])] = Progress(int(value["iteration"]), value["time"], value["metrics"])
        return [lines[iteration] for iteration in sorted(lines)]


@dataclass(frozen=True, slots=True)
class ExperimentFolder:
    """All files of one search. Make one with :meth:`create` or :meth:`open`."""

    path: Path

    @classmethod
    def create(cls, path: Path | str, config: Mapping[str, Any], environment: Mapping[str, Any]) -> ExperimentFolder:
        """Make a new folder with ``config.json`` and ``environment.json``.

        Raises:
            SearchError: ``path`` exists already.
            OutputError: ``path`` cannot be written.
        """
        folder = cls(Path(path).resolve())
        try:
            folder.path.mkdir(parents=True)
        except FileExistsError as fault:
            raise SearchError(f"{path} exists; give another name=, or go on with it: resume={path}") from fault
        except OSError as fault:
            raise not_written(folder.path, fault) from fault
        write_json(folder.path / "environment.json", environment)
        write_json(folder.path / "config.json", config)
        return folder

    @classmethod
    def open(cls, path: Path | str) -> ExperimentFolder:
        """An existing folder.

        Raises:
            SearchError: ``path`` holds no experiment.
        """
        folder = cls(Path(path).resolve())
        if not (folder.path / "config.json").is_file():
            raise SearchError(f"{path} is no experiment folder (it holds no config.json)")
        return folder

    @property
    def config(self) -> dict[str, Any]:
        """What the search was asked to do; ``config["run"]`` is the RunConfig mapping all trials share."""
        return dict(read_json(self.path / "config.json"))

    @property
    def environment(self) -> dict[str, Any]:
        """Commit, hardware and library versions."""
        return dict(read_json(self.path / "environment.json"))

    @property
    def study(self) -> Path:
        """Optuna's study, a file for JournalFileBackend; ``optuna-dashboard`` opens it."""
        return self.path / "study.journal"

    @property
    def log(self) -> Path:
        """What Ray, Optuna and others have to say."""
        return self.path / "log.txt"

    @property
    def best(self) -> Path:
        """The winner as a configuration for ``python -m dce_ray.train``."""
        return self.path / "best.yaml"

    @property
    def figures(self) -> Path:
        """Folder of the pictures."""
        return self.path / "figures"

    @property
    def confirmation(self) -> Path:
        """The confirmation's result, JSON; ``.md``, ``.csv`` and ``.tex`` lie beside it."""
        return self.path / "confirmation.json"

    def trial(self, key: str) -> TrialFolder:
        """Folder of a trial, whether or not it exists."""
        return TrialFolder(self.path / "trials" / key)

    def confirm(self, key: str) -> TrialFolder:
        """Folder of a confirmation run ``<component>-<seed>``, whether or not it exists."""
        return TrialFolder(self.path / "confirm" / key)

    def trials(self) -> list[TrialFolder]:
        """Folders of all trials, by the trial's number."""
        return _with_record(self.path / "trials")

    def confirmations(self) -> list[TrialFolder]:
        """Folders of all confirmation runs, in the order in which they were planned."""
        return _with_record(self.path / "confirm")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other searches out of this folder; the system lets go of the lock when the process dies.

        Raises:
            SearchError: another process works in this folder.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as fault:
                raise SearchError(f"{self.path} is in use by another search; wait for it, or stop it first") from fault
            yield


def _with_record(path: Path) -> list[TrialFolder]:
    folders = [TrialFolder(child) for child in path.iterdir()] if path.is_dir() else []
    numbered = [(folder.record().number, folder.key, folder) for folder in folders if folder.exists()]
    return [folder for _, _, folder in sorted(numbered, key=lambda item: item[:2])]
