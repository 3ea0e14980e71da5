"""The pictures of a search: history, parallel coordinates, importance, slices and confirmation.

Each function draws one figure from plain rows, inside :func:`dce_ray.report.style.house_style`. Shape and fill tell the
states apart, colour only repeats them. Values are shown in percent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dce_ray.config import SCALARS, ScalarRange
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
FIRST_POINT = {"marker": "D", "facecolor": "none", "edgecolor": INK, "linewidth": 1.0, "s": 75, "zorder": 4}
BEST = {"marker": "*", "facecolor": ORANGE, "edgecolor": INK, "linewidth": 0.7, "s": 150, "zorder": 5}


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
    groups.append(
        ("published values", FIRST_POINT, [(x, row) for x, row in ended if row.origin in ("paper", "released")])
    )
    groups.append(("best", BEST, [(x, row) for x, row in ended if row is table.best]))
    for label, marks, members in groups:
        if members:
            count = f" ({len(members)})" if label in STATE_MARKS else ""
            axes.scatter(
                [x for x, _ in members], [100 * (row.value or 0) for _, row in members], label=label + count, **marks
            )


def slices(table: TrialTable, measure: str) -> Figure:
    """One panel per parameter: the value of each trial over the parameter's searched range."""
    figure, grid = new_figure(6.6, 4.4, nrows=2, ncols=3, sharey=True)
    figure.suptitle("One slice per parameter", x=0.01, ha="left", fontsize=9.5)
    for axes, name in zip(grid.flat, SCALARS, strict=True):
        axes.set_xlabel(SYMBOLS[name])
        _slice(axes, table, name)
    figure.supylabel(f"{measure} (%)", fontsize=8.5)
    handles = {
        label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=4, handletextpad=0.3)
    return figure


def _slice(axes: Axes, table: TrialTable, name: str) -> None:
    places = [(value, row) for row in table.rows if (value := row.parameter(name)) is not None]
    values = {value for value, _ in places}
    searched = table.ranges.get(name)
    if len(values) < 2 and (searched is None or searched.constant):
        axes.set(xticks=[])
        fixed = f"fixed at {values.pop():g}" if values else "not recorded"
        axes.text(0.5, 0.5, fixed, transform=axes.transAxes, ha="center", va="center", color=MUTED)
        return
    _scatter_states(axes, table, places)
    if searched is None:
        axes.text(0.5, 1.0, "not searched on its own", transform=axes.transAxes, ha="center", color=MUTED, fontsize=7.5)
        return
    if searched.log:
        from matplotlib.ticker import LogLocator, NullFormatter

        axes.set_xscale("log")
        axes.set_xlim(searched.low / 1.15, searched.high * 1.15)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.05 * (searched.high - searched.low)
        axes.set_xlim(searched.low - margin, searched.high + margin)


def parallel_coordinates(table: TrialTable, measure: str) -> Figure:
    """One line per trial through its parameters to its value; the best trial is drawn boldly on top."""
    figure, axes = new_figure(6.6, 3.4)
    axes.set_title("Parallel coordinates", pad=18)
    rows = [row for row in table.in_state("finished", "pruned") if row.value is not None]
    names = [name for name in SCALARS if all(row.parameter(name) is not None for row in rows)]
    if not rows:
        write_instead(axes, "No trial reached a value yet.")
        return figure
    rulers = [_ruler(table, name, [float(row.parameter(name) or 0) for row in rows]) for name in names]
    values = [100 * (row.value or 0) for row in rows]
    rulers.append(ScalarRange(min(values), max(values)))
    for row, value in zip(rows, values, strict=True):
        entries = [*(float(row.parameter(name) or 0) for name in names), value]
        heights = [_height(entry, ruler) for entry, ruler in zip(entries, rulers, strict=True)]
        axes.plot(range(len(heights)), heights, **_line_of(row, table))
    _draw_rulers(axes, rulers, [*(SYMBOLS[name] for name in names), "value (%)"])
    counts = f"{len(table.in_state('finished'))} finished (solid), {len(table.in_state('pruned'))} pruned (dotted)"
    caption_below(figure, f"Value: {measure}. {counts}; the best is drawn bold with discs.")
    return figure


def _ruler(table: TrialTable, name: str, values: Sequence[float]) -> ScalarRange:
    searched = table.ranges.get(name, ScalarRange(min(values), max(values)))
    return ScalarRange(min(searched.low, *values), max(searched.high, *values), searched.log)


def _height(value: float, ruler: ScalarRange) -> float:
    """Where on its ruler a value stands, in [0, 1]; the middle of one that holds a single value."""
    if ruler.constant:
        return 0.5
    low, high, place = (math.log(x) if ruler.log else x for x in (ruler.low, ruler.high, value))
    return (place - low) / (high - low)


def _line_of(row: TrialRow, table: TrialTable) -> dict[str, Any]:
    if row is table.best:
        return {"color": ORANGE, "linewidth": 2.4, "marker": "o", "markeredgecolor": INK, "zorder": 4, "clip_on": False}
    if row.state == "pruned":
        return {"color": MUTED, "linewidth": 0.7, "linestyle": ":", "alpha": 0.8, "zorder": 1}
    return {"color": BLUE, "linewidth": 0.9, "alpha": 0.75, "zorder": 2}


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
        if ruler.constant:
            axes.text(place, 1.03, f"{ruler.low:.3g} (fixed)", ha="center", va="bottom", fontsize=7.5, color=MUTED)
            continue
        log = " (log)" if ruler.log else ""
        axes.text(place, 1.03, f"{ruler.high:.3g}{log}", ha="center", va="bottom", fontsize=7.5, color=MUTED)
        axes.text(place, -0.03, f"{ruler.low:.3g}", ha="center", va="top", fontsize=7.5, color=MUTED)


def importance_chart(importance: Importance) -> Figure:
    """Share of each parameter as a bar with its number, or the reason why there is none."""
    figure, axes = new_figure(6.6, 2.6)
    axes.set_title("Parameter importance")
    if not importance.shares:
        write_instead(axes, importance.note)
        return figure
    names = list(importance.shares)[::-1]
    shares = [100 * importance.shares[name] for name in names]
    axes.barh([SYMBOLS[name] for name in names], shares, height=0.6, facecolor=BLUE, edgecolor=PAPER, hatch=HATCHES[1])
    for place, share in enumerate(shares):
        axes.text(share, place, f"  {share:.0f}", va="center", fontsize=8)
    axes.set(xlabel="share of importance (%)", xlim=(0, max(shares) * 1.12))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelsize=9)
    caption_below(figure, importance.note)
    return figure
