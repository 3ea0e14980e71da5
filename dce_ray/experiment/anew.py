"""Experiment folders that hold no search, such as a confirmation made anew: what goes on with one.

A search's ``config.json`` has no ``kind``; that of a confirmation made anew has also which look at test it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dce_ray.errors import SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.places import Place
from dce_ray.words import command_line


def confirm_command(search: object, config: Mapping[str, Any]) -> str:
    """The command that goes on with a confirmation made anew.

    Args:
        search: folder of its search.
        config: of the confirmation.
    """
    return command_line("dce_ray.confirm", search=search, seeds=config["confirm"]["seeds"], look=config["look"])


def ways_on(folder: ExperimentFolder, place: Place) -> str:
    """What to do with a folder that is behind its copy at a storage."""
    config = folder.config
    if "look" not in config:
        away = f"move that one away and give results={folder.root}"
        return f"go on with resume={place} results=<another folder>, or {away}"
    return (
        f"remove {folder.path}, then give the same command again, which brings what lies there: "
        f"{confirm_command(folder.searched.path, config)}"
    )


def refuse_no_search(folder: ExperimentFolder) -> None:
    """Raise where an experiment folder holds no search.

    Raises:
        SearchError: with the command that goes on with it.
    """
    config = folder.config
    if "look" in config:
        raise _refusal(folder.path, config, confirm_command(folder.searched.path, config))
    if config.get("kind"):
        raise _refusal(folder.path, config, "the command that made it, given again")


def refuse_no_search_at(place: Place, config: Mapping[str, Any], results: str) -> None:
    """The same of an experiment that lies at a storage, before it is brought here.

    Args:
        place: of the experiment.
        config: its ``config.json``.
        results: where its folder would lie here.

    Raises:
        SearchError: with the command that goes on with it.
    """
    if "look" in config:
        data, baseline, name = place.names[-3:]
        search = name.removesuffix(f"-confirm-{config['look']}")
        command = confirm_command(f"{results}/{data}/{baseline}/{search}", config)
        raise _refusal(place, config, f"{command}, once its search is here (resume={place.above(1).below(search)})")
    if config.get("kind"):
        raise _refusal(place, config, "the command that made it, given again")


def _refusal(address: object, config: Mapping[str, Any], way: str) -> SearchError:
    kind = "a confirmation anew" if "look" in config else f"an {config['kind']}"
    return SearchError(f"resume={address}: holds {kind} and no search; it goes on with {way}")
