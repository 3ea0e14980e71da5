"""A small pool of runs that never ran, of which everything is known."""

from __future__ import annotations

import numpy as np

from benchmarks.pool.plan import Size, planned_runs
from benchmarks.pool.table import Pool, Recorded

RANGES = {"delta": [0.0, 1.0, False], "beta": [0.1, 10.0, True]}
ABOUT = {
    "command": "made",
    "commits": ["made"],
    "processor": "none",
    "core_seconds": 1.0,
    "load": 0.0,
    "ranges": RANGES,
}


def made_points(count):
    """Spread over both ranges."""
    places = np.random.default_rng(0).uniform(size=(count, 2))
    return {point: {"delta": float(x), "beta": float(0.1 * 100**y)} for point, (x, y) in enumerate(places)}


def made_pool(*sizes, level=lambda scalars: 0.0, noise=0.0, truth=None):
    """The runs of plans; a score is 0.5 + level + 0.01 fold + 0.1 round - 0.001 per iteration before 20, and noise.

    The truth of a point is ``truth`` (its level where None) + 0.001 times the number of the truth run.
    """
    points = made_points(max(size.points for size in sizes))
    random, runs = np.random.default_rng(1), []
    for size in sizes:
        for run in planned_runs(size):
            scalars = None if run.point is None else points[run.point]
            own = 0.0 if scalars is None else (truth if truth and run.truth else level)(scalars)
            shared = 0.001 * run.round if run.truth else 0.01 * run.fold + 0.1 * run.round
            curve = {at: 0.5 + own + shared - 0.001 * (20 - at) + noise * random.normal() for at in (10, 20)}
            runs.append(Recorded(run, run.round + 1000 * run.truth, curve))
    return Pool(points, {0: "paper", 1: "released"} | dict.fromkeys(range(2, len(points)), "search"), runs, ABOUT)


SMALL = Size(folds=3, points=12, replicates=4, truths=2)
