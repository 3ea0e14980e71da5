"""A grid of cells as text, for every table of this project: terminal, Markdown, CSV, LaTeX.

A grid is a header and rows of the same length. What the cells say, their rounding and their captions belong to whoever
makes the table; what a format needs escaped, and how a missing value stands in it, is decided here alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

GREEK = ("beta", "gamma", "delta", "theta", "lambda", "psi", "Psi")
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "—": "---",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "→": r"$\to$",
    **{letter: rf"$\{name}$" for letter, name in zip("βγδθλψΨ", GREEK, strict=True)},
}
LAST_LATIN = 0x17F
"""Up to this character LaTeX reads UTF-8 without further packages."""


def aligned_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under each other for a terminal, the first to the left, the others to the right.

    >>> print(aligned_text(["", "0.5"], [["mAP", "41.20"], ["jump", "7.00"]]))
            0.5
    ----  -----
    mAP   41.20
    jump   7.00
    """
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])] + [cell.rjust(widths[i]) for i, cell in enumerate(cells) if i]
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *(line(row) for row in rows)])


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, padded: bool = False) -> str:
    """A Markdown table, without a line end behind it.

    >>> print(markdown(["class", "AP"], [["jump", "7.00"], ["a|b", "-"]]))
    | class | AP |
    | --- | ---: |
    | jump | 7.00 |
    | a\\|b | - |

    Args:
        header: cells of the first line.
        rows: cells of the others.
        left: columns that stand to the left; those behind them stand to the right.
        padded: whether columns are as wide as their widest cell, so that a terminal shows the table as well.
    """
    lines = [[cell.replace("|", r"\|") for cell in cells] for cells in (header, *rows)]
    widths = [max(3, *(len(cells[i]) for cells in lines)) if padded else 3 for i in range(len(header))]
    rule = ["-" * width if i < left else "-" * (width - padded) + ":" for i, width in enumerate(widths)]

    def line(cells: Sequence[str]) -> str:
        if padded:
            cells = [
                cell.ljust(width) if i < left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ]
        return markdown_line(cells)

    return "\n".join(line(cells) for cells in (lines[0], rule, *lines[1:]))


def markdown_line(cells: Iterable[str]) -> str:
    """One line of a Markdown table from escaped cells."""
    return f"| {' | '.join(cells)} |"


def comma_separated(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""CSV with a header line; None is an empty cell, numbers keep every digit.

    >>> comma_separated(["class", "AP"], [["jump, high", 1 / 3], ["dive", None]])
    'class,AP\n"jump, high",0.3333333333333333\ndive,\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def escape_latex(text: str) -> str:
    r"""``text`` with every character that LaTeX would act upon, or does not know, written so that it shows.

    >>> escape_latex("θ_pro > 50 %")
    '$\\theta$\\_pro \\textgreater{} 50 \\%'
    """

    def shown(character: str) -> str:
        known = character if ord(character) <= LAST_LATIN else rf"\texttt{{U+{ord(character):04X}}}"
        return LATEX_SPECIAL.get(character, known)

    return "".join(shown(character) for character in text)


def latex_line(cells: Iterable[str]) -> str:
    """One line of a LaTeX table from escaped cells."""
    return rf"{' & '.join(cells)} \\"


def latex(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A ``table`` environment that needs the package booktabs only; cells and caption are escaped."""
    first, *others = [latex_line(escape_latex(cell) for cell in row) for row in (header, *rows)]
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape_latex(caption)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"    \toprule",
        f"    {first}",
        r"    \midrule",
        *(f"    {line}" for line in others),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
