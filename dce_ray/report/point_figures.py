"""The pictures of a search with ``policy=replicates``: its points, the model's slices, where the noise comes from.

Each function draws one figure, inside :func:`dce_ray.report.style.house_style`. Values are shown in percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dce_ray.config import ScalarRange
from dce_ray.experiment.record import PUBLISHED
from dce_ray.points.model import PointEstimate
from dce_ray.points.standing import Standing, searched_ranges
from dce_ray.report.figures import (
    BEST,
    FIRST_POINT,
    Line,
    parallel_chart,
    set_up_range,
    shared_legend,
    write_fixed,
)
from dce_ray.report.noise import Component
from dce_ray.report.point_table import PointTable
from dce_ray.report.style import (
    BLUE,
    HATCHES,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    caption_below,
    new_figure,
    symbol,
    write_instead,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
"""Panels in a line of slices."""
SLICE_PLACES = 61
"""Places of a range at which a slice of the model is drawn."""
NOTHING_YET = "No run of a point has ended yet."
RING: dict[str, Any] = {"marker": "o", "facecolor": "none", "edgecolor": MUTED, "linewidth": 0.8, "s": 13, "zorder": 2}
"""One run."""
MEAN: dict[str, Any] = {"fmt": "o", "color": BLUE, "markersize": 4.5, "elinewidth": 1.0, "capsize": 2, "zorder": 3}
"""A mean with its interval."""


def point_history(table: PointTable, standing: Standing | None, measure: str) -> Figure:
    """Every point in the order in which they came up: its runs, the model's mean and interval, plain's beside.

    Args:
        table: the points.
        standing: what the model makes of them; None before a run has ended.
        measure: what the value is; the unit is added.
    """
    figure, axes = new_figure(6.6, 3.4)
    axes.set(title="Points", xlabel="point", ylabel=f"{measure} (%)")
    known = [row for row in table.points if row.mean_fraction is not None]
    if standing is None or not known:
        write_instead(axes, NOTHING_YET)
        return figure
    _draw_plain(axes, standing.plain)
    runs = [run for run in standing.runs if not run.plain and run.number in standing.scores]
    adjusted = standing.posterior.adjusted
    axes.scatter(
        [run.point or 0 for run in runs], [100 * adjusted[run.number] for run in runs], label="run, adjusted", **RING
    )
    places, means = [row.point or 0 for row in known], [100 * (row.mean_fraction or 0) for row in known]
    widths = [100 * ((row.high_fraction or 0) - (row.mean_fraction or 0)) for row in known]
    axes.errorbar(
        *(places, means, widths),
        **MEAN,
        label="point: model's mean, 95 %",
    )
    _mark(axes, {row.point or 0: row.mean_fraction or 0 for row in known}, table)
    lost = [row.point or 0 for row in table.points if row.mean_fraction is None and row.failed_runs]
    if lost:
        below: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 4}
        axes.scatter(lost, [0.015] * len(lost), marker="v", color=INK, s=28, label="only failed runs", **below)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.1)
    figure.legend(loc="outside lower left", ncols=4, handletextpad=0.3, columnspacing=1.0)
    return figure


def _draw_plain(axes: Axes, plain: PointEstimate | None) -> None:
    """The plain baseline's mean as a line and its 95 % interval as a band."""
    if plain is None:
        return
    axes.axhspan(100 * plain.low, 100 * plain.high, color=MUTED, alpha=0.14, linewidth=0, zorder=0)
    axes.axhline(100 * plain.mean, color=INK, linewidth=1.0, linestyle="--", label="plain baseline, 95 %", zorder=1)


def _mark(axes: Axes, means: Mapping[float, float], table: PointTable) -> None:
    """Diamonds round the published points and a star at the best one, at (place, mean)."""
    published = {row.point for row in table.points if row.origin in PUBLISHED}
    chosen = [place for place in means if place in published]
    if chosen:
        axes.scatter(chosen, [100 * means[place] for place in chosen], label="published values", **FIRST_POINT)
    if table.best:
        place = table.best.point or 0
        axes.scatter([place], [100 * means[place]], label="best point by the model", **BEST)


