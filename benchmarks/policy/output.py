"""The tables and the figure of what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench_data import components, ratio_interval
from benchmarks.policy.measure import EMULATED, OURS, RECORDED, TODAY, Measured
from benchmarks.policy.surfaces import SETTINGS
from benchmarks.pool.table import Grid, Pool
from dce_ray.experiment.record import SEARCHED

Array = NDArray[np.float64]


def title_of(setting: str) -> str:
    """What stands above a setting's table."""
    if setting in SETTINGS:
        known = SETTINGS[setting]
        return f"{setting}: residual {known.residual} s, length scale {known.length_scale}; values in s"
    return f"{setting}; values in points of mAP"


def show(setting: str, found: Mapping[str, Measured], budgets: Sequence[int]) -> None:
    """One setting's table: values, and what ours gains over each other."""
    head = "".join(f"{f'{budget} runs':>16}" for budget in budgets)
    print(f"\n{title_of(setting)}")
    print(f"{'':32}{head}{'s per search':>14}   ours gains (paired)")
    for name, one in found.items():
        print(f"{name:32}{_cells(one.values.mean(axis=0), one.half)}{one.seconds:14.1f}", end="")
        if OURS in found and name != OURS:
            print(f"   {_cells(*found[OURS].gain(one))}", end="")
        print()
    if {OURS, TODAY} <= found.keys():
        _show_targets(found[OURS], found[TODAY], budgets)


def _cells(means: Array, halves: Array) -> str:
    cells = ["-" if math.isnan(mean) else f"{mean:.2f} ±{half:.2f}" for mean, half in zip(means, halves, strict=True)]
    return "".join(f"{cell:>16}" for cell in cells)


