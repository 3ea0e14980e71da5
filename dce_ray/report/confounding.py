"""Does deconfounding help? Gains over the plain network by level of confounding, with intervals over draws of the data.

A draw counts once, however many seeds it was run with: its gain is the mean over seeds of the difference to the plain
network with the same seed. What is said of a level holds for draws of the generator, not for the seeds of one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dce_ray.experiment.record import PLAIN, PLAIN_LABEL
from dce_ray.report.labels import baseline_title, setting_label
from dce_ray.report.setting_figures import column_measure
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
from dce_ray.report.tables import MEASURED, Row, Table, described
from dce_ray.verdict.statistics import Estimate, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFERENCE, STRONG, WHOLE = "none", "strong", "scs+mcm"
"""The planned questions: what WHOLE gains at STRONG, and how much more that is than at REFERENCE."""
Scores = Mapping[str, float]
"""Fractions in [0, 1] by column."""


@dataclass
class Gains:
    """What was measured at every level.

    >>> gains = Gains(("none", "strong"), ("baseline", "scs+mcm"), draws=2, seeds=1)
    >>> for draw, level, plain, ours in ((0, "none", 80, 81), (0, "strong", 60, 63), (1, "strong", 58, 63)):
    ...     gains.add(level, "baseline", draw, 0, {"avg_0.1_0.7": plain / 100})
    ...     gains.add(level, "scs+mcm", draw, 0, {"avg_0.1_0.7": ours / 100})
    >>> gain = gains.gain("strong", "scs+mcm")["avg_0.1_0.7"]
    >>> round(gain.mean, 6), gain.count
    (4.0, 2)
    >>> more = gains.more_than_reference("strong", "scs+mcm")["avg_0.1_0.7"]
    >>> round(more.mean, 6), more.count
    (2.0, 1)
    """

    levels: tuple[str, ...]
    """In the order of the dial."""
    arms: tuple[str, ...]
    """Settings, the plain network among them."""
    draws: int
    """Draws that were asked for."""
    seeds: int
    """Training seeds of every draw that were asked for."""
    scores: dict[str, dict[str, dict[int, dict[int, Scores]]]] = field(default_factory=dict)
    """By level, setting, draw and seed."""
    marked: dict[str, list[float]] = field(default_factory=dict)
    """By level, of every run with WHOLE: part of the snippets that Psi marked in the end, in [0, 1]."""

    def add(self, level: str, arm: str, draw: int, seed: int, scores: Scores) -> None:
        """Take in a finished run."""
        self.scores.setdefault(level, {}).setdefault(arm, {}).setdefault(draw, {})[seed] = scores

    def add_marked(self, level: str, arm: str, share: float | None) -> None:
        """Take in what part of the snippets a run's Psi marked in its last iterations, None where it has no Psi."""
        if arm == WHOLE and share is not None:
            self.marked.setdefault(level, []).append(share)

    @property
    def column(self) -> str:
        """The average that ranks: the last column; empty where nothing is finished."""
        return next((list(one)[-1] for one in self._all()), "")

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns in the order of a table."""
        return tuple(next((list(one) for one in self._all()), []))

    @property
    def finished(self) -> int:
        """Number of runs."""
        return sum(1 for _ in self._all())

    def _all(self) -> Any:
        for arms in self.scores.values():
            for draws in arms.values():
                for seeds in draws.values():
                    yield from seeds.values()

    def of(self, level: str, arm: str) -> dict[int, dict[int, Scores]]:
        """Scores by draw and seed."""
        return self.scores.get(level, {}).get(arm, {})

    def level_values(self, level: str, arm: str = PLAIN) -> dict[int, dict[str, float]]:
        """Mean over seeds in percent, by draw and column."""
        return {
            draw: {column: 100 * _mean(score[column] for score in seeds.values()) for column in self.columns}
            for draw, seeds in sorted(self.of(level, arm).items())
        }

    def gain_values(self, level: str, arm: str) -> dict[int, dict[str, float]]:
        """Gain over plain in percentage points by draw and column; a draw without a pair of runs is left out."""
        values = {}
        plain = self.of(level, PLAIN)
        for draw, seeds in sorted(self.of(level, arm).items()):
            shared = sorted(seeds.keys() & plain.get(draw, {}).keys())
            if shared:
                values[draw] = {
                    column: 100 * _mean(seeds[seed][column] - plain[draw][seed][column] for seed in shared)
                    for column in self.columns
                }
        return values

    def gain(self, level: str, arm: str) -> dict[str, Estimate]:
        """Mean gain over draws with its interval, by column."""
        return _over_draws(self.gain_values(level, arm))

    def more_than_reference(self, level: str, arm: str) -> dict[str, Estimate]:
        """How much larger the gain is than without any confounder, paired by draw, by column."""
        here, there = self.gain_values(level, arm), self.gain_values(REFERENCE, arm)
        return _over_draws(
            {
                draw: {column: here[draw][column] - there[draw][column] for column in self.columns}
                for draw in sorted(here.keys() & there.keys())
            }
        )


def _mean(values: Any) -> float:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)


def _over_draws(values: Mapping[int, Mapping[str, float]]) -> dict[str, Estimate]:
    columns = list(next(iter(values.values()), {}))
    return {column: mean_interval([value[column] for value in values.values()]) for column in columns}


def confounding_table(
    gains: Gains, baseline: str, size: str, titles: Mapping[str, str], method: Mapping[str, Any]
) -> Table:
    """Per level the plain network, the gain of every setting, and how much larger it is than without confounders.

    Args:
        gains: what was measured.
        baseline: name of the network.
        size: of the generated data.
        titles: what every level is, in words.
        method: values of the method that all settings share.
    """
    rows = []
    for level in gains.levels:
        plain = _over_draws(gains.level_values(level))
        rows.append(Row(level, PLAIN_LABEL, MEASURED, described(plain), _draws(plain)))
        arms = [arm for arm in gains.arms if arm != PLAIN]
        for arm in arms:
            gain = _planned(gains, gains.gain(level, arm))
            rows.append(Row(level, f"gain of {setting_label(arm)}", MEASURED, gain, _draws(gain), difference=True))
        for arm in arms if level != REFERENCE and REFERENCE in gains.levels else ():
            more = _planned(gains, gains.more_than_reference(level, arm))
            label = f"{setting_label(arm)}: more than at {REFERENCE}"
            rows.append(Row(level, label, MEASURED, more, _draws(more), difference=True))
    caption = (
        f"Gain over the plain network by level of confounding: {baseline_title(baseline)}, synthetic data of size "
        f"{size}, test mAP in percent."
    )
    return Table(f"confounding_{baseline}", caption, gains.columns, tuple(rows), _notes(gains, titles, method), "draws")


def _planned(gains: Gains, cells: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Intervals for the ranking average alone; thresholds only describe."""
    return {column: cell if column == gains.column else cell.described for column, cell in cells.items()}


