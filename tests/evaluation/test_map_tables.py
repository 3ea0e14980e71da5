"""The table says what its numbers are, in every form, and survives JSON without loss."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest

from dce_ray.errors import EvaluationError
from dce_ray.evaluation import MapTable, map_table
from dce_ray.evaluation.tables import TABLE_ENDINGS, classification_table

AP = np.array([[0.5, 0.1, math.nan], [0.25, 1 / 3, math.nan], [0.0, 0.0, math.nan]])


def table(**changes) -> MapTable:
    values = {
        "thresholds": (0.1, 0.2, 0.3),
        "averages": ("0.2:0.3", "0.1:0.2"),
        "class_names": ("High_Jump", "A&B", "Dive|r"),
        "videos": 4,
        "instances": 9,
        "classification_map": 0.625,
        "caption": "DELU 100 %",
    }
    return map_table(AP, **(values | changes))


def test_means_and_averages():
    made = table()
    assert made.map.tolist() == pytest.approx([0.3, 7 / 24, 0.0])
    assert made.averages == pytest.approx({"0.2:0.3": 7 / 48, "0.1:0.2": (0.3 + 7 / 24) / 2})
    assert made.ranking == made.averages["0.1:0.2"]
    assert made.metrics()["mAP/0.1"] == pytest.approx(0.3)
    assert set(made.metrics()) == {
        f"mAP/{n}" for n in ("0.1", "0.2", "0.3", "avg_0.2:0.3", "avg_0.1:0.2", "classification")
    }


def test_a_table_without_detection_has_its_columns_nowhere(tmp_path):
    made = classification_table(0.625, class_names=("a", "b"), videos=4, caption="DELU")
    assert made.metrics() == {"mAP/classification": 0.625}
    assert made.score("classification") == 0.625
    with pytest.raises(EvaluationError, match="no temporal label was read"):
        made.score("detection")
    back = MapTable.from_mapping(json.loads(json.dumps(made.to_mapping(), allow_nan=False)))
    assert back == made
    assert (back.class_ap.shape, back.instances) == ((0, 2), None)
    for ending in TABLE_ENDINGS:
        made.write(tmp_path / f"table{ending}", per_class=True)
    rows = list(csv.reader((tmp_path / "table.csv").read_text().splitlines()))
    assert rows == [["class", "classification"], ["mAP", "0.625"]]
    assert "62.50" in (tmp_path / "table.md").read_text()
    assert "instances" not in made.text()


def test_json_round_trip_is_loss_free():
    made = table()
    back = MapTable.from_mapping(json.loads(json.dumps(made.to_mapping(), allow_nan=False)))
    assert back == made
    np.testing.assert_array_equal(back.class_ap, made.class_ap)
    np.testing.assert_array_equal(back.map, made.map)
    unmeasured = table(classification_map=math.nan)
    assert MapTable.from_mapping(json.loads(json.dumps(unmeasured.to_mapping()))) == unmeasured
    assert back != unmeasured


@pytest.mark.parametrize("change", [{"format": "other"}, {"version": 2}, {"map": ...}])
def test_foreign_mappings_are_refused(change):
    mapping = {key: value for key, value in (table().to_mapping() | change).items() if value is not ...}
    with pytest.raises(EvaluationError, match="not a dce-ray mAP table"):
        MapTable.from_mapping(mapping)


def test_terminal():
    lines = str(table()).splitlines()
    assert lines[0] == "DELU 100 %"
    assert lines[1].split() == ["0.1", "0.2", "0.3", "avg", "0.2:0.3", "avg", "0.1:0.2"]
    assert lines[3].split() == ["mAP", "30.00", "29.17", "0.00", "14.58", "29.58"]
    assert "4 videos, 9 instances; classification mAP 62.50%; 1 of 3 classes have no instance" in lines[4]
    assert "Dive|r         -" in table().text(per_class=True)


def test_markdown():
    lines = table().markdown(per_class=True).splitlines()
    assert lines[0] == "**DELU 100 %**"
    assert lines[2].count("|") == lines[4].count("|") == 7
    assert lines[3] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    assert "| High_Jump | 50.00 | 25.00 | 0.00 | 12.50 | 37.50 |" in lines
    assert r"| Dive\|r | - | - | - | - | - |" in lines


def test_csv_keeps_every_digit():
    rows = list(csv.DictReader(io.StringIO(table().csv())))
    assert [row["class"] for row in rows] == ["mAP", "High_Jump", "A&B", "Dive|r"]
    assert float(rows[2]["0.2"]) == 1 / 3
    assert rows[3]["0.1"] == ""


def test_latex_escapes():
    text = table().latex(per_class=True)
    assert r"High\_Jump & 50.00" in text
    assert r"A\&B" in text
    assert r"100 \%" in text
    assert r"\begin{tabular}{lrrrrr}" in text


def test_each_ending_is_written_in_its_form(tmp_path):
    made = table()
    for ending in TABLE_ENDINGS:
        made.write(tmp_path / "new" / f"t{ending}")
    assert MapTable.from_mapping(json.loads((tmp_path / "new" / "t.json").read_text())) == made
    assert (tmp_path / "new" / "t.md").read_text() == made.markdown()
    assert (tmp_path / "new" / "t.csv").read_text() == made.csv(per_class=True)
    assert (tmp_path / "new" / "t.tex").read_text() == made.latex()
    made.write(tmp_path / "t.csv", per_class=False)
    assert (tmp_path / "t.csv").read_text() == made.csv(per_class=False)
    made.write(tmp_path / "t.tex", per_class=True)
    assert (tmp_path / "t.tex").read_text() == made.latex(per_class=True)


@pytest.mark.parametrize("name", ["0.1", "0.1:0.9", "0.15:0.3", "a:b", "0.3:0.1"])
def test_averages_that_hold_no_thresholds(name):
    with pytest.raises(EvaluationError, match="first:last"):
        table(averages=(name,))


def test_a_table_without_instances_or_averages_does_not_exist():
    with pytest.raises(EvaluationError, match="no class has an annotated instance"):
        map_table(
            np.full((1, 2), np.nan), thresholds=[0.5], averages=["0.5:0.5"], class_names="ab", videos=1, instances=0
        )
    with pytest.raises(EvaluationError, match="no averages"):
        table(averages=())
