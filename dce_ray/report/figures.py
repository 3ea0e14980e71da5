"""The pictures of a search: history, parallel coordinates, importance, slices and confirmation.

Each function draws one figure from plain rows, inside :func:`dce_ray.report.style.house_style`. Shape and fill tell the
states apart, colour only repeats them. Values are shown in percent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dce_ray.config import SCALARS, ScalarRange
from dce_ray.experiment.record import PUBLISHED
from dce_ray.report.importance import Importance
from dce_ray.report.style import (
    BLUE,
    GRID,
    HATCHES,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    SYMBOLS,
    caption_below,
    new_figure,
    symbol,
    write_instead,
)
from dce_ray.report.trial_table import TrialRow, TrialTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATE_MARKS: dict[str, dict[str, Any]] = {
    "finished": {"marker": "o", "facecolor": BLUE, "edgecolor": PAPER, "linewidth": 0.5, "s": 30, "zorder": 3},
    "pruned": {"marker": "x", "color": MUTED, "linewidth": 1.0, "s": 20, "zorder": 2},
}
"""Finished trials are filled discs, pruned ones crosses; failed ones stand as triangles on the axis."""
Marks = dict[str, Any]
"""Keywords of matplotlib's ``scatter``."""
FIRST_POINT: Marks = {"marker": "D", "facecolor": "none", "edgecolor": INK, "linewidth": 1.0, "s": 75, "zorder": 4}
BEST: Marks = {"marker": "*", "facecolor": ORANGE, "edgecolor": INK, "linewidth": 0.7, "s": 150, "zorder": 5}


def history(table: TrialTable, measure: str) -> Figure:
    """Value of every trial in the order of their start, with the best so far and the pruned and failed ones marked.

    Args:
        table: the trials.
        measure: what the value is, such as ``average mAP 0.1:0.7 on holdout``; the unit is added.
    """
    figure, axes = new_figure(6.6, 3.2)
    axes.set(title="Optimisation history", xlabel="trial", ylabel=f"{measure} (%)")
    if not table.rows:
        write_instead(axes, "No trial was started.")
        return figure
    _scatter_states(axes, table, [(row.number, row) for row in table.rows])
    running = _best_so_far(table)
    if running:
        numbers, values = zip(*running, strict=True)
        axes.step(numbers, values, where="post", color=ORANGE, label="best so far", zorder=1)
    failed = [row.number for row in table.in_state("failed")]
    if failed:
        axes.scatter(
            failed,
            [0.015] * len(failed),
            transform=axes.get_xaxis_transform(),
            marker="v",
            color=INK,
            s=28,
            label=f"failed ({len(failed)})",
            zorder=4,
            clip_on=False,
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.12)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower left", ncols=6, handletextpad=0.2, columnspacing=1.0)
    return figure


def _best_so_far(table: TrialTable) -> list[tuple[int, float]]:
    best, steps = -1.0, []
    for row in table.in_state("finished"):
        if row.value is not None:
            best = max(best, 100 * row.value)
            steps.append((row.number, best))
    if steps:
        steps.append((table.rows[-1].number, best))
    return steps


def _scatter_states(axes: Axes, table: TrialTable, places: Sequence[tuple[float, TrialRow]]) -> None:
    """Marks at (x, value) for finished and pruned trials, the published first points and the best one."""
    scored = [(x, row) for x, row in places if row.value is not None]
    groups = [
        (state, marks, [(x, row) for x, row in scored if row.state == state]) for state, marks in STATE_MARKS.items()
    ]
    ended = [(x, row) for x, row in scored if row.state in STATE_MARKS]
    groups.append(("published values", FIRST_POINT, [(x, row) for x, row in ended if row.origin in PUBLISHED]))
    groups.append(("best", BEST, [(x, row) for x, row in ended if row is table.best]))
    for label, marks, members in groups:
        if members:
            count = f" ({len(members)})" if label in STATE_MARKS else ""
            axes.scatter(
                [x for x, _ in members], [100 * (row.value or 0) for _, row in members], label=label + count, **marks
            )


PANEL_LETTERS = 22
"""Letters of a tick's size that fit below a panel of slices, three of which stand side by side."""