def _draws(cells: Mapping[str, Estimate]) -> int:
    return next((cell.count for cell in cells.values()), 0)


def _notes(gains: Gains, titles: Mapping[str, str], method: Mapping[str, Any]) -> tuple[str, ...]:
    scalars = ("delta", "theta_rep", "theta_pro", "beta", "gamma", "lambda", "strategy")
    asked = len(gains.levels) * len(gains.arms) * gains.draws * gains.seeds
    notes = [
        f"Mean over draws of the generator, {gains.seeds} training seed{'s' if gains.seeds > 1 else ''} each, paired "
        f"by draw and seed; ± is half a 95 % interval over draws (Student's t), numbers in brackets are standard "
        f"deviations over draws.",
        f"Two comparisons were planned: the gain of {setting_label(WHOLE)} at {STRONG}, and how much more it is than "
        f"at {REFERENCE}. All else describes: of 20 such intervals one leaves out 0 by chance.",
        "Trained on all of train; the last iteration was evaluated on test, nothing was selected there. "
        + ", ".join(f"{name}={method[name]}" for name in scalars)
        + ".",
        "Levels: " + "; ".join(f"{name}: {title}" for name, title in titles.items()) + ".",
    ]
    if gains.marked:
        shares = (
            f"{level} {100 * _mean(gains.marked[level]):.1f} %" for level in gains.levels if level in gains.marked
        )
        notes.append(f"What Psi marked of the snippets at the end of {setting_label(WHOLE)}: {', '.join(shares)}.")
    if gains.finished < asked:
        notes.append(f"{gains.finished} of {asked} runs finished.")
    return tuple(notes)


