"""A setting that is confirmed: what the search chose, and the configuration that test is read with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dce_ray.errors import SearchError
from dce_ray.experiment.record import PLAIN, components_of, params_of
from dce_ray.presets import merge

CONFIRMATION_SEEDS_FROM = 1000
"""Seeds of a confirmation begin so far above the search's own: no run that chose is among those that confirm."""

LATE_SEEDS_FROM = 10**9
"""A point that is trained on all folds with a thousand seeds goes on here, beyond the seeds of every confirmation."""


def search_seed(seed: int, turn: int) -> int:
    """The seed of a run of the search.

    >>> search_seed(3, 0), search_seed(3, 999), search_seed(3, 1000)
    (3, 1002, 1000001003)

    Args:
        seed: of the search.
        turn: how often the run's point was on all folds before.
    """
    return seed + turn + (LATE_SEEDS_FROM if turn >= CONFIRMATION_SEEDS_FROM else 0)


def top_setting(rank: int) -> str:
    """Name of the setting of a rank on the selecting split.

    >>> top_setting(1), top_setting(2)
    ('top1', 'top2')
    """
    return f"top{rank}"


WINNER = top_setting(1)
"""The best setting on the selecting split, whatever test says."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A setting with what the search knows of it."""

    setting: str
    """:data:`WINNER`, ``top2``, ..., ``paper``, ``released`` or ``baseline``."""
    config: Mapping[str, Any]
    """The RunConfig mapping of its runs; their seed is the search's, the fold is of no account here."""
    value: float
    """Expected score on the selecting split, a fraction in [0, 1]: the model's mean (the best score of its single run
    with ``policy=single``)."""
    iteration: int
    """Iteration that the selecting split chose, and up to which the confirmation trains."""
    origin: str
    """``paper``, ``released``, ``search`` or ``baseline``: where the six scalars come from."""
    point: int | None = None
    """Number of the point; None for the plain baseline, which is none unless it has a search of its own."""
    runs: int = 1
    """Finished runs that it was chosen by; 0 for the plain baseline at the winner's values, where it has run at others
    alone and ``value`` is what the model of those expects."""
    deviation: float | None = None
    """Standard deviation of ``value`` as the model sees it; None where there is no model."""
    searched: Sequence[str] = ()
    """Keys beside the six scalars that the search varied in it."""

    first_seed: int = 0
    """Number of its first seed in a confirmation; above 0 where it is confirmed anew, with seeds behind all others."""

    def __post_init__(self) -> None:
        if self.runs < 1 and components_of(self.config) != PLAIN:
            raise SearchError(f"{self.setting}: no run has a score, so it cannot have been chosen")

    @property
    def plain(self) -> bool:
        """Whether this is the baseline without SCS and MCM."""
        return self.setting == PLAIN

    @property
    def params(self) -> dict[str, float]:
        """The six scalars, fixed and tied ones included, which the plain baseline does not read, and ``searched``."""
        return params_of(self.config, self.searched)

    def configuration(self, seed: int | None = None) -> dict[str, Any]:
        """RunConfig mapping of the run on test: all of train up to the chosen iteration, nothing selected.

        With ``protocol=paper`` it is evaluated on test along its full length, as published.

        Args:
            seed: of the run; None keeps the search's.
        """
        changes: dict[str, Any] = {} if seed is None else {"seed": seed}
        if self.config["protocol"] != "paper":
            changes |= {"protocol": "confirm", "training": {"stop_at": self.iteration}}
        return merge(self.config, changes)

    def confirmation_seed(self, number: int) -> int:
        """Seed of its run of that number in the confirmation, from 0: none that the search trained with."""
        return int(self.config["seed"]) + CONFIRMATION_SEEDS_FROM + self.first_seed + number

    def to_mapping(self) -> dict[str, Any]:
        """Plain mapping for confirmation.json."""
        return {
            "name": self.setting,
            "origin": self.origin,
            "components": components_of(self.config),
            "params": self.params,
            "config": dict(self.config),
            "value": self.value,
            "deviation": self.deviation,
            "runs": self.runs,
            "iteration": self.iteration,
            "point": self.point,
            "searched": list(self.searched),
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """The candidate of an entry of confirmation.json."""
        keys = ("config", "value", "iteration", "origin", "point", "runs", "deviation")
        searched = tuple(mapping.get("searched", ()))
        return cls(mapping["name"], **{key: mapping[key] for key in keys}, searched=searched)
