"""Charts of means with 95 % intervals, for confirmations, reports and ablations alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dce_ray.search.statistics import Estimate
from dce_ray.search.style import COLOURS, HATCHES, INK, LINES, MARKERS, MUTED, PAPER, caption, new_figure, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Point:
    """One setting in a chart."""

    label: str
    values: Mapping[int, float]
    """By seed, in percent."""
    estimate: Estimate | None
    """Of the values; None where nothing finished."""
    gain: Estimate | None = None
    """Paired difference to the reference, in percent points; None for the reference itself."""


def seeds_text(points: Sequence[Point]) -> str:
    """``3 seeds``, or ``2 to 3 seeds`` where settings differ."""
    counts = sorted({len(point.values) for point in points})
    if not counts:
        return "no seeds"
    text = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{text} seed{'' if counts == [1] else 's'}"


def interval_chart(points: Sequence[Point], title: str, measure: str, reference: str) -> Figure:
    """One line per setting: seeds as rings, mean and interval; on the right the paired difference to the reference.

    Args:
        points: settings from top to bottom.
        title: of the figure.
        measure: what the values are; the unit is added.
        reference: label of the setting that the differences are taken to.
    """
    figure, (left, right) = new_figure(
        6.6, 1.35 + 0.36 * max(2, len(points)), ncols=2, sharey=True, width_ratios=(1.5, 1)
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    if not any(point.estimate for point in points):
        right.set_axis_off()
        say(left, "No run is finished yet.")
        return figure
    for place, point in enumerate(points):
        left.scatter(list(point.values.values()), [place] * len(point.values), s=26, facecolor="none", edgecolor=MUTED)
        if point.estimate is None:
            left.text(0.02, place, "no finished run", transform=left.get_yaxis_transform(), va="center", color=MUTED)
        else:
            _whisker(left, place, point.estimate, plain=point.label == reference)
        if point.gain is not None:
            _whisker(right, place, point.gain, plain=False)
    right.axvline(0, color=INK, linewidth=0.9, linestyle="--", zorder=1)
    left.set(yticks=range(len(points)), yticklabels=[point.label for point in points], xlabel=f"{measure} (%)")
    left.set_ylim(len(points) - 0.5, -0.5)
    right.set_xlabel(f"difference to {reference}\n(percentage points)")
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
    caption(figure, f"Ring: one seed. Mark and bar: mean and 95 % interval, {seeds_text(points)}; paired on the right.")
    return figure


def _whisker(axes: Axes, place: float, estimate: Estimate, *, plain: bool) -> None:
    face, marker = (PAPER, "s") if plain else (COLOURS[0], "D")
    width = None if estimate.half_width is None else [estimate.half_width]
    axes.errorbar(
        [estimate.mean],
        [place],
        xerr=width,
        fmt=marker,
        color=INK,
        markerfacecolor=face,
        markeredgecolor=INK,
        capsize=3.5,
        linewidth=1.3,
        markersize=6,
        zorder=3,
    )


def bar_chart(groups: Mapping[str, Sequence[Point]], title: str, measure: str) -> Figure:
    """Bars side by side per group with intervals and numbers: one hatch per setting, a broken axis is said so.

    Args:
        groups: points per group (baseline); the settings of all groups have the same labels.
        title: of the figure.
        measure: what the values are; the unit is added.
    """
    figure, axes = new_figure(6.6, 3.4)
    axes.set(title=title, ylabel=f"{measure} (%)")
    points = [point for members in groups.values() for point in members]
    ends = [end for point in points if point.estimate for end in _ends(point)]
    if not ends:
        say(axes, "No run is finished yet.")
        return figure
    labels = list(dict.fromkeys(point.label for point in points))
    width = 0.8 / len(labels)
    floor = max(0.0, min(ends) - 0.6 * (max(ends) - min(ends)) - 0.5)
    for index, label in enumerate(labels):
        for place, members in enumerate(groups.values()):
            for point in (one for one in members if one.label == label):
                spot = place + (index - (len(labels) - 1) / 2) * width
                _bar(axes, spot, point, width, index, label if place == 0 else None, floor)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylim(floor, max(ends) + 0.12 * (max(ends) - floor))
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    figure.legend(loc="outside lower left", ncols=min(5, len(labels)), handlelength=1.8, handleheight=1.1)
    cut = f"; the axis starts at {floor:.0f} %" if floor > 0 else ""
    axes.set_title(f"Bars: mean and 95 % interval, {seeds_text(points)}{cut}.", loc="right", fontsize=7.5, color=MUTED)
    return figure


def _ends(point: Point) -> list[float]:
    if point.estimate is None:
        return []
    low, high = point.estimate.low, point.estimate.high
    return [*point.values.values(), point.estimate.mean, *(end for end in (low, high) if end is not None)]


def _bar(axes: Axes, spot: float, point: Point, width: float, index: int, label: str | None, floor: float) -> None:
    if point.estimate is None:
        axes.text(spot, floor, " missing", rotation=90, ha="center", va="bottom", color=MUTED, fontsize=7.5)
        return
    axes.bar(
        spot,
        point.estimate.mean - floor,
        0.9 * width,
        bottom=floor,
        facecolor=COLOURS[index % len(COLOURS)],
        edgecolor=PAPER,
        hatch=HATCHES[index % len(HATCHES)],
        label=label,
    )
    if point.estimate.half_width is not None:
        axes.errorbar(
            [spot], [point.estimate.mean], yerr=[point.estimate.half_width], color=INK, capsize=3, linewidth=1
        )
    top = max(_ends(point))
    axes.annotate(
        f"{point.estimate.mean:.1f}", (spot, top), (0, 2), textcoords="offset points", ha="center", fontsize=7.5
    )


@dataclass(frozen=True, slots=True)
class Curve:
    """Values along one parameter."""

    label: str
    places: Sequence[float]
    points: Sequence[Point]


def curve_chart(axes: Axes, curves: Sequence[Curve], measure: str, parameter: str) -> None:
    """Means with intervals along a parameter, one marker and line style per curve, into ``axes``."""
    axes.set(xlabel=parameter, ylabel=f"{measure} (%)")
    for index, curve in enumerate(curves):
        done = [
            (place, point.estimate) for place, point in zip(curve.places, curve.points, strict=True) if point.estimate
        ]
        if not done:
            continue
        axes.errorbar(
            [place for place, _ in done],
            [estimate.mean for _, estimate in done],
            yerr=[estimate.half_width or 0.0 for _, estimate in done],
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle=LINES[index % len(LINES)],
            markeredgecolor=INK,
            markeredgewidth=0.5,
            capsize=2.5,
            label=curve.label,
        )
