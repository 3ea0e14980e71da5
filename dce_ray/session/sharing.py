"""Searches on one machine know of each other, so that a later one plans with what is free, and says so.

Each Ray that a search starts for itself leaves a note of the CPUs that it gives to runs, and holds the note's lock for
as long as the process lives: the system lets go of it however the process ends, so that a note which nobody holds is
one of the past, even where another process has the writer's number by now. A note is locked before it has its name, so
that nobody finds one that lives and is not held. A search on a cluster leaves none: there, Ray shares out what it has.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from dce_ray.errors import SearchError
from dce_ray.session.limits import usable_cpus
from dce_ray.words import counted, written

VARIABLE = "DCE_SEARCHES"
"""Names another folder for the notes: searches that have different ones do not know of each other."""
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Note:
    """What one running search takes of the machine."""

    pid: int
    place: str
    """The folder that it fills."""
    cpus: float
    """Given to its runs."""
    cpu_set: tuple[int, ...] = ()
    """Numbers of the CPUs that its processes may run on (``taskset``, a container's set); empty where it is not known,
    and may be any."""

    def within(self, own: frozenset[int]) -> float:
        """CPUs of the set ``own`` that its runs cannot do without; what fits beside that set is left to the system.

        >>> Note(1, "a", 4.0, (0, 1, 2, 3, 4, 5)).within(frozenset({0, 1, 2}))
        1.0
        """
        if not (self.cpu_set and own):
            return self.cpus
        return max(0.0, self.cpus - len(set(self.cpu_set) - own))


@dataclass(frozen=True, slots=True)
class Share:
    """What is left of the machine's CPUs for one more search."""

    usable: float
    """CPUs that this process may use at all."""
    others: tuple[Note, ...]
    """Searches that may run on some of them."""
    wish: int | None = None
    """CPUs that the user asked for; None chooses."""
    cpu_set: frozenset[int] = frozenset()
    """Numbers of the CPUs that this process may run on; empty where it is not known."""

    @property
    def taken(self) -> float:
        """CPUs that the runs of the others have."""
        return sum(note.within(self.cpu_set) for note in self.others)

    @property
    def cpus(self) -> int:
        """CPUs to plan with: those that are free, or where there are none an equal share of all, one at least.

        >>> one = Note(1, "a", 6.0)
        >>> Share(8.0, ()).cpus, Share(8.0, (one,)).cpus, Share(6.0, (one,)).cpus, Share(6.0, (one,), 5).cpus
        (8, 2, 3, 5)
        """
        free = int(self.usable - self.taken)
        return self.wish or (free if free >= 1 else max(1, int(self.usable / (len(self.others) + 1))))

    @property
    def _too_many(self) -> str:
        return (
            f"note: ray.num_cpus={self.wish} is more than the {counted(self.usable, 'CPU')} that this process may use: "
            f"runs wait for each other, and take no less time for it; leave it out for all there are"
        )

    @property
    def line(self) -> str:
        """What was found and what is done; empty where no other search runs here and no more is asked than there is."""
        if not self.others:
            return self._too_many if (self.wish or 0) > self.usable else ""
        who = ", ".join(f"{note.place} (process {note.pid}, {counted(note.cpus, 'CPU')})" for note in self.others)
        runs = "another search runs" if len(self.others) == 1 else f"{len(self.others)} other searches run"
        usable, load = written(self.usable), os.getloadavg()[0]
        over = self.taken + self.cpus > self.usable
        does = f"this one takes {'the ' if not over else ''}{counted(self.cpus, 'CPU')}"
        if self.wish:
            does += " as ray.num_cpus= says" + (", so that they wait for each other" if over else "")
        elif over:
            who_waits = "both" if len(self.others) == 1 else "all"
            does += f", its share where none is free: {who_waits} are slower for it; ray.num_cpus= decides otherwise"
        else:
            does += " that are free" if self.cpus > 1 else " that is free"
        return f"{runs} on this machine: {who}, of {usable} in all, load {load:.1f}; {does}"


def share_of_machine(wish: int | None = None) -> Share:
    """What is left of this machine's CPUs now.

    Args:
        wish: the user's ``ray.num_cpus``.
    """
    own = frozenset(os.sched_getaffinity(0))
    others = tuple(note for note in _held_notes() if not note.cpu_set or own.intersection(note.cpu_set))
    return Share(float(usable_cpus()), others, wish, own)


@contextlib.contextmanager
def share_held(place: Path, wish: int | None = None) -> Iterator[Share]:
    """Take a share and hold it for the time of the block; others that start meanwhile see it.

    Args:
        place: the folder that the search fills.
        wish: the user's ``ray.num_cpus``.

    Raises:
        SearchError: the notes' folder cannot be written.
    """
    folder = notes_folder()
    path = folder / f"{os.getpid()}-{time.time_ns()}.json"
    with contextlib.ExitStack() as held:
        with _one_at_a_time(folder):  # of two that start together the later sees the earlier
            _tidy(folder)
            share = share_of_machine(wish)
            note = Note(os.getpid(), str(place), float(share.cpus), tuple(sorted(share.cpu_set)))
            try:
                held.enter_context(_left(path, note))
            except OSError as fault:
                raise SearchError(_unwritable(folder, fault)) from fault
        try:
            yield share
        finally:
            path.unlink(missing_ok=True)


def _left(path: Path, note: Note) -> TextIO:
    """Write a note that is locked as long as the file stays open; it gets its name last."""
    unnamed = path.with_suffix(".new")
    file = unnamed.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        json.dump(asdict(note), file)
        file.flush()
        unnamed.chmod(0o644)  # for the searches of other users
        unnamed.replace(path)
    except OSError:
        file.close()
        unnamed.unlink(missing_ok=True)
        raise
    return file


def notes_folder() -> Path:
    """Where the notes of all users' searches lie, made where it is not there.

    Raises:
        SearchError: it cannot be made.
    """
    folder = Path(os.environ.get(VARIABLE) or Path(tempfile.gettempdir()) / "dce-ray-searches")
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o1777)  # as /tmp itself: everybody's notes, and each removes its own
    except OSError as fault:
        raise SearchError(_unwritable(folder, fault)) from fault
    return folder


def _unwritable(folder: Path, fault: OSError) -> str:
    return f"{folder}: searches of this machine leave notes there ({fault.strerror}); set {VARIABLE} to another folder"


def _held_notes() -> Iterator[Note]:
    """Of searches that live; a note of another form is another version's, of which nothing is known."""
    for path in sorted(notes_folder().glob("*.json")):
        told = json.loads(_held_text(path) or "{}")
        if told.keys() >= {"pid", "place", "cpus"}:
            cpu_set = tuple(map(int, told.get("cpu_set", ())))
            yield Note(int(told["pid"]), str(told["place"]), float(told["cpus"]), cpu_set)


def _held_text(path: Path) -> str | None:
    """What a note says that a living process holds; None where none does."""
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read()
    except (FileNotFoundError, PermissionError):  # it has just ended; of another user, who was killed while writing
        return None
    return None


def _tidy(folder: Path) -> None:
    """Remove what killed searches left."""
    for path in [*folder.glob("*.json"), *folder.glob("*.new")]:
        if _held_text(path) is None:
            with contextlib.suppress(PermissionError):  # another user's, who removes it
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as fault:
        raise SearchError(_unwritable(folder, fault)) from fault
    deadline = time.monotonic() + PATIENCE_S
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as fault:
                if time.monotonic() > deadline:
                    raise SearchError(f"{folder} is held by another process for {PATIENCE_S:.0f} s") from fault
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