def slices(table: TrialTable, measure: str) -> Figure:
    """One panel per parameter: the value of each trial over the parameter's searched range."""
    figure, grid = new_figure(6.6, 4.4, nrows=2, ncols=3, sharey=True)
    figure.suptitle("One slice per parameter", x=0.01, ha="left", fontsize=9.5)
    for axes, name in zip(grid.flat, SCALARS, strict=True):
        axes.set_xlabel(SYMBOLS[name])
        _slice(axes, table, name)
    figure.supylabel(f"{measure} (%)", fontsize=8.5)
    shared_legend(figure, grid.flat)
    return figure


def shared_legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """One legend below all panels, each label once."""
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=4, handletextpad=0.3)


def _slice(axes: Axes, table: TrialTable, name: str) -> None:
    places = [(value, row) for row in table.rows if (value := row.parameter(name)) is not None]
    values = {value for value, _ in places}
    searched = table.ranges.get(name)
    if len(values) < 2 and (searched is None or searched.constant):
        write_fixed(axes, values)
        return
    _scatter_states(axes, table, places)
    axes.margins(y=0.12)  # for whole marks: the best's is large
    if searched is None:
        axes.text(0.5, 1.0, "not searched on its own", transform=axes.transAxes, ha="center", color=MUTED, fontsize=7.5)
        return
    set_up_range(axes, searched)


