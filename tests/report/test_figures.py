"""What is drawn: marks stand at the measured numbers, and shapes tell states apart without colour."""

from __future__ import annotations

import itertools

import pytest

from dce_ray.config import ScalarRange
from dce_ray.report import figures
from dce_ray.report.charts import Curve, Point, curve_chart, group_chart, interval_chart
from dce_ray.report.importance import Importance
from dce_ray.report.style import HATCHES, LINES, MARKERS, house_style, new_figure
from dce_ray.report.trial_table import TrialRow, TrialTable
from dce_ray.verdict.statistics import mean_interval, paired_interval

MEASURE = "average mAP 0.1:0.7 on holdout"


def row(number, state, value, *, delta=0.5, beta=0.1, origin="search"):
    return TrialRow(
        number,
        f"k{number}",
        state,
        number,
        0,
        0,
        delta,
        0.8,
        0.5,
        beta,
        0.5,
        1.0,
        {},
        value,
        50,
        100,
        0.1,
        0.1,
        origin,
        1,
        None,
    )


TABLE = TrialTable(
    (
        row(0, "finished", 0.40, delta=0.7, origin="paper"),
        row(1, "pruned", 0.30, delta=0.4),
        row(2, "finished", 0.45, delta=0.6, beta=1.0),
        row(3, "failed", None),
        row(4, "pruned", 0.20, delta=0.9),
    ),
    {"delta": ScalarRange(0.3, 0.9), "beta": ScalarRange(0.01, 1.0, log=True)},
)


def marks(axes):
    """Places of the scattered marks by what the legend calls them."""
    return {
        group.get_label(): sorted(tuple(round(float(x), 6) for x in place) for place in group.get_offsets())
        for group in axes.collections
    }


def test_history_marks_every_state_at_its_value():
    with house_style():
        axes = figures.history(TABLE, MEASURE).axes[0]
    found = marks(axes)
    assert found["finished (2)"] == [(0, 40), (2, 45)]
    assert found["pruned (2)"] == [(1, 30), (4, 20)]
    assert found["best"] == [(2, 45)]
    assert found["published values"] == [(0, 40)]
    assert [x for x, _ in found["failed (1)"]] == [3]
    best = next(line for line in axes.lines if line.get_label() == "best so far")
    assert list(best.get_xdata()) == [0, 2, 4]
    assert list(best.get_ydata()) == pytest.approx([40, 45, 45])
    assert axes.get_ylabel() == f"{MEASURE} (%)"


def test_states_differ_in_shape():
    shapes = [
        tuple(map(tuple, group.get_paths()[0].vertices.round(3)))
        for group in figures.history(TABLE, MEASURE).axes[0].collections
    ]
    assert len(set(shapes)) == len(shapes) == 5
    for styles in (MARKERS, LINES, HATCHES):
        assert len(set(styles)) == len(styles) >= 4


def test_slices_stand_at_the_parameters():
    with house_style():
        panels = figures.slices(TABLE, MEASURE).axes
    assert [axes.get_xlabel() for axes in panels] == [
        r"$\delta$",
        r"$\theta_{rep}$",
        r"$\theta_{pro}$",
        r"$\beta$",
        r"$\gamma$",
        r"$\lambda$",
    ]
    assert marks(panels[0])["finished (2)"] == [(0.6, 45), (0.7, 40)]
    assert panels[3].get_xscale() == "log"
    assert [text.get_text() for text in panels[5].texts] == ["fixed at 1"]


def test_parallel_coordinates_scale_every_ruler_by_itself():
    # delta 0.6 of [0.3, 0.9] stands at 0.5; beta 1 of [0.01, 1] on a logarithmic ruler at 1; 0.1 at 0.5.
    with house_style():
        axes = figures.parallel_coordinates(TABLE, MEASURE).axes[0]
    best = max(axes.lines, key=lambda line: line.get_linewidth())
    assert list(best.get_ydata()) == pytest.approx([0.5, 0.5, 0.5, 1.0, 0.5, 0.5, 1.0])
    others = [line for line in axes.lines if line is not best and len(line.get_xdata()) == 7]
    assert sorted(line.get_linestyle() for line in others) == ["-", ":", ":"]


