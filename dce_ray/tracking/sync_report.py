"""What came of sending an experiment folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(slots=True)
class SyncReport:
    """Counts of one or more passes over a folder; the mirror keeps it as JSON beside the experiment."""

    uri: str
    """The store, without a password."""
    experiment: str
    """Name of the MLflow experiment, ``<data>/<baseline>``."""
    experiment_id: str | None = None
    url: str | None = None
    """Where the runs are shown."""
    runs: int = 0
    """Runs in the folder, the search itself included."""
    current: int = 0
    """Of these, runs of which MLflow holds all that the folder holds."""
    created: int = 0
    """Runs that MLflow did not have before."""
    values: int = 0
    """Metric values that were sent."""
    faults: list[str] = field(default_factory=list)
    """What could not be sent, and why."""
    notes: list[str] = field(default_factory=list)
    """What was sent differently from what the folder says, and why."""

    @property
    def complete(self) -> bool:
        """Whether MLflow holds everything."""
        return self.experiment_id is not None and not self.faults and self.current == self.runs

    def to_mapping(self) -> dict[str, Any]:
        """Plain mapping, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> Self:
        """The report that :meth:`to_mapping` made."""
        return cls(**mapping)

    def __str__(self) -> str:
        lines = [
            f"MLflow {self.uri}, experiment {self.experiment}: nothing was sent"
            if self.faults and not self.runs
            else f"MLflow {self.uri}, experiment {self.experiment}: {self.current} of {self.runs} runs are up to date "
            f"({self.created} new, {self.values} metric values sent)"
        ]
        lines += [f"  not sent: {fault}" for fault in self.faults]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)
