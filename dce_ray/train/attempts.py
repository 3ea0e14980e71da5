"""What a run keeps while it trains, so that it goes on elsewhere when its process is lost: one folder per attempt.

A process that is cut off without being killed (a network that parts, a machine that sleeps) may go on writing when its
run has long been taken up elsewhere. It only knows the folder of its own attempt, and whoever comes later reads a
whole attempt: weights and readings never mix.

Where processes share no disk the attempts lie at a place (``storage=``) and each process works in a folder of its own,
from which it publishes whole files: readings and detections first, the checkpoint that knows of them last.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dce_ray.errors import CheckpointError, StorageError
from dce_ray.files import finite, write_atomically
from dce_ray.places import Place
from dce_ray.train.run_files import Reading, RunFiles

if TYPE_CHECKING:
    from dce_ray.train.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishedFiles(RunFiles):
    """Files of an attempt whose process keeps them in a folder of its own and publishes them at a place."""

    place: Place
    """Of the attempt."""
    _sent: dict[str, tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)
    """Time and size of what was published, by name."""

    @property
    def _all(self) -> tuple[Path, ...]:
        return (self.progress, self.detections, self.checkpoint)

    def publish(self) -> None:
        """Bring what has changed to the place, the checkpoint behind what it knows of.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        for path in self._all:
            if not path.is_file():
                continue
            state = path.stat()
            mark = (state.st_mtime_ns, state.st_size)
            if self._sent.get(path.name) != mark:
                self.place.send(path, path.name)
                self._sent[path.name] = mark

    def bring(self) -> None:
        """Have here what an attempt has published, and nothing else.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        shutil.rmtree(self.path, ignore_errors=True)
        there = self.place.files()
        for path in reversed(self._all):  # readings may be ahead of the checkpoint, never behind it
            if path.name in there:
                self.place.fetch(path.name, path)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one run, numbered from 1 in each session."""

    root: Path
    """Folder that every process of the run reaches, or, with a place, one of this process's own; it need not exist."""
    place: Place | None = None
    """What every process of the run reaches, where that is no folder of this machine."""
    session: int = 0
    """How often the search was taken up anew at its place: a driver that was cut off may still number attempts."""

    def of(self, number: int) -> RunFiles:
        """Files of one attempt of this session, whether or not they exist."""
        return self._files((self.session, number))

    def before(self, number: int) -> list[RunFiles]:
        """Earlier attempts that left something, the latest first."""
        return [self._files(each) for each in sorted(self._known(), reverse=True) if each < (self.session, number)]

    def latest(self) -> RunFiles | None:
        """The last attempt that left something."""
        known = self._known()
        return self._files(max(known)) if known else None

    def resume(self, run: Run, number: int) -> Sequence[Reading]:
        """Let a run go on from the latest attempt up to this one with a checkpoint that can be read.

        This one's own counts as well: where a node is taken back with notice, Ray begins the same attempt again.

        Its readings up to there, and its detections, become those of attempt ``number``.

        Args:
            run: at its first iteration; it stays there where no attempt left a checkpoint.
            number: of the attempt that begins.

        Returns:
            The readings up to the iteration from which it goes on.

        Raises:
            StorageError: the place does not answer, or refuses.
        """
        for earlier in self.before(number + 1):
            earlier.bring()
            try:
                if not run.restore(earlier.checkpoint):
                    continue
            except CheckpointError as fault:
                log.warning("%s; the run goes on from an attempt before, or starts again", fault)
                continue
            own, readings = self.of(number), [each for each in earlier.readings() if each.iteration <= run.iteration]
            write_atomically(own.progress, "".join(json.dumps(finite(asdict(each))) + "\n" for each in readings))
            if earlier != own and earlier.detections.is_file():
                write_atomically(own.detections, earlier.detections.read_bytes())
            return readings
        return ()

    def forget_before(self, number: int) -> None:
        """Remove earlier attempts: this one has a checkpoint of its own."""
        for earlier in self.before(number):
            self._remove(earlier.path.name)

    def clear(self) -> None:
        """Remove all of them; those of a later session are another driver's."""
        if self.place:
            try:
                known = self._known()
            except StorageError as fault:  # as in _remove
                log.warning("%s", fault)
                known = []
            for each in known:
                if each[0] <= self.session:
                    self._remove(self._files(each).path.name)
        shutil.rmtree(self.root, ignore_errors=True)

    def _remove(self, name: str) -> None:
        if self.place:
            try:
                self.place.below(name).clear()
            except StorageError as fault:  # what stays there costs room and nothing else
                log.warning("%s", fault)
        shutil.rmtree(self.root / name, ignore_errors=True)

    def _files(self, which: tuple[int, int]) -> RunFiles:
        session, number = which
        name = f"{session}-{number}" if session else f"{number}"
        return PublishedFiles(self.root / name, self.place.below(name)) if self.place else RunFiles(self.root / name)

    def _known(self) -> list[tuple[int, int]]:
        if self.place:
            names = self.place.folders()
        else:
            names = [path.name for path in self.root.iterdir()] if self.root.is_dir() else []
        parts = [(head if tail else "0", tail or head) for head, _, tail in (name.partition("-") for name in names)]
        return [(int(session), int(number)) for session, number in parts if session.isdigit() and number.isdigit()]
