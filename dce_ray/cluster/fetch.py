"""The results of a job, from its node's disk to this one, over the dashboard alone.

A small job on the same node packs the experiment folders into a file among Ray's logs; the dashboard's log API hands it
out byte by byte, and its SHA-256 says whether all of it came.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import shlex
import shutil
import tarfile
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from dce_ray.cluster.connection import CONNECT_S, Connection
from dce_ray.cluster.entry import PLACE
from dce_ray.cluster.jobs import OWN, POLL_S, job_details, lost_contact, wait_for
from dce_ray.errors import ClusterError
from dce_ray.experiment.brought import leave_out_unknown
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import not_written
from dce_ray.places.local import appending

FOLDER_LINE = re.compile(r"^(?:experiment folder: (?=\S)|campaign: (?=/))(.+)$", re.MULTILINE)
CAMPAIGNS = "campaigns"
"""Folder in ``results`` of campaigns, which name their searches' folders from there."""
PLACE_LINE = re.compile(rf"^{re.escape(PLACE)}(.+) on \S+$", re.MULTILINE)
PACKED_LINE = re.compile(r"^packed (\S+) (\d+) ([0-9a-f]{64})$", re.MULTILINE)
GOES_ON = ("study.journal", "clock.json", "campaign.json")
"""Of a fetched folder: written by a search that goes on, and by no report."""
FETCHED = "fetched.json"
"""Marks a folder here as a copy that a later fetch may replace."""
PACK_S = 600.0
END_S = 30.0


@dataclass(frozen=True)
class Packed:
    """A tar file among a node's logs."""

    node: str
    """Ray's identity of the node."""
    file: str
    size: int
    digest: str
    """SHA-256."""


def fetch(connection: Connection, job: str, target: Path) -> list[Path]:
    """Bring the experiment folders of a job here; one that is still running gives what is there now.

    Args:
        connection: to the cluster.
        job: its name.
        target: folder that gets ``<data>/<baseline>/<name>``, as ``results=`` does.

    Returns:
        The folders here.

    Raises:
        ClusterError: the job made no folder, the folder is gone, or what came is damaged; nothing is left then.
        OutputError: the disk here is full or not writable.
    """
    details = job_details(connection, job)
    folders = experiment_folders(connection.client.get_job_logs(job), job)
    homes = [target.joinpath(*place_in_results(folder)) for folder in folders]
    _check_targets(homes)
    with _packed(connection, details, folders) as packed:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target) as staging:
            archive = Path(staging) / "archive.tar.gz"
            _download(connection, packed, archive)
            came = unpack(archive, folders)
            for folder, fetched, home in zip(folders, came, homes, strict=True):
                source = {"job": job, "address": connection.address, "folder": folder, "at": time.time()}
                mark_fetched(fetched, source)
                _put(fetched, home, Path(staging) / f"former-{fetched.name}")
    return homes


def unpack(archive: Path, folders: list[str]) -> list[Path]:
    """Unpack what :mod:`dce_ray.cluster.pack` wrote, beside the file, as experiment folders that can be gone on with.

    Args:
        archive: the file.
        folders: what was packed, as the cluster calls it.

    Returns:
        The folders here, in the same order.

    Raises:
        ClusterError: it holds something else.
        OutputError: the disk is full or not writable.
    """
    try:
        with tarfile.open(archive) as content:
            content.extractall(archive.parent, filter="data")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as fault:
        raise ClusterError(
            f"{', '.join(folders)}: what was packed there cannot be unpacked here ({fault}); fetch again, and where it "
            f"stays so, copy the folder by hand"
        ) from fault
    except OSError as fault:
        raise not_written(archive.parent.parent, fault) from fault
    came = [archive.parent / str(number) for number in range(len(folders))]
    if empty := [folder for folder, path in zip(folders, came, strict=True) if not path.is_dir()]:
        raise ClusterError(f"{', '.join(empty)}: holds no file yet, or none any more; fetch again")
    for path in came:
        if (path / "config.json").is_file():  # a campaign's own folder has no runs
            leave_out_unknown(ExperimentFolder(path))
    return came


def mark_fetched(folder: Path, source: Mapping[str, Any]) -> None:
    """Note where a copy comes from, at a time that is not before any of its files: the cluster has another clock."""
    (folder / FETCHED).write_text(json.dumps(source) + "\n")
    latest = max(time.time(), *(_written(folder / name) for name in GOES_ON))
    os.utime(folder / FETCHED, (latest, latest))


def place_in_results(folder: str) -> tuple[str, ...]:
    """Parts of a folder's path below ``results``: three of an experiment, two of a campaign.

    >>> place_in_results("/home/me/results/hapt/delu/one"), place_in_results("/home/me/results/campaigns/all")
    (('hapt', 'delu', 'one'), ('campaigns', 'all'))
    """
    parts = PurePosixPath(folder).parts
    return parts[-2:] if parts[-2:-1] == (CAMPAIGNS,) else parts[-3:]


