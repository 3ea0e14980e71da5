"""The numbers that the paper prints, as CSV beside this file: percent, one decimal, missing cells empty."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dce_ray.errors import ConfigError, unknown_name

FOLDER = Path(__file__).resolve().parent / "published_tables"
COMPARISONS = {"thumos14": "table1_thumos14", "activitynet12": "table2_activitynet12"}
"""Printed comparison of plain and improved baselines, by data set (names of ``dce_ray.presets.DATA_SETS``)."""
TABLE_5 = "table5_psi_strategies"
PAPER = "Efficient Dual-Confounding Eliminating for Weakly-supervised Temporal Action Localization"


@dataclass(frozen=True, slots=True)
class PrintedRow:
    """One printed line: what names it, and its numbers in percent by column (empty cells are absent)."""

    names: Mapping[str, str]
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PrintedTable:
    """One printed table."""

    name: str
    columns: tuple[str, ...]
    """Number columns in printed order, such as ``mAP@0.5`` and ``avg_0.1_0.7``."""
    rows: tuple[PrintedRow, ...]

    def row(self, **names: str) -> PrintedRow | None:
        """The line whose names are these, or None where the paper prints none."""
        found = [row for row in self.rows if all(row.names.get(key) == value for key, value in names.items())]
        return found[0] if found else None


def printed_table(name: str) -> PrintedTable:
    """A table of the paper by the name of its file.

    >>> printed_table(TABLE_5).rows[-1].names["strategy"]
    'ratio'

    Raises:
        ConfigError: for an unknown name, with the nearest known one.
    """
    path = FOLDER / f"{name}.csv"
    if not path.is_file():
        raise ConfigError(unknown_name("printed table", name, [known.stem for known in FOLDER.glob("*.csv")]))
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        fields = list(reader.fieldnames or [])
        columns = tuple(field for field in fields if field.startswith(("mAP@", "avg_")))
        rows = [_row(line, columns) for line in reader]
    return PrintedTable(name, columns, tuple(rows))


def printed_comparison(data_set: str) -> PrintedTable | None:
    """Table 1 or 2 for a data set, or None where the paper has no numbers for it.

    >>> printed_comparison("thumos14").row(baseline="delu", variant="scs+mcm").numbers["avg_0.1_0.7"]
    47.5
    >>> printed_comparison("hapt") is None
    True
    """
    return printed_table(COMPARISONS[data_set]) if data_set in COMPARISONS else None


def _row(line: Mapping[str, str], columns: tuple[str, ...]) -> PrintedRow:
    names = {key: value for key, value in line.items() if key not in columns}
    return PrintedRow(names, {column: float(line[column]) for column in columns if line[column]})
