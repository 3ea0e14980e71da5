"""A job's log as it grows, to its end, over a connection that may break."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from dce_ray.cluster.connection import Connection
from dce_ray.cluster.jobs import LostConnection, job_details, lost_contact
from dce_ray.errors import ClusterError
from dce_ray.words import command_line

SILENCE_S = 60.0
"""After so long without a line the connection is made anew: a dead one may look like a silent job."""
PATIENCE_S = 600.0
"""For so long the cluster may be out of reach before following it ends; the job goes on without us."""
PAUSE_S = (0.5, 1.0, 2.0, 5.0)
"""Between tries to reach it again; the last one repeats."""


@dataclass
class Log:
    """What was shown of a log: the server begins anew with every connection, we do not."""

    write: Callable[[str], object]
    shown: int = 0
    """Characters."""
    arrived: int = field(default=0, init=False)
    """Of this connection."""

    def restart(self) -> None:
        """A new connection sends the log from its beginning."""
        self.arrived = 0

    def take(self, text: str) -> None:
        """Show what is new in the next piece."""
        new = text[max(self.shown - self.arrived, 0) :]
        self.arrived += len(text)
        if new:
            self.write(new)
            self.shown += len(new)


def write_out(text: str) -> None:
    """To standard output, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def tell(text: str) -> None:
    """A line of our own, apart from the job's."""
    print(text, file=sys.stderr, flush=True)


def follow(connection: Connection, job: str, *, patience_s: float = PATIENCE_S, write: Any = write_out) -> Any:
    """Show a job's log until it has ended, through lost connections.

    Args:
        connection: to the cluster.
        job: its name.
        patience_s: for so long the cluster may be out of reach.
        write: takes pieces of the log.

    Returns:
        Ray's details of the ended job.

    Raises:
        ClusterError: there is no such job, or the cluster stays out of reach.
    """
    job_details(connection, job)
    log, reached, tries = Log(write), time.monotonic(), 0
    while True:
        before = log.shown
        try:
            asyncio.run(_tail(connection, job, log))
            details = job_details(connection, job)
            if details.status.is_terminal():
                return details
            reached = time.monotonic()
        except lost_contact() as fault:
            reached = time.monotonic() if log.shown > before else reached
            if time.monotonic() - reached > patience_s:
                raise ClusterError(_given_up(connection.address, job, patience_s)) from fault
            if tries == 0:
                tell(f"the connection to {connection.address} is lost; the job goes on, trying to reach it again")
            time.sleep(PAUSE_S[min(tries, len(PAUSE_S) - 1)])
            tries += 1
            continue
        tries = 0


async def _tail(connection: Connection, job: str, log: Log) -> None:
    """Show what one connection sends, until it ends or is silent for long."""
    log.restart()
    pieces: AsyncIterator[str] = connection.client.tail_job_logs(job).__aiter__()
    while True:
        try:
            log.take(await asyncio.wait_for(anext(pieces), SILENCE_S))
        except (StopAsyncIteration, TimeoutError):
            return
        except RuntimeError as fault:  # Ray's client has no other word for a connection that broke
            raise LostConnection(str(fault)) from fault


def _given_up(address: str, job: str, patience_s: float) -> str:
    return (
        f"job={job}: {address} has been out of reach for {patience_s / 60:.0f} min. The job is not stopped by that: "
        f"{command_line('dce_ray.cluster logs', address=address, job=job)} follows it again. Where the head itself is "
        f"gone, start the cluster and submit 'resume=<folder>'"
    )
