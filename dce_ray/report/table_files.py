"""Rows of one dataclass as Parquet and CSV; the field ``lambda_`` is the column ``lambda``.

A field whose metadata say ``column`` is the column of that name. A field that is a mapping of numbers becomes one
column per key; all rows of a table have the same keys.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dce_ray import grids
from dce_ray.config_base import key_of
from dce_ray.files import write_atomically


def column_names(kind: type[Any], row: Any = None) -> list[str]:
    """Columns of the written tables, in the order of the fields.

    Args:
        kind: of the rows.
        row: one of them; without it no mapping has keys.
    """
    names: list[str] = []
    mapped = _mappings(kind)
    for item in dataclasses.fields(kind):
        names += list(getattr(row, item.name, ())) if item.name in mapped else [_column(item)]
    return names


def _column(item: dataclasses.Field[Any]) -> str:
    return str(item.metadata.get("column", key_of(item.name)))


def row_values(row: Any) -> list[Any]:
    """Values of a row, in the order of :func:`column_names`."""
    values: list[Any] = []
    for item in dataclasses.fields(row):
        value = getattr(row, item.name)
        values += list(value.values()) if isinstance(value, Mapping) else [value]
    return values


def _mappings(kind: type[Any]) -> set[str]:
    """Fields that are mappings of numbers."""
    return {name for name, hint in typing.get_type_hints(kind).items() if typing.get_origin(hint) is Mapping}


def write_rows(kind: type[Any], rows: Sequence[Any], parquet: Path, comma_separated: Path) -> None:
    """Write the same rows as Parquet (typed, missing is null) and CSV (missing is empty).

    Args:
        kind: a dataclass whose fields are numbers and texts, or None, or mappings of numbers.
        rows: of that class.
        parquet: file.
        comma_separated: file.

    Raises:
        OutputError: the disk is full or not writable.
    """
    first = rows[0] if rows else None
    names, cells = column_names(kind, first), [row_values(row) for row in rows]
    schema = _schema(kind, names)
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in cells], schema=schema)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    write_atomically(parquet, buffer.getvalue().to_pybytes())
    write_atomically(comma_separated, grids.comma_separated(names, cells))


def _schema(kind: type[Any], names: Sequence[str]) -> pa.Schema:
    """Types of the columns; those of a mapping's keys are floats."""
    arrow = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    known = {}
    mapped = _mappings(kind)
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        hint = hints[item.name]
        if item.name not in mapped:
            known[_column(item)] = arrow[next(one for one in arrow if one in (hint, *typing.get_args(hint)))]
    return pa.schema([(name, known.get(name, pa.float64())) for name in names])
