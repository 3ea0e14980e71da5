"""Who runs next: the plain baseline, a published point, a new point, or one more replicate of a good one.

:class:`Policy` is a pure function of the runs started so far: the same runs in, the same proposal out, in any process
and at any time. A search that was killed goes on as it would have.

The order, run by run:

1. *Plain meets every replicate.* The run that would be the first on a replicate lets the plain baseline go before it,
   so that at every moment, however small the budget, each run of a point has its partner: the search begins plain,
   point 0, plain, point 1, ... until the K folds are open, and not with K runs that say nothing of any point.
2. *First points*, one run each.
3. *Start*: until there are ``startup`` points (the first points among them), new ones from a space-filling sequence.
4. *Then* every ``replicate_every``-th run of a point replicates one of the ``among`` best by the model's mean, the one
   with the fewest runs; the others are new points that the sampler suggests.

A suggestion that falls on a known point (a corner, mostly) is that point's next replicate. Where no new point is left
(few whole numbers are searched), the point with the fewest runs is replicated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dce_ray.config import ScalarRange
from dce_ray.errors import ConfigError, unknown_name
from dce_ray.experiment.record import PLAIN, SEARCHED
from dce_ray.points.model import Posterior, fit
from dce_ray.points.runs import Content, PointRun, Replicate, content_of, replicate_of, runs_of
from dce_ray.search.study import SAMPLERS
from dce_ray.search.suggestion import spread, suggest

FAILURES = 2
"""An arm that has failed so often and never finished is not replicated again."""
NEAR = 1e-3
"""Two settings are one point where no scalar differs by more than this, as a share of its range."""
TRIED = 256
"""Places of the space-filling sequence that are looked at for a new point before the space counts as full."""
REFIT = 1.2
"""The model's hyper-parameters are fitted anew when the number of ended runs has grown by this factor."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """The next run."""

    point: int | None
    """Number of the point; None for the plain baseline."""
    new: bool
    """Whether this is the first run of the point, or of the plain baseline."""
    scalars: Mapping[str, float]
    """The searched scalars by name, in their own units; empty for the plain baseline."""
    replicate: Replicate
    """One that the point has not been started on."""
    origin: str
    """Name of the first point, ``search``, or ``baseline`` for the plain baseline."""
    own_search: bool = False
    """Whether the point is one of the plain baseline's own search."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides the order of runs, apart from the runs.

    Raises:
        ConfigError: for an unknown sampler, numbers out of range, or nothing to search.
    """

    ranges: Mapping[str, ScalarRange]
    """The searched scalars by name; at least one."""
    first_points: Sequence[tuple[str, Mapping[str, float]]]
    """Origin and searched scalars of the points that run first; of equal ones the first counts."""
    folds: int
    """K, from 1."""
    seed: int
    """Of the search; with the number of the proposal it decides all that is random."""
    sampler: str = "gp"
    """``gp``, ``tpe``, ``cmaes`` or ``random``: where new points come from after the start."""
    replicate_every: int = 3
    """After the start, every so many-th run of a point is a replicate of a good one; 0: none is."""
    among: int = 6
    """How many of the best points share the replicates."""
    startup: int = 10
    """Points, the first points included, before the sampler suggests."""
    with_plain: bool = True
    """Whether the plain baseline meets every replicate; not where it has a search of its own."""

    def __post_init__(self) -> None:
        fixed = [name for name, item in self.ranges.items() if item.constant]
        if fixed or not self.ranges:
            raise ConfigError(f"searched scalars need a range, found {fixed or 'none'}; leave fixed scalars out")
        if self.sampler not in SAMPLERS:
            raise ConfigError(unknown_name("sampler", self.sampler, SAMPLERS))
        least = {"folds": 1, "replicate_every": 0, "among": 1, "startup": 1}
        faults = [
            f"{name}={getattr(self, name)} must be {low} or more"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        if faults:
            raise ConfigError("\n".join(faults))

    def propose(self, runs: Sequence[PointRun]) -> Proposal:
        """The next run.

        Args:
            runs: all that were ever started, the running ones included, in any order. The proposal's number is their
                count.
        """
        runs = sorted(runs, key=lambda run: run.number)
        points = _by_point(runs)
        proposal = self._of_points(runs, points)
        if not self.with_plain:
            return proposal
        plain = [run for run in runs if run.plain]
        if _given_up(plain) or any(run.replicate == proposal.replicate for run in plain):
            return proposal
        return Proposal(None, not plain, {}, proposal.replicate, PLAIN)

    def posterior(self, runs: Sequence[PointRun]) -> Posterior | None:
        """The model of the points as the policy sees it; None before any run of a point has ended well.

        Its hyper-parameters come from the first ``m`` usable runs by number, ``m`` on a geometric grid, so that they
        are seldom fitted and are nevertheless a function of ``runs``.
        """
        usable = sorted((run for run in runs if run.usable), key=lambda run: run.number)
        if all(run.plain for run in usable):
            return None
        first = usable[: refitted_at(len(usable))]
        ranges = tuple(self.ranges.items())
        return _fit(content_of(usable), ranges, content_of(first))

    def _of_points(self, runs: Sequence[PointRun], points: Mapping[int, list[PointRun]]) -> Proposal:
        """The next run of a point, whether plain has been on its replicate or not."""
        for origin, scalars in self.first_points:
            if self._known(points, scalars) is None:
                return self._new(points, scalars, origin)
        posterior = self.posterior(runs) if len(points) >= self.startup else None
        if posterior is None:
            return self._start(points)
        started = sum(map(len, points.values()))
        if self.replicate_every and started % self.replicate_every == self.replicate_every - 1:
            worth = self._worth_replicating(points, posterior)
            if worth is not None:
                return self._replicate(worth, points[worth])
        believed = [scalars for _, scalars in self.first_points]
        scalars = suggest(self.sampler, self.ranges, runs, posterior, (self.seed, len(runs)), believed=believed)
        known = self._known(points, scalars)
        if known is None:
            return self._new(points, scalars, SEARCHED)
        return self._start(points) if _given_up(points[known]) else self._replicate(known, points[known])

    def _worth_replicating(self, points: Mapping[int, list[PointRun]], posterior: Posterior) -> int | None:
        """Of the best points by the model's mean the one with the fewest runs, of equals the better.

        Failed runs count as runs: a point that fails now and then would otherwise be asked for ever.
        """
        mean = posterior.means
        best = sorted(mean, key=lambda point: (-mean[point], point))[: self.among]
        return min(best, key=lambda point: (len(points[point]), -mean[point], point), default=None)

    def _start(self, points: Mapping[int, list[PointRun]]) -> Proposal:
        """The next point of the space-filling sequence that is not known yet; with none, the one with fewest runs."""
        for index in range(len(points), len(points) + TRIED):
            scalars = spread(self.ranges, self.seed, index)
            if self._known(points, scalars) is None:
                return self._new(points, scalars, SEARCHED)
        alive = [point for point in points if not _given_up(points[point])] or list(points)
        fewest = min(alive, key=lambda point: (len(points[point]), point))
        return self._replicate(fewest, points[fewest])

    def _new(self, points: Mapping[int, list[PointRun]], scalars: Mapping[str, float], origin: str) -> Proposal:
        point = max(points, default=-1) + 1
        return Proposal(point, True, dict(scalars), replicate_of(point, 0, self.folds), origin)

    def _replicate(self, point: int, runs: Sequence[PointRun]) -> Proposal:
        """The first replicate that the point has not been started on."""
        had = {run.replicate for run in runs}
        number = next(number for number in range(len(had) + 1) if replicate_of(point, number, self.folds) not in had)
        scalars = dict(runs[0].scalars)
        origin = next((name for name, known in self.first_points if self._same(known, scalars)), SEARCHED)
        return Proposal(point, False, scalars, replicate_of(point, number, self.folds), origin)

    def _known(self, points: Mapping[int, list[PointRun]], scalars: Mapping[str, float]) -> int | None:
        """The point that has these scalars."""
        place = self._place(scalars)
        return next((point for point, runs in points.items() if self._near(place, runs[0].scalars)), None)

    def _same(self, one: Mapping[str, float], other: Mapping[str, float]) -> bool:
        return self._near(self._place(one), other)

    def _place(self, scalars: Mapping[str, float]) -> dict[str, float]:
        return {name: item.to_unit(scalars[name]) for name, item in self.ranges.items()}

    def _near(self, place: Mapping[str, float], scalars: Mapping[str, float]) -> bool:
        return all(abs(unit - self.ranges[name].to_unit(scalars[name])) <= NEAR for name, unit in place.items())


def refitted_at(runs: int) -> int:
    """The number of usable runs, at most ``runs``, at which the hyper-parameters are fitted.

    >>> [refitted_at(runs) for runs in (1, 8, 12, 100, 1000)]
    [1, 8, 12, 88, 926]
    """
    at = 1
    while (following := max(at + 1, int(at * REFIT))) <= runs:
        at = following
    return at


def _by_point(runs: Sequence[PointRun]) -> dict[int, list[PointRun]]:
    points: dict[int, list[PointRun]] = {}
    for run in runs:
        if run.point is not None:
            points.setdefault(run.point, []).append(run)
    return points


def _given_up(runs: Sequence[PointRun]) -> bool:
    """Whether an arm's runs say that it cannot be trained."""
    failed = sum(run.state == "failed" for run in runs)
    return failed >= FAILURES and not any(run.state == "finished" for run in runs)


@lru_cache(maxsize=4)
def _first_fit(content: Content, ranges: tuple[tuple[str, ScalarRange], ...]) -> Posterior:
    return fit(runs_of(content), dict(ranges))


@lru_cache(maxsize=4)
def _fit(content: Content, ranges: tuple[tuple[str, ScalarRange], ...], first: Content) -> Posterior:
    return fit(runs_of(content), dict(ranges), fitted_with=_first_fit(first, ranges).hyper)
