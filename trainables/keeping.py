"""Where a run's process keeps what the run goes on from: see :mod:`dce_ray.train.attempts`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ray

from dce_ray.errors import StoreError
from dce_ray.experiment.run_folder import MARK
from dce_ray.files import scratch_folder
from dce_ray.places import Place
from dce_ray.train.attempts import Attempts
from dce_ray.train.run_files import RunFiles


def attempts_for(config: Mapping[str, Any]) -> Attempts:
    """The attempts of a run as this process reaches them.

    With ``storage=`` they lie there. Without it, they lie in the experiment folder where this machine sees it, else in
    a folder of this process's own: a run that loses its process then starts again.

    Args:
        config: what ``RunFolder.for_worker`` gives.

    Raises:
        StorageError: the storage's address cannot be read.
    """
    place = Place.at(config["storage"]) if config.get("storage") else None
    if place is None and sees_folder(Path(config["state"]), config.get("mark")):
        return Attempts(Path(config["state"]))
    return Attempts(_own() / config["record"]["key"], place, config.get("session", 0))


def sees_folder(state: Path, mark: str | None) -> bool:
    """Whether this machine's folder of that path is the one in which the search works.

    Args:
        state: of a run.
        mark: of the session; None where nobody set one.
    """
    file = state.parents[2] / MARK
    return mark is None or (file.is_file() and file.read_text() == mark)


def is_own(attempts: Attempts) -> bool:
    """Whether nobody but this process sees these attempts."""
    return attempts.place is None and _below_own(attempts.root)


def parcel_of(files: RunFiles) -> Any:
    """Checkpoint and detections of a run as an object of Ray's, which the driver takes before this process ends."""
    paths = (files.checkpoint, files.detections)
    return ray.put({path.name: path.read_bytes() for path in paths if path.is_file()})


def forget(attempts: Attempts) -> None:
    """Remove what lies in a folder of this process's own."""
    if _below_own(attempts.root):
        shutil.rmtree(attempts.root, ignore_errors=True)


def require_digest(found: str, expected: str | None) -> None:
    """Refuse data that are not those the search began with.

    Raises:
        StoreError: with both digests.
    """
    if expected and found != expected:
        raise StoreError(
            f"this node's data are not those of the search: digest {found[:12]}, expected {expected[:12]}; give all "
            f"nodes the same store, best with data=s3://... (python -m dce_ray.store copy)"
        )


def _below_own(path: Path) -> bool:
    """Whether a path lies in this process's own folder, which is only made where it is needed."""
    return _own.cache_info().currsize > 0 and path.parent == _own()


@cache
def _own() -> Path:
    return scratch_folder("dce-ray-run")
