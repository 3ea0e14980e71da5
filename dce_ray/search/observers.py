"""Who wants to see what happens to the runs of a search: the display, the clocks, or several of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dce_ray.experiment.record import RunRecord
from dce_ray.interrupts import nobody_reads, tell_unread


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
    """Several observers as one. What reads the output may go (``| head``): the others hear all the same.

    Args:
        members: who is told, in this order.
    """

    def __init__(self, members: Sequence[Observer]) -> None:
        self.members = tuple(members)
        self.unread: Callable[[], object] = lambda: None
        """What to do when nobody reads the output any more: in Tune's hands the fault would end a run."""

    def started(self, record: RunRecord) -> None:
        """Pass on."""
        self._tell(lambda member: member.started(record))

    def scored(self, record: RunRecord, iteration: int, score: float | None) -> None:
        """Pass on."""
        self._tell(lambda member: member.scored(record, iteration, score))

    def ended(self, record: RunRecord) -> None:
        """Pass on."""
        self._tell(lambda member: member.ended(record))

    def retried(self, record: RunRecord, error: str) -> None:
        """Pass on."""
        self._tell(lambda member: member.retried(record, error))

    def noted(self, text: str) -> None:
        """Pass on."""
        self._tell(lambda member: member.noted(text))

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        for member in self.members:
            try:
                tell(member)
            except BrokenPipeError:
                if not nobody_reads():
                    raise
                self.unread()
                tell_unread()
