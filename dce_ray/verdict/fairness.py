"""What the plain baseline was given where more than the method is searched, and which one is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import OWN_VALUES, WINNERS_VALUES

OWN, WINNERS, BOTH = "its own best values", "the winner's values", "its own best values, which are the winner's too"


@dataclass(frozen=True, slots=True)
class Fairness:
    """The two plain baselines: at the best values of its own search, and at the winner's."""

    searched: Sequence[str]
    """Keys that both arms searched."""
    plain_runs: int
    """Runs of the plain baseline's search."""
    points_runs: int
    """Runs of the points' search."""
    compared: str
    """:data:`OWN`, :data:`WINNERS` or :data:`BOTH`: where the verdict's plain baseline stands, chosen on the selecting
    split alone."""
    params: Mapping[str, float]
    """Its values."""
    expected_percent: float
    """What the selecting split let expect of it."""
    other_expected_percent: float | None = None
    """The same of the plain baseline that is not compared with; None where there is none."""
    same_folds: bool = True
    """Whether both arms have finished runs on the same folds: else what the selecting split lets expect of one says
    nothing beside the other."""

    @property
    def text(self) -> str:
        """All of this in a sentence."""
        values = ", ".join(f"{name}={value:.4g}" for name, value in self.params.items())
        text = (
            f"The plain baseline had its own search of {', '.join(self.searched)} ({self.plain_runs} runs; the points "
            f"had {self.points_runs}) and is compared at {self.compared} ({values})"
        )
        if self.other_expected_percent is not None:
            other = WINNERS if self.compared == OWN else OWN
            text += (
                f", where the selecting split let expect more of it than at {other} ({self.expected_percent:.2f} "
                f"against {self.other_expected_percent:.2f})"
            )
        if not self.same_folds:
            return f"{text}. Its finished runs lie on other folds than the points', so no gain was expected."
        return f"{text}."

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any] | None) -> Fairness | None:
        """What was written of it."""
        return None if mapping is None else cls(**mapping)


def fairness_of(folder: ExperimentFolder, candidates: Sequence[Candidate]) -> Fairness | None:
    """What the plain baseline was given; None where it is one setting, or has no usable run.

    Args:
        folder: the search.
        candidates: all that are confirmed.
    """
    plain = next((one for one in candidates if one.plain), None)
    records = [run.record() for run in folder.trials()]
    own_runs = sum(record.role == "plain" and record.point is not None for record in records)
    if plain is None or not own_runs:
        return None
    other = next((one for one in candidates if one.setting in (OWN_VALUES, WINNERS_VALUES)), None)
    compared = BOTH if other is None else OWN if other.setting == WINNERS_VALUES else WINNERS
    folds = [
        {one.fold for one in records if one.state == "finished" and (one.role == "plain") is own}
        for own in (True, False)
    ]
    return Fairness(
        tuple(plain.searched),
        own_runs,
        len(records) - own_runs,
        compared,
        plain.params,
        100 * plain.value,
        None if other is None else 100 * other.value,
        same_folds=folds[0] == folds[1],
    )
