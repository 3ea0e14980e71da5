"""Whole searches whose truth is known, to their verdicts: how often these hold, and how often they find what is there.

A run is what ``policy=replicates`` makes of it: the real policy proposes (while the run before still trains), the real
model chooses, and the winner's verdict comes from the real arithmetic of the confirmation. Only training is simulated:
a run's score is its point's level, plus what all runs of its fold and of its seed share (0.75 residuals each, as
measured on the embedded data), plus a residual of one percentage point. The confirmation trains winner, plain and the
published point anew, so that its runs share nothing with the search's but their levels.

The levels of a search are a smooth random function of six scalars (random Fourier features, length scale 0.8 of a
range): its mean over the space is plain's level, its maximum lies above it by what the scenario says. A gain of 0 is a
planted null: all points are as good as plain. Kinds of noise, none but the first the model's own:

* ``normal``;
* ``heavy tails``: Student's t with 5 degrees of freedom, of the same deviation;
* ``unequal``: every arm has a deviation of its own, from half to twice (geometric mean 1);
* ``point x fold``: every point is better on some folds than on others, by a deviation of one residual;
* ``recorded``, with ``pool=<file>``: drawn with replacement from the runs of a recorded pool, in their own unit: what
  each has beyond its point's and its replicate's mean. With a gain of 0 it is a test of A against A.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import qmc

from benchmarks.calibration import FIRST, MOST, PRECISION, Told, confirm, heavy, share
from benchmarks.provenance import provenance
from dce_ray.config import SCALARS, ScalarRange
from dce_ray.points.model import fit
from dce_ray.points.runs import PointRun
from dce_ray.points.threads import one_thread
from dce_ray.search.policy import Policy, Proposal
from dce_ray.verdict.stein import BETTER, WORSE

Real = NDArray[np.float64]
RANGES = {name: ScalarRange(0.0, 1.0) for name in SCALARS}
PUBLISHED = (("paper", dict.fromkeys(SCALARS, 0.5)),)
FOLDS = 5
ITERATION = 200
LEVEL, SHARED, LENGTH_SCALE, FEATURES = 30.0, 0.75, 0.8, 400
KINDS = ("normal", "heavy tails", "unequal", "point x fold", "recorded")
GAINS = (0.0, 1.0, 2.0)
OPTIONS = {"repeats": "200", "kinds": ";".join(KINDS[:-1]), "gains": "0;1;2", "budgets": "48", "seed": "0", "pool": ""}


class Simulated:
    """The truth of one search, and its runs; all in percentage points of mAP.

    Args:
        kind: of noise.
        gain: of the best place of the space over plain.
        pool: of ``recorded`` residuals.
        seed: of everything; the same surface for all kinds and gains, the noise of each its own.
    """

    def __init__(self, kind: str, gain: float, seed: int, pool: Real | None = None) -> None:
        self.kind, self.seed, self.pool = kind, seed, pool
        random = np.random.default_rng([seed, 1])
        size = len(RANGES)
        self.waves = random.normal(size=(FEATURES, size)) / LENGTH_SCALE
        self.phases = random.uniform(0, 2 * math.pi, FEATURES)
        self.weights = random.normal(size=FEATURES)
        places = qmc.Sobol(size, rng=random).random(4096)
        raw = self._raw(places)
        self.middle = float(raw.mean())
        self.scale = gain / (self._maximum(places[np.argsort(-raw)[:3]]) - self.middle)
        self.effects: dict[tuple[int, ...], float] = {}
        self.noise = np.random.default_rng([seed, 2, KINDS.index(kind), round(1000 * gain)])

    def _raw(self, places: Real) -> Real:
        return np.asarray(np.cos(places @ self.waves.T + self.phases) @ self.weights)

    def _maximum(self, starts: Real) -> float:
        """Of the raw function over the cube, climbed to from the best of many places."""

        def down(place: Real) -> tuple[float, Real]:
            angle = self.waves @ place + self.phases
            return -float(np.cos(angle) @ self.weights), self.waves.T @ (np.sin(angle) * self.weights)

        found = [minimize(down, start, jac=True, bounds=[(0.0, 1.0)] * len(start)) for start in starts]
        return max(-float(one.fun) for one in found)

    def gain(self, scalars: Mapping[str, float]) -> float:
        """How far a point lies above plain; 0 for plain (no scalars)."""
        if not scalars:
            return 0.0
        return self.scale * float(self._raw(np.array([[scalars[name] for name in RANGES]]))[0] - self.middle)

    def _effect(self, *of: int) -> float:
        """Standard normal, the same one each time: of a fold, a fold and round, an arm, an arm on a fold."""
        if of not in self.effects:
            self.effects[of] = float(np.random.default_rng([self.seed, 3, *of]).normal())
        return self.effects[of]

    def residuals(self, arm: int, count: int) -> Real:
        """Of ``count`` runs of a point, or of plain (-1)."""
        if self.kind == "heavy tails":
            return heavy(self.noise, count)
        if self.kind == "recorded":
            assert self.pool is not None, "recorded noise comes from a pool"
            return self.noise.choice(self.pool, count)
        scale = 2 ** math.tanh(self._effect(2, arm + 1)) if self.kind == "unequal" else 1.0
        return scale * self.noise.standard_normal(count)

    def train(self, proposal: Proposal) -> dict[int, float]:
        """The curve of a run of the search: one evaluation, a fraction."""
        arm, on = -1 if proposal.point is None else proposal.point, proposal.replicate
        shared = SHARED * (self._effect(0, on.fold) + self._effect(1, on.fold, on.round))
        own = self._effect(3, arm + 1, on.fold) if self.kind == "point x fold" and arm >= 0 else 0.0
        score = LEVEL + self.gain(proposal.scalars) + shared + own + float(self.residuals(arm, 1)[0])
        return {ITERATION: score / 100}

    def confirm(self, winner: PointRun, published: PointRun | None) -> Told:
        """The verdict on a winner: differences of runs that share their seeds, whose effects cancel."""
        assert winner.point is not None, "plain is no winner"
        ours = self.gain(winner.scalars) + self.residuals(winner.point, MOST)
        gains = ours - self.residuals(-1, MOST)
        if published is None:
            return confirm(gains, None)
        assert published.point is not None, "plain is not published"
        theirs = self.gain(published.scalars) + self.residuals(published.point, FIRST)
        return confirm(gains, ours[:FIRST] - theirs)


@dataclass(frozen=True, slots=True)
class Ended:
    """What one search came to after one budget."""

    truth: float
    """How far the winner lies above plain."""
    told: Told
    over_published: float
    """How far it lies above the published point."""
    expected: float
    """What the model says of ``truth``."""
    deviation: float
    """How sure it says it is."""


def search(world: Simulated, budgets: Sequence[int]) -> Iterator[Ended]:
    """One search, judged at each of its budgets; a smaller one is the beginning of a larger."""
    policy = Policy(RANGES, PUBLISHED, FOLDS, world.seed)
    runs: list[PointRun] = []
    while len(runs) < max(budgets):
        training = [replace(run, state="running", curve={}) for run in runs[-1:]]
        proposal = policy.propose([*runs[:-1], *training])
        curve = world.train(proposal)
        runs.append(PointRun(len(runs), proposal.point, proposal.scalars, proposal.replicate, "finished", curve))
        if len(runs) in budgets:
            yield judged(world, runs)


def judged(world: Simulated, runs: Sequence[PointRun]) -> Ended:
    """Choose as a search chooses, and confirm as it confirms."""
    posterior = fit(runs, RANGES)
    best = min(posterior.means, key=lambda point: (-posterior.means[point], point))
    winner = next(run for run in runs if run.point == best)
    published = next(run for run in runs if run.point == 0)
    told = world.confirm(winner, published if best else None)
    mean, deviation = posterior.difference(best)
    truth = world.gain(winner.scalars)
    return Ended(truth, told, truth - world.gain(published.scalars), 100 * mean, 100 * deviation)


@dataclass(frozen=True, slots=True)
class Counted:
    """Shares over the searches of a scenario after one budget."""

    searches: int
    held: int
    """Verdicts whose interval holds the winner's true gain."""
    better: int
    """Called better than plain."""
    false: int
    """Called better, or better than the published point, and is not."""
    worse: int
    model: int
    """Searches in which the model's own 95 % interval holds it."""
    found: float
    """Mean true gain of the winner."""
    expected: float
    """Mean of what the model expected."""
    pairs: float


