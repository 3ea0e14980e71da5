"""Who wants to see what happens to the runs of a search: the display, the clocks, or several of them."""

from __future__ import annotations

from collections.abc import Sequence

from dce_ray.experiment.record import RunRecord


class Observer:
    """Who wants to see what happens; the base class looks away."""

    def started(self, record: RunRecord) -> None:
        """A run was handed to Tune."""

    def scored(self, record: RunRecord, iteration: int, score: float | None) -> None:
        """A run was evaluated, or went on without an evaluation."""

    def ended(self, record: RunRecord) -> None:
        """A run finished, was pruned or failed."""

    def retried(self, record: RunRecord, error: str) -> None:
        """A run's process was lost; it goes on elsewhere."""

    def noted(self, text: str) -> None:
        """Something that the user should know, of no run in particular."""


class Observers(Observer):
    """Several observers as one."""

    def __init__(self, members: Sequence[Observer]) -> None:
        self.members = tuple(members)

    def started(self, record: RunRecord) -> None:
        """Pass on."""
        for member in self.members:
            member.started(record)

    def scored(self, record: RunRecord, iteration: int, score: float | None) -> None:
        """Pass on."""
        for member in self.members:
            member.scored(record, iteration, score)

    def ended(self, record: RunRecord) -> None:
        """Pass on."""
        for member in self.members:
            member.ended(record)

    def retried(self, record: RunRecord, error: str) -> None:
        """Pass on."""
        for member in self.members:
            member.retried(record, error)

    def noted(self, text: str) -> None:
        """Pass on."""
        for member in self.members:
            member.noted(text)
