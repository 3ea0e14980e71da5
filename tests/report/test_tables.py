"""Report tables: numbers worked out again from the raw ones, labels, and missing cells in every format."""

from __future__ import annotations

import csv
import io
import re
import shutil
import statistics
import subprocess
from html.parser import HTMLParser

import pytest

from dce_ray.baselines import BASELINES
from dce_ray.experiment.candidate import WINNER
from dce_ray.report.labels import WINNER_LABEL, baseline_title, data_title, setting_label
from dce_ray.report.measured import Measured
from dce_ray.report.rendering import FORMATS, comma_separated, html_table, latex, markdown
from dce_ray.report.tables import MEASURED, PRINTED, Comparison, comparison_table, printed_strategies, sweep_table

T_2 = 4.302652730  # 0.975 quantile of Student's t with 2 degrees of freedom


def measured(name, values, planned=None):
    """One column by seed; the second column is only known for seed 0."""
    scores = {
        seed: {"mAP@0.5": value, "avg_0.1_0.7": value / 2} | ({"mAP@0.9": 0.01} if seed == 0 else {})
        for seed, value in values.items()
    }
    return Measured(name, scores, planned or len(values))


PLAIN = measured("baseline", {0: 0.40, 1: 0.42, 2: 0.44})
OURS = measured("top1", {0: 0.43, 1: 0.44, 2: 0.48})


def lines(table, **wanted):
    return [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]


def test_cells_by_hand():
    # 40, 42, 44: mean 42, sd 2, half width t * 2 / sqrt(3).
    cell = PLAIN.cells()["mAP@0.5"]
    assert cell.mean == pytest.approx(42.0)
    assert cell.deviation == pytest.approx(2.0)
    assert cell.half_width == pytest.approx(T_2 * 2 / 3**0.5)


def test_a_column_that_a_seed_lacks_is_missing():
    assert "mAP@0.9" not in PLAIN.cells()
    assert "mAP@0.9" not in OURS.gain(PLAIN)[0]


def test_gain_is_paired_by_seed():
    # Differences 3, 2, 4: mean 3, sd 1. Unpaired, the interval would be far wider.
    cells, pairs = OURS.gain(PLAIN)
    assert pairs == 3
    assert cells["mAP@0.5"].mean == pytest.approx(3.0)
    assert cells["mAP@0.5"].half_width == pytest.approx(T_2 / 3**0.5)


def test_gain_without_a_common_seed_is_missing():
    assert measured("x", {7: 0.5}).gain(PLAIN) == ({}, 0)


def test_table_1_keeps_printed_and_measured_apart():
    table = comparison_table("thumos14", "thumos14", [Comparison("delu", "first", PLAIN, OURS)])
    assert {row.source for row in table.rows} == {PRINTED, MEASURED}
    for row in table.rows:
        assert (row.seeds is None) == (row.source == PRINTED)
        assert ("paper" in row.label or "published" in row.label) == (row.source == PRINTED)
    assert len(table.rows) == 3 * 7
    gain = lines(table, group="DELU", label="absolute improvement, the paper")[0]
    assert gain.cells["avg_0.1_0.7"].mean == pytest.approx(47.5 - 46.3, abs=1e-9)
    ours = lines(table, group="DELU", label="+ SCS + MCM, searched")[0]
    assert ours.cells["mAP@0.5"].mean == pytest.approx(45.0)
    assert "mAP@0.1" not in ours.cells
    assert "mAP@0.9" not in table.columns
    for baseline in ("CO2-Net", "DDG-Net"):
        assert all(not row.cells for row in lines(table, group=baseline, source=MEASURED))
    assert any("the paper, which gives neither seeds nor intervals" in note for note in table.notes)


def test_wide_adds_measured_columns_in_order():
    table = comparison_table("thumos14", "thumos14", [Comparison("delu", "a", PLAIN, OURS)], wide=True)
    assert table.columns[:2] == ("mAP@0.1", "mAP@0.2")
    assert table.columns[7:] == ("mAP@0.9", "avg_0.1_0.5", "avg_0.3_0.7", "avg_0.1_0.7")


def test_a_data_set_that_the_paper_lacks_has_measured_lines_only():
    table = comparison_table("hapt", "hapt", [Comparison("delu", "a", PLAIN, OURS)])
    assert {row.source for row in table.rows} == {MEASURED}
    assert "The paper prints no numbers for HAPT." in table.notes
    assert [row.label for row in table.rows] == ["plain baseline", "+ SCS + MCM, searched", "absolute improvement"]


def test_several_experiments_and_selection_on_test_are_named():
    pair = [Comparison("delu", "a", PLAIN, OURS), Comparison("delu", "b", PLAIN, OURS, "selected on test")]
    labels = [row.label for row in comparison_table("hapt", "hapt", pair).rows]
    assert "+ SCS + MCM, searched, a" in labels
    assert "+ SCS + MCM, searched, b, selected on test" in labels
    assert "absolute improvement, b, selected on test" in labels


def test_a_baseline_that_the_paper_lacks_stands_last():
    pair = [Comparison("own", "a", PLAIN, OURS), Comparison("ddgnet", "a", PLAIN, OURS)]
    groups = [row.group for row in comparison_table("thumos14", "thumos14", pair).rows]
    assert list(dict.fromkeys(groups)) == ["CO2-Net", "DELU", "DDG-Net", "own"]


def test_unfinished_seeds_are_said():
    table = comparison_table("hapt", "hapt", [Comparison("delu", "a", PLAIN, measured("top1", {0: 0.4}, planned=3))])
    assert "DELU a, top1: 1 of 3 seeds finished." in table.notes


