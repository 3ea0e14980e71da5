"""How a search begins and goes on: everything is checked before its folder is made, or touched again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dce_ray.datasets import build_on_data, results_name
from dce_ray.errors import ConfigError, DceError, SearchError
from dce_ray.evaluation import check_skipped
from dce_ray.experiment.anew import refuse_no_search
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.places import Place
from dce_ray.presets import presets_line
from dce_ray.provenance import environment
from dce_ray.search.advice import holdout_videos, schedule_note
from dce_ray.search.needed import import_needed
from dce_ray.search.seed_stages import refuse_other_seeds
from dce_ray.search.settings import Experiment, Request, build_experiment, unaliased
from dce_ray.search.space_checks import at_equal_shares
from dce_ray.search.storage import brought_here, check_storage, with_data_there
from dce_ray.search.surroundings import check_surroundings, remove
from dce_ray.store import FeatureStore, open_store
from dce_ray.words import command_line, counted


def create(request: Request) -> tuple[Experiment, ExperimentFolder]:
    """Check everything, then make the folder: a wrong value starts nothing and leaves nothing behind."""
    experiment, parent = check(request)
    experiment = with_data_there(experiment)
    if name := experiment.settings.name:
        return experiment, ExperimentFolder.create(parent / name, experiment.to_mapping(), environment())
    return experiment, ExperimentFolder.create_by_time(parent, experiment.to_mapping(), environment())


def check(request: Request) -> tuple[Experiment, Path]:
    """What a request comes to, and the folder that its own will lie in; nothing is written but the data's import."""

    def build(store: str, data_set: str) -> Experiment:
        return build_experiment(request, store, data_set)

    experiment, store = build_on_data(request.data, build, request.importing)
    space = at_equal_shares(experiment.space, experiment.run)
    held = tuple(holdout_videos(experiment, store))
    experiment = replace(experiment, digest=store.digest, space=space, holdout_videos=held)
    check_skipped(experiment.run.evaluation.skip_videos, store.video_names)
    if note := schedule_note(request, experiment):
        print(note)
    settings, data_set = experiment.settings, experiment.data_set
    parent = Path(settings.results) / results_name(request.data, store) / experiment.run.baseline
    import_needed()
    for line in check_surroundings(experiment, store, parent / (settings.name or "by-time")):
        print(line, file=sys.stderr)
    check_storage(settings, parent)
    print(presets_line(experiment.run, data_set, searched=True))
    return experiment, parent


def reopen(path: str | Path, changes: Mapping[str, Any]) -> tuple[Experiment, ExperimentFolder]:
    """What an experiment folder holds, with the changes of dotted keys; the data must be what it was."""
    here, left, moved = brought_here(str(path), changes)
    try:
        return _reopened(here, left, moved)
    except DceError as fault:
        if not moved:
            raise
        remove(Path(here))
        given = {"results": changes["results"]} if "results" in changes else {}
        again = command_line("dce_ray.search", resume=path, **given)
        raise type(fault)(f"{fault}\n{here} is removed again; to have it here: {again}") from fault


def _reopened(path: str, changes: Mapping[str, Any], moved: Mapping[str, Any]) -> tuple[Experiment, ExperimentFolder]:
    folder = ExperimentFolder.open(path)
    refuse_no_search(folder)
    experiment = Experiment.from_mapping(folder.config, unaliased(changes))
    experiment = replace(experiment, settings=replace(experiment.settings, **moved))
    import_needed()
    if experiment.settings.storage:
        Place.at(experiment.settings.storage).check()
    refuse_fewer_runs(folder, experiment)
    refuse_other_seeds(folder, experiment.settings.confirm)
    same_data(folder, experiment.run.data, experiment.digest)
    return experiment, folder


def same_data(folder: ExperimentFolder, data: str, digest: str) -> FeatureStore:
    """The store that a search was made on.

    Args:
        folder: of the search.
        data: folder of the store.
        digest: of its content when the search began.

    Raises:
        SearchError: it holds something else now.
    """
    store = open_store(data)
    if store.digest != digest:
        raise SearchError(
            f"{data} holds other data than {folder.path} was searched on (digest {store.digest[:12]}, "
            f"expected {digest[:12]}); restore the store, or start a new search"
        )
    return store


def refuse_fewer_runs(folder: ExperimentFolder, experiment: Experiment) -> None:
    """Keep a resumed search from being given fewer runs than it has: none of them is taken back.

    Raises:
        ConfigError: with the number that there is.
    """
    begun, asked = len(folder.trials()), experiment.settings.search.num_runs
    if asked < begun:
        raise ConfigError(
            f"search.num_runs={asked}: {folder.path} has begun {counted(begun, 'run')} already, and none is taken "
            f"back; give {begun} to end with those, or more to go on"
        )
