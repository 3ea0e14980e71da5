"""Reading an experiment's study: no lock is needed, nothing is changed."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from dce_ray.errors import SearchError

STUDY = "runs"
"""Name of the study in the journal whose trials are the runs: the truth."""
POINTS_STUDY = "points"
"""Name of the study that is made of it: one trial per point, valued by the model (``policy=replicates``)."""
REPEATS = "repeats"
"""Attribute of a trial that had no run and was told the result of another one at the same point: that one's number."""
STATE_OF = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
"""Our words for Optuna's states; ``waiting`` is a first point that was not started, all others a record has too."""


def error_of(trial: optuna.trial.FrozenTrial) -> str | None:
    """Why a trial failed; one that was to fail when the driver was killed, and went on, has the reason still."""
    return trial.user_attrs.get("error") if trial.state == TrialState.FAIL else None


def read_study(journal: Path) -> optuna.Study:
    """The study of an experiment, as its journal says now; also while a search writes it.

    Raises:
        SearchError: there is no journal, or it holds another study.
    """
    if not journal.is_file():
        raise SearchError(f"{journal} does not exist; the search has not started, or its study was removed")
    storage = open_journal(journal)
    names = [study.study_name for study in storage.get_all_studies()]
    if STUDY not in names or set(names) - {STUDY, POINTS_STUDY}:
        raise SearchError(
            f"{journal} holds the studies {names}; an experiment has one named {STUDY!r}, and with policy=replicates "
            f"{POINTS_STUDY!r} beside it"
        )
    return optuna.load_study(study_name=STUDY, storage=storage)


def open_journal(journal: Path) -> JournalStorage:
    """The storage of an experiment's studies."""
    return JournalStorage(JournalFileBackend(str(journal)))
