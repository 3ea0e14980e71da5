"""Checkpoints: one file each, written whole or not at all, checked when read, the previous one kept.

A checkpoint is a ``torch.save`` archive of plain values and tensors, loaded with ``weights_only=True``. PyTorch does
not compare the archive's checksums when it loads, so they are compared here first.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dce_ray.config import PLACES, RunConfig
from dce_ray.errors import CheckpointError, OutputError
from dce_ray.files import atomic_file
from dce_ray.former import without_former_keys
from dce_ray.presets import run_config_from_mapping
from dce_ray.words import command_line

FORMAT = "dce-ray checkpoint"
VERSION = 3
"""Of the files that are written."""
READABLE = (1, 2, VERSION)
"""Versions whose weights can be read. The older ones have the same content, but keys in their configuration that are
gone; these are left out. A run that goes on from them would not be the run that its configuration decides: version 1
drew other dropout masks, and both held out other videos (``sampling.holdout_share``)."""

log = logging.getLogger(__name__)


def previous_of(path: Path) -> Path:
    """Where the checkpoint that ``path`` replaced is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(path: Path, payload: Mapping[str, Any]) -> None:
    """Write ``payload`` to ``path`` so that a crash at any moment leaves a readable checkpoint behind.

    The file is written beside, flushed to the disk, and renamed; the one it replaces is kept as ``*.previous``.

    Raises:
        CheckpointError: when the file cannot be written (disk full, no permission); what was there stays.
    """
    try:
        with atomic_file(path) as file:
            torch.save({"format": FORMAT, "version": VERSION, **payload}, file)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                path.replace(previous_of(path))
    except OutputError as fault:
        raise CheckpointError(str(fault)) from fault
    except RuntimeError as fault:  # of torch, where the disk is full
        free = shutil.disk_usage(path.parent).free
        raise CheckpointError(
            f"{path}: cannot be written, with {free / 2**20:.0f} MiB free there ({fault}); free space or choose "
            f"another folder"
        ) from fault


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The payload of one checkpoint file, on the CPU.

    Raises:
        CheckpointError: when the file is absent, damaged, of an unknown version, or not a checkpoint of this project.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise CheckpointError(f"{path}: damaged (the checksum of {damaged} differs)")
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as fault:
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({str(fault).splitlines()[0]})") from fault
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: not a checkpoint of dce_ray.train; published weights are read by dce_ray.evaluate"
        )
    if payload.get("version") not in READABLE:
        found, known = payload.get("version"), " and ".join(map(str, READABLE))
        raise CheckpointError(f"{path}: format version {found}, this program reads {known}; use what wrote it")
    if payload["version"] < VERSION:
        payload["config"] = json.dumps(without_former_keys(json.loads(payload["config"])))
    return payload


def load_latest(path: Path) -> dict[str, Any] | None:
    """What to go on from: the newest readable one of ``path`` and its predecessor; None where neither file exists.

    A damaged newer file is reported by a warning and the previous one is used.

    Raises:
        CheckpointError: when files exist but none can be read, or it is of an older version, whose run held out other
            videos.
    """
    faults = []
    for candidate in (path, previous_of(path)):
        if not candidate.exists():
            continue
        try:
            payload = load_checkpoint(candidate)
        except CheckpointError as fault:
            faults.append(str(fault))
            continue
        _require_current(payload, candidate)
        for line in faults:
            log.warning("%s; going on from %s", line, candidate.name)
        return payload
    if faults:
        raise CheckpointError("\n".join(faults))
    return None


def _require_current(payload: Mapping[str, Any], path: Path) -> None:
    if payload["version"] != VERSION:
        raise CheckpointError(
            f"{path}: format version {payload['version']}, but a run goes on from version {VERSION} only: an older one "
            f"held out other videos. Start the run anew in another folder; what it has learned can still be evaluated: "
            f"{command_line('dce_ray.evaluate', checkpoint=path)}"
        )


def require_same_run(payload: Mapping[str, Any], path: Path, config: RunConfig, digest: str) -> None:
    """Refuse a checkpoint of another run: of other data, or of a configuration that decides other numbers.

    A run of an older version is another run, see :data:`READABLE`.

    Keys that the checkpoint's program did not have yet count with their defaults.

    Args:
        payload: of the checkpoint.
        path: its file, for the message.
        config: of the run that goes on.
        digest: of that run's feature store.

    Raises:
        CheckpointError: naming everything that differs.
    """
    _require_current(payload, path)
    theirs = run_config_from_mapping(json.loads(payload["config"]), kept=True).to_mapping()
    faults = _differences(theirs, config.to_mapping())
    if payload["data"]["digest"] != digest:
        faults.append(f"data: trained on {payload['data']['name']} of another content")
    if faults:
        raise CheckpointError(f"{path}: belongs to another run:\n" + "\n".join(faults))


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Keys in which two configurations differ although they must not."""
    lines = []
    for key in sorted(theirs.keys() | ours.keys()):
        name, their, our = f"{prefix}{key}", theirs.get(key), ours.get(key)
        if isinstance(their, Mapping) and isinstance(our, Mapping):
            lines += _differences(their, our, f"{name}.")
        elif their != our and name not in PLACES:
            lines.append(f"{name}: {their!r} in the checkpoint, {our!r} now")
    return lines
