"""Ray for the time of a search: a quiet local one by default, or a running cluster; its faults with their remedies."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from dce_ray.errors import SearchError
from dce_ray.interrupts import sigterm_kept
from dce_ray.session.address import address_fault
from dce_ray.session.gpu_nodes import with_gpu_memory
from dce_ray.session.gpus import gpu_memory
from dce_ray.session.limits import available_bytes, usable_cpus
from dce_ray.session.resources import Node
from dce_ray.session.sharing import share_held
from dce_ray.session.watch import Address, Watch, end_now
from dce_ray.words import counted

OBJECT_STORE_BYTES = 128 * 2**20
"""Trials exchange paths and numbers, not arrays; Ray's own default is 30 % of the memory."""
FIRST_NODE_S = 600.0
"""For so long the first node of a cluster that can run anything is waited for: a machine in a cloud takes minutes."""
ADDRESS_PATIENCE_S = 5.0
"""For so long a cluster's head may take to let itself be spoken to."""
STARTS = 3
"""So often a local Ray is started that is not there after the 30 s that Ray gives it: a busy machine may need more."""
TOO_SLOW = "timed out during startup"
QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # saves the import of tensorboardX; progress.jsonl holds the results
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's snapshots are not used: the study is the truth
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "86400",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "10000",  # processes start as many at once as there are slots; Tune's default is 1
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@contextlib.contextmanager
def ray_session(
    address: str | None, log: Path, num_cpus: int | None = None, *, go_on: str = "the same command"
) -> Iterator[list[Node]]:
    """Have a Ray: the one of this process, the one at ``address`` or ``RAY_ADDRESS``, or a local one of our own.

    Args:
        address: ``auto``, ``host:port``; None starts a local Ray unless ``RAY_ADDRESS`` is set.
        log: file that takes what Ray has to say.
        num_cpus: CPUs of a local Ray; None takes what this process may use and other searches leave.
        go_on: the command that goes on when Ray dies. This process then ends at once: what waits for a dead Ray does
            not come back.

    Yields:
        The cluster's nodes, with the memory of their GPUs.

    Raises:
        SearchError: Ray cannot be had, with the remedy.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with logged(log):
        if ray.is_initialized():  # a Ray that the caller started is the caller's to stop
            yield with_gpu_memory(living_nodes())
            return
        with _begun(address or os.environ.get("RAY_ADDRESS") or "local", log.parent, num_cpus):
            try:
                with Watch(_doors(), functools.partial(end_now, go_on=go_on)).watching():
                    yield with_gpu_memory(first_nodes())
            finally:
                with sigterm_kept():
                    ray.shutdown()


@contextlib.contextmanager
def _begun(address: str, place: Path, num_cpus: int | None) -> Iterator[None]:
    """Join a Ray, or start one with what other searches leave of this machine, and say what that is."""
    if address != "local":
        _start(address, num_cpus)
        yield
        return
    with share_held(place, num_cpus) as share:
        memory = gpu_memory()
        for line in filter(None, [share.line, memory.line if memory else ""]):
            print(line, flush=True)
        _start(address, share.cpus)
        yield


def _doors() -> dict[str, Address]:
    """Where Ray's head and the raylet that this process talks to listen."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    doors: dict[str, Address] = {f"Ray's head at {host}:{port}": (host, int(port))}
    raylet = getattr(ray._private.worker.global_worker.node, "raylet_socket_name", None)  # no public name
    if raylet:
        doors["the raylet of this machine"] = raylet
    return doors


def first_nodes() -> list[Node]:
    """The nodes that live, as soon as one of them has a CPU: those of a cluster that has just begun come one by one.

    Raises:
        SearchError: none has come for ``FIRST_NODE_S``.
    """
    until, told = time.monotonic() + FIRST_NODE_S, False
    while True:
        nodes = living_nodes()
        if any(node.cpus for node in nodes):
            return nodes
        if time.monotonic() > until:
            raise SearchError(
                f"no node with a CPU has come for {FIRST_NODE_S / 60:g} minutes; see with 'ray status' which live, and "
                f"start one: ray start --address=<host:port>"
            )
        if not told:
            print(f"note: no node has a CPU yet; one is waited for, for {FIRST_NODE_S / 60:g} minutes", flush=True)
            told = True
        time.sleep(1.0)


