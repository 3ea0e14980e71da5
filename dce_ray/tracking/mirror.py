"""The mirror: a process beside the search that keeps sending the experiment folder to MLflow.

It reads only what the search wrote to disk, so that nothing that happens to it or to the server reaches a trial. The
search holds its standard input: a word on it, or its end, is the end of the search (also where that was killed).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from dce_ray.errors import DceError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.interrupts import ends_at_once
from dce_ray.tracking.address import VARIABLE, Address, address_of, sync_command, ui_command
from dce_ray.tracking.connection import ENVIRONMENT
from dce_ray.tracking.state import last_report
from dce_ray.tracking.sync_report import SyncReport

LIMIT_S = 60.0
"""How long a search waits at its end for what is still to be sent."""
SILENT_LIMIT_S = 20.0
"""How long it waits for a store that does not answer; once it does, the whole limit holds again."""
REST = 4.0
"""After a pass the mirror rests this many times the processor time that it took."""
LONGEST_REST_S = 15.0
LONGEST_PAUSE_S = 60.0
"""While the store does not answer."""
INCOMPLETE = 3
"""Exit status of a mirror whose time was over before everything was sent; an error that nobody foresaw gives 1."""
GRACE_S = 5.0
"""What the mirror gets on top of its limit to end a request."""


@dataclass(slots=True)
class Mirror:
    """Handle of a running mirror; :attr:`message` is complete once the ``with`` block has ended."""

    folder: ExperimentFolder
    uri: str | None
    address: Address
    process: subprocess.Popen[bytes] | None
    limit_s: float = LIMIT_S
    lines: list[str] = field(default_factory=list)
    died: str = ""
    """How the mirror's process ended where it should not have; empty where it came to its own end."""

    @property
    def report(self) -> SyncReport | None:
        """What the mirror's last pass came to; None before its first."""
        return last_report(self.folder, self.address.uri)

    @property
    def message(self) -> str:
        """What to print at the end: how to open the UI, and what could not be sent."""
        return "\n".join(self.lines)

    def close(self) -> None:
        """Wait until everything is sent, at most ``limit_s`` seconds, and end the process."""
        try:
            self._end()
        finally:
            self.lines = closing_lines(self.folder, self.uri, self.address, self.died)

    def leave(self) -> None:
        """Let the process send the rest by itself, as where the search was killed, and wait for nothing."""
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError):  # it has died
                self.process.stdin.close()
        self.lines = closing_lines(self.folder, self.uri, self.address, self.died)

    def _end(self) -> None:
        process = self.process
        if process is None:
            return
        with contextlib.suppress(OSError):  # it has died
            assert process.stdin is not None
            process.stdin.write(f"{self.limit_s}\n".encode())
            process.stdin.close()
        try:
            ended = process.wait(self.limit_s + GRACE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C: the user has waited enough
            process.kill()
            process.wait()
        else:
            if ended not in (0, INCOMPLETE):
                self.died = f"signal {-ended}" if ended < 0 else f"exit status {ended}"


@contextlib.contextmanager
def start_mirror(folder: ExperimentFolder, uri: str | None = None, *, limit_s: float = LIMIT_S) -> Iterator[Mirror]:
    """Mirror ``folder`` into MLflow while the ``with`` block runs; afterwards print ``mirror.message``.

    Args:
        folder: what the search writes.
        uri: tracking URI; None is ``MLFLOW_TRACKING_URI``, else the database of the results folder.
        limit_s: seconds that the end of the block waits for what is still to be sent.

    Raises:
        TrackingError: for an address that is none, before anything starts. A store that does not answer is no error:
            what it misses is sent later.
    """
    address = address_of(folder, uri)
    mirror = Mirror(folder, uri, address, _start(folder, address), limit_s)
    try:
        yield mirror
    except BaseException as fault:
        if ends_at_once(fault):
            mirror.leave()
        else:
            mirror.close()
        raise
    mirror.close()


def _start(folder: ExperimentFolder, address: Address) -> subprocess.Popen[bytes] | None:
    command = [sys.executable, "-m", "dce_ray.tracking", "mirror", str(folder.path)]
    try:
        with folder.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | ENVIRONMENT | {"OMP_NUM_THREADS": "1", VARIABLE: address.uri},  # ps shows no password
                start_new_session=True,  # Ctrl-C is for the search, which then lets the mirror finish
            )
    except OSError:  # no process to be had: the closing message says that nothing was sent
        return None


def closing_lines(folder: ExperimentFolder, uri: str | None, address: Address, died: str = "") -> list[str]:
    """What a command prints when its search has ended.

    Args:
        folder: of the search.
        uri: as the user gave it.
        address: the store.
        died: how the mirror's process ended before its time; its last report is then of before that.
    """
    try:
        report = last_report(folder, address.uri)
    except DceError as fault:
        report = None
        lines = [f"MLflow: {fault}"]
    else:
        lines = []
    if died:
        lines.append(
            f"warning: the mirror into MLflow died ({died}; {folder.log} may say why), so MLflow may lack what came "
            f"after. Nothing is lost: all results are in {folder.path}. Send the rest: {sync_command(folder, uri)}"
        )
    elif report is None or not report.complete:
        lines += [str(report)] if report else [f"MLflow {address.shown}: nothing was sent; {folder.log} may say why"]
        lines.append(f"Nothing is lost: all results are in {folder.path}. Send the rest: {sync_command(folder, uri)}")
    if report is not None and report.url:
        opener = ui_command(address)
        lines += [f"Compare in MLflow: {opener}", f"then open  {report.url}"] if opener else [f"MLflow: {report.url}"]
    return lines


def run_mirror(folder: ExperimentFolder, address: Address, interval_s: float) -> int:
    """The mirror's process: passes until the search ends, then until everything is sent or the limit is over.

    Args:
        folder: the search.
        address: the store.
        interval_s: pause between two passes; doubled after each that fails, up to a minute.

    Returns:
        Exit status: 0 when MLflow holds everything, else :data:`INCOMPLETE`.
    """
    from dce_ray.tracking.state import only_sender
    from dce_ray.tracking.writer import Writer

    os.nice(10)  # trials come first
    with only_sender(folder, address.uri, patience_s=2 * LIMIT_S):
        writer = Writer(folder, address)
        pause = interval_s
        limit_s = _wait_for_end(pause)
        while limit_s is None:
            computed = time.process_time()  # waiting for a slow server costs the trials nothing
            report = writer.send(live=True)
            rest_s = REST * (time.process_time() - computed)
            pause = min(LONGEST_PAUSE_S, 2 * pause) if report.faults else max(interval_s, min(LONGEST_REST_S, rest_s))
            limit_s = _wait_for_end(pause)
        ended = time.monotonic()
        while True:
            report = writer.send(live=False)
            allowed_s = min(limit_s, SILENT_LIMIT_S) if report.experiment_id is None else limit_s
            if report.complete or time.monotonic() + 2 > ended + allowed_s:
                return 0 if report.complete else INCOMPLETE
            time.sleep(2)


def _wait_for_end(seconds: float) -> float | None:
    """Wait for the search's word; the seconds it grants for the rest, or None while it goes on."""
    import select

    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if not ready:
        return None
    word = sys.stdin.readline().strip()
    return float(word) if word else LIMIT_S
