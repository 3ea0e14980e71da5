"""A table as Markdown, CSV, LaTeX and HTML; a missing cell is visible in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby

from dce_ray import grids
from dce_ray.grids import escape_latex, latex_line
from dce_ray.report.html import escape
from dce_ray.report.tables import PRINTED, Row, Table
from dce_ray.verdict.statistics import Estimate

SOURCE_HEADING = '<th rowspan="2" scope="col">source</th>'
MISSING = "—"
"""What stands in a cell without a number; in CSV the cell is empty and its line is there."""


def column_heading(column: str) -> str:
    """A column as tables show it.

    >>> column_heading("mAP@0.5"), column_heading("avg_0.1_0.7")
    ('0.5', '0.1:0.7')
    """
    return column.removeprefix("mAP@").removeprefix("avg_").replace("_", ":")


def cell_text(cell: Estimate | None, signed: bool, between: str = " ± ") -> str:
    """A cell with one decimal: its interval, else its standard deviation in brackets; :data:`MISSING` for None.

    >>> cell_text(Estimate(46.38, 1.1, 0.84, 3), signed=False), cell_text(Estimate(1.2, None, None, 1), signed=True)
    ('46.4 ± 0.8', '+1.2')
    >>> cell_text(Estimate(46.38, 1.1, None, 3), signed=False)
    '46.4 (1.1)'
    """
    if cell is None:
        return MISSING
    value = f"{cell.mean:+.1f}" if signed else f"{cell.mean:.1f}"
    if value in ("-0.0", "+0.0"):
        value = "0.0"
    if cell.half_width is not None:
        return f"{value}{between}{cell.half_width:.1f}"
    return value if cell.deviation is None else f"{value} ({cell.deviation:.1f})"


def seeds_cell(row: Row) -> str:
    """Number of seeds of a line; the paper does not print its own."""
    return MISSING if row.seeds is None else str(row.seeds)


def markdown(table: Table) -> str:
    """A Markdown table under its caption; columns are padded, so that a terminal shows it as well."""
    header = ["", "", "source", table.counted, *(_markdown_heading(column) for column in table.columns)]
    rows = [
        [*_line_names(row), *(cell_text(row.cells.get(column), row.difference) for column in table.columns)]
        for row in table.rows
    ]
    grid = grids.markdown(header, rows, left=3, padded=True)
    return "\n".join([f"**{table.caption}**", "", grid, "", *(f"- {note}" for note in table.notes)]) + "\n"


def _line_names(row: Row) -> list[str]:
    return [row.group, row.label, row.source, seeds_cell(row)]


def _markdown_heading(column: str) -> str:
    return f"avg {column_heading(column)}" if column.startswith("avg_") else f"@{column_heading(column)}"


def comma_separated(table: Table) -> str:
    """One line per cell with all digits: table, group, label, source, seeds, column, mean, deviation, low, high."""
    header = ["table", "group", "label", "source", table.counted, "column", "mean", "deviation", "low", "high"]
    rows = []
    for row in table.rows:
        for column in table.columns:
            cell = row.cells.get(column)
            values = [cell.mean, cell.deviation, cell.low, cell.high] if cell else [None] * 4
            rows.append([table.name, row.group, row.label, row.source, row.seeds, column, *values])
    return grids.comma_separated(header, rows)


def latex(table: Table) -> str:
    """A ``table*`` that needs the packages booktabs and graphicx only; groups are set apart by rules."""
    spec = "lllr" + "r" * len(table.columns)
    averages = sum(column.startswith("avg_") for column in table.columns)
    plain = len(table.columns) - averages
    spans = [rf"\multicolumn{{{count}}}{{c}}{{{text}}}" for count, text in _spans(plain, averages, r" (\%)")]
    names = ["", "", "source", table.counted, *(column_heading(column) for column in table.columns)]
    lines = [
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{escape_latex(' '.join([table.caption, *table.notes]))}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        latex_line(["", "", "", "", *spans]),
        latex_line(escape_latex(name) for name in names),
    ]
    for _, rows in groupby(table.rows, key=lambda row: row.group):
        lines.append(r"\midrule")
        lines += [_latex_row(table, row) for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table*}"]) + "\n"


def _latex_row(table: Table, row: Row) -> str:
    cells = [escape_latex(name) for name in _line_names(row)]
    for column in table.columns:
        cell = row.cells.get(column)
        cells.append("---" if cell is None else f"${cell_text(cell, row.difference, chr(92) + 'pm ')}$")
    return latex_line(cells)


def _spans(plain: int, averages: int, unit: str) -> list[tuple[int, str]]:
    spans = [(plain, f"mAP at tIoU{unit}"), (averages, f"average mAP{unit}")]
    return [(count, text) for count, text in spans if count]


def html_table(table: Table) -> str:
    """An accessible ``<table>`` with caption, header scopes and a body per group; no page around it.

    The column that tells printed lines from measured ones is there where a line is printed: without it the table fits
    a page of 1300 pixels.
    """
    sourced = any(row.source == PRINTED for row in table.rows)
    averages = sum(column.startswith("avg_") for column in table.columns)
    spans = "".join(
        f'<th colspan="{count}" scope="colgroup">{text}</th>'
        for count, text in _spans(len(table.columns) - averages, averages, " (%)")
    )
    names = "".join(f'<th scope="col" class="number">{escape(column_heading(column))}</th>' for column in table.columns)
    bodies = []
    for group, rows in groupby(table.rows, key=lambda row: row.group):
        members = list(rows)
        title = f'<th scope="rowgroup" rowspan="{len(members)}">{escape(group)}</th>'
        lines = [
            f"<tr>{title if index == 0 else ''}{_html_cells(table, row, sourced=sourced)}</tr>"
            for index, row in enumerate(members)
        ]
        bodies.append("<tbody>" + "\n".join(lines) + "</tbody>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.caption)}"><table>\n'
        f"<caption>{escape(table.caption)}</caption>\n"
        f'<thead><tr><th colspan="2" rowspan="2" scope="col">method</th>{SOURCE_HEADING if sourced else ""}'
        f'<th rowspan="2" scope="col">{escape(table.counted)}</th>{spans}</tr><tr>{names}</tr></thead>\n'
        + "\n".join(bodies)
        + f'\n</table></div>\n<ul class="notes">{notes}</ul>\n'
    )


def _html_cells(table: Table, row: Row, *, sourced: bool) -> str:
    cells = [f'<th scope="row">{escape(row.label)}</th>']
    if sourced:
        cells.append(f'<td class="{row.source}">{row.source}</td>')
    cells.append(f'<td class="number">{seeds_cell(row)}</td>')
    for column in table.columns:
        cell = row.cells.get(column)
        if cell is None:
            cells.append(f'<td class="number missing" aria-label="missing">{MISSING}</td>')
        else:
            value, _, spread = cell_text(cell, row.difference).replace("-", "−").partition(" ")
            text = f'{value} <span class="spread">{spread}</span>' if spread else value
            kind = "number estimate difference" if row.difference else "number estimate"
            cells.append(f'<td class="{kind}">{text}</td>')
    return "".join(cells)


FORMATS: Mapping[str, tuple[str, Callable[[Table], str]]] = {
    "markdown": ("md", markdown),
    "csv": ("csv", comma_separated),
    "latex": ("tex", latex),
    "html": ("html", html_table),
}
"""Name of a format: the ending of its file, and what writes it."""
