"""Runs that are planned beforehand: the confirmation's, and the plain baseline's run on holdout."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from dce_ray.errors import SearchError
from dce_ray.experiment.folder import TrialFolder, TrialRecord
from dce_ray.files import read_json
from dce_ray.search.ledger import Ledger, best_of
from dce_ray.train.checkpoint import previous_of


@dataclass(frozen=True, slots=True)
class Planned:
    """One run: its folder and what its record says before it starts."""

    folder: TrialFolder
    record: TrialRecord


@dataclass
class PlanLedger:
    """Runs a list; what is finished in its folder is not run again.

    Its truth are the records in the folders: a run counts once it is ``finished`` there.
    """

    plan: Sequence[Planned]
    live: dict[str, Planned] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in self.plan:
            if item.folder.exists() and not self._same(item):
                clear(item.folder)
        self.waiting = [item for item in self.plan if not self._finished(item)]

    def ask(self) -> TrialFolder | None:
        """The next run that is not finished."""
        if not self.waiting:
            return None
        item = self.waiting.pop(0)
        record = item.folder.record() if item.folder.exists() else item.record
        item.folder.write(
            record.replace(state="running", started=record.started or time.time(), ended=None, error=None)
        )
        self.live[item.record.key] = item
        return item.folder

    def report(self, key: str, iteration: int, score: float | None) -> bool:
        """No planned run is stopped early."""
        return False

    def finish(self, key: str) -> None:
        """Record value and iteration: of the table (confirmation) or of the best evaluation."""
        item = self.live[key]
        scores = {line.iteration: line.metrics.get("score") for line in item.folder.progress()}
        finite = {step: value for step, value in scores.items() if value is not None and math.isfinite(value)}
        if item.record.kind == "confirm":
            table = read_json(item.folder.table)
            value = final_score(table, item.record)
            iteration = best_of(finite)[0] if finite else max(scores, default=item.record.stop_at)
        elif finite:
            iteration, value = best_of(finite)
        else:
            self.fail(key, "no evaluation gave a finite score")
            return
        del self.live[key]
        previous_of(item.folder.checkpoint).unlink(missing_ok=True)
        item.folder.update(state="finished", value=value, iteration=iteration, ended=time.time())

    def prune(self, key: str) -> None:
        """No planned run is stopped early."""
        raise SearchError(f"{key}: a planned run was pruned; only trials of the study may be")

    def fail(self, key: str, error: str) -> None:
        """Record the failure; a resumed search tries again."""
        item = self.live.pop(key)
        item.folder.update(state="failed", error=error, ended=time.time())

    @staticmethod
    def _same(item: Planned) -> bool:
        return bool(item.folder.record().config == item.record.config)

    @staticmethod
    def _finished(item: Planned) -> bool:
        if not item.folder.exists() or item.folder.record().state != "finished":
            return False
        return item.record.kind == "trial" or item.folder.table.is_file()


@dataclass
class ChainLedger:
    """Several ledgers one after the other, as if they were one."""

    parts: Sequence[Ledger]
    _owner: dict[str, Ledger] = field(default_factory=dict)

    def ask(self) -> TrialFolder | None:
        """The next run of the first ledger that has one."""
        for part in self.parts:
            folder = part.ask()
            if folder is not None:
                self._owner[folder.key] = part
                return folder
        return None

    def report(self, key: str, iteration: int, score: float | None) -> bool:
        """Pass on."""
        return self._owner[key].report(key, iteration, score)

    def finish(self, key: str) -> None:
        """Pass on."""
        self._owner[key].finish(key)

    def prune(self, key: str) -> None:
        """Pass on."""
        self._owner[key].prune(key)

    def fail(self, key: str, error: str) -> None:
        """Pass on."""
        self._owner[key].fail(key, error)


def final_score(table: dict[str, object], record: TrialRecord) -> float:
    """What a confirmation run's table says by the metric of the search, a fraction in [0, 1]."""
    from dce_ray.evaluation import MapTable

    read = MapTable.from_mapping(table)
    return read.ranking if record.config.get("metric", "detection") == "detection" else read.classification_map


def clear(folder: TrialFolder) -> None:
    """Remove what an earlier plan left under the same name: another configuration, another length."""
    for path in sorted(folder.path.iterdir()):
        path.unlink()
