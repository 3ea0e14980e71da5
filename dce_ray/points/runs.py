"""The runs of a search as the model and the policy see them: which point, which replicate, and the score's curve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.searchable import ITERATIONS


@dataclass(frozen=True, slots=True, order=True)
class Replicate:
    """What a run's noise comes from."""

    fold: int
    """Fold of the train videos that is held out; 0 with ``protocol=paper``, where nothing is and seeds alone differ."""
    round: int
    """How often all folds came before: the run's seed is :func:`~dce_ray.experiment.candidate.search_seed` of it."""


@dataclass(frozen=True, slots=True)
class PointRun:
    """One run of the search: of a point, or of the plain baseline."""

    number: int
    """Order of start among all runs of the search, plain's included, from 0."""
    point: int | None
    """Number of the point, from 0; None for the plain baseline."""
    scalars: Mapping[str, float]
    """The searched scalars by name, in their own units; empty for the plain baseline."""
    replicate: Replicate
    state: str
    """``running``, ``finished`` or ``failed`` (``pruned`` with ``policy=single``)."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """Score on the selecting split by iteration, fractions in [0, 1], finite ones only."""
    length: int = 1
    """Iterations of its whole schedule where these are searched; 1 where all runs are equally long."""
    own_search: bool = False
    """Whether the point is one of the plain baseline's own: it too is searched where more than the method is."""

    @property
    def plain(self) -> bool:
        """Whether this run is the plain baseline's."""
        return self.point is None or self.own_search

    @property
    def usable(self) -> bool:
        """Whether the run reached its end and was evaluated."""
        return self.state == "finished" and bool(self.curve)


def replicate_of(point: int, number: int, folds: int) -> Replicate:
    """The ``number``-th replicate of a point: all points go through the same list, each from a fold of its own.

    >>> [replicate_of(1, number, 3) for number in range(4)]  # doctest: +NORMALIZE_WHITESPACE
    [Replicate(fold=1, round=0), Replicate(fold=2, round=0), Replicate(fold=0, round=0), Replicate(fold=1, round=1)]

    Args:
        point: number of the point, from 0; the plain baseline counts as 0.
        number: how many replicates the point has had already.
        folds: K; 1 with ``protocol=paper``.
    """
    return Replicate((point + number) % folds, number // folds)


_Run = tuple[int, int | None, tuple[tuple[str, float], ...], Replicate, tuple[tuple[int, float], ...], int, bool]
Content = tuple[_Run, ...]
"""All that the model reads of usable runs, to be found by in a cache."""


def content_of(runs: Iterable[PointRun]) -> Content:
    """Of the usable ones of them, by number."""
    usable = sorted((run for run in runs if run.usable), key=lambda run: run.number)
    return tuple(
        (
            *(run.number, run.point, tuple(run.scalars.items()), run.replicate, tuple(sorted(run.curve.items()))),
            *(run.length, run.own_search),
        )
        for run in usable
    )


def runs_of(content: Content) -> list[PointRun]:
    """The reverse of :func:`content_of`."""
    return [
        PointRun(number, point, dict(scalars), replicate, "finished", dict(curve), length, own_search)
        for number, point, scalars, replicate, curve, length, own_search in content
    ]


def read_runs(folder: ExperimentFolder) -> list[PointRun]:
    """The runs of a search on the selecting split, by their number, as their folders say now."""
    return made_runs(folder.config, [(run.record(), run) for run in folder.trials()])


def made_runs(config: Mapping[str, Any], found: Iterable[tuple[RunRecord, RunFolder]]) -> list[PointRun]:
    """The same of records that were read already.

    Args:
        config: of the search.
        found: its runs on the selecting split, each with its folder.
    """
    runs = [_point_run(record, run.scores(), config) for record, run in found]
    return sorted(runs, key=lambda run: run.number)


def _point_run(record: RunRecord, curve: Mapping[int, float], config: Mapping[str, Any]) -> PointRun:
    space = config["space"]
    params = record.params
    scalars = {name: params[name] for name, item in space.items() if isinstance(item, Mapping) and name in params}
    replicate = Replicate(record.fold or 0, record.seed - int(config["run"]["seed"]))
    return PointRun(
        *(record.number, record.point, scalars, replicate, record.state, curve),
        length=record.config["training"]["iterations"] if ITERATIONS in space else 1,
        own_search=record.role == "plain" and record.point is not None,
    )
