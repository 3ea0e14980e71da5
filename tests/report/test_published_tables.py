"""The printed numbers: spot values read off the paper, and what must hold among them."""

from __future__ import annotations

import pytest

from dce_ray.errors import ConfigError
from dce_ray.report.published import FOLDER, printed_comparison, printed_table


@pytest.mark.parametrize(
    ("table", "names", "column", "value"),
    [
        ("table1_thumos14", {"baseline": "co2net", "variant": "published"}, "mAP@0.1", 70.1),
        ("table1_thumos14", {"baseline": "ddgnet", "variant": "scs+mcm"}, "avg_0.1_0.7", 48.2),
        ("table2_activitynet12", {"baseline": "ddgnet", "variant": "reproduced"}, "mAP@0.75", 26.2),
        ("table3_thumos14_methods", {"method": "P-MIL"}, "avg_0.1_0.7", 47.0),
        ("table4_activitynet12_methods", {"method": "GTAN"}, "mAP@0.95", 8.9),
        ("table5_psi_strategies", {"strategy": "ratio"}, "avg_0.3_0.7", 39.0),
    ],
)
def test_printed_values(table, names, column, value):
    row = printed_table(table).row(**names)
    assert row is not None
    assert row.numbers[column] == value


def test_what_is_not_printed_is_absent():
    assert printed_table("table2_activitynet12").row(baseline="delu", variant="scs+mcm") is None
    cells = printed_table("table3_thumos14_methods").row(method="CASE")
    assert cells is not None
    assert set(cells.numbers) == {"mAP@0.1", "mAP@0.3", "mAP@0.5", "mAP@0.7"}
    assert printed_comparison("hapt") is None


def test_averages_agree_with_their_thresholds_up_to_rounding():
    # A digit lost in copying would show here. 0.1: each printed number is rounded on its own.
    for row in printed_table("table1_thumos14").rows:
        for first, last in ((1, 5), (3, 7), (1, 7)):
            numbers = [row.numbers[f"mAP@0.{index}"] for index in range(first, last + 1)]
            assert row.numbers[f"avg_0.{first}_0.{last}"] == pytest.approx(sum(numbers) / len(numbers), abs=0.11)


def test_every_shipped_file_is_read():
    assert len(list(FOLDER.glob("*.csv"))) == 5
    for path in FOLDER.glob("*.csv"):
        table = printed_table(path.stem)
        assert table.rows
        assert all(0 < number < 100 for row in table.rows for number in row.numbers.values())


def test_an_unknown_table_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean table1_thumos14"):
        printed_table("table1_thumos")
