"""Whole searches, many of them: which policies there are, on what, and how good the points are that they choose."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from scipy import stats

from benchmarks.bench_data import components
from benchmarks.policy.emulator import Emulation, Emulator
from benchmarks.policy.kept import Found, held, kept
from benchmarks.policy.ours import ours
from benchmarks.policy.peers import gaussian_process, peer, random_sampler, tpe
from benchmarks.policy.recorded import POOL, RecordedSurface
from benchmarks.policy.surfaces import SETTINGS, Search, Surface, World
from benchmarks.pool.table import Pool, read_pool
from dce_ray.errors import DataError
from dce_ray.points.threads import one_thread

Array = NDArray[np.float64]

NORMAL = 1.96
"""Half-width of a 95 % interval in standard errors that are known."""
OURS = "ours"
TODAY = "TPE, ASHA (policy=single)"
"""The default before there were replicates."""
POLICIES: dict[str, Search] = {
    "random": peer(random_sampler),
    "TPE": peer(tpe),
    "TPE, three seeds": peer(tpe, seeds=3),
    TODAY: peer(tpe, "asha"),
    "TPE, ASHA, equal training": peer(tpe, "asha", equal_training=True),
    "TPE, Hyperband": peer(tpe, "hyperband"),
    "TPE, Hyperband, equal training": peer(tpe, "hyperband", equal_training=True),
    "GP": peer(gaussian_process),
    "GP, three seeds": peer(gaussian_process, seeds=3),
    OURS: ours(),
    "ours, sampler=tpe": ours("tpe"),
    "ours, sampler=cmaes": ours("cmaes"),
    "ours, sampler=random": ours("random"),
    "ours, without plain": ours(with_plain=False),
    "ours, one fold, without plain": ours(one_fold=True, with_plain=False),
}
CHEAP = [name for name in POLICIES if name not in ("GP", "GP, three seeds", OURS) and "without plain" not in name]
FREE = [name for name in POLICIES if name.startswith("ours, ")]
"""Policies that are not asked to choose among recorded points."""
RECORDED = {"recorded": 5, "recorded, K=3": 3}
"""Settings of the pool's own runs, and their K."""
EMULATED = {"emulated": 5, "emulated, K=3": 3}
"""Settings of the pool's emulator, and their K."""
KNOWN = [*SETTINGS, *RECORDED, *EMULATED]
"""All settings."""


@dataclass(frozen=True)
class Measured:
    """What a policy found in a setting."""

    values: Array
    """(repetitions, budgets) value of the chosen point."""
    seconds: float
    """CPU seconds per search, all budgets together."""
    truth_error: float = 0.0
    """Standard error of a recorded point's truth; 0 where the truth is known."""

    @property
    def half(self) -> Array:
        """(budgets,) half-widths of the 95 % intervals of the mean values."""
        return np.hypot(half_width(self.values), self._unsure([self.values]))

    def gain(self, other: Measured) -> tuple[Array, Array]:
        """How much more it found than another one, in pairs: mean and half-width of the 95 % interval, by budget."""
        difference = self.values - other.values
        return difference.mean(axis=0), np.hypot(half_width(difference), self._unsure([self.values, other.values]))

    def at(self, column: int) -> Measured:
        """Of one budget."""
        return Measured(self.values[:, column : column + 1], self.seconds, self.truth_error)

    def _unsure(self, tables: Sequence[Array]) -> Array:
        """Half-widths from the truth's own noise, which no number of repetitions on one pool averages out.

        A mean value is the truth of the chosen points weighted by how often each is chosen, so its error is the error
        of one point times the root of the sum of the squared weights; of two policies the weights are subtracted. A
        point has the same value wherever it is chosen.
        """
        if not self.truth_error:
            return np.zeros(tables[0].shape[1])
        found = []
        for column in range(tables[0].shape[1]):
            weights: Counter[float] = Counter()
            for sign, table in zip((1, -1), tables, strict=False):
                for value in table[:, column].tolist():
                    weights[value] += sign / len(table)  # type: ignore[assignment]
            found.append(math.sqrt(sum(weight**2 for weight in weights.values())))
        return NORMAL * self.truth_error * np.array(found)


Task = tuple[str, str, tuple[int, ...], int, Path]
"""Setting, policy, budgets, the seed of the surface and of the search, and the pool."""


@lru_cache(maxsize=1)
def pool_at(path: Path) -> Pool:
    """The pool, read once per process."""
    return read_pool(path)


@lru_cache(maxsize=1)
def emulation_of(path: Path) -> Emulation:
    """Of the pool, fitted once per process."""
    return Emulation(pool_at(path))


def surface_of(setting: str, seed: int, pool: Path = POOL) -> Surface:
    """What a setting's policies search on.

    Raises:
        DataError: there is no pool, or too little in it.
    """
    if setting in RECORDED:
        return RecordedSurface(pool_at(pool), RECORDED[setting], seed)
    if setting in EMULATED:
        return Emulator(emulation_of(pool), EMULATED[setting], seed)
    return World(SETTINGS[setting], seed)


def truth_error_of(setting: str, pool: Path = POOL) -> float:
    """Standard error of the truth of a point in points of mAP, beside what all points' truth runs of a seed share.

    Raises:
        DataError: as of :func:`surface_of`, or the points have one truth run, which says nothing of its noise.
    """
    if setting not in RECORDED:
        return 0.0
    known = pool_at(pool)
    grid = known.grid(RECORDED[setting])
    if grid.truths < 2:
        raise DataError(f"{setting}: {grid.truths} truth runs per point say nothing of their noise; record two or more")
    return components([known.truths(grid)]).residual / math.sqrt(grid.truths)


def kept_search(task: Task, work: Path, make: bool) -> Found:
    """A search from the folder of kept ones; where it is not among them it is made and kept there, or left out."""
    setting, policy, budgets, seed, pool = task
    reads = setting in RECORDED or setting in EMULATED
    asked = {"setting": setting, "policy": policy, "seed": str(seed), "pool": digest_of(pool) if reads else ""}
    return kept(work, asked, budgets, lambda: one_search(task)) if make else held(work, asked, budgets)


@lru_cache(maxsize=1)
def digest_of(path: Path) -> str:
    """Of a pool's file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_search(task: Task) -> Found:
    """Values of the chosen points by budget, and CPU seconds."""
    setting, policy, budgets, seed, pool = task
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    surface = surface_of(setting, seed, pool)
    start = time.process_time()
    with one_thread():
        chosen = POLICIES[policy](surface, budgets, seed)
    return [chosen[budget] for budget in budgets], time.process_time() - start


def measure(tasks: Sequence[Task], jobs: int, work: Path | None = None, make: bool = True) -> list[Found]:
    """All searches, in ``jobs`` processes; those that ``work`` holds are not made again, others only with ``make``."""
    search = one_search if work is None else partial(kept_search, work=work, make=make)
    if jobs == 1:
        return [search(task) for task in tasks]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as workers:
        return list(workers.map(search, tasks))


def half_width(values: Array) -> Array:
    """Of the 95 % interval of the mean over the first axis."""
    count = len(values)
    if count < 2:
        return np.full(values.shape[1:], math.nan)
    return np.asarray(stats.t.ppf(0.975, count - 1) * values.std(axis=0, ddof=1) / math.sqrt(count))
