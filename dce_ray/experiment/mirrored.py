"""The experiment folder at a place that other machines reach, so that ``resume=s3://...`` goes on anywhere.

The folder on the driver's disk stays the truth; whole files of it are brought to ``<storage>/<data>/<baseline>/<name>``
in the background: what runs have written, then their records as they had been before that was looked for, then the
study as it had been before the records. A place that is behind thus knows of no ended run without its files. It may
hold runs that its study does not know yet; who fetches it leaves them out, and they are proposed again.
Who works on it, :mod:`dce_ray.experiment.claim` says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from dce_ray.errors import DceError, SearchError, StorageError
from dce_ray.experiment.claim import LEVELS, OWN_SESSIONS, SESSION, Claim, place_of, session_at
from dce_ray.experiment.folder import RECORD, Common, ExperimentFolder
from dce_ray.experiment.study import STUDY, open_journal
from dce_ray.files import whole_lines, write_json
from dce_ray.places import Place, is_bucket

EVERY_S = 5.0
SHARE = 0.05
"""Part of the time that may go into bringing files."""
SELDOM_S = 60.0
"""Longest pause between two times, however long the first has taken: it may have waited for a place that was away."""
AT_ONCE = 8
STATE = "state"
"""What a run goes on from, which its process brings itself."""
TRACKING, IDENTITY = "tracking", "tracking/identity.json"
"""What only this machine's MLflow can use, but for the name by which every MLflow knows the search."""

log = logging.getLogger(__name__)


