"""Tables as MLflow shows them: the mAP of a run, the AP of its classes, the comparison of a confirmation.

MLflow's own ``log_table`` appends to what is there. Here a table is a file of the same format, replaced as a whole.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dce_ray import grids
from dce_ray.train.run_files import Reading

if TYPE_CHECKING:
    from dce_ray.evaluation import MapTable

LIST_TAG = "mlflow.loggedArtifacts"


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of plain values."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def split_json(self) -> str:
        """The format of MLflow's table artifacts: a data frame with ``orient="split"``."""
        return json.dumps({"columns": list(self.columns), "data": [list(row) for row in self.rows]})

    def comma_separated(self) -> str:
        """CSV; missing values are empty."""
        return grids.comma_separated(self.columns, self.rows)

    def markdown(self) -> str:
        """A Markdown table."""
        rows = [[_cell(value) for value in row] for row in self.rows]
        return grids.markdown(self.columns, rows, left=len(self.columns)) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def table_tag(files: Sequence[str]) -> str:
    """Value of the tag by which the UI knows which files are tables."""
    return json.dumps([{"path": file, "type": "table"} for file in files])


def map_table(table: MapTable) -> Table:
    """mAP per tIoU threshold, then the averages; fractions in [0, 1]."""
    rows: list[list[Any]] = [
        [f"{tiou:g}", float(value)] for tiou, value in zip(table.thresholds, table.map, strict=True)
    ]
    rows += [[f"average {name}", float(value)] for name, value in table.averages.items()]
    return Table(("tIoU", "mAP"), rows)


def class_table(table: MapTable) -> Table:
    """AP per class and tIoU threshold, fractions in [0, 1]; a class without instances has none."""
    columns = ["class", *(f"AP@{tiou:g}" for tiou in table.thresholds)]
    rows = [
        [name, *(float(value) if math.isfinite(value) else None for value in table.class_ap[:, index])]
        for index, name in enumerate(table.class_names)
    ]
    return Table(columns, rows)


def best_reading(progress: Sequence[Reading], iteration: int | None) -> Table | None:
    """The mAP table of a trial at the iteration that ranks it, from its curve; None where it never was evaluated."""
    evaluated = [line for line in progress if any(name.startswith("mAP/") for name in line.metrics)]
    if not evaluated:
        return None
    chosen = next((line for line in evaluated if line.iteration == iteration), evaluated[-1])
    rows = [
        [name.removeprefix("mAP/").replace("avg_", "average "), value]
        for name, value in chosen.metrics.items()
        if name.startswith("mAP/")
    ]
    return Table(("tIoU", "mAP"), rows)


def from_csv(path: Path) -> Table:
    """The table of a CSV file; numbers become numbers, empty cells nothing."""
    columns, *rows = list(csv.reader(path.read_text().splitlines()))
    return Table(columns, [[_number(cell) for cell in row] for row in rows])


def _number(cell: str) -> str | float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell
