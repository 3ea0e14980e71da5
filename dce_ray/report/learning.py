"""Learning curves of a search: what the chosen setting's runs and the plain baseline's scored on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN_LABEL
from dce_ray.report.style import BLUE, INK, new_figure, write_instead
from dce_ray.report.trial_table import TrialTable
from dce_ray.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DESCRIPTION = (
    "Score on the selecting split and total loss over the iterations: every run of the best point and of the plain "
    "baseline (of its best point, where it has a search of its own) as a thin line, their means as thick ones."
)
"""What the figure shows, for those who cannot see it."""
LOOKS: Mapping[str, Any] = {
    "best point": {"color": BLUE, "linestyle": "-"},
    PLAIN_LABEL: {"color": INK, "linestyle": "--"},
}
Lines = Sequence[Mapping[int, float]]


def learning_figure(
    folder: ExperimentFolder, trials: TrialTable, point: int | None, measure: str, plain_point: int | None = None
) -> Figure:
    """Score and loss over the iterations; call inside ``house_style()``.

    Args:
        folder: of the search.
        trials: its runs.
        point: number of the best point; None before there is one.
        measure: what the score is; the unit is added.
        plain_point: number of the plain baseline's best point where it has a search of its own; None: it is one
            setting. Runs of other settings of it have no mean in common.
    """
    figure, (left, right) = new_figure(6.6, 3.0, nrows=1, ncols=2)
    keys = {row.key for row in trials.rows if row.point == point and not row.plain}
    records = [record for run in folder.trials() if (record := run.record()).role == "plain"]
    plain: set[str | None] = {record.key for record in records if record.point == plain_point}
    groups = {name: _lines(folder, wanted) for name, wanted in (("best point", keys), (PLAIN_LABEL, plain))}
    told = {PLAIN_LABEL: PLAIN_LABEL if plain_point is None else f"{PLAIN_LABEL}'s best point"}
    for axes, metric, label, scale in (
        (left, "score", f"{measure} (%)", 100.0),
        (right, "loss/total", "total loss", 1.0),
    ):
        drawn = [_draw(axes, name, lines[metric], scale, told.get(name, name)) for name, lines in groups.items()]
        axes.set(xlabel="iteration", ylabel=label)
        if not any(drawn):
            write_instead(axes, "No reading yet.")
    if any(len(lines["score"]) > 1 for lines in groups.values()):
        left.plot([], [], linewidth=0.5, color=INK, alpha=0.6, label="thin: single runs")
    left.set_title("Learning curves")
    if left.get_legend_handles_labels()[0]:
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure


def _lines(folder: ExperimentFolder, keys: set[str | None]) -> dict[str, Lines]:
    """Readings by iteration of every run, for each of the two metrics."""
    lines: dict[str, list[Mapping[int, float]]] = {"score": [], "loss/total": []}
    for run in folder.trials():
        if run.key not in keys:
            continue
        readings = run.readings()
        for metric, known in lines.items():
            values = {one.iteration: value for one in readings if (value := one.metrics.get(metric)) is not None}
            known.extend([values] if values else [])
    return dict(lines)


def _draw(axes: Axes, name: str, lines: Lines, scale: float, told: str) -> bool:
    for line in lines:
        axes.plot(list(line), [scale * value for value in line.values()], linewidth=0.5, alpha=0.45, **LOOKS[name])
    places = sorted({place for line in lines for place in line})
    means = [scale * float(np.mean([line[place] for line in lines if place in line])) for place in places]
    if places:
        axes.plot(
            places,
            means,
            linewidth=1.8,
            marker="o",
            markersize=3,
            label=f"{told}, mean of {counted(len(lines), 'run')}",
            **LOOKS[name],
        )
    return bool(places)
