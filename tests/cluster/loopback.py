"""A Ray cluster of real processes on this machine, each node walled off from the others' and the driver's folders.

A node has its own folder (Ray's files, home, cache), its own host name and, where the machine allows it, its own mount
namespace, in which the folders of all other nodes and those that the caller names are empty: a path that leaks from
one node to another fails there as it would on another machine. The head is the driver's own node and sees everything.
Use :class:`LoopbackCluster` as a context manager; whatever happens inside, all its processes and folders are gone
afterwards. The fixture ``loopback`` (``conftest.py``) lends one that all tests of this folder share.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).with_name("ray")
MARK = "DCE_RAY_LOOPBACK"
"""Variable of the environment by which a node's processes are found, workers and jobs included: they inherit it."""
OBJECT_STORE_BYTES = 80 * 2**20
STARTS = 4
"""So often a node is started until it is given up."""
END_S = 30.0

WALLED = """
own=$1 all=$2
cd "$own" && mount -t tmpfs none "$all" && mkdir -p "$own" && mount --bind . "$own" && cd "$own" || exit 97
hostname "$(basename "$own")" || exit 97
small=${DCE_RAY_SMALL:-}
[ -z "$small" ] || { mkdir -p "$small" && mount -t tmpfs -o size=64k none "$small"; } || exit 97
shift 2
while [ "$1" != -- ]; do mkdir -p "$1" && mount -t tmpfs none "$1" || exit 97; shift; done
shift
exec "$@"
"""
"""Given its own and the cluster's folder, folders to hide, ``--`` and a command: run it behind the wall.
``DCE_RAY_SMALL`` names a folder that gets a disk of its own with no room on it."""


