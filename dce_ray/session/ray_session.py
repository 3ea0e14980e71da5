"""Ray for the time of a search: a quiet local one by default, or a running cluster; its faults with their remedies."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from dce_ray.errors import SearchError

OBJECT_STORE_BYTES = 128 * 2**20
"""Trials exchange paths and numbers, not arrays; Ray's own default is 30 % of the memory."""
ADDRESS_PATIENCE_S = 5.0
"""For so long a cluster's head may take to let itself be spoken to."""
QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # saves the import of tensorboardX; progress.jsonl holds the results
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's snapshots are not used: the study is the truth
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "86400",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@contextlib.contextmanager
def ray_session(address: str | None, log: Path, num_cpus: int | None = None) -> Iterator[dict[str, float]]:
    """Have a Ray: the one of this process, the one at ``address`` or ``RAY_ADDRESS``, or a local one of our own.

    Args:
        address: ``auto``, ``host:port``, ``ray://...``; None starts a local Ray unless ``RAY_ADDRESS`` is set.
        log: file that takes what Ray has to say.
        num_cpus: CPUs of a local Ray; None takes what this process may use.

    Yields:
        The cluster's resources.

    Raises:
        SearchError: Ray cannot be had, with the remedy.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with logged(log):
        if ray.is_initialized():  # a Ray that the caller started is the caller's to stop
            yield cluster_resources()
            return
        _start(address or os.environ.get("RAY_ADDRESS") or "local", num_cpus)
        try:
            yield cluster_resources()
        finally:
            ray.shutdown()


def cluster_resources() -> dict[str, float]:
    """``CPU`` and ``GPU`` of all nodes that live now."""
    return {name: float(ray.cluster_resources().get(name, 0.0)) for name in ("CPU", "GPU")}


def _start(address: str, num_cpus: int | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {
            "address": "local",  # never somebody else's cluster by accident
            "num_cpus": num_cpus or len(os.sched_getaffinity(0)),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
        _check_disk()
    else:
        check_address(address)
        options["address"] = address
    try:
        with children_of_their_own_group():
            ray.init(**options)
    except Exception as fault:  # Ray raises ValueError, ConnectionError, RuntimeError and its own
        raise SearchError(remedy(address, fault)) from fault


def check_address(address: str) -> None:
    """Refuse an address at which nobody listens; Ray itself would try for minutes without a word.

    Args:
        address: ``host:port`` or ``ray://host:port``; ``auto`` and ``local`` are not asked.

    Raises:
        SearchError: with the remedy.
    """
    place = address.removeprefix("ray://")
    host, _, port = place.rpartition(":")
    if not host and place in ("auto", "local"):
        return
    if not (host and port.isdigit() and int(port) < 2**16):
        raise SearchError(f"ray.address={address}: write auto, host:port or ray://host:port")
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
    temporary = Path(os.environ.get("RAY_TMPDIR", "/tmp"))
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
    advice = next(fitting, "look into the logs in /tmp/ray/session_latest/logs" if address == "local" else JOIN)
    what = "a local Ray does not start" if address == "local" else f"no Ray cluster can be joined at {address}"
    return f"{what}: {text[:400]}\nRemedy: {advice}"


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
    (("address already in use", "port"), "a port is taken: end the program that listens there, or ray stop"),
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