def test_the_table_keeps_every_measured_digit_in_csv():
    table = comparison_table("hapt", "hapt", [Comparison("delu", "a", PLAIN, OURS)])
    found = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert len(found) == len(table.rows) * len(table.columns)
    cell = next(line for line in found if line["label"] == "plain baseline" and line["column"] == "mAP@0.5")
    values = [40.0, 42.0, 44.0]
    assert float(cell["mean"]) == pytest.approx(statistics.mean(values), abs=1e-12)
    assert float(cell["deviation"]) == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert cell["high"] == cell["low"] == ""  # it only describes: the planned comparison stands in its search's verdict
    missing = [line for line in found if line["column"] == "mAP@0.9"]
    assert len(missing) == 3
    assert {line["mean"] for line in missing} == {""}


def test_missing_is_visible_in_every_format():
    table = comparison_table("activitynet12", "activitynet12", [])
    row = next(line for line in markdown(table).splitlines() if "DELU" in line and "+ SCS + MCM, the paper" in line)
    assert row.split("|")[5:-1] == [text for text in row.split("|")[5:-1] if text.strip() == "—"]
    assert html_table(table).count('class="number missing" aria-label="missing"') == sum(
        column not in row.cells for row in table.rows for column in table.columns
    )
    line = next(text for text in latex(table).splitlines() if text.startswith("DELU & plain baseline"))
    assert line == r"DELU & plain baseline & measured & 0 & --- & --- & --- & --- \\"


def test_markdown_by_hand():
    text = markdown(sweep_table("s", "What.", [PLAIN, OURS], "baseline"))
    row = next(line for line in text.splitlines() if "difference to baseline" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "top1",
        "difference to baseline",
        "measured",
        "3",
        "+3.0 (1.0)",
        "—",
        "+1.5 (0.5)",
    ]


def test_printed_strategies_are_labelled():
    rows = printed_strategies()
    assert [row.group for row in rows] == ["none", "threshold", "difference", "minmax", "ratio"]
    assert {row.source for row in rows} == {PRINTED}


def tables():
    several = [Comparison("delu", "50%_a & b", PLAIN, OURS), Comparison("delu", "b", PLAIN, OURS)]
    return [
        comparison_table("thumos14", "thumos14", []),
        comparison_table("activitynet12", "activitynet12", []),
        comparison_table("hapt", "hapt", several),
        sweep_table(
            "sweep", "λ from 0 to 1: é, ü → 中 at 50 % of a_b & {c} #1 $x$ ~^\\.", [PLAIN, OURS], "baseline", ["Note."]
        ),
    ]


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.name)
def test_latex_is_well_formed(table):
    text = latex(table)
    spec = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert spec is not None
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == len(table.rows) + 2
    for line in rows:
        wide = sum(int(number) - 1 for number in re.findall(r"\\multicolumn\{(\d+)\}", line))
        assert len(re.findall(r"(?<!\\)&", line)) + wide + 1 == len(spec.group(1))
    bare = re.sub(r"\\[{}%&_$#]", "", text)
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"(?<!\\)%(?!\n)", text)
    assert re.findall(r"\\(begin|end)\{(table\*|tabular)\}", text) == [
        ("begin", "table*"),
        ("begin", "tabular"),
        ("end", "tabular"),
        ("end", "table*"),
    ]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here; the structure is checked above")
def test_latex_compiles(tmp_path):
    parts = [r"\documentclass{article}", r"\usepackage{booktabs,graphicx}", r"\begin{document}"]
    source = "\n".join([*parts, *(latex(table) for table in tables()), r"\end{document}"])
    (tmp_path / "tables.tex").write_text(source)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000


class Grid(HTMLParser):
    """Counts the columns that every row of a table spans, cells that reach down included."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.widths: list[int] = []
        self.down: list[list[int]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "tr":
            self.down = [[width, rows - 1] for width, rows in self.down if rows > 0]
            self.widths.append(sum(width for width, _ in self.down))
        if tag in ("td", "th"):
            width = int(values.get("colspan") or 1)
            self.widths[-1] += width
            if int(values.get("rowspan") or 1) > 1:
                self.down.append([width, int(values["rowspan"] or 1) - 1])


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.name)
def test_html_rows_span_the_same_columns(table):
    printed = any(row.source == PRINTED for row in table.rows)
    assert set(Grid(html_table(table)).widths) == {3 + printed + len(table.columns)}
    assert ('scope="col">source</th>' in html_table(table)) == printed  # where all is measured, it says nothing


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("markdown", "| ", " "), ("csv", ",", ","), ("latex", "& ", " &"), ("html", '">', "</td>")],
)
def test_every_format_labels_every_line(name, before, after):
    table = comparison_table("thumos14", "thumos14", [Comparison("delu", "a", PLAIN, OURS)])
    text = FORMATS[name][1](table)
    factor = len(table.columns) if name == "csv" else 1
    assert text.count(f"{before}printed{after}") == 12 * factor
    assert text.count(f"{before}measured{after}") == 9 * factor


def test_titles_are_those_of_the_tables_and_own_names_stay():
    assert [baseline_title(name) for name in BASELINES] == ["CO2-Net", "DELU", "DDG-Net"]
    assert [data_title(name) for name in ("thumos14", "hapt", "synthetic", "own")] == [
        "THUMOS14",
        "HAPT",
        "synthetic",
        "own",
    ]
    assert setting_label(WINNER) == WINNER_LABEL == "top1 (best point)"
