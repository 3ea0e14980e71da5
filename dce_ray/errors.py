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


class NonFiniteOutputError(EvaluationError):
    """A network's outputs are NaN or infinite: it has diverged, which is its run's own fault."""


class OutputError(DceError):
    """A file of results cannot be written, or read back."""


class StorageError(DceError):
    """A place that several machines reach (a shared folder, a bucket) does not answer, or refuses.

    Args:
        message: with the remedy.
        address: of the place; empty where there is none yet.
    """

    def __init__(self, message: str, address: str = "") -> None:
        super().__init__(message)
        self.address = address


class StorageAwayError(StorageError):
    """A place does not answer, which may pass."""


class SearchError(DceError):
    """A search cannot start or go on."""


class OutOfTimeError(SearchError):
    """The time budget ended a search before it had anything to confirm; with more time it goes on."""


class ClusterError(DceError):
    """A cluster cannot be reached, or a job on it is not what was asked for."""


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


FEW_NAMES = 12
"""As many known names a message lists; of more it names those that look most like the wrong one."""


SLIP = 0.9
"""Names of this likeness (``difflib``) or more differ by a slip of the pen."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like ``name``, or None where none comes close."""
    return next(iter(nearest_names(name, known, 1)), None)


def nearest_names(name: str, known: Iterable[str], most: int) -> list[str]:
    """Up to ``most`` known names that look like ``name``, the nearest first.

    A dotted name whose last part is ``name`` comes before all others, and so does a name in another group whose last
    part is that of ``name``; capitals do not count.

    >>> nearest_names("DELU", ["co2net", "delu"], 1)
    ['delu']
    >>> nearest_names("seeds", ["seed", "confirm.seeds", "device"], 3)
    ['confirm.seeds', 'seed']
    >>> nearest_names("training.seed", ["search.seed", "seed", "training.resident"], 3)
    ['seed', 'search.seed']
    >>> nearest_names("confirm.seed", ["confirm.seeds", "seed"], 3)
    ['confirm.seeds', 'seed']
    """
    names, wanted = list(known), name.lower()
    group, _, last = wanted.rpartition(".")
    whole = sorted((other for other in names if other.rpartition(".")[2].lower() == last), key=len)
    lowered = {other.lower(): other for other in reversed(names)}
    found = [lowered[other] for other in difflib.get_close_matches(wanted, lowered, n=most, cutoff=0.6)]
    if group and whole:  # most names of the same group look alike: only a slip of the pen is meant among them
        slips = difflib.get_close_matches(wanted, lowered, n=most, cutoff=SLIP)
        return list(dict.fromkeys([*(lowered[other] for other in slips), *whole]))[:most]
    return list(dict.fromkeys([*whole, *found]))[:most]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that is not in a table: the nearest known one and all that are known."""
    names = sorted(known)
    guess = nearest(name, names)
    hint = f" (did you mean {guess}?)" if guess else ""
    return f"unknown {kind} {name!r}{hint}; known: {', '.join(names)}"


def unknown_among_many(kind: str, name: str, known: Iterable[str], listed: str) -> str:
    """The same for a long table: the three nearest names, and where all of them are listed.

    >>> unknown_among_many("key", "sed", ["seed", "seeds", *"abcdefghijkl"], "--help lists them")
    "unknown key 'sed' (did you mean seed or seeds?); 14 are known: --help lists them"

    Args:
        kind: of name.
        name: as the user wrote it.
        known: all names.
        listed: where a user finds them.
    """
    names = sorted(known)
    if len(names) <= FEW_NAMES:
        return unknown_name(kind, name, names)
    *first, last = nearest_names(name, names, 3) or [""]
    hint = f" (did you mean {' or '.join(filter(None, [', '.join(first), last]))}?)" if last else ""
    return f"unknown {kind} {name!r}{hint}; {len(names)} are known: {listed}"
