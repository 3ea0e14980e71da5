"""What finished runs measured, gathered by setting: the numbers behind confirmation charts, reports and ablations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dce_ray.evaluation import MapTable
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.files import read_json
from dce_ray.verdict.statistics import Estimate, mean_interval, paired_interval


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured for one setting (a configuration without its seed).

    >>> plain = Measured("baseline", {0: {"mAP@0.5": 0.40}, 1: {"mAP@0.5": 0.42}})
    >>> ours = Measured("top1", {0: {"mAP@0.5": 0.43}, 1: {"mAP@0.5": 0.45}, 2: {"mAP@0.5": 0.50}})
    >>> round(ours.cells()["mAP@0.5"].mean, 6)
    46.0
    >>> gain, pairs = ours.gain(plain)
    >>> round(gain["mAP@0.5"].mean, 6), pairs
    (3.0, 2)
    """

    name: str
    """Such as ``baseline``, ``top1`` or ``scs+mcm``; :mod:`dce_ray.report.labels` says what people read."""
    scores: Mapping[int, Mapping[str, float]]
    """Fractions in [0, 1] by seed and column."""
    planned: int = 0
    """Seeds that were asked for; more than ``len(scores)`` where some failed or are not done."""

    def cells(self) -> dict[str, Estimate]:
        """Mean and interval over seeds in percent, by column; columns that a seed lacks are missing."""
        return {
            column: mean_interval([score[column] for score in self.scores.values()]).scaled(100)
            for column in _shared_columns(self.scores)
        }

    def gain(self, plain: Measured) -> tuple[dict[str, Estimate], int]:
        """Difference to ``plain`` paired by seed, in percent points by column, and the number of pairs."""
        seeds = sorted(self.scores.keys() & plain.scores.keys())
        ours = {seed: self.scores[seed] for seed in seeds}
        theirs = {seed: plain.scores[seed] for seed in seeds}
        shared = [column for column in _shared_columns(ours) if column in _shared_columns(theirs)]
        cells = {
            column: paired_interval(
                {seed: score[column] for seed, score in ours.items()},
                {seed: score[column] for seed, score in theirs.items()},
            ).scaled(100)
            for column in shared
        }
        return cells, len(seeds)


def _shared_columns(scores: Mapping[int, Mapping[str, float]]) -> list[str]:
    first, *others = scores.values() or [{}]
    return [column for column in first if all(column in other for other in others)]


def ranking_column(settings: Sequence[Measured]) -> str:
    """The average that ranks: the last column of the first finished run; empty where there is none."""
    return next((list(score)[-1] for one in settings for score in one.scores.values()), "")


def score_columns(table: MapTable) -> dict[str, float]:
    """The numbers of a mAP table by column: ``mAP@<tIoU>``, then ``avg_<first>_<last>``; fractions in [0, 1]."""
    columns = {f"mAP@{tiou:g}": float(value) for tiou, value in zip(table.thresholds, table.map, strict=True)}
    return columns | {f"avg_{name.replace(':', '_')}": float(value) for name, value in table.averages.items()}


def run_scores(folder: RunFolder) -> dict[str, float] | None:
    """Numbers of a finished run by column, or None where its table is not there."""
    return score_columns(MapTable.from_mapping(read_json(folder.table))) if folder.table.is_file() else None


def gather(runs: Iterable[tuple[str, RunFolder, RunRecord]]) -> list[Measured]:
    """Runs by the name of their setting, in the order of its first run; every run is planned, finished ones count."""
    scores: dict[str, dict[int, dict[str, float]]] = {}
    planned: dict[str, int] = {}
    for name, folder, record in runs:
        planned[name] = planned.get(name, 0) + 1
        found = run_scores(folder) if record.state == "finished" else None
        members = scores.setdefault(name, {})
        if found is not None:
            members[record.seed] = found
    return [Measured(name, members, planned[name]) for name, members in scores.items()]


def confirmed_settings(folder: ExperimentFolder) -> list[Measured]:
    """What the confirmation measured so far, by setting; empty before it began."""
    records = [(run, run.record()) for run in folder.confirmations()]
    return gather((record.setting, run, record) for run, record in records)
