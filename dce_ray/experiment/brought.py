"""An experiment that comes back from its storage, whoever still writes there.

What is written there last is read first: the study, then the records, then all else. So the study that is read knows of
no run whose record is not, and no record says that a file is there that is not. What changes while it is read is read
again.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from dce_ray.errors import SearchError
from dce_ray.experiment.claim import FETCHED, LEVELS, OWN_SESSIONS, SESSION, session_at
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.run_folder import RECORD
from dce_ray.experiment.study import STUDY, open_journal
from dce_ray.files import read_json, write_json
from dce_ray.places import Place, is_bucket

AT_ONCE = 8
"""Files that are sent or fetched at the same time."""
ROUNDS = 20
"""So often what has changed meanwhile is fetched again before that is called a fault."""
STATE = "state"
"""What a run goes on from, which its process brings itself."""
TRACKING, IDENTITY = "tracking", "tracking/identity.json"
"""What only this machine's MLflow can use, but for the name by which every MLflow knows the search."""
ASKED = ("config.json", "changes.jsonl")
"""What ``resume=`` may have changed here before the experiment was taken up."""

Marks = dict[str, tuple[int, int]]
"""Time and size of files, by name."""


def wanted(name: str) -> bool:
    """Whether a file of an experiment folder is kept at its storage.

    >>> names = ("study.journal", "study.journal.lock", "trials/a/state/1/checkpoint.pt", "session.json")
    >>> [name for name in names if wanted(name)]
    ['study.journal']
    """
    parts = name.split("/")
    if any(part.startswith(".") or part == STATE or part.endswith(".lock") for part in parts):  # or is being written
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
    if place.read("config.json") is None:
        raise SearchError(f"resume={address}: no experiment lies there (it holds no config.json){_those_below(place)}")
    target = Path(results).joinpath(*place.names[-LEVELS:]).resolve()
    if target.exists():
        raise SearchError(
            f"resume={address}: {target} exists here already; go on with it: resume={target}, or give another results="
        )
    partial = target.with_name(f".{target.name}.fetching")
    shutil.rmtree(partial, ignore_errors=True)
    session = session_at(place)  # before the files: who takes it up meanwhile is seen
    marks = _in_order(place, ExperimentFolder(partial), {})
    leave_out_unknown(ExperimentFolder(partial))
    write_json(partial / OWN_SESSIONS, [session["token"]] if session else [])
    write_json(partial / FETCHED, marks)
    partial.rename(target)
    return target, place.above(LEVELS).address


def _those_below(place: Place) -> str:
    place.require_bucket("resume")
    below = sorted({name.rpartition("/")[0] for name in place.files() if name.endswith("/config.json")})
    lines = "".join(f"\n  {place.below(name)}" for name in below[:5])
    return f"; below it lie:{lines}" if below else "; give <storage>/<data>/<baseline>/<name>"


def catch_up(folder: ExperimentFolder, place: Place) -> None:
    """Bring what whoever worked on an experiment before has still done since it was fetched here.

    Args:
        folder: locked, its experiment taken up by this process. Nothing is done where it was not just fetched.
        place: of the experiment.

    Raises:
        StorageError: the place does not answer, or refuses.
    """
    note = folder.path / FETCHED
    if not note.is_file():
        return
    marks = {name: (mark[0], mark[1]) for name, mark in read_json(note).items()}
    _in_order(place, folder, marks)
    leave_out_unknown(folder)
    note.unlink()


def _in_order(place: Place, folder: ExperimentFolder, have: Marks) -> Marks:
    """Fetch what differs from ``have``; the marks of all that is here then."""
    again, journal = bool(have), folder.study.name
    parts: list[Callable[[str], bool]] = [
        lambda name: name == journal,
        lambda name: name.endswith(RECORD),
        lambda name: name != journal and not name.endswith(RECORD) and not (again and name in ASKED),
    ]
    marks: Marks = {}
    for part in parts:
        marks |= _fetched(place, folder.path, part, {name: mark for name, mark in have.items() if part(name)})
    return marks


def _fetched(place: Place, folder: Path, part: Callable[[str], bool], have: Marks) -> Marks:
    """Fetch what differs from ``have``, until nothing has changed while it was fetched."""

    def fetch(name: str) -> None:
        (folder / name).unlink(missing_ok=True)  # a fetch goes on behind what is there, here of another content
        with contextlib.suppress(FileNotFoundError):  # removed there just now: the next list lacks it
            place.fetch(name, folder / name)

    for _ in range(ROUNDS):
        there = {name: mark for name, mark in place.marks().items() if wanted(name) and part(name)}
        changed = [name for name, mark in there.items() if have.get(name) != mark]
        for name in have.keys() - there.keys():
            (folder / name).unlink(missing_ok=True)
        if not changed:
            return there
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(fetch, changed))
        have = there
    raise SearchError(
        f"{place}: changes faster than it can be fetched, so another search works there; stop that one first"
    )


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
    """All trials of a journal that may have been cut off before its study was made, or that is not there at all."""
    if not journal.is_file():  # to open it would make one: a confirmation anew has none and would look like a search
        return []
    storage = open_journal(journal)
    made = [study for study in storage.get_all_studies() if study.study_name == STUDY]
    return storage.get_all_trials(made[0]._study_id, deepcopy=False) if made else []
