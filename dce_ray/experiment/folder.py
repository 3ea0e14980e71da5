"""The experiment folder: everything that one search writes, laid out so that tracking and reports need nothing else.

``results/<data>/<baseline>/<name>/``::

    config.json  environment.json  study.journal  log.txt     what was asked, where, and Optuna's study (the truth)
    changes.jsonl                                              what resume= changed: when, and what was asked before
    sessions.jsonl                                             who went on: a line where that says otherwise than before
    clock.json                                                 how long all sessions took together
    trials/<key>/{record.json, progress.jsonl}                 one per run on the selecting split, plain ones included
    tracking/                                                  what the mirror into MLflow knows of itself
    confirm/<key>/{record.json, progress.jsonl, checkpoint.pt, table.json, detections.json}   one per run on test
    set-aside/<key>/                                           runs on test that a later plan does not name
    set-aside/look-<n>/                                        the result of a look at test before the search went on
    <run's folder>/state/<attempt>/                            while it trains: what it goes on from
    seeds_asked.json  seed_plan.json  confirmation.json        how many seeds at most, how many then; the result

All of it is written by the process that searches, but ``state``, which is the training process's. Which run is which,
its record says; folder names only keep runs apart. JSON files are replaced atomically,
``progress.jsonl`` is only appended to: a reader needs no lock and a process that is killed at any moment leaves nothing
that cannot be read. Numbers that are not finite are written as ``null``.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from dce_ray.errors import SearchError
from dce_ray.experiment.asked import Asked
from dce_ray.experiment.nearby import those_below, those_near
from dce_ray.experiment.record import ROLES, RunRecord
from dce_ray.experiment.run_folder import MARK, Common, RunFolder
from dce_ray.files import (
    append_line,
    held,
    is_held,
    not_written,
    read_back,
    read_json,
    whole_lines,
    write_atomically,
    write_json,
)
from dce_ray.presets import EMBEDDED
from dce_ray.train.run_files import LOCK
from dce_ray.words import shown_path

FORMAT = 3
"""Of the folder; what another version wrote is refused, since it says otherwise which run is which."""


@dataclass(frozen=True, slots=True)
class ExperimentFolder:
    """All files of one search. Make one with :meth:`create` or :meth:`open`."""

    path: Path
    common: Common = field(default=Common(), compare=False)

    @classmethod
    def create(cls, path: Path | str, config: Mapping[str, Any], environment: Mapping[str, Any]) -> ExperimentFolder:
        """Make a new folder with ``config.json`` and ``environment.json``.

        Raises:
            SearchError: ``path`` exists already.
            OutputError: ``path`` cannot be written.
        """
        folder = cls(Path(path).resolve())
        taken = SearchError(f"{path} exists; give another name=, or go on with it: resume={path}")
        if folder.path.exists():
            raise taken
        beside = folder.path.with_name(f".{folder.path.name}-{uuid4().hex[:8]}")
        try:  # beside, and moved as a whole: a kill leaves no folder of this name that nobody can go on with
            beside.mkdir(parents=True)
            write_json(beside / "environment.json", environment)
            write_json(beside / "config.json", {"format": FORMAT, **config})
            beside.rename(folder.path)
        except OSError as fault:
            raise (taken if folder.path.exists() else not_written(folder.path, fault)) from fault
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return folder

    @classmethod
    def create_by_time(
        cls, parent: Path, config: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> ExperimentFolder:
        """A new folder below ``parent`` whose name is the time; a second one of the same second gets a number.

        Raises:
            SearchError: no name is free.
            OutputError: ``parent`` cannot be written.
        """
        now = time.strftime("%Y%m%d-%H%M%S")
        for name in (now, *(f"{now}-{number}" for number in range(1, 100))):
            if not (parent / name).exists():
                with contextlib.suppress(SearchError):  # another search took it in the meantime
                    return cls.create(parent / name, config, environment)
        raise SearchError(f"{parent}: no free name; give name=")

    @classmethod
    def open(cls, path: Path | str) -> ExperimentFolder:
        """An existing folder.

        Raises:
            SearchError: ``path`` holds no experiment, or one that another version wrote.
        """
        folder = cls(Path(path).resolve())
        if not (folder.path / "config.json").is_file():
            place = folder.path.parent
            if folder.path.is_file() and (place / "config.json").is_file():
                raise SearchError(f"{path} is a file of an experiment; give its folder: {shown_path(place)}")
            if not folder.path.exists():
                raise SearchError(f"{path} does not exist{those_near(folder.path)}")
            raise SearchError(f"{path} is no experiment folder (it holds no config.json){those_below(folder.path)}")
        config = folder.config
        if "training" in config:  # a run's configuration, and no experiment's
            raise SearchError(f"{path} holds a single run of dce_ray.train, which is no experiment")
        found = config.get("format", 1)
        if found != FORMAT:
            raise SearchError(
                f"{path}: written in format {found}, this version reads format {FORMAT}; go on with the version of "
                f"dce-ray that wrote it (environment.json names its commit), or start a new search"
            )
        return folder

    @property
    def data_name(self) -> str:
        """Name of the data set: a known one, else as the folder lies under the results root; so of embedded data, of
        which there are several sizes."""
        name = str(self.config.get("data_set", "default"))
        return self.path.parent.parent.name if name in ("default", EMBEDDED) else name

    @property
    def config(self) -> dict[str, Any]:
        """What the search was asked to do; ``config["run"]`` is the RunConfig mapping all trials share.

        A key that is not there is a ``SearchError`` that names it.
        """
        path = self.path / "config.json"
        return Asked.of(read_json(path), path)

    def keep_config(self, config: Mapping[str, Any]) -> None:
        """Replace ``config.json`` where it says otherwise; what it said before goes into ``changes.jsonl``.

        Raises:
            OutputError: the folder cannot be written.
        """
        old, new = self.config, read_back({"format": FORMAT, **config})
        if old != new:
            changed = {key: old.get(key) for key in new if old.get(key) != new[key]}
            append_line(self.path / "changes.jsonl", {"time": time.time(), "before": changed})
            write_json(self.path / "config.json", new)

    @property
    def root(self) -> Path:
        """The folder that holds ``<data>/<baseline>/<name>``."""
        parents = self.path.parents
        return parents[min(2, len(parents) - 1)]

    @property
    def environment(self) -> dict[str, Any]:
        """Commit, hardware and library versions, of the session that made the folder."""
        return dict(read_json(self.path / "environment.json"))

    def note_session(self, environment: Mapping[str, Any]) -> None:
        """Keep who goes on: a line of ``sessions.jsonl`` where more than the time is another one than before.

        Args:
            environment: of this process, as :func:`dce_ray.provenance.environment` says it.

        Raises:
            OutputError: the folder cannot be written.
        """
        now, before = read_back(environment), self.sessions[-1]
        if now | {"started": None} != before | {"started": None}:
            append_line(self._sessions, now)

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """What was known of each session that made numbers, in their order; the first is :attr:`environment`."""
        return [self.environment, *map(json.loads, whole_lines(self._sessions))]

    @property
    def _sessions(self) -> Path:
        return self.path / "sessions.jsonl"

    @property
    def study(self) -> Path:
        """Optuna's study, a file for JournalFileBackend; ``optuna-dashboard`` opens it."""
        return self.path / "study.journal"

    @property
    def log(self) -> Path:
        """What Ray, Optuna and others have to say."""
        return self.path / "log.txt"

    @property
    def clock(self) -> Path:
        """How long the search has run in all its sessions, JSON."""
        return self.path / "clock.json"

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

    @property
    def seed_plan(self) -> Path:
        """How many seeds the winner and the plain baseline are confirmed with; written before the second stage."""
        return self.path / "seed_plan.json"

    def trial(self, key: str) -> RunFolder:
        """Folder of a run on the selecting split, whether or not it exists."""
        return RunFolder(self.path / "trials" / key, self.common)

    def aside(self, key: str) -> Path:
        """Where a run on test goes that the present plan does not name."""
        return self.path / "set-aside" / key

    def confirm(self, key: str) -> RunFolder:
        """Folder of a run on test, whether or not it exists."""
        return RunFolder(self.path / "confirm" / key, self.common)

    def former_look(self, number: int) -> Path:
        """Folder of the result of an earlier look at test, from 1; the search has gone on since."""
        return self.aside(f"look-{number}")

    @property
    def former_looks(self) -> list[Path]:
        """Results of earlier looks at test, the first one first: ``confirmation.json`` each."""
        found: list[Path] = []
        while (file := self.former_look(len(found) + 1) / self.confirmation.name).is_file():
            found.append(file)
        return found

    def look(self, number: int) -> Path:
        """Folder of a confirmation that was made anew, beside this one: look ``number`` at test, from 2."""
        return self.path.with_name(f"{self.path.name}-confirm-{number}")

    @property
    def searched(self) -> ExperimentFolder:
        """Of a confirmation made anew, the folder of its search: they lie beside each other, in a copy too."""
        config = self.config
        beside = self.path.with_name(self.path.name.removesuffix(f"-confirm-{config['look']}"))
        return ExperimentFolder(beside if beside != self.path else Path(config["search_folder"]))

    def trials(self) -> list[RunFolder]:
        """Folders of all runs on the selecting split: the plain baseline's, then the trials by their number."""
        return self._with_record("trials")

    def confirmations(self) -> list[RunFolder]:
        """Folders of all runs on test, in the order in which they were planned."""
        return self._with_record("confirm")

    def set_aside_runs(self) -> list[RunFolder]:
        """Folders of the runs on test that the present plan does not name."""
        return self._with_record("set-aside")

    def _with_record(self, part: str) -> list[RunFolder]:
        path = self.path / part
        folders = [RunFolder(child, self.common) for child in path.iterdir()] if path.is_dir() else []
        return [folder for folder, _ in in_order([(folder, folder.record()) for folder in folders if folder.exists()])]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other searches out of this folder; the system lets go of the lock when the process dies.

        Raises:
            SearchError: another process works in this folder.
            OutputError: the folder cannot be written.
        """
        with held(self._lock, SearchError(f"{self.path} is in use by another search; wait for it, or stop it first")):
            write_atomically(self.mark, uuid4().hex)
            yield

    @property
    def in_use(self) -> bool:
        """Whether a search holds the lock now, on this machine."""
        return is_held(self._lock)

    @property
    def mark(self) -> Path:
        """What tells it from a folder of the same path elsewhere; there once it was locked."""
        return self.path / MARK

    @property
    def _lock(self) -> Path:
        return self.path / LOCK


def in_order(runs: Sequence[tuple[RunFolder, RunRecord]]) -> list[tuple[RunFolder, RunRecord]]:
    """Runs with their records, by role and number."""
    return sorted(runs, key=lambda item: (ROLES.index(item[1].role), item[1].number, item[1].key))