def _show_targets(mine: Measured, today: Measured, budgets: Sequence[int]) -> None:
    """Ours against today's default: the ratio at equal budgets, and a third of the budget against the whole."""
    for column, budget in enumerate(budgets):
        mean = today.values[:, column].mean()
        ratio = f"{mine.values[:, column].mean() / mean:.2f}" if mean > today.half[column] else "an unknown number of"
        print(f"  {budget} runs: ours {ratio} times the value of {TODAY}", end="")
        if budget % 3 == 0 and budget // 3 in budgets:
            gain = mine.at(budgets.index(budget // 3)).gain(today.at(column))
            print(f"; ours with {budget // 3} less today's with {budget}: {_cells(*gain).strip()}", end="")
        print()


def show_pool(pool: Pool) -> None:
    """What a pool holds, and how well its truth tells points apart."""
    about = pool.about
    print(f"\npool: {about['command']}")
    print(
        f"recorded at {', '.join(about['commits'])} on {about['processor']}, {about['core_seconds']:.1f} core seconds "
        f"a run, load average {about['load']:.1f}"
    )
    if about.get("note"):
        print(about["note"])
    for folds in sorted({one.run.folds for one in pool.runs if one.run.folds is not None}):
        _show_grid(pool, folds)


def _show_grid(pool: Pool, folds: int) -> None:
    """One K: what is whole of it, and how far apart the truth of its points lies."""
    grid, curves = pool.grid(folds), pool.curves(folds)
    failed = sum(not curves[point, replicate] for point in grid.points for replicate in grid.replicates)
    print(
        f"K={folds}: {len(grid.points)} points x {len(grid.replicates)} replicates with {grid.truths} truth runs each, "
        f"{failed} runs failed; {len(curves)} runs recorded in all"
    )
    if len(grid.points) < 2:
        return
    if grid.truths > 1:
        _show_truth(pool, grid)
    seen = 100 * np.array([[_last(curves[point, replicate]) for replicate in grid.replicates] for point in grid.points])
    seen = seen[np.isfinite(seen).all(axis=1)]
    if len(grid.replicates) > 1 and len(seen) > 1:
        found, (low, high) = components([seen]), ratio_interval([seen])
        print(
            f"  held out: mean {found.level:.2f} mAP, deviation between points {found.spread:.2f}, residual "
            f"{found.residual:.2f}, replicates {found.seed:.2f}; ratio {found.ratio:.2f} ({low:.2f} to {high:.2f})"
        )


def _show_truth(pool: Pool, grid: Grid) -> None:
    """How far apart the truth of the points lies."""
    table = pool.truths(grid)
    found, means = components([table]), table.mean(axis=1)
    print(
        f"  truth: mean {found.level:.2f} mAP, deviation between points {found.spread:.2f} beside a standard error of "
        f"{found.residual / math.sqrt(grid.truths):.2f}; best observed {means.max() - found.level:+.2f}, "
        f"plain {pool.truth[None][: grid.truths].mean() - found.level:+.2f}",
        end="",
    )
    for point, mean in zip(grid.points, means, strict=True):
        if pool.origins[point] != SEARCHED:
            print(f", {pool.origins[point]} {mean - found.level:+.2f}", end="")
    print()


def _last(curve: Mapping[int, float]) -> float:
    return curve[max(curve)] if curve else math.nan


def draw(results: Mapping[str, Mapping[str, Measured]], budgets: Sequence[int], path: Path) -> None:
    """Value over budget with a band of the 95 % interval, a panel per setting, as a PNG."""
    from dce_ray.report.style import COLOURS, INK, LINES, caption_below, house_style, new_figure, title_with_legend

    names = list(dict.fromkeys(name for found in results.values() for name in found))
    shown = [name for name in names if "equal" not in name and not name.startswith("ours, ")]
    looks = {
        name: (COLOURS[index % len(COLOURS)], LINES[index // len(COLOURS) % len(LINES)], 1.2)
        for index, name in enumerate(name for name in shown if name != OURS)
    } | {OURS: (INK, "-", 2.2)}
    columns = min(3, len(results))
    rows = math.ceil(len(results) / columns)
    with house_style():
        figure, panels = new_figure(
            7.2, 1.4 + (2.1 if rows > 1 else 2.9) * rows, nrows=rows, ncols=columns, sharex=True, squeeze=False
        )
        for axes in panels.flat[len(results) :]:
            axes.set_axis_off()
        handles = {}
        for axes, (setting, found) in zip(panels.flat, results.items(), strict=False):
            axes.set_title(setting)
            for name in (name for name in shown if name in found):
                mean, half = found[name].values.mean(axis=0), found[name].half
                colour, line, width = looks[name]
                (handles[name],) = axes.plot(budgets, mean, color=colour, linestyle=line, linewidth=width)
                axes.fill_between(budgets, mean - half, mean + half, color=colour, alpha=0.1, linewidth=0)
            axes.set_xscale("log", base=2)
            axes.set_xticks(budgets, [str(budget) for budget in budgets])
            axes.minorticks_off()
            axes.set_ylabel("value [s]" if setting in SETTINGS else "value [mAP]")
        for axes in panels[-1]:
            axes.set_xlabel("budget [runs]")
        title_with_legend(figure, "Truth at the chosen point, above the mean", list(handles.values()), list(handles))
        count = len(next(iter(next(iter(results.values())).values())).values)
        caption_below(figure, f"{count} repetitions; bands: 95 % intervals of the mean;\n{_said(results)}")
        figure.savefig(path, format="png", dpi=200, metadata={"Software": None})


def _said(settings: Mapping[str, object]) -> str:
    """What the reader has to know of the panels' kinds."""
    parts: list[tuple[Mapping[str, object], str]] = [
        (SETTINGS, "simulated surfaces: title says residual noise of a run in s"),
        (RECORDED, "recorded: real runs, truth from other runs on test, with its noise in the bands"),
        (EMULATED, "emulated: model of the recorded runs"),
    ]
    return ";\n".join(text for known, text in parts if any(name in known for name in settings))
