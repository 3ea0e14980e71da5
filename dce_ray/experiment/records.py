"""The records of a folder's runs for who reads them again and again: a file that was not replaced is not read again."""

from __future__ import annotations

from pathlib import Path

from dce_ray.experiment.folder import ExperimentFolder, in_order
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.run_folder import RECORD, RunFolder

Stamp = tuple[int, int, int]
"""Inode, size and time of a file: another one of any of them is another content."""


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file; None where there is none."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


class Records:
    """Reads the records of one folder, pass by pass.

    Args:
        folder: of the search.
    """

    def __init__(self, folder: ExperimentFolder) -> None:
        self.folder = folder
        self._known: dict[str, tuple[Stamp, RunRecord]] = {}
        """By the run's folder."""

    def trials(self) -> list[tuple[RunFolder, RunRecord]]:
        """Runs on the selecting split with their records, in the order of :meth:`ExperimentFolder.trials`."""
        return self._below(self.folder.path / "trials")

    def confirmations(self) -> list[tuple[RunFolder, RunRecord]]:
        """Runs on test with their records, in the order of :meth:`ExperimentFolder.confirmations`."""
        return self._below(self.folder.path / "confirm")

    def _below(self, path: Path) -> list[tuple[RunFolder, RunRecord]]:
        found = []
        for child in path.iterdir() if path.is_dir() else ():
            run = RunFolder(child)
            stamp = stamp_of(run.path / RECORD)
            if stamp is None:
                continue
            known = self._known.get(str(run.path))
            if known is None or known[0] != stamp:
                known = self._known[str(run.path)] = (stamp, run.record())
            found.append((run, known[1]))
        return in_order(found)
