"""The folder of one run of an experiment, and what its training process is told of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dce_ray.errors import OutputError
from dce_ray.experiment.record import RunRecord
from dce_ray.files import read_json, write_atomically, write_json
from dce_ray.places import Place
from dce_ray.train.attempts import Attempts
from dce_ray.train.run_files import RunFiles

RECORD = "record.json"
MARK = ".session"
"""Written anew by who takes the lock: a process elsewhere tells the folder from one that only has its path."""


@dataclass(frozen=True, slots=True)
class Common:
    """What the processes of all runs of an experiment need to know beside the record."""

    digest: str | None = None
    """Of the feature store, where it is to be compared."""
    place: Place | None = None
    """Of the experiment below ``storage=``, for what runs go on from."""
    session: int = 0
    """See :class:`dce_ray.train.attempts.Attempts`."""


@dataclass(frozen=True, slots=True)
class RunFolder(RunFiles):
    """Folder of one run of an experiment."""

    common: Common = field(default=Common(), compare=False)

    @property
    def key(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def table(self) -> Path:
        """MapTable of a finished run on test, JSON."""
        return self.path / "table.json"

    def exists(self) -> bool:
        """Whether a record was written."""
        return (self.path / RECORD).is_file()

    def record(self) -> RunRecord:
        """What ``record.json`` holds now."""
        path = self.path / RECORD
        try:
            return RunRecord.from_mapping(read_json(path))
        except TypeError as fault:  # a field that has no default
            raise OutputError(
                f"{path}: {str(fault).partition('() ')[2]}; restore the file, or remove its run"
            ) from fault

    def write(self, record: RunRecord) -> None:
        """Replace ``record.json`` atomically."""
        write_json(self.path / RECORD, record.to_mapping())

    def update(self, **changes: Any) -> RunRecord:
        """Change some values of ``record.json``; the new record."""
        record = self.record().replace(**changes)
        self.write(record)
        return record

    @property
    def attempts(self) -> Attempts:
        """What the run goes on from while it has not ended."""
        place = self.common.place and self.common.place.below(self.path.parent.name, self.key, "state")
        return Attempts(self.path / "state", place, self.common.session)

    def for_worker(self) -> dict[str, Any]:
        """What the run's process is told: its record, where it keeps what it goes on from, what data it must find."""
        attempts, mark = self.attempts, self.path.parents[1] / MARK
        known = {
            "mark": mark.read_text() if mark.is_file() else None,
            "storage": attempts.place.address if attempts.place else None,
            "session": attempts.session,
            "digest": self.common.digest,
        }
        told = {name: value for name, value in known.items() if value}  # Tune keeps it with every run, several times
        return {"record": self.record().to_mapping(), "state": str(attempts.root), **told}

    def adopt(self) -> None:
        """Take over the last attempt's checkpoint and detections: those of a run on test are kept."""
        last = self.attempts.latest()
        if last:
            last.bring()
        for name in ("checkpoint", "detections"):
            source: Path | None = getattr(last, name) if last else None
            if source and source.is_file():
                write_atomically(getattr(self, name), source.read_bytes())

    def clear(self) -> None:
        """Remove everything: what an earlier plan left under the same name is another run's."""
        self.attempts.clear()
        for path in sorted(self.path.iterdir()):
            if path.is_dir():  # a process that was thought dead has written once more
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
