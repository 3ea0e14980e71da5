"""A page that shows everything without a server: one file, no network, images inside it, light and dark."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dce_ray.report.style import GRID, INK, MUTED, PAPER

STYLE = """
:root { color-scheme: light dark; --ink: #1b1c1e; --paper: #ffffff; --muted: #5f6166; --grid: #dcdde1;
  --band: #f4f5f7; --accent: #00598c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e8ea; --paper: #16181c; --muted: #a3a6ad; --grid: #363a41;
  --band: #1e2126; --accent: #6db9e8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 88rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--grid); }
a { color: var(--accent); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 1rem 0 0; padding: 0; }
.lead { color: var(--muted); margin: 0; }
.notice { border-left: 4px solid var(--accent); background: var(--band); padding: .6rem .9rem; margin: 1rem 0; }
.scroll { overflow-x: auto; margin: .75rem 0; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.wide table { font-size: .7rem; }
.wide th, .wide td { padding-inline: .22rem; }
.wide td:not(.number) { white-space: normal; }
.wide td.number, .wide th.number { padding-inline: .15rem; }
.tall { max-height: 32rem; overflow-y: auto; }
.tall thead th { position: sticky; top: 0; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding-bottom: .5rem; max-width: calc(min(100vw, 88rem) - 4.75rem); }
th, td { padding: .28rem .5rem; text-align: left; border-bottom: 1px solid var(--grid); white-space: nowrap; }
thead th { background: var(--band); vertical-align: bottom; white-space: normal; }
tbody th { font-weight: 600; }
tbody th[scope=rowgroup] { vertical-align: top; }
tbody th[scope=row] { font-weight: 400; }
td.number, th.number { text-align: right; padding-inline: .3rem; }
thead th[scope=colgroup] { text-align: center; }
td.estimate, tbody th[scope=row] { white-space: normal; }
.spread { font-size: .82em; color: var(--muted); white-space: nowrap; }
td.missing { color: var(--muted); }
td.difference { font-style: italic; }
tr.best > *, tr.best > th[scope=row] { font-weight: 700; background: var(--band); }
tr.reference > * { font-style: italic; border-bottom: 2px solid var(--muted); }
td.text { white-space: normal; min-width: 12rem; }
figure { margin: 1.5rem 0; }
figure svg { width: 100%; height: auto; max-width: 58rem; }
.notes { color: var(--muted); font-size: .84rem; }
pre { overflow-x: auto; background: var(--band); padding: .8rem; font-size: .8rem; }
summary { cursor: pointer; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem; margin: 1rem 0; }
dl.facts dt { color: var(--muted); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 1120px) { table { font-size: .7rem; } th, td, td.number, th.number { padding-inline: .18rem; }
  .scroll td:not(.number) { white-space: normal; } }
@media (max-width: 950px) { table { font-size: .66rem; } body { padding-inline: .75rem; }
  th, td, td.number, th.number { padding-inline: .12rem; } td.estimate .spread { display: block; }
  td.estimate, th.number[scope=col] { padding-inline: .22rem; } }
@media print { body { max-width: none; } .tall { max-height: none; } }
"""

MANY_COLUMNS = 17
"""Tables with more, of searches beyond the six scalars, are set smaller, so that they fit a window too."""
THEMED = {INK: "var(--ink)", PAPER: "var(--paper)", MUTED: "var(--muted)", GRID: "var(--grid)"}
"""What the figures' own four colours become on a page."""


@dataclass
class Page:
    """Sections in order; :meth:`render` makes the file."""

    title: str
    lead: str
    sections: list[tuple[str, str, str]] = field(default_factory=list)
    """Anchor, heading, body."""

    def add(self, anchor: str, heading: str, *parts: str) -> None:
        """Append a section of ready HTML parts."""
        self.sections.append((anchor, heading, "\n".join(parts)))

    def render(self) -> str:
        """The whole document."""
        links = "".join(f'<li><a href="#{anchor}">{escape(heading)}</a></li>' for anchor, heading, _ in self.sections)
        bodies = "\n".join(
            f'<section id="{anchor}" aria-labelledby="{anchor}-heading">'
            f'<h2 id="{anchor}-heading">{escape(heading)}</h2>\n{body}\n</section>'
            for anchor, heading, body in self.sections
        )
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n"
            f'<h1>{escape(self.title)}</h1>\n<p class="lead">{escape(self.lead)}</p>\n'
            f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n</header>\n'
            f"<main>\n{bodies}\n</main>\n</body>\n</html>\n"
        )


def escape(value: Any) -> str:
    """A value as text that HTML takes literally.

    >>> escape("a < b & c")
    'a &lt; b &amp; c'
    """
    return html.escape(str(value))


def paragraph(value: str, kind: str = "") -> str:
    """A paragraph, ``notice`` for what must not be missed."""
    return f'<p class="{kind}">{escape(value)}</p>' if kind else f"<p>{escape(value)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """A list of sentences; empty where there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def linked(lines: Iterable[tuple[str, str, str]]) -> str:
    """A list of names with what is to be said of each; a name with an address leads there.

    Args:
        lines: name, address as seen from the page (empty for none), and text.
    """
    items = []
    for name, address, text in lines:
        shown = f'<a href="{escape(address)}">{escape(name)}</a>' if address else escape(name)
        items.append(f"<li>{shown}: {escape(text)}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def files(found: Mapping[str, str]) -> str:
    """Links to files beside the page, each with what it holds; empty where there are none."""
    return linked((name, name, what) for name, what in found.items())


def preformatted(content: str) -> str:
    """Text as it stands, such as a command that can be copied."""
    return f"<pre>{escape(content)}</pre>"


def facts(pairs: Mapping[str, Any]) -> str:
    """Names and values below each other."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs.items())
    return f'<dl class="facts">{items}</dl>'


def figure(svg: str, description: str, anchor: str) -> str:
    """A figure's SVG as part of the page: its ink, paper and grid follow the page's theme.

    Args:
        svg: as :func:`dce_ray.report.style.write_figure` returns it.
        description: what it shows, for those who cannot see it.
        anchor: unique on the page; the names inside the SVG get it as a prefix.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id=")|(url\(#)|(href="#)', lambda found: found.group(0) + anchor + "-", body)
    for colour, variable in THEMED.items():
        body = body.replace(colour, variable)
    body = body.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)
    return f'<figure id="{anchor}">{body}</figure>'


class Number(str):
    """The text of a number: it stands right, as numbers do."""

    __slots__ = ()


def percent(fraction: float | None, digits: int = 2) -> Number | None:
    """A fraction in percent; None stays missing.

    >>> percent(0.45678), percent(None)
    ('45.68', None)
    """
    return None if fraction is None else Number(f"{100 * fraction:.{digits}f}")


def probability(value: float | None) -> Number | None:
    """A probability with two decimals, never rounded to certainty; None stays missing.

    >>> probability(0.731), probability(0.9991), probability(0.0), probability(None)
    ('0.73', '> 0.99', '< 0.01', None)
    """
    if value is None:
        return None
    return Number("< 0.01" if value < 0.01 else "> 0.99" if value > 0.99 else f"{value:.2f}")


def share(value: float | None) -> Number | None:
    """A part of a whole with four decimals, never rounded to nothing; None stays missing.

    >>> share(0.213), share(3e-05), share(0.0), share(None)
    ('0.2130', '< 0.0001', '0', None)
    """
    if value is None:
        return None
    return Number("0" if value == 0 else "< 0.0001" if value < 1e-4 else f"{value:.4f}")


def significant(value: float | None) -> Number | None:
    """A value with three significant digits; None stays missing.

    >>> significant(0.00012345), significant(12.0), significant(None)
    ('0.000123', '12', None)
    """
    return None if value is None else Number(f"{value:.3g}")


def seconds(value: float | None) -> Number | None:
    """A time in seconds with one decimal; None stays missing.

    >>> seconds(12.345), seconds(None)
    ('12.3', None)
    """
    return None if value is None else Number(f"{value:.1f}")


def data_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    best: int | None = None,
    reference: int | None = None,
    tall: bool = False,
) -> str:
    """A table of plain values: the first column names the line, numbers stand right, None is shown as missing.

    Args:
        title: the caption.
        columns: their headings.
        rows: values, in the order of the columns.
        best: index of the line to set off.
        reference: index of the line that the others are compared with.
        tall: whether the table scrolls by itself.
    """
    lines, right = [], set()
    marks = {best: ' class="best"', reference: ' class="reference"'}
    for index, row in enumerate(rows):
        right |= {place for place, value in enumerate(row) if place and _numeric(value)}
        name, *values = row
        cells = "".join(_cell(value) for value in values)
        lines.append(f'<tr{marks.get(index, "")}><th scope="row">{escape(_shown(name))}</th>{cells}</tr>')
    number = ' class="number"'
    headings = "".join(
        f'<th scope="col"{number if place in right else ""}>{_heading(column)}</th>'
        for place, column in enumerate(columns)
    )
    kind = " ".join(["scroll", *(["tall"] if tall else []), *(["wide"] if len(columns) > MANY_COLUMNS else [])])
    return (
        f'<div class="{kind}" tabindex="0" role="region" aria-label="{escape(title)}"><table>\n'
        f"<caption>{escape(title)}</caption>\n<thead><tr>{headings}</tr></thead>\n"
        f"<tbody>\n{chr(10).join(lines)}\n</tbody>\n</table></div>"
    )


def _heading(column: str) -> str:
    """A column's name, which may break behind its underscores and dots."""
    return escape(column).replace("_", "_<wbr>").replace(".", ".<wbr>")


def _cell(value: Any) -> str:
    if value is None:
        return '<td class="number missing" aria-label="missing">—</td>'
    if _numeric(value):
        return f'<td class="number">{escape(_shown(value))}</td>'
    kind = ' class="text"' if len(str(value)) > 40 else ""
    return f"<td{kind}>{escape(value)}</td>"


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float | Number) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def folded_text(summary: str, content: str) -> str:
    """Preformatted text that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(content)}</pre></details>"
