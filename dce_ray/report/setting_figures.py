"""Figures of settings on test, for confirmations, reports and ablations; call inside ``house_style()``.

Every figure says its unit and the number of seeds, and reads without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dce_ray.experiment.record import PLAIN, PLAIN_LABEL
from dce_ray.report.charts import Curve, Point, curve_chart, group_chart, interval_chart, marks_text
from dce_ray.report.labels import SEARCHED_LABEL, baseline_title, in_order, setting_label
from dce_ray.report.measured import Measured, ranking_column
from dce_ray.report.style import INK, SYMBOLS, caption_below, new_figure, title_with_legend
from dce_ray.report.tables import Comparison
from dce_ray.verdict.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def column_measure(column: str) -> str:
    """A column as words.

    >>> column_measure("avg_0.1_0.7")
    'average mAP 0.1:0.7'
    """
    return f"average mAP {column.removeprefix('avg_').replace('_', ':')}" if column else "mAP"


def point_of(one: Measured, column: str, reference: Measured | None = None, label: str | None = None) -> Point:
    """One column of a setting as a point of a chart, in percent, with its paired difference to ``reference``."""
    values = {seed: 100 * score[column] for seed, score in one.scores.items() if column in score}
    gain = None if reference is None or one is reference else one.gain(reference)[0].get(column)
    return Point(label or setting_label(one.name), values, one.cells().get(column), gain)


def comparison_figure(title: str, comparisons: Sequence[Comparison]) -> Figure:
    """Plain baseline and winner side by side for every baseline of a data set."""
    column = ranking_column([part for one in comparisons for part in (one.plain, one.ours)])
    several = len({one.baseline for one in comparisons}) < len(comparisons)
    order = in_order(one.baseline for one in comparisons)
    groups: dict[str, list[Point]] = {}
    for one in sorted(comparisons, key=lambda one: order.index(one.baseline)):
        name = baseline_title(one.baseline) + (f"\n{one.name}" if several else "")
        aside = f" ({one.remark})" if one.remark else ""
        groups[name] = [
            described(point_of(one.plain, column, label=PLAIN_LABEL)),
            described(point_of(one.ours, column, label=f"{SEARCHED_LABEL}{aside}")),
        ]
    return group_chart(groups, f"{title}, test", column_measure(column))


def described(point: Point, planned: Estimate | None = None) -> Point:
    """The point without intervals, but for ``planned`` in the place of its difference."""
    estimate, gain = (one and one.described for one in (point.estimate, point.gain))
    return replace(point, estimate=estimate, gain=planned or gain)


def confirmation_figure(settings: Sequence[Measured], winner: str | None, planned: Estimate | None) -> Figure:
    """Every confirmed setting with its difference to the plain baseline; one interval, of the planned comparison.

    Args:
        settings: in the order of the lines.
        winner: name of the setting whose difference ``planned`` is.
        planned: winner less plain baseline, in percentage points; None before there is a verdict.
    """
    column = ranking_column(settings)
    plain = next((one for one in settings if one.name == PLAIN), None)
    points = [
        described(point_of(one, column, plain), planned if one.name == winner and one.scores else None)
        for one in settings
    ]
    told = planned is not None and planned.half_width is not None
    explained = "paired on the right" + (", with the 95 % interval of the planned comparison" if told else "")
    measure = f"{column_measure(column)} on test"
    return interval_chart(points, "Confirmation on test", measure, setting_label(PLAIN), explained)


def components_figure(title: str, settings: Mapping[str, Sequence[Measured]]) -> Figure:
    """Figure 5: baseline, + SCS, + MCM and both, per baseline."""
    column = ranking_column([one for members in settings.values() for one in members])
    groups = {name: [described(point_of(one, column)) for one in members] for name, members in settings.items()}
    return group_chart(groups, title, column_measure(column))


def settings_figure(title: str, settings: Sequence[Measured], reference: str) -> Figure:
    """Table 5 as a chart: one line per setting, with the paired difference to ``reference``."""
    column = ranking_column(settings)
    plain = next((one for one in settings if one.name == reference), None)
    points = [described(point_of(one, column, plain)) for one in settings]
    return interval_chart(points, title, f"{column_measure(column)} on test", setting_label(reference))


def sweep_figure(
    title: str, sweeps: Mapping[str, Mapping[float, Measured]], default: Mapping[str, float], plain: Measured | None
) -> Figure:
    """Figure 6 and the sensitivities: the ranking average along one parameter per panel.

    Args:
        title: of the figure.
        sweeps: settings by value, by parameter.
        default: value of each parameter in the other panels; marked with a dashed line.
        plain: the baseline without SCS and MCM, drawn as a dotted level; None where it was not run.
    """
    runs = [one for members in sweeps.values() for one in members.values()]
    column = ranking_column([*runs, *([plain] if plain else [])])
    figure, grid = new_figure(6.6, 3.2, ncols=len(sweeps), sharey=True, squeeze=False)
    points: list[Point] = []
    for axes, (name, members) in zip(grid.flat, sweeps.items(), strict=True):
        curve = Curve("SCS + MCM", list(members), [described(point_of(one, column)) for one in members.values()])
        points += curve.points
        curve_chart(axes, [curve], column_measure(column), SYMBOLS.get(name, name))
        if name in default:
            axes.axvline(
                default[name], linestyle="--", color=INK, linewidth=0.8, label="value in all other runs", zorder=1
            )
        level = point_of(plain, column).estimate if plain else None
        if level:
            axes.axhline(level.mean, linestyle=":", color=INK, linewidth=1.0, label=PLAIN_LABEL, zorder=1)
        if axes is not grid.flat[0]:
            axes.set_ylabel("")
    title_with_legend(figure, title, *grid.flat[0].get_legend_handles_labels())
    caption_below(figure, f"On test; mark: {marks_text(points)}.")
    return figure
