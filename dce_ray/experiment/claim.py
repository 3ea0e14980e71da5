"""Who works on an experiment at its storage: ``session.json`` there, and what its folder remembers of it.

Who takes an experiment up anew writes a session of its own; a driver that was cut off and comes back finds that, brings
nothing more and ends.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from dce_ray.errors import SearchError
from dce_ray.experiment.anew import ways_on
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import write_json
from dce_ray.places import Place

SESSION = "session.json"
OWN_SESSIONS = ".sessions.json"
"""In the experiment folder: the sessions that were its own."""
FETCHED = ".fetched.json"
"""In one that was fetched from there and not yet worked in: the time and size of each file when it was fetched."""
BEGINS_S = 120.0
"""So long after its claim a search has brought its first files, where it lives."""
SETTLES_S = 1.0
"""After so long a claim is looked at again: of two that are made at once the later one holds."""
LEVELS = 3
"""Data, baseline and name lead from a results folder, and from the storage, to an experiment."""


def place_of(folder: ExperimentFolder, storage: str) -> Place:
    """Where a folder lies below the storage."""
    return Place.at(storage).below(*folder.path.parts[-LEVELS:])


@dataclass(frozen=True, slots=True)
class Claim:
    """Who works on an experiment."""

    token: str
    session: int
    """How often it was taken up anew."""

    @classmethod
    def taken(cls, folder: ExperimentFolder, place: Place) -> Claim:
        """Take an experiment up; whoever worked on it before learns of it.

        Raises:
            SearchError: it was taken up on another machine since this folder was last worked in.
            StorageError: the place does not answer, or refuses.
        """
        before, known = session_at(place), folder.path / OWN_SESSIONS
        own = json.loads(known.read_text()) if known.is_file() else []
        if before and before["token"] not in own and place.read("config.json") is None:
            _await_nobody(place, before)
            own.append(before["token"])
        if before and before["token"] not in own:
            raise SearchError(
                f"{place} was taken up on {before['host']} since, and {folder.path} is behind it; "
                f"{ways_on(folder, place)}"
            )
        behind = (folder.path / FETCHED).exists()  # it is brought up to date once it is taken up
        there = place.read(folder.study.name) if before and not behind else None
        if there is not None and len(there) > (folder.study.stat().st_size if folder.study.is_file() else 0):
            raise SearchError(
                f"{place} holds a later state of this search than {folder.path}, an older copy; "
                f"{ways_on(folder, place)}"
            )
        claim = cls(uuid4().hex, before["session"] + 1 if before else 0)
        write_json(known, [*own, claim.token])  # before the place knows it: a kill in between is no other session
        said = {"token": claim.token, "session": claim.session, "host": socket.gethostname(), "since": time.time()}
        place.write(SESSION, json.dumps(said).encode())
        time.sleep(SETTLES_S)
        if not claim.holds(place):
            raise SearchError(f"{place} was taken up elsewhere at the same moment; go on there, or stop that one first")
        return claim

    def holds(self, place: Place) -> bool:
        """Whether nobody has taken the experiment up since."""
        now = session_at(place)
        return now is None or now["token"] == self.token


def _await_nobody(place: Place, before: Mapping[str, Any]) -> None:
    """Refuse a place that somebody has claimed just now; one that stayed empty since is nobody's: its driver was lost.

    Raises:
        SearchError: with who has claimed it, and when.
    """
    since = time.time() - before["since"]
    if since < BEGINS_S:
        raise SearchError(
            f"{place}: a search of this name began {max(0.0, since):.0f} s ago on {before['host']}; give another "
            f"name=, or where that one was lost wait {BEGINS_S / 60:g} minutes"
        )


def session_at(place: Place) -> dict[str, Any] | None:
    """What ``session.json`` says there; None where nobody ever worked on it."""
    content = place.read(SESSION)
    return None if content is None else dict(json.loads(content))


def refuse_taken(storage: str, names: tuple[str, ...]) -> None:
    """Raise where an experiment of that name lies at the storage.

    Args:
        storage: what ``storage=`` says.
        names: data, baseline and name of the new one.

    Raises:
        SearchError: with the remedy.
    """
    place = Place.at(storage).below(*names)
    if place.read("config.json") is not None:
        raise SearchError(f"{place} exists; give another name=, or go on with it: resume={place}")