def experiment_folders(log: str, job: str) -> list[str]:
    """Absolute paths of the experiment folders that a search's log names, each once.

    Raises:
        ClusterError: it names none, or relative ones that count from a folder that Ray deletes.
    """
    named = list(dict.fromkeys(line.strip() for line in FOLDER_LINE.findall(log)))
    if not named:
        raise ClusterError(
            f"job={job}: has made no experiment folder (its log names none); see why with "
            f"'python -m dce_ray.cluster logs job={job}'"
        )
    place = PLACE_LINE.search(log)
    if place is None and any(not PurePosixPath(folder).is_absolute() for folder in named):
        raise ClusterError(
            f"job={job}: its results lie in the job's own working folder ({named[0]}), which Ray removes. Give "
            f"results=<absolute path on the head>, or submit with python -m dce_ray.cluster submit"
        )
    return [str(PurePosixPath(place.group(1)) / folder) if place else folder for folder in named]


def _check_targets(homes: list[Path]) -> None:
    for home in homes:
        if any(_written(home / name) > _written(home / FETCHED) for name in GOES_ON if (home / FETCHED).is_file()):
            raise ClusterError(
                f"{home}: was fetched and then gone on with here; to fetch would put the older state in its place. "
                f"Give target=<another folder>, or move it away"
            )
    foreign = [str(home) for home in homes if home.exists() and not (home / FETCHED).is_file()]
    if foreign:
        raise ClusterError(
            f"{', '.join(foreign)}: is there already and was not fetched; give target=<another folder>, or move it away"
        )


def _written(path: Path) -> float:
    """When a file was written, seconds since 1970; 0 where there is none."""
    return path.stat().st_mtime if path.is_file() else 0.0


@contextlib.contextmanager
def _packed(connection: Connection, details: Any, folders: list[str]) -> Iterator[Packed]:
    """Inside the block, a file on the job's node that holds the folders."""
    node = details.driver_node_id
    script = files("dce_ray.cluster").joinpath("pack.py").read_text()
    job = connection.client.submit_job(
        entrypoint=shlex.join(["python", "-c", script, *folders]),
        submission_id=f"{OWN}{uuid.uuid4().hex[:12]}",
        metadata={"arguments": f"fetch of {details.submission_id}"},
        runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(int(END_S))}},  # else killed with its file left
        entrypoint_label_selector={"ray.io/node-id": node},
    )
    try:
        yield Packed(node, *_await_packed(connection, job, folders))
    finally:
        with contextlib.suppress(RuntimeError, *lost_contact()):  # it ends by itself after an hour
            connection.client.stop_job(job)
            wait_for(connection, job, 2 * END_S)


def _await_packed(connection: Connection, job: str, folders: list[str]) -> tuple[str, int, str]:
    deadline = time.monotonic() + PACK_S
    while time.monotonic() < deadline:
        details = job_details(connection, job)
        log = connection.client.get_job_logs(job) or ""
        if found := PACKED_LINE.search(log):
            return found.group(1), int(found.group(2)), found.group(3)
        if details.status.is_terminal():
            gone = re.search(r"^missing (.+)$", log, re.MULTILINE)
            reason = f"{gone.group(1)} is not on the job's node any more" if gone else (details.message or log)[-300:]
            raise ClusterError(f"{', '.join(folders)}: cannot be packed there: {reason}")
        time.sleep(POLL_S)
    raise ClusterError(
        f"{', '.join(folders)}: was not packed in {PACK_S / 60:.0f} min; is the node busy or its disk full?"
    )


def _download(connection: Connection, packed: Packed, target: Path) -> None:
    """Stream the file here, where there is none yet, and compare it with what was sent."""
    query = {"node_id": packed.node, "filename": packed.file, "lines": "-1", "timeout": "3600"}
    answer = connection.client._do_request(
        "GET", "/api/v0/logs/file", params=query, stream=True, timeout=(CONNECT_S, 300.0)
    )
    if not answer.ok:
        raise ClusterError(
            f"{packed.file}: the dashboard does not hand it out (status {answer.status_code}): {answer.text[:300]}"
        )
    found = hashlib.sha256()
    with appending(target) as (_, write):
        for piece in answer.iter_content(1 << 20):
            write(piece)
            found.update(piece)
    if found.hexdigest() != packed.digest:
        arrived = target.stat().st_size
        raise ClusterError(f"{packed.file}: {arrived} of {packed.size} bytes came, or others than sent; fetch again")


def _put(fetched: Path, home: Path, former: Path) -> None:
    """Put a fetched folder in its place; a former copy of it goes."""
    home.parent.mkdir(parents=True, exist_ok=True)
    if home.exists():
        home.replace(former)
    fetched.replace(home)
    shutil.rmtree(former, ignore_errors=True)
