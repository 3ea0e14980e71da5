"""A setting that is confirmed: what the search chose, and the configuration that test is read with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dce_ray.errors import SearchError
from dce_ray.experiment.record import PLAIN, RunRecord
from dce_ray.presets import merge


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
    """A setting with the finished run on the selecting split that it was chosen by."""

    setting: str
    """:data:`WINNER`, ``top2``, ..., ``paper``, ``released`` or ``baseline``."""
    chosen_by: RunRecord

    def __post_init__(self) -> None:
        if self.chosen_by.value is None or self.chosen_by.iteration is None:
            raise SearchError(f"{self.setting}: run {self.chosen_by.key} has no score, so it cannot have been chosen")

    @property
    def plain(self) -> bool:
        """Whether this is the baseline without SCS and MCM."""
        return self.setting == PLAIN

    @property
    def value(self) -> float:
        """Best score on the selecting split, a fraction in [0, 1]."""
        assert self.chosen_by.value is not None
        return self.chosen_by.value

    @property
    def iteration(self) -> int:
        """Iteration at which it was reached, and up to which the confirmation trains."""
        assert self.chosen_by.iteration is not None
        return self.chosen_by.iteration

    @property
    def trial(self) -> int | None:
        """Number of the trial in the study; None for the plain baseline, which is none."""
        return self.chosen_by.number if self.chosen_by.role == "trial" else None

    def configuration(self, seed: int | None = None) -> dict[str, Any]:
        """RunConfig mapping of the run on test: all of train up to the chosen iteration, nothing selected.

        With ``protocol=paper`` it is the chosen run's own: evaluated on test along its full length, as published.

        Args:
            seed: of the run; None keeps the search's.
        """
        config: Mapping[str, Any] = self.chosen_by.config
        changes: dict[str, Any] = {} if seed is None else {"seed": seed}
        if config["protocol"] != "paper":
            changes |= {"protocol": "confirm", "training": {"stop_at": self.iteration}}
        return merge(config, changes)

    def to_mapping(self) -> dict[str, Any]:
        """Plain mapping for confirmation.json."""
        run = self.chosen_by
        return {
            "name": self.setting,
            "origin": run.origin,
            "components": run.components,
            "params": run.params,
            "config": dict(run.config),
            "value": self.value,
            "iteration": self.iteration,
            "number": self.trial,
        }
