"""What a search needs of its surroundings, asked before its folder is made: a fault leaves nothing behind."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dce_ray.data.splits import make_splits
from dce_ray.errors import DceError, OutOfTimeError, SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import check_writable
from dce_ray.search.settings import Experiment
from dce_ray.session.demand import resources_for
from dce_ray.session.gpus import gpu_memory
from dce_ray.session.ray_session import check_address, local_memory
from dce_ray.session.resources import Node
from dce_ray.session.sharing import share_of_machine
from dce_ray.store import FeatureStore
from dce_ray.tracking.address import address_of
from dce_ray.tracking.connection import silent_server
from dce_ray.train.arithmetic import check_training
from dce_ray.train.build import choose_device


def check_surroundings(experiment: Experiment, store: FeatureStore, folder: Path) -> list[str]:
    """Refuse what cannot run here, and say what will be missing.

    Args:
        experiment: what was asked.
        store: its data.
        folder: where its experiment folder will be made.

    Returns:
        Warnings, each for a line.

    Raises:
        DceError: MLflow's address is none, Ray cannot be joined, no run fits this machine, or ``folder`` cannot be
            written.
    """
    settings = experiment.settings
    address = settings.ray.address or os.environ.get("RAY_ADDRESS")
    if address:
        make_splits(
            store, experiment.run.sampling, hold_out=experiment.run.protocol == "holdout"
        )  # says what cannot be
        check_address(address)
    else:
        device = choose_device(experiment.run.device)  # runs compute on this machine: what is not here is refused now
        check_training(experiment.run.training, device)
        check_machine(experiment, store)
    check_writable(folder.parent)
    if not settings.tracking.enabled:
        return []
    planned = ExperimentFolder(folder.resolve())
    return silent_server(planned, address_of(planned, settings.tracking.uri), settings.tracking.uri)


def check_machine(experiment: Experiment, store: FeatureStore) -> None:
    """Refuse a run that does not fit what other searches leave of this machine.

    Raises:
        SearchError: with what is there, and who has the rest.
    """
    share, wish = share_of_machine(experiment.settings.ray.num_cpus), experiment.settings.search
    gpus, memory = float(torch.cuda.device_count()), float(local_memory())
    free = gpu_memory()
    here = [Node(float(share.cpus), gpus, memory, host=socket.gethostname(), gpu_bytes=free.free if free else None)]
    wishes = {"cpus": wish.cpus_per_trial, "gpus": wish.gpus_per_trial}
    try:
        resources_for(experiment.largest, store, here, runs=wish.num_runs, **wishes)
    except SearchError as fault:
        raise SearchError("\n".join(filter(None, [str(fault), share.line]))) from fault


@contextmanager
def nothing_left(folder: ExperimentFolder) -> Iterator[None]:
    """Inside, a fault before the first run removes the folder again; for who has just made it, and holds its lock.

    The end of the time budget is no fault: with more time the search goes on.
    """
    try:
        yield
    except DceError as fault:
        if not folder.trials() and not isinstance(fault, OutOfTimeError):
            remove(folder.path)
        raise


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, and those above that are empty then, two of them at most."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)
    for above in path.parents[:2]:
        if any(above.iterdir()):
            break
        above.rmdir()
