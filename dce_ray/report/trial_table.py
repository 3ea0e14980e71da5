"""One row per trial, read from the study: what the trials table, the figures and the report show.

A trial is a run: of a point, or with ``policy=replicates`` of the plain baseline, too. The study decides which trials
there are and how each ended; the trial's folder only adds what Optuna does not keep (fixed and tied parameters,
diagnostics, where the parameters came from). A value that is nowhere known is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna

from dce_ray.config import SCALARS, ScalarRange
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, RunRecord, searched_beside
from dce_ray.experiment.study import REPEATS, STATE_OF, error_of, read_study
from dce_ray.report import table_files
from dce_ray.train.run_files import Reading, best_of

INTERRUPTED = "interrupted"
"""State of a run that the study has as running while no process runs it."""


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial of the search."""

    number: int
    key: str | None
    """Name of the trial's folder."""
    state: str
    """``finished``, ``pruned``, ``failed``, ``running``, ``waiting``, or :data:`INTERRUPTED`."""
    point: int | None
    """Number of the point that it is a run of; None for the plain baseline where it is one setting. With
    ``policy=single`` every trial is a point of its own."""
    fold: int | None
    """Fold of the train videos that it is scored on; None with ``protocol=paper``, where none is held out."""
    seed: int | None
    delta: float | None
    theta_rep: float | None
    theta_pro: float | None
    beta: float | None
    gamma: float | None
    lambda_: float | None
    further: Mapping[str, float | None]
    """By key: what is searched beside the six scalars; all rows of a table have the same keys."""
    value: float | None = field(metadata={"column": "value_fraction"})
    """What was told to the study, a fraction in [0, 1]: with ``policy=replicates`` the score at an iteration that other
    runs chose, with ``policy=single`` the best one over the trial's evaluations."""
    value_iteration: int | None
    """Iteration at which ``value`` was read; with ``policy=single`` where the highest score was reported so far."""
    iterations: int | None
    """Iterations run."""
    psi_share: float | None
    """Share of snippets in the confounder set, in [0, 1], at the last reading."""
    mcm_share: float | None
    """Share of proposals that consistency mining acts on, in [0, 1], at the last reading."""
    origin: str | None
    """``paper``, ``released`` or ``search``: where the parameters came from; ``baseline`` for the plain baseline."""
    duration_s: float | None
    error: str | None
    """Why it failed."""

    @property
    def plain(self) -> bool:
        """Whether this is a run of the plain baseline."""
        return self.point is None or self.origin == PLAIN

    def parameter(self, name: str) -> float | None:
        """Value of one of :data:`SCALARS`, or of what is searched beside them."""
        return parameter_of(self, name)


@dataclass(frozen=True, slots=True)
class TrialTable:
    """All trials of a study by number, and where it looked."""

    rows: tuple[TrialRow, ...]
    ranges: Mapping[str, ScalarRange]
    """By parameter; those that the study does not hold (fixed, tied) are absent."""

    def in_state(self, *states: str) -> list[TrialRow]:
        """Rows whose state is one of ``states``."""
        return [row for row in self.rows if row.state in states]

    @property
    def best(self) -> TrialRow | None:
        """The finished trial with the highest value; the first one of equals, None where none finished.

        One run's value: with ``policy=replicates`` it says little, and the best point is the model's.
        """
        scored = [row for row in self.in_state("finished") if row.value is not None]
        return max(scored, key=lambda row: (row.value, -row.number), default=None)


def read_trials(folder: ExperimentFolder, study: optuna.Study | None = None, *, live: bool | None = None) -> TrialTable:
    """The trials of an experiment folder, read from its study.

    Args:
        folder: of the search.
        study: its study, where the caller has read it.
        live: whether a process runs them now; None asks the folder's lock. Else what did not end was interrupted.

    Raises:
        SearchError: the folder holds no study.
    """
    study = study or read_study(folder.study)
    unended = "running" if (folder.in_use if live is None else live) else INTERRUPTED
    rows, ranges = [], {}
    further = searched_beside(folder.config)
    for trial in study.get_trials(deepcopy=False):
        if REPEATS in trial.user_attrs:  # no run of its own
            continue
        key = trial.user_attrs.get("key")
        home = folder.trial(key) if key else None
        known = home is not None and home.exists()
        record, readings = (home.record(), home.readings()) if home and known else (None, [])
        if record is not None and record.number != trial.number:  # the same run, tried again as another trial
            readings = []
        row = _row(trial, record, readings, further)
        rows.append(replace(row, state=unended) if row.state == "running" else row)
        for name, distribution in trial.distributions.items():
            known = name in SCALARS or name in further
            if known and isinstance(distribution, optuna.distributions.FloatDistribution):
                ranges[name] = ScalarRange(distribution.low, distribution.high, distribution.log)
    return TrialTable(tuple(rows), ranges)


def _row(
    trial: optuna.trial.FrozenTrial, record: RunRecord | None, progress: Sequence[Reading], further: Sequence[str]
) -> TrialRow:
    attributes = trial.user_attrs
    known = {**(record.params if record else {}), **attributes.get("params", {}), **attributes.get("scalars", {})}
    params = {**known, **trial.params}
    iteration, value = _outcome(trial)
    return TrialRow(
        number=trial.number,
        key=attributes.get("key"),
        state=STATE_OF[trial.state],
        point=attributes["point"] if _replicated(trial) else trial.number,
        fold=record.fold if record else None,
        seed=record.seed if record else None,
        **{field_of(name): params.get(name) for name in SCALARS},
        further={name: params.get(name) for name in further},
        value=value,
        value_iteration=iteration,
        iterations=max([*trial.intermediate_values, *(line.iteration for line in progress)], default=None),
        psi_share=_last_reading(progress, "psi_share"),
        mcm_share=_last_reading(progress, "mcm_share"),
        origin=attributes.get("origin", record.origin if record else None),
        duration_s=trial.duration.total_seconds() if trial.duration else None,
        error=error_of(trial),
    )


def _outcome(trial: optuna.trial.FrozenTrial) -> tuple[int | None, float | None]:
    """Where the value was read, and the value."""
    value = trial.value if trial.value is not None and math.isfinite(trial.value) else None
    if _replicated(trial):
        return trial.user_attrs.get("iteration"), value
    iteration, best = best_of(trial.intermediate_values) or (None, None)
    # Of a pruned trial Optuna keeps the last score, where finished ones have the best.
    return iteration, best if trial.state == optuna.trial.TrialState.PRUNED else value


def _replicated(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether the trial is one of several runs of its point, or of the plain baseline (``policy=replicates``)."""
    return "round" in trial.user_attrs


def _last_reading(progress: Sequence[Reading], name: str) -> float | None:
    readings = [line.metrics[name] for line in progress if line.metrics.get(name) is not None]
    return readings[-1] if readings else None


def parameter_of(row: Any, name: str) -> float | None:
    """Value of one of :data:`SCALARS` in a row, or of what is searched beside them."""
    value: float | None = row.further[name] if name in row.further else getattr(row, field_of(name))
    return value


def field_of(scalar: str) -> str:
    """Field of :class:`TrialRow` that holds a scalar; ``lambda`` is a word of the language."""
    return "lambda_" if scalar == "lambda" else scalar


def write_trials(table: TrialTable, parquet: Path, comma_separated: Path) -> None:
    """Write the rows as Parquet and CSV.

    Raises:
        OutputError: the disk is full or not writable.
    """
    table_files.write_rows(TrialRow, table.rows, parquet, comma_separated)
