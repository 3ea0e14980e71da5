"""Ends a search whose Ray is dead under it, since what waits for such a Ray waits for ever or is aborted by it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

LOOK_S = 2.0
"""So often the processes of Ray are knocked at."""
GONE_S = 20.0
"""When one does not answer for so long it is dead; Ray itself aborts the process after 60 s, with words of its own."""
ANSWER_S = 5.0
EXIT_STATUS = 2

Address = str | tuple[str, int]
"""A Unix socket's path, or host and port."""


class Watch:
    """Knocks at doors that must be open as long as Ray lives.

    Args:
        doors: what listens where: Ray's head and the raylet of this machine.
        end: called with the reason when one stays shut; it does not return.
    """

    def __init__(self, doors: Mapping[str, Address], end: Callable[[str], None]) -> None:
        self.doors, self.end = doors, end
        self._stopped = threading.Event()
        self._shut_since: dict[str, float] = {}
        self._thread = threading.Thread(target=self._watch, name="ray-watch", daemon=True)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for as long as the block runs."""
        self._thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_S):
            if (reason := self.look()) and not self._stopped.is_set():
                self.end(reason)
                return

    def look(self) -> str | None:
        """Why Ray counts as dead; None while it lives, or may."""
        now = time.monotonic()
        for name, address in self.doors.items():
            if answers(address):
                self._shut_since.pop(name, None)
            elif now - self._shut_since.setdefault(name, now) >= GONE_S:
                return f"{name} has not answered for {GONE_S:.0f} s: it was killed, or its machine is out of reach"
        return None


def answers(address: Address) -> bool:
    """Whether somebody listens there."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as knock:
        knock.settimeout(ANSWER_S)
        try:
            knock.connect(address)
        except OSError:
            return False
    return True


def end_now(reason: str, go_on: str) -> None:
    """End this process and all that it started; what is written is whole at every moment, so nothing is lost.

    Args:
        reason: for the user.
        go_on: the command that goes on.
    """
    print(f"stopped: {reason}\nWhat is done is kept. Go on with: {go_on}", flush=True)
    sys.stderr.flush()
    for child in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    os._exit(EXIT_STATUS)


def descendants(process: int) -> list[int]:
    """All processes that a process started, directly or not, as far as they still know it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(parents.get(process, []))
    for one in found:  # grows while it is gone through
        found += parents.get(one, [])
    return found
