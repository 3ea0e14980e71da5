"""What ``storage=`` asks for before a search starts: a place that can be written, with the data; or back from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dce_ray.errors import ConfigError
from dce_ray.experiment.anew import refuse_no_search_at
from dce_ray.experiment.brought import fetch_experiment, is_mirror
from dce_ray.experiment.claim import refuse_taken
from dce_ray.places import Place, is_bucket
from dce_ray.search.settings import Experiment, Settings
from dce_ray.store import open_store
from dce_ray.store.node_cache import adopt
from dce_ray.store.sending import send_store


def check_storage(settings: Settings, parent: Path) -> None:
    """Refuse a storage that cannot serve a new search; nothing is left there.

    Args:
        settings: of the search.
        parent: of its folder.

    Raises:
        StorageError: the storage cannot be written, does not answer, or refuses.
        ConfigError: it is the folder in which the results lie.
        SearchError: it holds an experiment of that name.
    """
    if settings.storage is None:
        return
    place = Place.at(settings.storage)
    if place.address == str(Path(settings.results).resolve()):
        raise ConfigError(
            f"storage={settings.storage}: is results={settings.results}, and a copy there would write over what it "
            f"copies; give another folder, or leave it out where all nodes see this one"
        )
    place.check()
    if settings.name:
        refuse_taken(settings.storage, (*parent.parts[-2:], settings.name))


def with_data_there(experiment: Experiment) -> Experiment:
    """The experiment of a new search, its data where every node finds them.

    Args:
        experiment: as asked for, its storage checked.

    Raises:
        StorageError: the storage does not answer, or refuses.
    """
    storage = experiment.settings.storage
    if storage is None:
        return experiment
    place = Place.at(storage)
    experiment = replace(experiment, settings=replace(experiment.settings, storage=place.address))
    if is_bucket(experiment.run.data):
        return experiment
    store = open_store(experiment.run.data)
    target = place.below("stores", f"{store.name}-{store.digest[:12]}")
    print(f"data: brought to {target}, where it is not there yet")
    send_store(store, target.address)
    if is_bucket(storage):
        adopt(store.path, store.digest)
    return replace(experiment, run=replace(experiment.run, data=target.address))


def brought_here(path: str, changes: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """An experiment folder on this machine for what ``resume=`` names, with what else it changes.

    Args:
        path: an experiment folder, or an experiment at a storage.
        changes: settings by dotted key.

    Returns:
        The folder, the changes that are left, and settings that follow from where the experiment lay.

    Raises:
        SearchError: no search lies there, or the folder exists here.
        StorageError: the place does not answer, or refuses.
    """
    left = dict(changes)
    if not is_mirror(path):
        return path, left, {}
    results = str(left.pop("results", "results"))
    place = Place.at(path, "resume")
    if (content := place.read("config.json")) is not None:
        refuse_no_search_at(place, json.loads(content), results)
    folder, storage = fetch_experiment(path, results)
    print(f"brought here: {folder}")
    return str(folder), left, {"results": results, "storage": storage}