def recorded(path: Path) -> Real:
    """(runs,) what each run of a pool has beyond the means of its point and of its replicate, in percentage points.

    Args:
        path: a pool's Parquet file; its truth runs are left out.
    """
    ends: dict[tuple[Hashable, Hashable], tuple[int, float]] = {}
    columns = ["part", "folds", "point", "fold", "round", "iteration", "score", "error"]
    for row in pq.read_table(path, columns=columns).to_pylist():
        if row["part"] == "search" and row["error"] is None:
            run = ((row["folds"], row["point"]), (row["folds"], row["fold"], row["round"]))
            ends[run] = max(ends.get(run, (-1, 0.0)), (row["iteration"], row["score"]))
    arms, replicates = (
        np.equal.outer(list(map(repr, labels)), sorted(set(map(repr, labels)))).astype(float)
        for labels in zip(*ends, strict=True)
    )
    left, values, _ = np.linalg.svd(np.concatenate([arms, replicates], axis=1), full_matrices=False)
    basis = left[:, values > 1e-9 * values[0]]
    scores = np.array([100 * score for _, score in ends.values()])
    return np.asarray((scores - basis @ (basis.T @ scores)) * math.sqrt(len(scores) / (len(scores) - basis.shape[1])))


def count(
    kind: str, gain: float, budgets: Sequence[int], *, repeats: int, seed: int, pool: Real | None = None
) -> dict[int, Counted]:
    """Shares by budget over ``repeats`` searches, each with a truth of its own."""
    ended: dict[int, list[Ended]] = {budget: [] for budget in budgets}
    with one_thread():
        for number in range(repeats):
            world = Simulated(kind, gain, 100_000 * seed + number, pool)
            for budget, one in zip(sorted(budgets), search(world, budgets), strict=True):
                ended[budget].append(one)
    return {budget: counted(found) for budget, found in ended.items()}


