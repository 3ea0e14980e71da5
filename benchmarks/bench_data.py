"""Does the embedded data tell settings apart: the spread between points against what is left of a run's noise.

``python -m benchmarks.bench_data [size=bench] [draws=1,2,3,4,5] [points=10] [seeds=3] [iterations=0] [chance=1 ...]``

On every draw (seed of the generator), DELU's plain and paper settings and ``points`` random ones of the search space
are trained with the same ``seeds`` training seeds, on train without holdout, as a search trains them. Scores are the
average mAP over the ranking thresholds, in percent, at the last iteration: on the holdout videos, which a search sees,
and on test. They are laid out as points x seeds:

    score = level + point + seed + residual

and the variances of the three come from a two-way random-effects analysis without replication. ``ratio`` is the
standard deviation between points over that of the residual; its 95 % interval is a bootstrap over points, within each
draw. A single bad point can make a spread, so ``less worst`` repeats the ratio without the worst point of each draw.
Every draw has random points of its own. The line of all draws averages the variances.

Every dial of a size (``train_videos``, ``test_videos``, ``classes``, ``channels``), of the confounding and of the
clarity can be given by its name, a range as ``rim_strength=0.5:0.8``; ``iterations=0`` and ``folds=0`` take the
data set's own. Core seconds are those of a trial: training and its evaluations on holdout, but not the one on test.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.provenance import provenance
from dce_ray.data.synthetic import SIZES, SyntheticSize, generate_planned
from dce_ray.presets import merge, run_config
from dce_ray.search.space_file import load_space
from dce_ray.train import Run

OPTIONS = {
    "size": "bench",
    "draws": "1,2,3,4,5",
    "points": "10",
    "seeds": "3",
    "iterations": "0",
    "folds": "0",
    "threads": "1",
}
SPLITS = ("holdout", "test")
RESAMPLED = 2000
"""Bootstrap samples of an interval."""
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Components:
    """Standard deviations of the two-way layout, in the unit of the scores."""

    level: float
    spread: float
    """Between points; 0 where the points differ less than the residual explains."""
    seed: float
    """Shared by all points of a training seed; cancels in paired differences."""
    residual: float

    @property
    def ratio(self) -> float:
        """``spread`` over ``residual``."""
        return self.spread / self.residual if self.residual else math.inf


def components(tables: Sequence[Scores]) -> Components:
    """Variance components, averaged over tables ``(points, seeds)`` of one shape.

    With n points, m seeds and mean squares P (points), S (seeds) and E (residual): the variances are (P - E) / m
    between points, (S - E) / n between seeds, and E.
    """
    between, seeds, residual = np.mean([_mean_squares(table) for table in tables], axis=0)
    n, m = tables[0].shape
    return Components(
        float(np.mean(tables)),
        math.sqrt(max(0.0, (between - residual) / m)),
        math.sqrt(max(0.0, (seeds - residual) / n)),
        math.sqrt(residual),
    )


def _mean_squares(table: Scores) -> tuple[float, float, float]:
    n, m = table.shape
    of_points, of_seeds = table.mean(axis=1) - table.mean(), table.mean(axis=0) - table.mean()
    rest = table - table.mean() - of_points[:, None] - of_seeds[None]
    between = m * (of_points**2).sum() / (n - 1)
    return between, n * (of_seeds**2).sum() / (m - 1), (rest**2).sum() / ((n - 1) * (m - 1))


def ratio_interval(tables: Sequence[Scores], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the ratio of :func:`components`, points drawn anew with replacement within each table."""
    random = np.random.default_rng(0)
    ratios = [
        components([table[random.integers(len(table), size=len(table))] for table in tables]).ratio
        for _ in range(RESAMPLED)
    ]
    low, high = np.quantile(ratios, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def without_worst(table: Scores) -> Scores:
    """The table without the point of the lowest mean."""
    return np.delete(table, table.mean(axis=1).argmin(), axis=0)


def draw_points(count: int, draw: int) -> list[dict[str, Any]]:
    """What plain, paper and ``count`` random points change of a run's configuration."""
    searched = load_space("delu", "default", {}).searched
    random = np.random.default_rng([draw, 77])
    points: list[dict[str, Any]] = [{"scs": False, "mcm": False}, {}]
    for _ in range(count):
        values = {}
        for name, item in searched.items():
            low, high = (math.log(item.low), math.log(item.high)) if item.log else (item.low, item.high)
            value = random.uniform(low, high)
            values[name] = float(math.exp(value) if item.log else value)
        points.append({"method": values})
    return points


def planned(size: str, dials: Mapping[str, str]) -> SyntheticSize:
    """The size ``size`` with some dials turned.

    Raises:
        SystemExit: for a dial that no size has.
    """
    plan, rest = SIZES[size], dict(dials)
    parts: dict[str, Any] = {}
    for name in ("confounding", "clarity"):
        part = getattr(plan, name)
        parts[name] = dataclasses.replace(part, **_taken(part, rest))
    plan = dataclasses.replace(plan, **parts, **_taken(plan, rest))
    if rest:
        raise SystemExit(f"unknown: {', '.join(sorted(rest))}; known: {', '.join(OPTIONS)} and the dials of a size")
    return plan


def _taken(record: Any, given: dict[str, str]) -> dict[str, Any]:
    """The fields of ``record`` among ``given``, read as their type and removed from it."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(record):
        if item.name in given:
            old, text = getattr(record, item.name), given.pop(item.name)
            numbers = tuple(type(old[0])(part) for part in text.split(":")) if isinstance(old, tuple) else ()
            values[item.name] = numbers or type(old)(text)
    return values


def trained(store: Path, changes: Mapping[str, Any]) -> tuple[float, float, float]:
    """Score on holdout and on test at the last iteration, in percent, and the core seconds of the trial."""
    began = time.process_time()
    run = Run(run_config("delu", store, data_set="synthetic", overrides=changes))
    while not run.finished:
        run.advance(run.config.training.eval_every)
        seen, _ = run.select()
    spent = time.process_time() - began
    return 100 * run.score(seen.table), 100 * run.score(run.evaluate("test").table), spent


def measured(plan: SyntheticSize, draw: int, options: Mapping[str, str]) -> tuple[Scores, list[float]]:
    """Scores of one draw, ``(2, points, seeds)`` with the splits first, and the core seconds of its runs."""
    common: dict[str, Any] = {"device": "cpu"}
    if iterations := int(options["iterations"]):
        common["training"] = {"iterations": iterations}
    if folds := int(options["folds"]):
        common["sampling"] = {"folds": folds}
    points, seeds = draw_points(int(options["points"]), draw), int(options["seeds"])
    scores, costs = np.zeros((2, len(points), seeds)), []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        generate_planned(store, plan, seed=draw)
        for row, point in enumerate(points):
            for seed in range(seeds):
                *scores[:, row, seed], cost = trained(store, merge(common | {"seed": seed}, point))
                costs.append(cost)
    return scores, costs


def line(name: str, split: str, tables: Sequence[Scores]) -> str:
    """One row of the printed table."""
    found, (low, high) = components(tables), ratio_interval(tables)
    trimmed = [without_worst(table) for table in tables]
    gain = [table[1].mean() - table[0].mean() for table in tables]
    best = [table.mean(axis=1).max() - table[0].mean() for table in tables]
    return (
        f"{name:>5} {split:8}{found.level:8.1f}{found.spread:8.2f}{found.residual:10.2f}{found.seed:7.2f}"
        f"{found.ratio:8.2f} ({low:4.2f} to {high:4.2f}){components(trimmed).ratio:12.2f}"
        f"{np.mean(gain):+14.1f}{np.mean(best):+13.1f}"
    )


def main(arguments: list[str]) -> None:
    """One table: every draw, then all of them."""
    given = dict(argument.split("=", 1) for argument in arguments)
    options = OPTIONS | {key: value for key, value in given.items() if key in OPTIONS}
    plan = planned(options["size"], {key: value for key, value in given.items() if key not in OPTIONS})
    if int(options["points"]) < 2 or int(options["seeds"]) < 2:
        raise SystemExit("a residual needs points=2 and seeds=2 at least")
    torch.set_num_threads(int(options["threads"]))
    print(provenance())
    print(f"python -m benchmarks.bench_data {' '.join(arguments)}".rstrip())
    print(f"{int(options['points']) + 2} points x {options['seeds']} seeds a draw, mAP in percent\n{plan}\n")
    print(
        f"{'draw':>5} {'split':8}{'level':>8}{'spread':>8}{'residual':>10}{'seed':>7}{'ratio':>8}{'(95 %)':>15}"
        f"{'less worst':>12}{'paper - plain':>14}{'best - plain':>13}"
    )
    draws: list[Scores] = []
    costs: list[float] = []
    for draw in options["draws"].split(","):
        scores, spent = measured(plan, int(draw), options)
        draws.append(scores)
        costs += spent
        for index, split in enumerate(SPLITS):
            print(line(draw, split, [scores[index]]), flush=True)
    for index, split in enumerate(SPLITS):
        print(line("all", split, [scores[index] for scores in draws]))
    print(
        f"\n{len(costs)} runs, {np.mean(costs):.1f} core seconds each (largest {max(costs):.1f}); "
        f"load average {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
