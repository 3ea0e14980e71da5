"""The experiment folder at a place that other machines reach, so that ``resume=s3://...`` goes on anywhere.

The folder on the driver's disk stays the truth; whole files of it are brought to ``<storage>/<data>/<baseline>/<name>``
in the background: what runs have written, then their records as they had been before that was looked for, then the
study as it had been before the records. A place that is behind thus knows of no ended run without its files. It may
hold runs that its study does not know yet; who fetches it (:mod:`dce_ray.experiment.brought`) leaves them out, and they
are proposed again. Who works on it, :mod:`dce_ray.experiment.claim` says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from dce_ray.errors import DceError, OutOfTimeError, SearchError
from dce_ray.experiment.brought import AT_ONCE, STATE, Marks, catch_up, wanted
from dce_ray.experiment.claim import SESSION, Claim, place_of
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.run_folder import RECORD, Common
from dce_ray.files import whole_lines
from dce_ray.places import Place

EVERY_S = 5.0
SHARE = 0.05
"""Part of the time that may go into bringing files."""
SELDOM_S = 60.0
"""Longest pause between two times, however long the first has taken: it may have waited for a place that was away."""
ENDED = ("finished", "pruned")

log = logging.getLogger(__name__)


@contextlib.contextmanager
def at_storage(folder: ExperimentFolder, storage: str | None, digest: str) -> Iterator[ExperimentFolder]:
    """The folder as the runs of a search need it; inside the block it is brought to the storage, where there is one.

    Args:
        folder: locked by the caller.
        storage: what ``storage=`` says.
        digest: of the feature store.

    Raises:
        SearchError: it was taken up elsewhere.
        StorageError: the storage does not answer, or refuses.
    """
    if storage is None:
        yield replace(folder, common=Common(digest))
        return
    place = place_of(folder, storage)
    claim = Claim.taken(folder, place)
    catch_up(folder, place)
    mirror = Mirror(folder, place, claim)
    mirror.start()
    begun = True
    try:
        yield replace(folder, common=Common(digest, place, claim.session))
    except DceError as fault:
        goes_on = claim.session > 0 or isinstance(fault, OutOfTimeError)
        begun = goes_on or bool(folder.trials() or folder.confirmations())
        raise
    finally:
        print(mirror.finish()) if begun else mirror.withdraw()
        if mirror.lost:  # who ended the work was nobody here
            raise TakenUpError(f"{place} was taken up elsewhere: go on there, or bring it here: resume={place}")


class TakenUpError(SearchError):
    """Somebody else works on the experiment now."""


class Mirror(threading.Thread):
    """Brings a folder to its place, again and again.

    Args:
        folder: of the experiment.
        place: of the experiment.
        claim: of this session.
    """

    def __init__(self, folder: ExperimentFolder, place: Place, claim: Claim) -> None:
        super().__init__(name="storage", daemon=True)
        self.folder, self.place, self.claim = folder, place, claim
        self.lost = False
        """Whether somebody else works on it now."""
        self._end = threading.Event()
        self._sent: Marks = {}
        """Every file that is there, as it was here when it was sent."""
        self._settled: Marks = {}
        """Runs that have ended and are there, with their records' marks: nothing of them changes while these do not."""
        self._before: set[str] | None = None
        """Those that were there when this session began, whole; None until that was looked for."""

    def run(self) -> None:
        """Bring what has changed, and wait; what cannot be brought now is brought later."""
        pause = EVERY_S
        while not self._end.wait(pause):
            began = time.monotonic()
            try:
                self.bring()
            except TakenUpError:
                self._lose()
                return
            except (DceError, OSError, ValueError) as fault:  # besides the place's: a file replaced while it was read
                log.warning("%s", fault)
            pause = min(max(EVERY_S, (time.monotonic() - began) / SHARE), SELDOM_S)

    def _lose(self) -> None:
        self.lost = True
        print(
            f"{self.place}: this search was taken up elsewhere, so this one ends; what it did since then is not there",
            flush=True,
        )
        deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # a shell that starts it in the background does that
        os.kill(os.getpid(), signal.SIGTERM if deaf else signal.SIGINT)  # runs in flight stay as they are

    def _require_claim(self) -> None:
        if not self.claim.holds(self.place):
            raise TakenUpError(f"{self.place} belongs to another session now")

    def withdraw(self) -> None:
        """Leave nothing there of a search that could not begin: its name stays free."""
        self._end.set()
        self.join()
        try:
            if self.claim.holds(self.place):
                self.place.remove(*self._sent, SESSION)
        except DceError as fault:  # why the search does not begin is told already
            log.warning("%s", fault)

    def finish(self) -> str:
        """Bring everything, remove there what is no more here, and end; what to tell the user."""
        self._end.set()
        self.join()
        try:
            if self.claim.session:
                self._doubt()
            self.bring(whole=True)
            here, there = self._files(whole=True), self.place.files()
            self._require_claim()  # behind the list, which may take long: what is removed is not another's
            self.place.remove(*(name for name in there if wanted(name) and name not in here))
            self.place.remove(*(name for name in there if f"/{STATE}/" in name and _run_of(name) in self._settled))
        except TakenUpError as fault:
            return f"storage: {fault}"
        except (DceError, OSError, ValueError) as fault:
            kept = f"They are kept in {self.folder.path}; resume= brings them."
            return f"storage: not all results are there: {fault}\n{kept}"
        return f"storage: {self.place} holds this experiment, for resume= from any machine"

    def _doubt(self) -> None:
        """Forget what was sent but for runs that had ended before: whoever worked on it then may have written after."""
        before = self._before or set()
        self._sent = {name: mark for name, mark in self._sent.items() if _run_of(name) in before}

    def bring(self, *, whole: bool = False) -> None:
        """Bring what has changed since the last time.

        Args:
            whole: also look at runs that have ended.

        Raises:
            TakenUpError: somebody else works on it now.
            StorageError: the place does not answer, or refuses.
        """
        self._require_claim()
        if self._before is None:
            self._before = self._there_already() if self.claim.session else set()
        self._settled = {run: mark for run, mark in self._settled.items() if self._record(run) == mark}
        self._before &= self._settled.keys()
        journal = self.folder.study.name
        grown = _mark(self.folder.study)  # before it is read: what comes in between is brought the next time
        study = b"".join(line + b"\n" for line in whole_lines(self.folder.study))
        ended, before = self._ended(), self._files(whole=whole)
        records = {name: self._read(name) for name in before if name.endswith(RECORD) and self._changed(name, before)}
        now = self._files(whole=whole)
        others = [name for name in now if not name.endswith(RECORD) and name != journal and self._changed(name, now)]
        gone = [name for name in self._sent if name not in now and (whole or _run_of(name) not in self._settled)]
        for name in sorted(gone, key=lambda name: not name.endswith(RECORD)):  # a record never names what is not there
            self.place.remove(name)
            del self._sent[name]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self._send(name, now[name]), others))
            self._require_claim()
            list(pool.map(lambda name: self._write(name, records[name], before[name]), records))
        self._require_claim()  # the study last, and never over that of who has taken it up meanwhile
        if grown and self._sent.get(journal) != grown:
            self._write(journal, study, grown)
        self._settled |= ended

    def _changed(self, name: str, marks: Mapping[str, tuple[int, int]]) -> bool:
        return self._sent.get(name) != marks[name]

    def _read(self, name: str) -> bytes:
        return (self.folder.path / name).read_bytes()

    def _send(self, name: str, mark: tuple[int, int]) -> None:
        with contextlib.suppress(FileNotFoundError):  # replaced or removed just now: the next time
            self.place.send(self.folder.path / name, name)
            self._sent[name] = mark

    def _write(self, name: str, content: bytes, mark: tuple[int, int]) -> None:
        self.place.write(name, content)
        self._sent[name] = mark

    def _record(self, run: str) -> tuple[int, int] | None:
        """Mark of a run's record; ``run`` is its name from the folder."""
        return _mark(self.folder.path / run / RECORD)

    def _ended(self) -> Marks:
        """Runs of which nothing changes any more, by their name from the folder, with the marks of their records."""
        ended: Marks = {}
        for part, run_of in (("trials", self.folder.trial), ("confirm", self.folder.confirm)):
            for key in _names(self.folder.path / part):
                run = f"{part}/{key}"
                if run in self._settled or not (mark := self._record(run)):
                    continue
                if run_of(key).record().state in ENDED:
                    ended[run] = mark
        return ended

    def _there_already(self) -> set[str]:
        """Runs that have ended and lie there as they do here: they need not be brought again."""
        there, here, ended = self.place.files(), self._files(whole=True), self._ended()
        files: dict[str, list[str]] = {}
        for name in here:
            files.setdefault(_run_of(name), []).append(name)

        def whole(run: str) -> bool:
            record = f"{run}/{RECORD}"
            same = all(there.get(name) == here[name][1] for name in files.get(run, [record]))
            return same and self.place.read(record) == self._read(record)  # it is written last

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = {run for run, same in zip(ended, pool.map(whole, ended), strict=True) if same}
        self._settled |= {run: ended[run] for run in found}
        self._sent |= {name: here[name] for run in found for name in files[run]}
        return found

    def _files(self, *, whole: bool = False) -> Marks:
        """Mark of every file to be brought, by its name from the folder; of settled runs only where ``whole``."""
        found: Marks = {}
        pending = [""]
        while pending:
            inner = pending.pop()
            for entry in os.scandir(self.folder.path / inner):
                name = f"{inner}{entry.name}"
                if not wanted(name) or (name in self._settled and not whole):
                    continue
                if entry.is_dir():
                    pending.append(f"{name}/")
                elif mark := _mark(Path(entry.path)):
                    found[name] = mark
        return found


def _mark(path: Path) -> tuple[int, int] | None:
    """Time and size of a file; None where there is none, or none any more."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_mtime_ns, state.st_size


def _run_of(name: str) -> str:
    """The run to which a file belongs, by its name from the folder.

    >>> _run_of("trials/a/record.json"), _run_of("study.journal")
    ('trials/a', '')
    """
    parts = name.split("/")
    return "/".join(parts[:2]) if len(parts) > 2 else ""


def _names(path: Path) -> list[str]:
    return os.listdir(path) if path.is_dir() else []  # noqa: PTH208 - only names are wanted, of thousands
