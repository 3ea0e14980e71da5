"""What was measured on test and the present plan does not name: nothing of it counts, and nothing of it is lost.

A search that goes on after its verdict may find another winner. The former result is kept in ``set-aside/look-<n>/``,
the former runs beside it; where a later plan names the same configuration and seed again, under whatever name, the
run comes back instead of being trained once more.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord, decisive
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.search.observers import Observer
from dce_ray.search.plan import Planned

RESULT = (".md", ".csv", ".tex", ".json")
"""Of the confirmation's files; the last one says that there is a result."""


class GoesOn(Observer):
    """Sets the result aside once a search runs more than the result knows of: it is no more the search's.

    Args:
        folder: of the search.
    """

    def __init__(self, folder: ExperimentFolder) -> None:
        self.folder = folder

    def started(self, record: RunRecord) -> None:
        """A run of the search was handed to Tune."""
        set_aside_result(self.folder)


def set_aside_result(folder: ExperimentFolder) -> None:
    """Keep the confirmation's result as that of a former look at test, where there is one."""
    if not folder.confirmation.is_file():
        return
    place = folder.former_look(len(folder.former_looks) + 1)
    place.mkdir(parents=True, exist_ok=True)
    for suffix in RESULT:
        file = folder.confirmation.with_suffix(suffix)
        if file.is_file():
            file.rename(place / file.name)


def set_aside_superseded(folder: ExperimentFolder, candidates: Sequence[Candidate]) -> None:
    """Set aside the confirmation's runs of a setting that now is another one, and the result that was made of them.

    More trials may bring another winner: what was measured of the former ``top1`` says nothing of it.
    """
    chosen = {candidate.setting: candidate for candidate in candidates}
    for run in folder.confirmations():
        record = run.record()
        candidate = chosen.get(record.setting)
        if candidate and decisive(record.config) != decisive(candidate.configuration(record.seed)):
            set_aside_result(folder)  # before the runs: a kill leaves no result without them
            _set_aside(folder, run)


def hold_planned(folder: ExperimentFolder, plan: Sequence[Planned]) -> None:
    """Have in ``confirm/`` what a plan names: everything there counts. Other runs are set aside, and come back.

    A resumed search may have other settings to confirm, or the same ones in another order.
    """
    named = {item.folder.key: item.record for item in plan}
    for run in folder.confirmations():
        if run.key not in named or not _same(run.record(), named[run.key]):
            _set_aside(folder, run)
    for item in plan:
        if not item.folder.exists():
            _bring_back(folder, item)
        if item.folder.exists():
            _call_as_planned(item)


def _set_aside(folder: ExperimentFolder, run: RunFolder) -> None:
    place, number = folder.aside(run.key), 1
    while place.exists():
        number += 1
        place = folder.aside(f"{run.key}.{number}")
    place.parent.mkdir(exist_ok=True)
    run.path.rename(place)


def _bring_back(folder: ExperimentFolder, item: Planned) -> None:
    """A run that was set aside and is the planned one: finished under whatever name, else begun under its own."""
    found = [(run, record) for run in folder.set_aside_runs() if _same(record := run.record(), item.record)]
    found = [one for one in found if one[1].state == "finished" or one[1].key == item.record.key]
    if found:
        run, _ = max(found, key=lambda one: one[1].state == "finished")
        shutil.rmtree(item.folder.path, ignore_errors=True)  # without a record, it is no run
        item.folder.path.parent.mkdir(exist_ok=True)
        run.path.rename(item.folder.path)


def _call_as_planned(item: Planned) -> None:
    now, wanted = item.folder.record(), item.record
    names = {name: getattr(wanted, name) for name in ("key", "setting", "number", "origin", "searched")}
    if any(getattr(now, name) != value for name, value in names.items()):
        item.folder.update(**names)


def _same(record: RunRecord, other: RunRecord) -> bool:
    return decisive(record.config) == decisive(other.config)