def model_slices(table: PointTable, standing: Standing | None, config: Mapping[str, Any], measure: str) -> Figure:
    """One panel per parameter: the model along it, the others as in the best point, and the runs of all points.

    Args:
        table: the points.
        standing: what the model makes of them; None before a run has ended.
        config: of the search.
        measure: what the value is; the unit is added.
    """
    if standing is None or table.best is None:
        figure, axes = new_figure(6.6, 3.4)
        write_instead(axes, NOTHING_YET)
        return figure
    names = table.names
    lines = -(-len(names) // COLUMNS)
    figure, grid = new_figure(6.6, 0.4 + 2.2 * lines, nrows=lines, ncols=COLUMNS, sharey=True, squeeze=False)
    figure.suptitle("The model along each parameter", x=0.01, ha="left", fontsize=9.5)
    ranges = searched_ranges(config)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        axes.set_xlabel(symbol(name))
        if name in ranges and not ranges[name].constant:
            _slice(axes, name, ranges[name], table, standing)
        else:
            _write_unsearched(axes, name, table, config)
    figure.supylabel(f"{measure} (%)", fontsize=8.5)
    shared_legend(figure, grid.flat)
    return figure


def _write_unsearched(axes: Axes, name: str, table: PointTable, config: Mapping[str, Any]) -> None:
    tied = config["space"].get(name)
    values = {value for row in table.points if (value := row.parameter(name)) is not None}
    write_fixed(axes, values, f"tied to {symbol(tied)}" if isinstance(tied, str) else None)


def _slice(axes: Axes, name: str, searched: ScalarRange, table: PointTable, standing: Standing) -> None:
    posterior, best = standing.posterior, table.best
    assert best is not None, "the caller has seen to it"
    places = np.array([searched.from_unit(unit) for unit in np.linspace(0, 1, SLICE_PLACES)])
    mean, low, high = (100 * values for values in posterior.slice(name, places))
    axes.fill_between(places, low, high, color=BLUE, alpha=0.18, linewidth=0, label="95 % of the mean", zorder=1)
    axes.plot(places, mean, color=BLUE, label="model's mean", zorder=3)
    if standing.plain:
        axes.axhline(100 * standing.plain.mean, color=INK, linewidth=1.0, linestyle="--", label="plain baseline")
    runs = [run for run in standing.runs if not run.plain and run.number in posterior.adjusted]
    scores = [100 * posterior.adjusted[run.number] for run in runs]
    axes.scatter([run.scalars[name] for run in runs], scores, label="run of any point, adjusted", **RING)
    here = best.parameter(name)
    assert here is not None, "a searched scalar has a value"
    axes.scatter([here], [100 * (best.mean_fraction or 0)], label="best point", **BEST)
    ends = posterior.flat_range(name)
    bottom: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "solid_capstyle": "butt", "clip_on": False}
    axes.plot(ends, [0.0, 0.0], color=ORANGE, linewidth=4, label="no difference seen", **bottom)
    set_up_range(axes, searched)


def noise_chart(components: list[Component], caption: str) -> Figure:
    """Share of each component in the variance of a single run of a point.

    Args:
        components: those of a run of a point, in order; empty before a run has ended.
        caption: below the drawing.
    """
    figure, axes = new_figure(6.6, 2.4)
    axes.set_title("Where the differences between runs come from")
    if not components:
        write_instead(axes, "No run has ended yet.")
        return figure
    shares = [100 * (one.share or 0) for one in components][::-1]
    names = [one.name for one in components][::-1]
    bars = axes.barh(names, shares, height=0.6, facecolor=BLUE, edgecolor=PAPER)
    for bar, one in zip(bars, reversed(components), strict=True):
        if not one.signal:
            bar.set(facecolor=MUTED, hatch=HATCHES[1])
    for place, share in enumerate(shares):
        axes.text(share, place, f"  {share:.0f}", va="center", fontsize=8)
    axes.set(
        xlabel="share of a single run's whole variance, fold and seed included (%)", xlim=(0, max(1.0, *shares) * 1.12)
    )
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    caption_below(figure, caption)
    return figure


def point_parallel(table: PointTable, config: Mapping[str, Any], measure: str) -> Figure:
    """One line per point through its parameters to the model's mean; the best point is drawn boldly on top."""
    rows = [row for row in table.points if row.mean_fraction is not None]
    lines = [
        Line(
            {name: row.parameter(name) or 0.0 for name in table.names},
            row.mean_fraction or 0.0,
            "best" if row is table.best else "usual",
        )
        for row in rows
    ]
    explained = f"One line per point. Value: the model's mean, {measure}; the best point is drawn bold with discs."
    return parallel_chart(lines, searched_ranges(config), explained, NOTHING_YET)
