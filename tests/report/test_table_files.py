"""Rows of a dataclass as columns: mappings become a column per key, in both formats."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.parquet as pq

from dce_ray.report.style import symbol
from dce_ray.report.table_files import column_names, row_values, write_rows
from dce_ray.tracking.views import view_of, view_tags


@dataclass(frozen=True)
class Row:
    number: int
    lambda_: float | None
    further: Mapping[str, float | None]
    name: str | None


ROWS = [
    Row(1, 0.5, {"training.learning_rate": 1e-4, "sampling.batch": 8}, "a"),
    Row(2, None, {"a": None, "b": 2.0}, None),
]
KEYS = ["training.learning_rate", "sampling.batch"]


def test_columns_of_a_mapping_stand_in_its_place(tmp_path):
    assert column_names(Row, ROWS[0]) == ["number", "lambda", *KEYS, "name"]
    assert column_names(Row) == ["number", "lambda", "name"]
    assert row_values(ROWS[0]) == [1, 0.5, 1e-4, 8, "a"]
    write_rows(Row, ROWS, tmp_path / "rows.parquet", tmp_path / "rows.csv")
    table = pq.read_table(tmp_path / "rows.parquet")
    assert table.schema.field("sampling.batch").type == "double"
    assert table.to_pylist()[1] == {"number": 2, "lambda": None, KEYS[0]: None, KEYS[1]: 2.0, "name": None}
    with (tmp_path / "rows.csv").open() as file:
        assert next(csv.DictReader(file))[KEYS[0]] == "0.0001"


def test_a_table_without_rows_has_no_columns_of_a_mapping(tmp_path):
    write_rows(Row, [], tmp_path / "rows.parquet", tmp_path / "rows.csv")
    assert pq.read_table(tmp_path / "rows.parquet").column_names == ["number", "lambda", "name"]


def test_symbols_and_views_of_further_keys():
    assert (symbol("delta"), symbol("training.learning_rate")) == (r"$\delta$", "learning rate")
    six = {"policy": "replicates", "space": {"delta": {"low": 0, "high": 1}, "gamma": "beta"}}
    more = {**six, "space": {**six["space"], "training.learning_rate": {"low": 0, "high": 1}}}
    assert view_of(six) == "dce-ray-points"  # searches of the six alone keep their own view
    assert view_of(more) == "dce-ray-points-training.learning_rate"
    (tag,) = view_tags(more, "mAP/avg_0.1:0.7").values()
    assert (
        '"selectedParams": ["delta", "theta_rep", "theta_pro", "beta", "gamma", "lambda", "training.learning_rate"]'
        in tag
    )
    assert "The searched parameters and the score" in tag
    (tag,) = view_tags(six, "mAP/avg_0.1:0.7").values()
    assert "The six parameters and the score" in tag
