"""What tracking keeps in an experiment folder, below ``tracking/``.

``identity.json`` names the search for ever, wherever its folder is copied; ``<store>.json`` is the last report per
MLflow store; ``<store>.lock`` lets one process at a time send to it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from dce_ray.errors import OutputError, TrackingError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import read_json, write_json
from dce_ray.tracking.locks import wait_for_lock
from dce_ray.tracking.sync_report import SyncReport
from dce_ray.words import masked

READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def search_identity(folder: ExperimentFolder) -> str:
    """The name of the search that no other search has: 32 hex digits, made once and kept in the folder.

    A folder that cannot be written (an archive) is named by its configuration, which cannot change there.
    """
    path = folder.path / "tracking" / "identity.json"
    if not path.is_file():
        partial = path.with_name(f".identity.{uuid4().hex[:8]}")
        try:
            path.parent.mkdir(exist_ok=True)
            partial.write_text(json.dumps({"search": uuid4().hex}) + "\n")
            with contextlib.suppress(FileExistsError):  # another process named it in the meantime
                os.link(partial, path)
        except OSError as fault:
            if fault.errno not in READ_ONLY:
                raise TrackingError(f"{path} cannot be written ({fault.strerror}); free space, then sync") from fault
            files = (folder.path / "config.json", folder.path / "environment.json")
            parts = [str(folder.path.parts[-3:]).encode(), *(file.read_bytes() for file in files if file.is_file())]
            return hashlib.sha256(b"\n".join(parts)).hexdigest()[:32]
        finally:
            partial.unlink(missing_ok=True)
    return str(read_json(path)["search"])


def _of_store(folder: ExperimentFolder, uri: str, suffix: str) -> Path:
    return folder.path / "tracking" / f"{hashlib.sha256(uri.encode()).hexdigest()[:12]}{suffix}"


def keep_report(folder: ExperimentFolder, uri: str, report: SyncReport) -> None:
    """Keep the report of a store; an archive that cannot be written keeps none."""
    with contextlib.suppress(OutputError):
        write_json(_of_store(folder, uri, ".json"), report.to_mapping())


def was_sent(folder: ExperimentFolder, uri: str) -> bool:
    """Whether anything was ever sent, or tried to be, to this store."""
    return _of_store(folder, uri, ".json").is_file()


def last_report(folder: ExperimentFolder, uri: str) -> SyncReport | None:
    """The report that the last sender to this store kept; None where nothing was ever sent."""
    return SyncReport.from_mapping(read_json(_of_store(folder, uri, ".json"))) if was_sent(folder, uri) else None


@contextlib.contextmanager
def only_sender(folder: ExperimentFolder, uri: str, patience_s: float) -> Iterator[None]:
    """Be the only process that sends ``folder`` to this store; the system lets go when the process dies.

    Args:
        folder: the search.
        uri: the store.
        patience_s: how long to wait for another sender.

    Raises:
        TrackingError: another process is still sending.
    """
    path = _of_store(folder, uri, ".lock")
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("w")
    except OSError as fault:
        if fault.errno in READ_ONLY:  # an archive: nobody mirrors it, and two syncs at once are mended by the writer
            yield
            return
        raise TrackingError(f"{path} cannot be written ({fault.strerror}); free space, then sync") from fault
    with file:
        wait_for_lock(
            file.fileno(),
            patience_s,
            f"{folder.path} is being sent to {masked(uri)} by another process (a running search does so by itself); "
            f"try again when it has ended",
        )
        yield