def write_fixed(axes: Axes, values: Collection[float], instead: str | None = None) -> None:
    """Say in a panel why there is nothing to look along: ``instead``, or the one value that there is."""
    axes.set(xticks=[])
    fixed = f"fixed at {min(values):g}" if values else "not recorded"
    axes.text(0.5, 0.5, instead or fixed, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def set_up_range(axes: Axes, searched: ScalarRange) -> None:
    """Let the horizontal axis be the range of a scalar."""
    if searched.log:
        from matplotlib.ticker import FixedLocator, NullFormatter

        axes.set_xscale("log")
        axes.set_xlim(searched.low / 1.15, searched.high * 1.15)
        axes.xaxis.set_major_locator(FixedLocator(log_places(searched.low, searched.high)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.05 * (searched.high - searched.low)
        axes.set_xlim(searched.low - margin, searched.high + margin)


def log_places(low: float, high: float) -> list[float]:
    """Round numbers between two ends of a logarithmic axis, as many as stand apart in a slice's panel.

    >>> log_places(0.05, 0.4), log_places(0.02, 6.0), log_places(1e-6, 1e-2)
    ([0.05, 0.1, 0.2], [0.03, 0.1, 0.3, 1.0, 3.0], [1e-06, 0.0001, 0.01])

    Args:
        low: lower end, above 0.
        high: upper end.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [float(f"1e{decade}") for decade in decades]
    for steps, apart in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        places = [float(f"{step * ten:g}") for ten in tens[::apart] for step in steps]
        found = [place for place in places if low <= place <= high]
        if len(found) > 1 and _stand_apart(found, low, high):
            return found
    return [low, high]


def _stand_apart(places: Sequence[float], low: float, high: float) -> bool:
    """Whether the numbers of a logarithmic axis leave a gap between each two of them."""
    per_letter = math.log(1.15**2 * high / low) / PANEL_LETTERS
    pairs = itertools.pairwise(places)
    return all(math.log(b / a) / per_letter >= (len(f"{a:g}") + len(f"{b:g}")) / 2 + 0.7 for a, b in pairs)


def parallel_coordinates(table: TrialTable, measure: str) -> Figure:
    """One line per trial through its parameters to its value; the best trial is drawn boldly on top."""
    rows = [row for row in table.in_state("finished", "pruned") if row.value is not None]
    names = [name for name in SCALARS if all(row.parameter(name) is not None for row in rows)]
    lines = [
        Line({name: float(row.parameter(name) or 0) for name in names}, row.value or 0.0, _kind(row, table))
        for row in rows
    ]
    counts = f"{len(table.in_state('finished'))} finished (solid), {len(table.in_state('pruned'))} pruned (dotted)"
    explained = f"Value: {measure}. {counts}; the best is drawn bold with discs."
    return parallel_chart(lines, table.ranges, explained, "No trial reached a value yet.")


def _kind(row: TrialRow, table: TrialTable) -> str:
    return "best" if row is table.best else "aside" if row.state == "pruned" else "usual"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a parallel-coordinates plot."""

    scalars: Mapping[str, float]
    """By name; all lines have the same."""
    value: float
    """A fraction in [0, 1]."""
    kind: str
    """Key of :data:`LINE_KINDS`."""


LINE_KINDS: dict[str, dict[str, Any]] = {
    "best": {"color": ORANGE, "linewidth": 2.4, "marker": "o", "markeredgecolor": INK, "zorder": 4, "clip_on": False},
    "usual": {"color": BLUE, "linewidth": 0.9, "alpha": 0.75, "zorder": 2},
    "aside": {"color": MUTED, "linewidth": 0.7, "linestyle": ":", "alpha": 0.8, "zorder": 1},
}


def parallel_chart(lines: Sequence[Line], ranges: Mapping[str, ScalarRange], explained: str, empty: str) -> Figure:
    """Lines through the rulers of the scalars to a ruler of the value.

    Args:
        lines: to draw.
        ranges: of the searched scalars; the others' rulers hold what the lines have.
        explained: the caption.
        empty: what is written where there is no line.
    """
    figure, axes = new_figure(6.6, 3.4)
    axes.set_title("Parallel coordinates", pad=18)
    if not lines:
        write_instead(axes, empty)
        return figure
    names = list(lines[0].scalars)
    rulers = [_ruler(ranges.get(name), [line.scalars[name] for line in lines]) for name in names]
    values = [100 * line.value for line in lines]
    rulers.append(ScalarRange(min(values), max(values)))
    for line, value in zip(lines, values, strict=True):
        entries = [*(line.scalars[name] for name in names), value]
        heights = [_height(entry, ruler) for entry, ruler in zip(entries, rulers, strict=True)]
        axes.plot(range(len(heights)), heights, **LINE_KINDS[line.kind])
    _draw_rulers(axes, rulers, [*(symbol(name).replace(" ", "\n") for name in names), "value (%)"])
    caption_below(figure, explained)
    return figure


def _ruler(searched: ScalarRange | None, values: Sequence[float]) -> ScalarRange:
    searched = searched or ScalarRange(min(values), max(values))
    return ScalarRange(min(searched.low, *values), max(searched.high, *values), searched.log)


def _height(value: float, ruler: ScalarRange) -> float:
    """Where on its ruler a value stands, in [0, 1]; the middle of one that holds a single value."""
    if ruler.constant:
        return 0.5
    low, high, place = (math.log(x) if ruler.log else x for x in (ruler.low, ruler.high, value))
    return (place - low) / (high - low)


def _draw_rulers(axes: Axes, rulers: Sequence[ScalarRange], labels: Sequence[str]) -> None:
    """A vertical ruler per column with its ends written at it."""
    axes.grid(visible=False)
    axes.set(xlim=(-0.25, len(labels) - 0.75), ylim=(-0.02, 1.02), yticks=[])
    axes.set_xticks(range(len(labels)), labels)
    axes.tick_params(axis="x", length=0, pad=14, labelsize=9)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    for place, ruler in enumerate(rulers):
        axes.axvline(place, color=GRID, linewidth=1.4, zorder=0)
        form = ".2f" if place == len(rulers) - 1 else ".3g"  # the last is the value's, in percent
        if ruler.constant:
            axes.text(place, 1.03, f"{ruler.low:{form}} (fixed)", ha="center", va="bottom", fontsize=7.5, color=MUTED)
            continue
        log = " (log)" if ruler.log else ""
        axes.text(place, 1.03, f"{ruler.high:{form}}{log}", ha="center", va="bottom", fontsize=7.5, color=MUTED)
        axes.text(place, -0.03, f"{ruler.low:{form}}", ha="center", va="top", fontsize=7.5, color=MUTED)


def importance_chart(
    importance: Importance, title: str = "Parameter importance", measure: str = "share of importance"
) -> Figure:
    """Share of each parameter as a bar with its number, or the reason why there is none."""
    figure, axes = new_figure(6.6, 2.6)
    axes.set_title(title)
    if not importance.shares:
        write_instead(axes, importance.note)
        return figure
    names = list(importance.shares)[::-1]
    shares = [100 * importance.shares[name] for name in names]
    axes.barh([symbol(name) for name in names], shares, height=0.6, facecolor=BLUE, edgecolor=PAPER, hatch=HATCHES[1])
    for place, share in enumerate(shares):
        axes.text(share, place, f"  {share:.0f}", va="center", fontsize=8)
    axes.set(xlabel=f"{measure} (%)", xlim=(0, max(1.0, *shares) * 1.12))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelsize=9)
    caption_below(figure, importance.note)
    return figure
