"""Cells as text: what every format escapes, and how a missing value stands in it."""

from __future__ import annotations

import csv
import io

from dce_ray.grids import aligned_text, comma_separated, escape_latex, latex, markdown

ODD = "50 % of a_b & {c} #1 $x$ ~^\\"


def test_latex_escapes_everything():
    assert escape_latex(ODD) == (
        r"50 \% of a\_b \& \{c\} \#1 \$x\$ \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert escape_latex("é λ ± 中 < >") == r"é $\lambda$ $\pm$ \texttt{U+4E2D} \textless{} \textgreater{}"


def test_latex_tables_escape_header_cells_and_caption():
    text = latex(["a_b", "c&d"], [["λ", "±"]], caption="50 %")
    assert r"a\_b & c\&d \\" in text
    assert r"$\lambda$ & $\pm$ \\" in text
    assert r"\caption{50 \%}" in text


def test_markdown_escapes_bars_before_it_pads():
    assert markdown(["", "x"], [["a|b", "1"], ["c", "22"]]).splitlines() == [
        "|  | x |",
        "| --- | ---: |",
        r"| a\|b | 1 |",
        "| c | 22 |",
    ]
    padded = markdown(["", "x"], [["a|b", "1"], ["c", "22"]], padded=True).splitlines()
    assert padded == ["|      |   x |", "| ---- | --: |", r"| a\|b |   1 |", "| c    |  22 |"]
    assert len({len(line) for line in padded}) == 1


def test_markdown_says_which_columns_stand_left():
    assert markdown(["a", "b", "c"], [], left=2).splitlines()[1] == "| --- | --- | ---: |"


def test_csv_keeps_every_digit_and_leaves_missing_cells_empty():
    text = comma_separated(["name", "value"], [['quoted, "so"', 1 / 3], ["none", None]])
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "value"],
        ['quoted, "so"', "0.3333333333333333"],
        ["none", ""],
    ]


def test_the_terminal_has_no_trailing_spaces():
    lines = aligned_text(["", "x"], [["long", ""], ["s", "1"]]).splitlines()
    assert lines == ["      x", "----  -", "long", "s     1"]
