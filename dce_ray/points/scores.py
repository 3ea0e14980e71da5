"""The fair iteration: where a run's curve is read, so that no run is valued at its own luckiest evaluation.

The best of a run's many evaluations is the score plus whatever noise happened to be largest: it favours runs that
wobble. Here a run is read at an iteration that *other* runs chose, so its score there is an unbiased one.

Where the length of the schedule is searched, runs are compared at equal shares of their lengths: a search evaluates all
of them at the same shares, and half of a schedule says of a long run what it says of a short one. ``iteration`` below
then means the place in the schedule.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import SearchError
from dce_ray.points.runs import PointRun

CROSS_FITTED_FROM = 3
"""Usable replicates from which on a point chooses its iterations itself, each run's by the point's other runs."""
DIGITS = 12
"""Decimals in which two mean scores have to agree to count as equal; the earliest of equals is taken."""

Curves = NDArray[np.float64]
"""(runs, iterations) scores, NaN where a run was not evaluated."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a run is worth, and where that was read."""

    iteration: int
    """Iteration of the run's curve that other runs chose."""
    value: float
    """Score there, a fraction in [0, 1]."""


def fair_scores(runs: Sequence[PointRun]) -> dict[int, Scored]:
    """The score of each usable run by its number, read at an iteration that was chosen without it.

    * A point (or the plain baseline) with fewer than :data:`CROSS_FITTED_FROM` usable runs is read at the maximum of
      the mean curve over all usable runs of the *other* points, plain's among them.
    * From then on, each of its runs is read at the maximum of the mean curve over the *point's own other* runs.
    * A run beside which there is no other is read at its last iteration.

    Means are taken at iterations that all of the choosing runs and the run itself have (at those that most of the
    choosing runs have, where there is none that all have). The earliest of equals is taken. Runs that failed, were
    pruned or are still running are passed over.

    Raises:
        SearchError: two runs have the same number, or a score is not a number.
    """
    usable = [run for run in runs if run.usable]
    _refuse_faults(usable)
    if not usable:
        return {}
    common = _common_length(usable)
    places, curves = _table(usable, common)
    _, arm_of_run, counts = np.unique([_arm(run) for run in usable], return_inverse=True, return_counts=True)
    by_arm, starts = np.argsort(arm_of_run, kind="stable"), np.cumsum(counts) - counts
    present, filled = ~np.isnan(curves), np.nan_to_num(curves)
    own, own_held = (np.add.reduceat(one[by_arm], starts, dtype=one.dtype)[arm_of_run] for one in (filled, present * 1))
    own_chooses = (counts[arm_of_run] >= CROSS_FITTED_FROM)[:, None]
    sums = np.where(own_chooses, own - filled, filled.sum(0) - own)
    held = np.where(own_chooses, own_held - present, present.sum(0) - own_held)
    chosen = _maximum(sums, held, present)
    found = {
        run.number: Scored(places[column] * run.length // common, float(curves[row, column]))
        for row, (run, column) in enumerate(zip(usable, chosen.tolist(), strict=True))
    }
    return dict(sorted(found.items()))


class RunningScores:
    """:func:`fair_scores` of runs as they end: one run's score costs its own curve and no pass over the others.

    Args:
        runs: all that were started; the usable ones count.
    """

    def __init__(self, runs: Iterable[PointRun]) -> None:
        self._all: dict[Fraction, tuple[float, int]] = {}
        """Sum of the scores, and their number, by place in the schedule (by iteration where all are equally long)."""
        self._arms: dict[int, dict[Fraction, tuple[float, int]]] = {}
        self._counts: Counter[int] = Counter()
        self._first: dict[int, PointRun] = {}
        self._known: set[int] = set()
        for run in runs:
            if run.usable:
                self.add(run)

    def add(self, run: PointRun) -> None:
        """A run has ended.

        Raises:
            SearchError: its number is known, or a score is not a number.
        """
        if run.number in self._known:
            raise SearchError(
                f"runs are told apart by their number, but {run.number} came up twice; pass each run once"
            )
        _refuse_faults([run])
        self._known.add(run.number)
        self._counts[_arm(run)] += 1
        first = self._first.setdefault(_arm(run), run)
        if run.number < first.number:
            self._first[_arm(run)] = run
        for sums in (self._all, self._arms.setdefault(_arm(run), {})):
            for iteration, score in run.curve.items():
                total, count = sums.get(place := Fraction(iteration, run.length), (0.0, 0))
                sums[place] = (total + score, count + 1)

    def of(self, run: PointRun) -> Scored:
        """What a usable run that was added is worth, as :func:`fair_scores` of all that were added says."""
        arm, others = self._arms[_arm(run)], {}
        own_chooses = self._counts[_arm(run)] >= CROSS_FITTED_FROM
        for iteration, score in run.curve.items():
            place = Fraction(iteration, run.length)
            total, count = arm[place]
            others[place] = (
                (total - score, count - 1)
                if own_chooses
                else (self._all[place][0] - total, self._all[place][1] - count)
            )
        chosen = int(_best_place(others) * run.length)
        return Scored(chosen, run.curve[chosen])

    def chosen(self, point: int | None) -> int:
        """What :func:`chosen_iteration` says of a point of which a usable run was added."""
        number = -1 if point is None else point
        reached = self._arms[number]
        source = reached if self._counts[number] >= CROSS_FITTED_FROM else self._all
        return int(_best_place({place: source[place] for place in reached}) * self._first[number].length)


def _best_place(sums: Mapping[Fraction, tuple[float, int]]) -> Fraction:
    """The place with the largest mean among those that most runs have, the earliest of equals; the last one where no
    run has any."""
    most = max(count for _, count in sums.values())
    if most == 0:
        return max(sums)
    means = {place: round(total / count, DIGITS) for place, (total, count) in sums.items() if count == most}
    return min(means, key=lambda place: (-means[place], place))


def chosen_iteration(runs: Sequence[PointRun], point: int | None) -> int:
    """Up to which iteration a point is trained when it is confirmed on data that none of these runs saw.

    The maximum of the mean curve over the point's own usable runs, where there are :data:`CROSS_FITTED_FROM` or more;
    over all usable runs of all points before.

    Args:
        runs: of all points.
        point: number of the point; None for the plain baseline.

    Raises:
        SearchError: no run of the point is usable, or a score is not a number.
    """
    usable = [run for run in runs if run.usable]
    _refuse_faults(usable)
    own = [run for run in usable if run.point == point]
    if not own:
        name = "the plain baseline" if point is None else f"point {point}"
        raise SearchError(f"{name} has no finished run that was evaluated, so nothing chooses its iteration; run it")
    common = _common_length(usable)
    places, curves = _table(own if len(own) >= CROSS_FITTED_FROM else usable, common)
    present = ~np.isnan(curves)
    reached = {place for run in own for place in _places(run, common)}
    reachable = np.array([[place in reached for place in places]])
    chosen = _maximum(np.nan_to_num(curves).sum(0)[None], present.sum(0)[None], reachable)
    return places[int(chosen[0])] * own[0].length // common


def pooled_iteration(runs: Sequence[PointRun], length: int) -> int:
    """The same for a setting without a run of its own: the maximum of the mean curve over all usable runs.

    Args:
        runs: of other settings, at least one of them usable.
        length: iterations of the setting's whole schedule; 1 where all are equally long.

    Raises:
        SearchError: no run is usable, or a score is not a number.
    """
    usable = [run for run in runs if run.usable]
    _refuse_faults(usable)
    if not usable:
        raise SearchError("no run has finished and was evaluated, so nothing chooses an iteration; run some first")
    common = _common_length(usable)
    places, curves = _table(usable, common)
    present = ~np.isnan(curves)
    chosen = _maximum(np.nan_to_num(curves).sum(0)[None], present.sum(0)[None], np.ones((1, len(places)), np.bool_))
    return places[int(chosen[0])] * length // common


def _maximum(sums: NDArray[np.float64], held: NDArray[np.int64], allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) column of each row's largest mean among those allowed that most of its choosing runs have; the last allowed
    one if none has any. All of (n, iterations)."""
    most = np.where(allowed, held, 0).max(axis=1, keepdims=True)
    means = np.where(allowed & (held == most), np.round(sums / np.maximum(most, 1), DIGITS), -np.inf)
    last = allowed.shape[1] - 1 - allowed[:, ::-1].argmax(axis=1)
    return np.asarray(np.where(most[:, 0] == 0, last, means.argmax(axis=1)))


def _arm(run: PointRun) -> int:
    return -1 if run.point is None else run.point


def _common_length(runs: Sequence[PointRun]) -> int:
    """Schedules are laid on one of so many places, so that equal shares of them fall on equal ones."""
    return math.lcm(*{run.length for run in runs})


def _places(run: PointRun, common: int) -> dict[int, float]:
    """Scores by place in a schedule of ``common`` places; by iteration where all runs are equally long."""
    stretch = common // run.length
    return {iteration * stretch: score for iteration, score in run.curve.items()}


def _table(runs: Sequence[PointRun], common: int) -> tuple[list[int], Curves]:
    found = [_places(run, common) for run in runs]
    places = sorted({place for one in found for place in one})
    rows = [[one.get(place, math.nan) for place in places] for one in found]
    return places, np.array(rows, dtype=np.float64)


def _refuse_faults(usable: Sequence[PointRun]) -> None:
    twice = sorted(number for number, count in Counter(run.number for run in usable).items() if count > 1)
    if twice:
        raise SearchError(f"runs are told apart by their number, but {twice} came up twice; pass each run once")
    bad = [
        f"run {run.number}, iteration {iteration}: {value}"
        for run in usable
        for iteration, value in run.curve.items()
        if not math.isfinite(value)
    ]
    if bad:
        raise SearchError(f"a score has to be a number ({'; '.join(bad)}); leave such evaluations out of the curve")
