"""Charts of means, with the intervals that their points have; call inside ``house_style()``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dce_ray.report.captions import seeds_text
from dce_ray.report.style import (
    COLOURS,
    INK,
    LINES,
    MARKERS,
    MUTED,
    PAPER,
    caption_below,
    new_figure,
    title_with_legend,
    write_instead,
)
from dce_ray.verdict.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LEAST_SPAN = 1.0
"""Points of mAP that an axis shows at least: nearer to it, what numbers with one decimal lose looks like a result."""


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


def marks_text(points: Sequence[Point]) -> str:
    """What mark and bar are, and how many seeds the points have.

    >>> marks_text([Point("a", {0: 40.0, 1: 41.0}, None), Point("b", {0: 42.0}, None)])
    'mean, 1 to 2 seeds'
    """
    shown = any(point.estimate and point.estimate.half_width is not None for point in points)
    return f"mean{' and 95 % interval' if shown else ''}, {seeds_text([len(point.values) for point in points])}"


def at_least(ends: tuple[float, float]) -> tuple[float, float]:
    """The ends of an axis, moved apart round their middle where they are nearer than :data:`LEAST_SPAN`.

    >>> at_least((5.25, 5.27)), at_least((40.0, 45.0))
    ((4.76, 5.76), (40.0, 45.0))
    """
    low, high = ends
    middle, half = (low + high) / 2, max(high - low, LEAST_SPAN) / 2
    return middle - half, middle + half


def interval_chart(
    points: Sequence[Point], title: str, measure: str, reference: str, explained: str = "paired on the right"
) -> Figure:
    """One line per setting: seeds as rings, mean and interval; on the right the paired difference to the reference.

    Args:
        points: settings from top to bottom.
        title: of the figure.
        measure: what the values are; the unit is added.
        reference: label of the setting that the differences are taken to.
        explained: what the caption says of the differences.
    """
    figure, (left, right) = new_figure(
        6.6,
        1.35 + 0.36 * max(2, len(points)),
        ncols=2,
        sharey=True,
        width_ratios=(1.5, 1),
        gridspec_kw={"wspace": 0.06},
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    if not any(point.estimate for point in points):
        right.set_axis_off()
        write_instead(left, "No run is finished yet.")
        return figure
    for place, point in enumerate(points):
        rings = list(point.values.values())
        left.scatter(rings, [place - 0.27] * len(rings), s=16, facecolor="none", edgecolor=MUTED, linewidth=0.9)
        if point.estimate is None:
            left.text(0.02, place, "no finished run", transform=left.get_yaxis_transform(), va="center", color=MUTED)
        else:
            _draw_mean_across(left, place, point.estimate, plain=point.label == reference)
        if point.gain is not None:
            _draw_mean_across(right, place, point.gain, plain=False)
    _set_up_rows(left, right, [point.label for point in points])
    left.set_xlabel(f"{measure} (%)")
    right.set_xlabel(f"difference to {reference}\n(percentage points)")
    caption_below(figure, f"Ring: one seed. Mark: {marks_text(points)}; {explained}.")
    return figure


def _set_up_rows(left: Axes, right: Axes, labels: Sequence[str]) -> None:
    """One row per label from top to bottom, and the line of no difference on the right."""
    right.axvline(0, color=INK, linewidth=0.9, linestyle="--", zorder=1)
    left.set(yticks=range(len(labels)), yticklabels=labels)
    left.set_ylim(len(labels) - 0.5, -0.5)
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        axes.set_xlim(at_least(axes.get_xlim()))
    left.set_xlim(left=max(0.0, left.get_xlim()[0]))


def _draw_mean_across(axes: Axes, place: float, estimate: Estimate, *, plain: bool) -> None:
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


def group_chart(groups: Mapping[str, Sequence[Point]], title: str, measure: str) -> Figure:
    """Means with intervals side by side per group, one marker per setting, seeds as rings.

    Marks and no bars: the differences of interest are small against the values, and a bar on a cut axis misleads.

    Args:
        groups: points per group (baseline); settings have the same labels in all groups.
        title: of the figure.
        measure: what the values are; the unit is added.
    """
    figure, axes = new_figure(6.6, 3.4)
    axes.set_ylabel(f"{measure} (%)")
    points = [point for members in groups.values() for point in members]
    if not any(point.estimate for point in points):
        axes.set_title(title)
        write_instead(axes, "No run is finished yet.")
        return figure
    labels = list(dict.fromkeys(point.label for point in points))
    for index, label in enumerate(labels):
        offset = (index - (len(labels) - 1) / 2) * 0.8 / len(labels)
        places = [place + offset for place in range(len(groups))]
        members = [next((one for one in group if one.label == label), None) for group in groups.values()]
        for place, point in zip(places, members, strict=True):
            if point is None or point.estimate is None:
                axes.text(
                    place, 0.02, "missing", transform=axes.get_xaxis_transform(), ha="center", color=MUTED, rotation=90
                )
            else:
                _draw_mean_upright(axes, place, point, index)
        axes.plot([], [], **_marker_of(index), linestyle="none", label=label)
    _set_up_groups(axes, list(groups))
    title_with_legend(figure, title, *axes.get_legend_handles_labels())
    caption_below(figure, f"Ring: one seed. Mark: {marks_text(points)}.")
    return figure


def _set_up_groups(axes: Axes, names: Sequence[str]) -> None:
    """One column per name, set apart by dotted lines."""
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    for border in range(1, len(names)):
        axes.axvline(border - 0.5, color=MUTED, linewidth=0.5, linestyle=":")
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.12)
    axes.set_ylim(at_least(axes.get_ylim()))
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))


def _marker_of(index: int) -> dict[str, Any]:
    return {
        "marker": MARKERS[index % len(MARKERS)],
        "color": COLOURS[index % len(COLOURS)],
        "markeredgecolor": INK,
        "markersize": 7,
    }


def _draw_mean_upright(axes: Axes, place: float, point: Point, index: int) -> None:
    """Mean, vertical interval, rings of the seeds and the mean in figures at ``place``."""
    if point.estimate is None:
        return
    rings = list(point.values.values())
    axes.scatter([place - 0.05] * len(rings), rings, s=14, facecolor="none", edgecolor=MUTED, linewidth=0.8, zorder=2)
    width = None if point.estimate.half_width is None else [point.estimate.half_width]
    axes.errorbar([place], [point.estimate.mean], yerr=width, ecolor=INK, capsize=3, elinewidth=1, **_marker_of(index))
    axes.annotate(
        f"{point.estimate.mean:.1f}",
        (place, point.estimate.mean),
        (7, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
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
    axes.set_ylim(at_least(axes.get_ylim()))
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
