"""What the nodes of a cluster see, asked of each before the first run: the data, the storage, the experiment folder."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dce_ray.errors import DceError, SearchError
from dce_ray.places import Place, is_bucket
from dce_ray.store.node_cache import remote_manifest
from dce_ray.store.schema import read_manifest
from dce_ray.words import counted

ANSWER_S = 120.0
"""For so long a node's answer is waited for; it may have to start a process first."""
NAMED = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every node must see."""

    file: str
    """In the experiment folder, by which it is known."""
    mark: str
    """What the driver wrote into it."""
    data: str
    """Folder or address of the feature store."""
    digest: str
    """Of the store."""
    storage: str | None = None
    """What ``storage=`` says."""
    seen: str = ""
    """Name of a file that the driver has written there."""
    keys: tuple[str, ...] = ("data", "storage")
    """Of these two, what the command takes: a remedy names no other key."""


@dataclass(frozen=True, slots=True)
class View:
    """What one node sees."""

    host: str
    folder: bool
    """Whether its folder of that path is the driver's."""
    fault: str | None
    """Why no run can go on there."""


def check_nodes(
    mark: Path, data: str, digest: str, storage: str | None = None, *, keys: tuple[str, ...] = ("data", "storage")
) -> None:
    """Refuse to start where a node could not run a run; say what is lost with a node where the disk is not shared.

    Args:
        mark: file by which the experiment's folder is known, locked by this process.
        data: folder or address of the feature store.
        digest: of the store.
        storage: what ``storage=`` says.
        keys: of ``data`` and ``storage``, what the command takes now; a remedy names no other key.

    Raises:
        SearchError: with what each node lacks, and the remedy.
        StorageError: the storage does not answer, or refuses.
    """
    own = ray.get_runtime_context().get_node_id()
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    others = [node for node in nodes if node != own]
    if not others:
        return
    wanted = Wanted(str(mark), mark.read_text(), data, digest, storage, f".seen-{uuid4().hex}", keys)
    place = Place.at(storage) if storage else None
    if place:
        place.write(wanted.seen, wanted.mark.encode())
    try:
        views = _views(others, wanted)
    finally:
        if place:
            place.remove(wanted.seen)
    _refuse(views)
    apart = [view.host for view in views if not view.folder]
    if apart and storage is None:
        print(unseen(mark.parent, apart, keys))


def unseen(folder: Path, hosts: Sequence[str], keys: tuple[str, ...]) -> str:
    """What is lost with a node that does not see the experiment folder, and the remedy that the command has."""
    lets = "storage=<a folder that all nodes reach, or s3://...> lets it go on"
    return (
        f"note: {folder} is not seen on {counted(len(hosts), 'node')} ({_named(hosts)}): a run that loses its process "
        f"there starts again; {lets if 'storage' in keys else 'on a disk that all nodes share it would go on'}"
    )


def _refuse(views: Sequence[View]) -> None:
    faults: dict[str, list[str]] = {}
    for view in views:
        if view.fault:
            faults.setdefault(view.fault, []).append(view.host)
    if faults:
        lines = "".join(f"\n  {_named(hosts)}: {fault}" for fault, hosts in faults.items())
        lacking = sum(map(len, faults.values()))
        raise SearchError(f"{lacking} of {counted(len(views), 'further node')} cannot run this search:{lines}")


def _views(nodes: Sequence[str], wanted: Wanted) -> list[View]:
    """What these nodes say, of those that answer."""
    ask = ray.remote(num_cpus=0, max_retries=0)(look)
    there = [ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)) for node in nodes]
    answered, silent = ray.wait([one.remote(wanted) for one in there], num_returns=len(there), timeout=ANSWER_S)
    if silent:
        print(
            f"note: {counted(len(silent), 'node')} did not answer within {ANSWER_S:g} s, so nobody knows whether "
            f"{'it sees' if len(silent) == 1 else 'they see'} the data; runs that cannot run there go elsewhere"
        )
    views = []
    for answer in answered:
        try:
            views.append(ray.get(answer))
        except ray.exceptions.RayError as fault:  # the node has just been lost, or does not have this package
            log.warning("a node gave no answer: %s", fault)
    return views


def look(wanted: Wanted) -> View:
    """What this node sees; runs there."""
    path = Path(wanted.file)
    sees = path.is_file() and path.read_text() == wanted.mark
    try:
        fault = _data_fault(wanted) or _storage_fault(wanted)
    except DceError as reason:
        fault = str(reason)
        if not (is_bucket(wanted.data) or wanted.storage):
            fault += f"; every node must reach the data: {_reach(wanted.keys)}"
    return View(socket.gethostname(), sees, fault)


def _reach(keys: tuple[str, ...]) -> str:
    if "data" not in keys:
        return "share the disk that it lies on, or copy it to the same place there; another place makes another search"
    bucket = "data=s3://... (python -m dce_ray.store copy store=<here> target=s3://...)"
    shared = "a folder that all nodes share"
    along = ", or storage=s3://..., which takes the data along"
    return f"{bucket}, {shared}{along}" if "storage" in keys else f"{bucket}, or {shared}"


def _data_fault(wanted: Wanted) -> str | None:
    data = wanted.data
    found = (remote_manifest(data) if is_bucket(data) else read_manifest(Path(data))).digest
    if found == wanted.digest:
        return None
    best = ", best with data=s3://..." if "data" in wanted.keys else ""
    return (
        f"{data} holds other data there (digest {found[:12]}, expected {wanted.digest[:12]}); give all nodes the same "
        f"store{best}"
    )


def _storage_fault(wanted: Wanted) -> str | None:
    if wanted.storage is None:
        return None
    place = Place.at(wanted.storage)
    place.check()
    if place.read(wanted.seen) != wanted.mark.encode():
        return f"storage={place} is another place there: give a folder that all nodes share, or s3://..."
    return None


def _named(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else ""
    return ", ".join(sorted(hosts)[:NAMED]) + more