def test_importance_prints_each_share_or_the_reason():
    with house_style():
        bars = figures.importance_chart(Importance({"delta": 0.75, "beta": 0.25}, "How.")).axes[0]
        nothing = figures.importance_chart(Importance({}, "Not defined: too few.")).axes[0]
    assert [bar.get_width() for bar in bars.patches] == [25.0, 75.0]
    assert [text.get_text().strip() for text in bars.texts] == ["25", "75"]
    assert [text.get_text() for text in nothing.texts] == ["Not defined: too few."]


def points():
    plain, ours = {0: 40.0, 1: 42.0, 2: 44.0}, {0: 43.0, 1: 44.0, 2: 48.0}
    return [
        Point("plain", plain, mean_interval(list(plain.values()))),
        Point("ours", ours, mean_interval(list(ours.values())), paired_interval(ours, plain)),
        Point("none", {}, None),
    ]


def ends(axes):
    """Ends of the horizontal intervals, from top to bottom."""
    bars = [group for group in axes.collections if hasattr(group, "get_segments")]
    return [[float(x) for x, _ in segment] for group in bars for segment in group.get_segments()]


def test_interval_chart_draws_the_intervals_and_the_paired_ones():
    with house_style():
        left, right = interval_chart(points(), "T", "mAP", "plain").axes
    expected = [point.estimate for point in points()[:2]]
    assert ends(left) == [pytest.approx([estimate.low, estimate.high]) for estimate in expected if estimate]
    gain = points()[1].gain
    assert gain is not None
    assert ends(right) == [pytest.approx([gain.low, gain.high])]
    assert [text.get_text() for text in left.texts] == ["no finished run"]
    assert [text.get_text() for text in left.get_yticklabels()] == ["plain", "ours", "none"]


def test_group_chart_says_what_is_missing_and_how_many_seeds():
    with house_style():
        figure = group_chart({"DELU": points()}, "T", "mAP")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["42.0", "45.0", "missing"]
    assert "0 to 3 seeds" in figure.get_supxlabel()


def test_an_axis_is_never_narrower_than_a_point_of_map():
    """5.25 and 5.26 differ by what their shown decimal loses: an axis of a hundredth makes a result of it."""
    near = [
        Point(name, {0: value}, mean_interval([value]), mean_interval([value - 5.25]))
        for name, value in (("plain", 5.25), ("ours", 5.26))
    ]
    with house_style():
        left, right = interval_chart(near, "T", "mAP", "plain").axes
        (grouped,) = group_chart({"DELU": near}, "T", "mAP").axes
        _figure, axes = new_figure()
        curve_chart(axes, [Curve("c", [0.1, 0.2], near)], "mAP", "lambda")
    for low, high in (left.get_xlim(), right.get_xlim(), grouped.get_ylim(), axes.get_ylim()):
        assert high - low >= 0.999


def test_ticks_of_a_wide_logarithmic_range_stand_apart():
    """0.05 and 0.1 were written into each other from 0.02 to 6."""
    wide = dict.fromkeys(("beta", "gamma"), ScalarRange(0.02, 6.0, log=True))
    with house_style():
        figure = figures.slices(TrialTable(TABLE.rows, {**TABLE.ranges, **wide}), MEASURE)
        figure.draw_without_rendering()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        shown = [tick.label1 for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        boxes = [label.get_window_extent() for label in shown if label.get_text()]
        assert len(boxes) != 1
        assert all(left.x1 + 2 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_history_without_any_value_warns_of_nothing(recwarn):
    with house_style():
        figures.history(TrialTable((row(0, "waiting", None), row(1, "running", None)), {}), MEASURE)
    assert [str(item.message) for item in recwarn] == []
