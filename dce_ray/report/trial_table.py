"""One row per trial, read from the study: what the trials table, the figures and the report show.

The study decides which trials there are and how each ended; the trial's folder only adds what Optuna does not keep
(fixed and tied parameters, diagnostics, where the parameters came from). A value that is nowhere known is None.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq

from dce_ray import grids
from dce_ray.config import SCALARS, ScalarRange
from dce_ray.config_base import key_of
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.study import STATE_OF, read_study
from dce_ray.files import write_atomically
from dce_ray.train.run_files import Reading, best_of


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial of the search."""

    number: int
    key: str | None
    """Name of the trial's folder."""
    state: str
    """``finished``, ``pruned``, ``failed``, ``running`` or ``waiting``."""
    delta: float | None
    theta_rep: float | None
    theta_pro: float | None
    beta: float | None
    gamma: float | None
    lambda_: float | None
    value: float | None
    """What ranks, a fraction in [0, 1]: the best score over the trial's evaluations."""
    best_iteration: int | None
    """Iteration at which the highest score was reported."""
    iterations: int | None
    """Iterations run."""
    psi_share: float | None
    """Share of snippets in the confounder set, in [0, 1], at the last reading."""
    mcm_share: float | None
    """Share of proposals that consistency mining acts on, in [0, 1], at the last reading."""
    origin: str | None
    """``paper``, ``released`` or ``search``: where the parameters came from."""
    duration_s: float | None
    error: str | None
    """Why it failed."""

    def parameter(self, name: str) -> float | None:
        """Value of one of :data:`SCALARS`."""
        value: float | None = getattr(self, field_of(name))
        return value

    def values(self) -> list[Any]:
        """In the order of :func:`column_names`."""
        return [getattr(self, item.name) for item in dataclasses.fields(self)]


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
        """The finished trial with the highest value; the first one of equals, None where none finished."""
        scored = [row for row in self.in_state("finished") if row.value is not None]
        return max(scored, key=lambda row: (row.value, -row.number), default=None)


def read_trials(folder: ExperimentFolder, study: optuna.Study | None = None) -> TrialTable:
    """The trials of an experiment folder, read from its study.

    Raises:
        SearchError: the folder holds no study.
    """
    study = study or read_study(folder.study)
    rows, ranges = [], {}
    for trial in study.get_trials(deepcopy=False):
        key = trial.user_attrs.get("key")
        home = folder.trial(key) if key else None
        known = home is not None and home.exists()
        rows.append(_row(trial, home.record() if home and known else None, home.readings() if home and known else []))
        for name, distribution in trial.distributions.items():
            if name in SCALARS and isinstance(distribution, optuna.distributions.FloatDistribution):
                ranges[name] = ScalarRange(distribution.low, distribution.high, distribution.log)
    return TrialTable(tuple(rows), ranges)


def _row(trial: optuna.trial.FrozenTrial, record: RunRecord | None, progress: Sequence[Reading]) -> TrialRow:
    best_step, best_score = best_of(trial.intermediate_values) or (None, None)
    params = {**(record.params if record else {}), **trial.user_attrs.get("params", {}), **trial.params}
    value = trial.value if trial.value is not None and math.isfinite(trial.value) else None
    if trial.state == optuna.trial.TrialState.PRUNED:  # Optuna keeps the last score there, finished trials the best
        value = best_score
    return TrialRow(
        number=trial.number,
        key=trial.user_attrs.get("key"),
        state=STATE_OF[trial.state],
        **{field_of(name): params.get(name) for name in SCALARS},
        value=value,
        best_iteration=best_step,
        iterations=max([*trial.intermediate_values, *(line.iteration for line in progress)], default=None),
        psi_share=_last_reading(progress, "psi_share"),
        mcm_share=_last_reading(progress, "mcm_share"),
        origin=trial.user_attrs.get("origin", record.origin if record else None),
        duration_s=trial.duration.total_seconds() if trial.duration else None,
        error=trial.user_attrs.get("error"),
    )


def _last_reading(progress: Sequence[Reading], name: str) -> float | None:
    readings = [line.metrics[name] for line in progress if line.metrics.get(name) is not None]
    return readings[-1] if readings else None


def field_of(scalar: str) -> str:
    """Field of :class:`TrialRow` that holds a scalar; ``lambda`` is a word of the language."""
    return "lambda_" if scalar == "lambda" else scalar


def column_names() -> list[str]:
    """Columns of the written tables; the field ``lambda_`` is ``lambda`` there."""
    return [key_of(item.name) for item in dataclasses.fields(TrialRow)]


def write_trials(table: TrialTable, parquet: Path, comma_separated: Path) -> None:
    """Write the same rows as Parquet (typed, missing is null) and CSV (missing is empty).

    Raises:
        OutputError: the disk is full or not writable.
    """
    schema, names, rows = _schema(), column_names(), [row.values() for row in table.rows]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=schema), buffer)
    write_atomically(parquet, buffer.getvalue().to_pybytes())
    write_atomically(comma_separated, grids.comma_separated(names, rows))


def _schema() -> pa.Schema:
    arrow = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    fields = []
    for name, hint in typing.get_type_hints(TrialRow).items():
        kind = next(kind for kind in arrow if kind in (hint, *typing.get_args(hint)))
        fields.append((key_of(name), arrow[kind]))
    return pa.schema(fields)