@contextlib.contextmanager
def at_storage(folder: ExperimentFolder, storage: str | None, digest: str) -> Iterator[ExperimentFolder]:
    """The folder as the runs of a search need it; inside the block it is brought to the storage, where there is one.

    Args:
        folder: locked by the caller.
        storage: what ``storage=`` says.
        digest: of the feature store.

    Raises:
        StorageError: the storage does not answer, or refuses.
    """
    if storage is None:
        yield replace(folder, common=Common(digest))
        return
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    mirror.start()
    begun = True
    try:
        yield replace(folder, common=Common(digest, place, mirror.claim.session))
    except DceError:
        begun = mirror.claim.session > 0 or bool(folder.trials() or folder.confirmations())
        raise
    finally:
        print(mirror.finish()) if begun else mirror.withdraw()


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
        self._end = threading.Event()
        self._sent: dict[str, tuple[int, int]] = {}
        self._settled: set[str] = set()
        """Runs that have ended and are there: nothing of them changes any more."""

    def run(self) -> None:
        """Bring what has changed, and wait; what cannot be brought now is brought later."""
        pause = EVERY_S
        while not self._end.wait(pause):
            began = time.monotonic()
            try:
                if not self.claim.holds(self.place):
                    self._lose()
                    return
                self.bring()
            except (DceError, OSError, ValueError) as fault:  # besides the place's: a file replaced while it was read
                log.warning("%s", fault)
            pause = min(max(EVERY_S, (time.monotonic() - began) / SHARE), SELDOM_S)

    def _lose(self) -> None:
        self.lost = True
        print(
            f"{self.place}: this search was taken up elsewhere, so this one ends; what it did since then is not there"
        )
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C: runs in flight stay as they are

    def withdraw(self) -> None:
        """Leave nothing there of a search that could not begin: its name stays free."""
        self._end.set()
        self.join()
        with contextlib.suppress(StorageError):  # it is told already why the search does not begin
            self.place.clear()

    def finish(self) -> str:
        """Bring everything, remove there what is no more here, and end; what to tell the user."""
        self._end.set()
        self.join()
        if self.lost:
            return f"storage: {self.place} belongs to another session now"
        try:
            if not self.claim.holds(self.place):
                return f"storage: {self.place} belongs to another session now"
            self._settled.clear()
            if self.claim.session:  # who worked on it before may have written once more before it learned of this
                self._sent.clear()
            self.bring()
            self._settled.clear()
            if not self.claim.holds(self.place):  # taken up while this brought: what lies there is no more its own
                return f"storage: {self.place} belongs to another session now"
            here = set(self._files())
            self.place.remove(*(name for name in self.place.files() if _wanted(name) and name not in here))
        except (DceError, OSError, ValueError) as fault:
            kept = f"They are kept in {self.folder.path}; resume= brings them."
            return f"storage: not all results are there: {fault}\n{kept}"
        return f"storage: {self.place} holds this experiment, for resume= from any machine"

    def bring(self) -> None:
        """Bring what has changed since the last time.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        journal = self.folder.study.name
        grown = _mark(self.folder.study)  # before it is read: what comes in between is brought the next time
        study = b"".join(line + b"\n" for line in whole_lines(self.folder.study))
        ended, before = self._ended(), self._files()
        records = {name: self._read(name) for name in before if name.endswith(RECORD) and self._changed(name, before)}
        now = self._files()
        others = [name for name in now if not name.endswith(RECORD) and name != journal and self._changed(name, now)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._send, others))
            list(pool.map(self.place.write, records.keys(), records.values()))
        if grown and self._sent.get(journal) != grown:
            self.place.write(journal, study)
            self._sent[journal] = grown
        self._sent |= {name: now[name] for name in others} | {name: before[name] for name in records}
        self._settled |= ended

    def _changed(self, name: str, marks: Mapping[str, tuple[int, int]]) -> bool:
        return self._sent.get(name) != marks[name]

    def _read(self, name: str) -> bytes:
        return (self.folder.path / name).read_bytes()

    def _send(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # replaced or removed just now: the next time
            self.place.send(self.folder.path / name, name)

    def _ended(self) -> set[str]:
        """Runs of which nothing changes any more, by their name from the folder."""
        ended = set()
        for part, run_of in (("trials", self.folder.trial), ("confirm", self.folder.confirm)):
            for key in _names(self.folder.path / part):
                run, name = run_of(key), f"{part}/{key}"
                if name not in self._settled and run.exists() and run.record().state in ("finished", "pruned"):
                    ended.add(name)
        return ended

    def _files(self) -> dict[str, tuple[int, int]]:
        """Time and size of every file to be brought, by its name from the folder; of settled runs there are none."""
        found: dict[str, tuple[int, int]] = {}
        pending = [""]
        while pending:
            inner = pending.pop()
            for entry in os.scandir(self.folder.path / inner):
                name = f"{inner}{entry.name}"
                if not _wanted(name) or name in self._settled:
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


def _names(path: Path) -> list[str]:
    return os.listdir(path) if path.is_dir() else []  # noqa: PTH208 - only names are wanted, of thousands


def _wanted(name: str) -> bool:
    parts = name.split("/")
    if any(part.startswith(".") or part == STATE for part in parts):  # the lock, and what is being written
        return False
    return name in (TRACKING, IDENTITY) if parts[0] == TRACKING else name != SESSION


def is_mirror(address: str) -> bool:
    """Whether ``resume=`` names an experiment at a storage and no experiment folder."""
    return is_bucket(address) or (Path(address) / SESSION).is_file()


def fetch_experiment(address: str, results: str) -> tuple[Path, str]:
    """Bring an experiment from its storage to a results folder of this machine.

    Args:
        address: ``<storage>/<data>/<baseline>/<name>``.
        results: where experiment folders lie here.

    Returns:
        The experiment folder, and the storage.

    Raises:
        SearchError: no experiment lies there, or the folder exists here.
        StorageError: the place does not answer, or refuses.
    """
    place = Place.at(address, "resume")
    there = {name: size for name, size in place.files().items() if _wanted(name)}
    if "config.json" not in there:
        place.require_bucket("resume")
        below = sorted({name.rpartition("/")[0] for name in there if name.endswith("/config.json")})
        lines = "".join(f"\n  {place.below(name)}" for name in below[:5])
        more = f"; below it lie:{lines}" if below else "; give <storage>/<data>/<baseline>/<name>"
        raise SearchError(f"resume={address}: no experiment lies there (it holds no config.json){more}")
    target = Path(results).joinpath(*place.names[-LEVELS:]).resolve()
    if target.exists():
        raise SearchError(
            f"resume={address}: {target} exists here already; go on with it: resume={target}, or give another results="
        )
    partial = target.with_name(f".{target.name}.fetching")
    shutil.rmtree(partial, ignore_errors=True)
    session = session_at(place)  # before the files: who takes it up meanwhile is seen
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: place.fetch(name, partial / name), there))
    leave_out_unknown(ExperimentFolder(partial))
    write_json(partial / OWN_SESSIONS, [session["token"]] if session else [])
    partial.rename(target)
    return target, place.above(LEVELS).address


def leave_out_unknown(folder: ExperimentFolder) -> None:
    """Remove runs of the search that its study does not know to have begun: the copy was cut off between the two.

    A queued trial has its run's key before it begins, and a run's readings may be there without its record: what a run
    would find in its folder then, the study would never hear of.
    """
    begun = {trial.user_attrs.get("key") for trial in _trials_in(folder.study) if trial.state != TrialState.WAITING}
    alone = folder.config.get("policy") == "single"  # the plain baseline's run is then in no study
    runs = folder.path / "trials"
    for run in [folder.trial(path.name) for path in runs.iterdir()] if runs.is_dir() else []:
        plain = alone and run.exists() and run.record().role == "plain"
        if not run.exists() or (run.key not in begun and not plain):
            shutil.rmtree(run.path)


def _trials_in(journal: Path) -> list[FrozenTrial]:
    """All trials of a journal that may have been cut off before its study was made."""
    storage = open_journal(journal)
    made = [study for study in storage.get_all_studies() if study.study_name == STUDY] if journal.is_file() else []
    return storage.get_all_trials(made[0]._study_id, deepcopy=False) if made else []
