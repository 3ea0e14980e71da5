"""What a run leaves in its folder, and the one reader and writer of ``progress.jsonl``.

Without PyTorch: reports and the tracking process read a run's progress and have no use for it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dce_ray.errors import OutputError
from dce_ray.files import append_line, finite, whole_lines, write_atomically

LOCK = ".lock"
"""The file that a process holds while it works in a folder, of a run as of a search."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One line of ``progress.jsonl``."""

    iteration: int
    time: float
    """Unix time in seconds."""
    metrics: Mapping[str, float | None]
    """By name: ``mAP/0.5``, ``mAP/avg_0.1:0.7``, ``score``, ``loss/<term>``, ``psi_share``, ...; None where the value
    was not finite."""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Files of one run, whether or not they exist."""

    path: Path
    """The run's folder."""

    @property
    def checkpoint(self) -> Path:
        """The run's last kept state."""
        return self.path / "checkpoint.pt"

    @property
    def best_checkpoint(self) -> Path:
        """The state at the best evaluation, where it is kept."""
        return self.path / "best.pt"

    @property
    def detections(self) -> Path:
        """Detections on test, JSON, where test was read."""
        return self.path / "detections.json"

    @property
    def progress(self) -> Path:
        """One line per reading."""
        return self.path / "progress.jsonl"

    def publish(self) -> None:
        """Let others have what was written so far; nothing to do where they see the folder itself."""

    def bring(self) -> None:
        """Have here what others have published; nothing to do where this is the folder itself."""

    def append(self, iteration: int, metrics: Mapping[str, float | None], time_s: float | None = None) -> Reading:
        """Append one reading, after cutting off what a killed writer left of its last line.

        Raises:
            OutputError: the disk is full or not writable.
        """
        reading = Reading(iteration, time.time() if time_s is None else time_s, dict(metrics))
        append_line(self.progress, asdict(reading))
        return reading

    def readings(self) -> list[Reading]:
        """All readings by rising iteration; the first one of an iteration counts, and one with a score before others.

        A run that goes on from a checkpoint repeats iterations: with the same numbers where it computes as before, and
        in any case what was read first is what the study and MLflow have heard already. A line that was never ended is
        still being written, or its writer was killed: it is no reading yet.

        Raises:
            OutputError: a whole line is no reading: the file was damaged, with the line and the remedy.
        """
        found: dict[int, Reading] = {}
        for number, line in enumerate(whole_lines(self.progress), start=1):
            try:
                value = json.loads(line)
                reading = Reading(int(value["iteration"]), float(value["time"]), dict(value["metrics"]))
            except (ValueError, KeyError, TypeError) as fault:
                raise OutputError(
                    f"{self.progress}, line {number}: no reading ({fault}); the file was damaged: remove this line"
                ) from fault
            known = found.get(reading.iteration)
            if known is None or ("score" in reading.metrics and "score" not in known.metrics):
                found[reading.iteration] = reading
        return [found[iteration] for iteration in sorted(found)]

    def keep_until(self, iteration: int) -> None:
        """Drop the readings behind ``iteration``: the run goes on from there, and nobody has heard of them."""
        kept = [asdict(reading) for reading in self.readings() if reading.iteration <= iteration]
        write_atomically(self.progress, "".join(json.dumps(finite(line)) + "\n" for line in kept))

    def last(self, name: str) -> float | None:
        """The newest value of a metric; None where it was never read."""
        values = [reading.metrics[name] for reading in self.readings() if reading.metrics.get(name) is not None]
        return values[-1] if values else None

    def scores(self) -> dict[int, float]:
        """What ranked, by iteration; evaluations whose score was not finite are absent."""
        values = {reading.iteration: reading.metrics.get("score") for reading in self.readings()}
        return {iteration: value for iteration, value in values.items() if value is not None}


def best_of(scores: Mapping[int, float]) -> tuple[int, float] | None:
    """Iteration and value of the highest finite score, the earliest of equals; None where there is none.

    >>> best_of({100: 0.31, 200: 0.35, 300: 0.35})
    (200, 0.35)
    """
    finite = {iteration: score for iteration, score in scores.items() if math.isfinite(score)}
    if not finite:
        return None
    iteration = min(finite, key=lambda step: (-finite[step], step))
    return iteration, finite[iteration]
