"""What a run keeps while it trains, so that it goes on elsewhere when its process is lost: one folder per attempt.

A process that is cut off without being killed (a network that parts, a machine that sleeps) may go on writing when its
run has long been taken up elsewhere. It only knows the folder of its own attempt, and whoever comes later reads a
whole attempt: weights and readings never mix.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dce_ray.errors import CheckpointError
from dce_ray.files import finite, write_atomically
from dce_ray.train.run_files import Reading, RunFiles

if TYPE_CHECKING:
    from dce_ray.train.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one run, numbered from 1."""

    root: Path
    """Folder that every process of the run reaches; it need not exist."""

    def of(self, number: int) -> RunFiles:
        """Files of one attempt, whether or not they exist."""
        return RunFiles(self.root / str(number))

    def before(self, number: int) -> list[RunFiles]:
        """Earlier attempts that left something, the latest first."""
        return [self.of(earlier) for earlier in sorted(self._numbers(), reverse=True) if earlier < number]

    def latest(self) -> RunFiles | None:
        """The last attempt that left something."""
        numbers = self._numbers()
        return self.of(max(numbers)) if numbers else None

    def resume(self, run: Run, number: int) -> Sequence[Reading]:
        """Let a run go on from the latest attempt up to this one with a checkpoint that can be read.

        This one's own counts as well: where a node is taken back with notice, Ray begins the same attempt again.

        Its readings up to there, and its detections, become those of attempt ``number``.

        Args:
            run: at its first iteration; it stays there where no attempt left a checkpoint.
            number: of the attempt that begins.

        Returns:
            The readings up to the iteration from which it goes on.
        """
        for earlier in self.before(number + 1):
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
            shutil.rmtree(earlier.path, ignore_errors=True)

    def clear(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _numbers(self) -> list[int]:
        found = self.root.iterdir() if self.root.is_dir() else ()
        return [int(path.name) for path in found if path.name.isdigit()]
