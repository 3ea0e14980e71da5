"""Runs that are planned beforehand: the plain baseline's on the selecting split, a confirmation's, an ablation's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dce_ray.errors import SearchError
from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, WITHOUT_METHOD, RunRecord, decisive
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.files import read_json
from dce_ray.presets import merge
from dce_ray.search.ledger import Ledger, fold_of, run_key
from dce_ray.train.run_files import best_of


@dataclass(frozen=True, slots=True)
class Planned:
    """One run: its folder and what its record says before it starts."""

    folder: RunFolder
    record: RunRecord

    @property
    def now(self) -> RunRecord:
        """The record as it stands."""
        return self.folder.record() if self.folder.exists() else self.record

    @property
    def finished(self) -> bool:
        """Whether the run is done, its table included where it is one on test."""
        done = self.folder.exists() and self.folder.record().state == "finished"
        return done and (not self.record.on_test or self.folder.table.is_file())


def plan_plain(folder: ExperimentFolder, config: Mapping[str, Any], digest: str) -> Planned:
    """The plain baseline's run on the selecting split: it, too, must have its iteration chosen there."""
    config = merge(config, WITHOUT_METHOD)
    key = run_key(config, digest)
    record = RunRecord(key, "plain", PLAIN, 0, "running", config, config["seed"], fold=fold_of(config), origin=PLAIN)
    return Planned(folder.trial(key), record)


def plan_confirmation(folder: ExperimentFolder, candidates: Sequence[Candidate], seeds: int) -> list[Planned]:
    """Every candidate with every seed, seed by seed, so that pairs are complete early."""
    return _plan_seeds(folder, candidates, range(seeds), 0)


def plan_second_stage(
    folder: ExperimentFolder, pair: Sequence[Candidate], seeds: int, more: int, *, after: int
) -> list[Planned]:
    """The winner and the plain baseline with ``more`` further seeds, pair by pair.

    Args:
        folder: the search.
        pair: the two settings.
        seeds: of the first stage; the second goes on behind them.
        more: seeds of the second stage.
        after: runs of the first stage, which come before in the order of all.
    """
    return _plan_seeds(folder, pair, range(seeds, seeds + more), after)


def _plan_seeds(folder: ExperimentFolder, candidates: Sequence[Candidate], numbers: range, after: int) -> list[Planned]:
    plan: list[Planned] = []
    for number in numbers:
        for candidate in candidates:
            seed = candidate.confirmation_seed(number)
            place = folder.confirm(f"{candidate.setting}-{seed}")
            record = RunRecord(
                place.key,
                "confirm",
                candidate.setting,
                after + len(plan),
                "running",
                candidate.configuration(seed),
                seed,
                origin=candidate.origin,
                searched=candidate.searched,
            )
            plan.append(Planned(place, record))
    return plan


@dataclass
class PlanLedger:
    """Runs a list; what is finished in its folder is not run again.

    Its truth are the records in the folders: a run counts once it is ``finished`` there.
    """

    plan: Sequence[Planned]
    live: dict[str, Planned] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in self.plan:
            if item.folder.exists() and decisive(item.folder.record().config) != decisive(item.record.config):
                item.folder.clear()  # another run's under the same name
            if item.finished:
                item.folder.attempts.clear()  # the driver was killed before it did
        self.waiting = [item for item in self.plan if not item.finished]

    def ask(self) -> RunFolder | None:
        """The next run that is not finished."""
        if not self.waiting:
            return None
        item = self.waiting.pop(0)
        now, config = item.now, item.record.config  # how and where it computes is today's wish
        started, attempt = now.started or time.time(), now.attempt + 1
        item.folder.write(
            now.replace(config=config, state="running", started=started, ended=None, error=None, attempt=attempt)
        )
        self.live[item.record.key] = item
        return item.folder

    def report(self, key: str, iteration: int, score: float | None) -> bool:
        """No planned run is stopped early."""
        return False

    def finish(self, key: str) -> None:
        """Record value and iteration: of the table (runs on test) or of the best evaluation.

        Raises:
            StorageError: what the run has left at the storage cannot be brought here; it still runs then.
        """
        item = self.live[key]
        readings = item.folder.readings()
        best = best_of(item.folder.scores())
        if item.record.on_test:
            value = final_score(read_json(item.folder.table))
            iteration = best[0] if best else readings[-1].iteration if readings else item.record.stop_at
        elif best:
            iteration, value = best
        else:
            self.fail(key, "no evaluation gave a finite score")
            return
        if item.record.on_test:
            item.folder.adopt()  # first: where that fails, the run goes on
        del self.live[key]
        item.folder.update(state="finished", value=value, iteration=iteration, ended=time.time())
        item.folder.attempts.clear()

    def prune(self, key: str) -> None:
        """No planned run is stopped early."""
        raise SearchError(f"{key}: a planned run was pruned; only trials of the study may be")

    def fail(self, key: str, error: str, *, lost: bool = False) -> None:
        """Record the failure; a resumed search tries again."""
        item = self.live.pop(key)
        item.folder.update(state="failed", error=error, ended=time.time())

    def again(self, key: str) -> None:
        """Put the run before all others."""
        self.waiting.insert(0, self.live.pop(key))


@dataclass
class ChainLedger:
    """Several ledgers one after the other, as if they were one."""

    parts: Sequence[Ledger]
    _owner: dict[str, Ledger] = field(default_factory=dict)

    def ask(self) -> RunFolder | None:
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

    def fail(self, key: str, error: str, *, lost: bool = False) -> None:
        """Pass on."""
        self._owner[key].fail(key, error, lost=lost)

    def again(self, key: str) -> None:
        """Pass on."""
        self._owner[key].again(key)


def final_score(table: Mapping[str, Any]) -> float:
    """What a run came to on test, a fraction in [0, 1]: detection mAP as in all tables, whatever the search ranked."""
    from dce_ray.evaluation import MapTable

    return MapTable.from_mapping(table).ranking