def living_nodes() -> list[Node]:
    """The nodes that live now; how much memory their GPUs have is not asked."""
    return [
        Node(
            cpus=float(node["Resources"].get("CPU", 0.0)),
            gpus=float(node["Resources"].get("GPU", 0.0)),
            memory=float(node["Resources"].get("memory", math.inf)),
            id=node["NodeID"],
            host=node["NodeManagerHostname"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def local_memory() -> int:
    """Bytes that a local Ray may give to runs."""
    return max(int(available_bytes()) - OBJECT_STORE_BYTES, 2**20)


def _start(address: str, num_cpus: int | None) -> None:
    if wrong := address_fault(address):
        raise SearchError(f"ray.address={address}: {wrong}")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {
            "address": "local",  # never somebody else's cluster by accident
            "num_cpus": num_cpus,
            "_memory": local_memory(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
        _check_disk()
    else:
        check_address(address)
        options["address"] = address
    for left in reversed(range(STARTS)):
        try:
            with children_of_their_own_group(), sigterm_kept():
                ray.init(**options)
        except Exception as fault:  # Ray raises ValueError, ConnectionError, RuntimeError and its own
            if left and TOO_SLOW in str(fault):
                ray.shutdown()
                continue
            raise SearchError(remedy(address, fault)) from fault
        return


def check_address(address: str) -> None:
    """Refuse an address at which nobody listens; Ray itself would try for minutes without a word.

    Args:
        address: ``host:port``; ``auto`` and ``local`` are not asked.

    Raises:
        SearchError: with the remedy.
    """
    place = address
    host, _, port = place.rpartition(":")
    if not host and place in ("auto", "local"):
        return
    if not (host and port.isdigit() and int(port) < 2**16):
        raise SearchError(f"ray.address={address}: write auto or host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ADDRESS_PATIENCE_S).close()
    except (OSError, UnicodeError) as fault:
        raise SearchError(remedy(address, fault)) from fault


@contextlib.contextmanager
def children_of_their_own_group() -> Iterator[None]:
    """Inside the block, every process that is started leads a process group of its own.

    A signal that is sent to the group of the search (``kill -TERM -<group>``, a batch system's end of time) is then for
    the search alone, which ends its Ray itself. Ray's own processes would end at once, and the search wait for them for
    a minute, to be aborted by Ray then. They die with the search all the same: the kernel is told so by Ray.
    """
    before = subprocess.Popen.__init__

    @functools.wraps(before)
    def start(self: subprocess.Popen[Any], *arguments: Any, **options: Any) -> None:
        before(self, *arguments, **({"process_group": 0} | options))

    subprocess.Popen.__init__ = start  # type: ignore[method-assign]
    try:
        yield
    finally:
        subprocess.Popen.__init__ = before  # type: ignore[method-assign]


def _check_disk() -> None:
    largest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if 0 <= largest < OBJECT_STORE_BYTES:
        raise SearchError(
            f"a local Ray keeps a file of {OBJECT_STORE_BYTES / 2**20:.0f} MiB, and this shell's limit on files is "
            f"{largest / 2**20:.3g} MiB; raise it: ulimit -f unlimited"
        )
    temporary = _temporary()
    free = shutil.disk_usage(temporary).free
    if free < 2 * OBJECT_STORE_BYTES:
        raise SearchError(
            f"Ray keeps its files in {temporary}, where {free / 2**20:.0f} MiB are free; "
            f"free some, or set RAY_TMPDIR to a folder with 256 MiB"
        )


def remedy(address: str, fault: BaseException) -> str:
    """What to do when Ray does not start or cannot be joined."""
    text = " ".join(str(fault).split())
    lowered = f"{type(fault).__name__} {text}".lower()
    fitting = (
        advice
        for words, advice in REMEDIES
        if any(word in lowered for word in words) and (advice != JOIN or address != "local")
    )
    advice = next(fitting, _own_logs(busy=TOO_SLOW in text) if address == "local" else JOIN)
    what = "a local Ray does not start" if address == "local" else f"no Ray cluster can be joined at {address}"
    return f"{what}: {text[:400]}\nRemedy: {advice}"


def _temporary() -> Path:
    """Where Ray keeps its files."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


def _own_logs(*, busy: bool) -> str:
    """Where the local Ray that this process began has its logs: ``session_latest`` is of whichever began last.

    Args:
        busy: whether it did not come up in the time that Ray gives it.
    """
    own = sorted((_temporary() / "ray").glob(f"session_*_{os.getpid()}"))
    logs = f"look into its logs in {own[-1] / 'logs'}" if own else "it has not come so far as to write logs"
    if not busy:
        return logs
    return (
        f"give the same command again once less runs here: a very busy machine is too slow for Ray's start, tried "
        f"{STARTS} times (load average {os.getloadavg()[0]:.1f}, {counted(usable_cpus(), 'CPU')}); else {logs}"
    )


JOIN = (
    "see with 'ray status --address=<host:port>' whether it runs; "
    "without ray.address= and RAY_ADDRESS a local Ray starts"
)
REMEDIES = (
    (
        ("auth", "token"),
        "the cluster asks for a token, or this side has another one: export RAY_AUTH_MODE=token on all machines and "
        "give them the same ~/.ray/auth_token (ray get-auth-token --generate) or RAY_AUTH_TOKEN",
    ),
    (
        ("/dev/shm", "shared memory", "plasma"),
        "the shared memory is too small: mount a larger /dev/shm (docker run --shm-size=1g)",
    ),
    (
        ("object store memory", "minimum allowed", "memory usage", "out of memory", "cannot allocate"),
        "too little memory is free for Ray's object store (128 MiB): end other programs",
    ),
    (("address already in use", "port"), "a port is taken: end the program that listens there"),
    (("no space left",), "the disk is full: free space, or set RAY_TMPDIR to another disk"),
    (("permission denied", "read-only file system"), "Ray writes to ~/.ray and /tmp/ray: set HOME and RAY_TMPDIR"),
    (("could not find any running ray", "failed to connect", "connection", "unreachable", "timed out"), JOIN),
)


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Send what Ray and Optuna log into a file, for the time of the search, and nothing of it to the terminal."""
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    before = []
    for name in ("ray", "optuna", "py.warnings"):
        logger = logging.getLogger(name)
        before.append((logger, logger.handlers[:], logger.propagate, logger.level))
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, handlers, propagate, level in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        handler.close()
