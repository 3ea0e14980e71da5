"""Everything this project raises on purpose.

Each message says the value that was found, the rule that it breaks and what to do. Every class survives pickling,
because Ray carries exceptions between processes: the constructor's arguments are exactly ``args``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DceError(ValueError):
    """Root of all errors that a user can mend."""


class ConfigError(DceError):
    """A configuration holds an unknown key, a wrong type or a value out of range."""


class SearchSpaceError(ConfigError):
    """A search space names a parameter that no run reads, or a range that holds nothing."""


class StoreError(DceError):
    """A feature store cannot be opened, or is not what its manifest says."""


class ImportFault(DceError):
    """A data set in the released layout cannot be imported."""


class DataError(DceError):
    """A data set is readable but cannot serve the request (no pair of videos, empty split)."""


class CheckpointError(DceError):
    """A checkpoint is damaged, foreign or does not fit the network."""


class EvaluationError(DceError):
    """Predictions or ground truth that no table can be made of."""


class OutputError(DceError):
    """A file of results cannot be written, or read back."""


class SearchError(DceError):
    """A search cannot start or go on."""


class TrackingError(DceError):
    """The tracking store refuses what was asked of it."""


class NonFiniteError(DceError):
    """A loss term or a gradient became NaN or infinite: the run stops here.

    Args:
        iteration: number of the optimisation step, from 1.
        term: name of the loss term, or ``gradient of <parameter>``.
    """

    def __init__(self, iteration: int, term: str) -> None:
        super().__init__(iteration, term)
        self.iteration = iteration
        self.term = term

    def __str__(self) -> str:
        return (
            f"{self.term} is not finite at iteration {self.iteration}; lower training.learning_rate or "
            f"check the features (python -m dce_ray.store verify)"
        )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like ``name``, or None where none comes close."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that is not in a table: the nearest known one and all that are known."""
    names = sorted(known)
    guess = nearest(name, names)
    hint = f" (did you mean {guess}?)" if guess else ""
    return f"unknown {kind} {name!r}{hint}; known: {', '.join(names)}"