def counted(found: Sequence[Ended]) -> Counted:
    """The shares of searches that ended."""

    def how_many(holds: Callable[[Ended], bool]) -> int:
        return sum(holds(one) for one in found)

    return Counted(
        len(found),
        how_many(lambda one: abs(one.told.interval.mean - one.truth) <= (one.told.interval.half_width or 0.0)),
        how_many(lambda one: one.told.outcome == BETTER),
        how_many(
            lambda one: (
                (one.told.outcome == BETTER and one.truth <= 0)
                or (one.told.published == BETTER and one.over_published <= 0)
            )
        ),
        how_many(lambda one: one.told.outcome == WORSE),
        how_many(lambda one: abs(one.expected - one.truth) <= 1.96 * one.deviation),
        float(np.mean([one.truth for one in found])),
        float(np.mean([one.expected for one in found])),
        float(np.mean([one.told.interval.count for one in found])),
    )


def main(arguments: Sequence[str]) -> int:
    """One line per scenario and budget.

    Raises:
        SystemExit: for an unknown option or kind of noise.
    """
    given = dict(argument.split("=", 1) for argument in arguments)
    if unknown := given.keys() - OPTIONS.keys():
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(OPTIONS)}")
    options = OPTIONS | given
    kinds = options["kinds"].split(";")
    if unknown := set(kinds) - set(KINDS):
        raise SystemExit(f"unknown kinds: {'; '.join(sorted(unknown))}; known: {'; '.join(KINDS)}")
    if ("recorded" in kinds) != bool(options["pool"]):
        raise SystemExit("kinds=recorded and pool=<file> go together; python -m benchmarks.pool records one")
    pool = recorded(Path(options["pool"])) if options["pool"] else None
    budgets = sorted(int(budget) for budget in options["budgets"].split(";"))
    repeats, began = int(options["repeats"]), time.perf_counter()
    print(provenance("scipy"))
    print(f"python -m benchmarks.calibration searches {' '.join(f'{key}={value!r}' for key, value in options.items())}")
    print(
        f"{repeats} searches a line; confirmed with {FIRST} to {MOST} pairs, half-width asked for {PRECISION:g}; "
        f"a run's residual is {1 if pool is None else pool.std():.2g} mAP; load average {os.getloadavg()[0]:.1f}\n"
    )
    head = ("interval holds, %", "called better, %", "false better, %", "called worse, %", "model's holds, %")
    print(f"{'noise':14}{'best':>5}{'runs':>5} " + " ".join(f"{name:>23}" for name in head) + "  found model pairs")
    for gain in map(float, options["gains"].split(";")):
        for kind in kinds:
            found = count(kind, gain, budgets, repeats=repeats, seed=int(options["seed"]), pool=pool)
            for budget, one in found.items():
                shares = (one.held, one.better, one.false, one.worse, one.model)
                cells = " ".join(f"{share(number, repeats):>23}" for number in shares)
                numbers = f"{one.found:7.2f}{one.expected:6.2f}{one.pairs:6.1f}"
                print(f"{kind:14}{gain:5g}{budget:5} {cells}{numbers}", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")
    return 0
