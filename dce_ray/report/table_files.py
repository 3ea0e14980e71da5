"""Rows of one dataclass as Parquet and CSV; the field ``lambda_`` is the column ``lambda``.

A field whose metadata say ``column`` is the column of that name.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dce_ray import grids
from dce_ray.config_base import key_of
from dce_ray.files import write_atomically


def column_names(kind: type[Any]) -> list[str]:
    """Columns of the written tables, in the order of the fields."""
    return [str(item.metadata.get("column", key_of(item.name))) for item in dataclasses.fields(kind)]


def row_values(row: Any) -> list[Any]:
    """Values of a row, in the order of :func:`column_names`."""
    return [getattr(row, item.name) for item in dataclasses.fields(row)]


def write_rows(kind: type[Any], rows: Sequence[Any], parquet: Path, comma_separated: Path) -> None:
    """Write the same rows as Parquet (typed, missing is null) and CSV (missing is empty).

    Args:
        kind: a dataclass whose fields are numbers and texts, or None.
        rows: of that class.
        parquet: file.
        comma_separated: file.

    Raises:
        OutputError: the disk is full or not writable.
    """
    names, cells = column_names(kind), [row_values(row) for row in rows]
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in cells], schema=_schema(kind))
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    write_atomically(parquet, buffer.getvalue().to_pybytes())
    write_atomically(comma_separated, grids.comma_separated(names, cells))


def _schema(kind: type[Any]) -> pa.Schema:
    arrow = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    fields, hints = [], typing.get_type_hints(kind)
    for item, column in zip(dataclasses.fields(kind), column_names(kind), strict=True):
        hint = hints[item.name]
        found = next(one for one in arrow if one in (hint, *typing.get_args(hint)))
        fields.append((column, arrow[found]))
    return pa.schema(fields)