def sentence(gains: Gains) -> str:
    """The answer in plain words, from the two planned comparisons."""
    column = gains.column
    gain = gains.gain(STRONG, WHOLE).get(column)
    more = gains.more_than_reference(STRONG, WHOLE).get(column)
    if gain is None or gain.half_width is None:
        return f"confounding: undecided, since fewer than two draws of level {STRONG} are finished."
    text = (
        f"confounding: with strong context SCS + MCM change the {column_measure(column)} by {_interval(gain)} over the "
        f"plain network ({gain.count} draws): {_shown(gain, 'they help', 'they harm', 'nothing is decided')}."
    )
    if more is None or more.half_width is None:
        return f"{text} Whether that is because of the context was not measured (level {REFERENCE})."
    larger = _shown(more, "they do more with context", "they do less with context", "no difference is shown")
    return f"{text} Against what they change without any confounder that is {_interval(more)}: {larger}."


def _interval(estimate: Estimate) -> str:
    values = (estimate.mean, estimate.low or 0.0, estimate.high or 0.0)
    mean, low, high = (f"{round(value, 1) + 0.0:+.1f}" for value in values)  # + 0.0: no minus before a zero
    return f"{mean} [{low}, {high}]"


def _shown(estimate: Estimate, above: str, below: str, otherwise: str) -> str:
    low, high = estimate.low, estimate.high
    if low is not None and low > 0:
        return above
    return below if high is not None and high < 0 else otherwise


def confounding_figure(gains: Gains, baseline: str) -> Figure:
    """Gains along the dial above, the plain network's level below; call inside ``house_style()``."""
    title = f"Does deconfounding help? {baseline_title(baseline)}, generated data, test"
    figure, (upper, lower) = new_figure(6.6, 4.6, nrows=2, sharex=True, height_ratios=(2.4, 1))
    column = gains.column
    if not column:
        lower.set_axis_off()
        upper.set_title(title)
        write_instead(upper, "No run is finished yet.")
        return figure
    arms = [arm for arm in gains.arms if arm != PLAIN]
    for index, arm in enumerate(arms):
        places = [place + (index - (len(arms) - 1) / 2) * 0.27 for place in range(len(gains.levels))]
        values = [[value[column] for value in gains.gain_values(level, arm).values()] for level in gains.levels]
        _draw_estimates(upper, places, values, index, setting_label(arm))
    levels = [[value[column] for value in gains.level_values(level).values()] for level in gains.levels]
    _draw_estimates(lower, list(range(len(levels))), levels, None, PLAIN_LABEL)
    upper.axhline(0, color=INK, linewidth=0.9, linestyle="--", zorder=1)
    upper.set_ylabel("gain over plain\n(percentage points)")
    lower.set_ylabel(f"{PLAIN_LABEL}\nmAP (%)")
    lower.set_xlabel("level of confounding")
    for axes in (upper, lower):
        _set_up_levels(axes, gains.levels)
    title_with_legend(figure, title, *upper.get_legend_handles_labels())
    caption_below(
        figure,
        f"{column_measure(column).capitalize().replace('map', 'mAP')}. Ring: one draw of the generator "
        f"({gains.seeds} seed{'s' if gains.seeds > 1 else ''}). Mark: mean and 95 % interval over draws.",
    )
    return figure


def _draw_estimates(axes: Axes, places: list[float], values: list[list[float]], index: int | None, label: str) -> None:
    """Rings of draws with mean and interval at every place; ``index`` None draws the plain network's white square."""
    colour, marker = (PAPER, "s") if index is None else (COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
    for place, numbers in zip(places, values, strict=True):
        axes.scatter([place - 0.07] * len(numbers), numbers, s=9, facecolor="none", edgecolor=MUTED, linewidth=0.6)
        if not numbers:
            axes.text(
                place, 0.02, "missing", transform=axes.get_xaxis_transform(), ha="center", color=MUTED, rotation=90
            )
            continue
        found = mean_interval(numbers)
        axes.errorbar(
            [place],
            [found.mean],
            yerr=None if found.half_width is None else [found.half_width],
            fmt=marker,
            color=INK,
            markerfacecolor=colour,
            markeredgecolor=INK,
            capsize=2.5,
            linewidth=1.1,
            zorder=3,
        )
    axes.plot([], [], marker=marker, color=INK, markerfacecolor=colour, linestyle="none", label=label)


def _set_up_levels(axes: Axes, levels: tuple[str, ...]) -> None:
    axes.set_xticks(range(len(levels)), list(levels))
    axes.set_xlim(-0.5, len(levels) - 0.5)
    for border in range(1, len(levels)):
        axes.axvline(border - 0.5, color=MUTED, linewidth=0.5, linestyle=LINES[-1])
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.1)