@cache
def why_no_namespaces() -> str | None:
    """Why nodes cannot have mount namespaces of their own here; None where they can."""
    command = ["unshare", "--mount", "--uts", "sh", "-c", "mount -t tmpfs none /mnt && hostname inside"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError as fault:
        return f"unshare cannot be run: {fault}"
    return None if done.returncode == 0 else f"unshare --mount --uts fails here: {done.stderr.strip()}"


def free_ports(number: int) -> list[int]:
    """Ports on which nobody listens now, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def marked(mark: str) -> Iterator[int]:
    """Processes whose environment says that they belong to a cluster (``<cluster>/``) or one of its nodes."""
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if any(each.startswith(wanted) for each in (entry / "environ").read_bytes().split(b"\0")):
                yield int(entry.name)
        except OSError:
            continue  # it has just ended


def kill_marked(mark: str) -> None:
    """SIGKILL all of them, also those that are born meanwhile."""
    deadline = time.monotonic() + END_S
    while (left := list(marked(mark))) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


@dataclass
class Node:
    """One ``ray start`` with all that it started."""

    name: str
    """Also its host name, where it has a namespace of its own."""
    folder: Path
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)

    def launch(self) -> None:
        """Start it; see :meth:`wait`."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it belongs to its cluster; Ray itself gives up after 30 s, which a busy machine may need."""
        for left in reversed(range(STARTS)):
            while "Ray runtime started" not in (said := self.log.read_text()):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
            else:
                return
            if not left:
                raise RuntimeError(f"{self.name} does not start: status {self.process.returncode}, it said:\n{said}")
            kill_marked(self.mark)
            self.launch()

    @property
    def mark(self) -> str:
        """What :data:`MARK` is for its processes."""
        return f"{self.folder}/"

    @property
    def cache(self) -> Path:
        """What ``DCE_CACHE`` is on this node."""
        return self.folder / "cache"

    @property
    def log(self) -> Path:
        """What ``ray start`` said."""
        return self.folder / "start.txt"

    def pids(self) -> list[int]:
        """Its processes that live."""
        return list(marked(self.mark))

    def kill(self) -> None:
        """SIGKILL everything of it at once, as when a machine loses its power."""
        kill_marked(self.mark)
        self.process.wait(timeout=END_S)


@dataclass
class LoopbackCluster:
    """A head and further nodes. Enter it, then use :attr:`address`, :meth:`add`, :meth:`Node.kill`.

    Args:
        nodes: further nodes that are started with the head, one CPU each; or keyword arguments of :meth:`add`.
        hidden: folders that the further nodes see empty (the driver's); they need not exist.
        head_cpus: CPUs of the head; with 0 everything runs on the further nodes.
        token: whether the cluster asks for a token.
        dashboard: whether the head serves the dashboard and the job API.
        environment: further variables of all nodes.
        walls: whether further nodes get mount and host name namespaces of their own; the test skips, with the reason,
            where they cannot.
    """

    nodes: int | Sequence[dict[str, object]] = 2
    hidden: Sequence[Path] = ()
    head_cpus: int = 1
    token: bool = False
    dashboard: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    walls: bool = True
    members: dict[str, Node] = field(default_factory=dict, init=False)
    """All nodes that were started, by name; the first is ``head``."""
    _wishes: list[tuple[Node, dict[str, object]]] = field(default_factory=list, init=False)

    def __enter__(self) -> LoopbackCluster:
        if self.walls and (why := why_no_namespaces()):
            pytest.skip(why)
        self.folder = Path(tempfile.mkdtemp(prefix="dce-", dir="/tmp"))  # short: Ray's sockets lie in it
        self.secret = secrets.token_hex(32) if self.token else None
        self.port, self.dashboard_port = free_ports(2)
        try:
            self.driver.mkdir()
            self._start("head", self._as_head(), walled=False).wait()
            self.restore()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """For ``ray.address=``, ``RAY_ADDRESS``."""
        return f"127.0.0.1:{self.port}"

    @property
    def dashboard_url(self) -> str:
        """Of the job API, with ``dashboard=True``."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def driver(self) -> Path:
        """A folder for the driver's files, which the further nodes do not see."""
        return self.folder / "driver"

    @property
    def head(self) -> Node:
        """The node that all others depend on."""
        return self.members["head"]

    def driver_environment(self, **more: str) -> dict[str, str]:
        """Environment of a driver or of a command that talks to the cluster from its head's machine.

        It does not carry the mark of the cluster: who starts a driver ends it.
        """
        auth = (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.secret} if self.secret else {"RAY_AUTH_MODE": "disabled"}
        )
        python_path = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
        common = {"PYTHONPATH": python_path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        return {**os.environ, **common, **auth, "RAY_ADDRESS": self.address, **more}

    def add(self, **wish: object) -> Node:
        """Start one more node and wait until it belongs to the cluster.

        Args:
            **wish: ``num_cpus`` (1), ``num_gpus`` (0: any number may be pretended), ``memory`` (bytes), ``resources``
                (JSON), ``name``, ``environment`` (further variables of this node), ``full`` (its cache has no room).
        """
        node = self._further(**wish)
        node.wait()
        return node

    def restore(self) -> None:
        """Have the nodes again that there were at the beginning: late ones end, killed ones get a successor."""
        wishes = [{}] * self.nodes if isinstance(self.nodes, int) else list(self.nodes)
        living = [(node, wish) for node, wish in self._wishes if node.pids()]
        for node, wish in living:
            if wish in wishes:
                wishes.remove(wish)
            else:
                node.kill()
        for node in [self._further(**wish) for wish in wishes]:
            node.wait()

    def close(self) -> None:
        """End and remove everything."""
        kill_marked(f"{self.folder}/")
        for node in self.members.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.process.wait(timeout=END_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _as_head(self) -> list[str]:
        client, *_ = free_ports(1)
        return [
            *("--head", f"--port={self.port}", f"--num-cpus={self.head_cpus}", "--num-gpus=0"),
            *(f"--ray-client-server-port={client}", f"--include-dashboard={str(self.dashboard).lower()}"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard_port}"),
        ]

    def _further(self, **wish: object) -> Node:
        node = self._walled(**wish)  # type: ignore[arg-type]
        self._wishes.append((node, wish))
        return node

    def _walled(
        self,
        *,
        num_cpus: int = 1,
        num_gpus: int = 0,
        memory: int | None = None,
        resources: str | None = None,
        name: str | None = None,
        environment: dict[str, str] | None = None,
        full: bool = False,
    ) -> Node:
        options = [f"--address={self.address}", f"--num-cpus={num_cpus}", f"--num-gpus={num_gpus}"]
        options += [f"--memory={memory}"] if memory else []
        options += [f"--resources={resources}"] if resources else []
        name = name or f"node{len(self.members)}"
        small = {"DCE_RAY_SMALL": str(self.folder / name / "cache")} if full else {}
        return self._start(name, options, walled=self.walls, more={**(environment or {}), **small})

    def _start(self, name: str, options: list[str], *, walled: bool, more: dict[str, str] | None = None) -> Node:
        folder = self.folder / name
        for inner in ("home", "cache"):
            (folder / inner).mkdir(parents=True)
        agent, metrics = free_ports(2)
        command = [
            *(str(RAY), "start", *options, "--block", "--disable-usage-stats", f"--temp-dir={folder / 'ray'}"),
            *(f"--object-store-memory={OBJECT_STORE_BYTES}", "--include-log-monitor=false"),
            *(f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}"),
        ]
        wall = ["unshare", "--mount", "--uts", "sh", "-c", WALLED, "sh", str(folder), str(self.folder)]
        wall += [*map(str, self.hidden), "--"]
        own = {"HOME": str(folder / "home"), "DCE_CACHE": str(folder / "cache"), MARK: f"{folder}/"}
        environment = self.driver_environment(**self.environment, **own, **(more or {}))
        del environment["RAY_ADDRESS"]
        self.members[name] = node = Node(name, folder, [*wall, *command] if walled else command, environment)
        node.launch()
        return node
