"""What is known of jobs: their state, their exit status, a list; and how one is stopped."""

from __future__ import annotations

import time
from typing import Any

from dce_ray.cluster.connection import Connection, unreachable
from dce_ray.errors import ClusterError, nearest
from dce_ray.words import command_line

SUCCEEDED, FAILED, STOPPED = "SUCCEEDED", "FAILED", "STOPPED"
SIGNALLED = 128
"""A process that a signal ended has this more than the signal's number as its exit status, as in a shell."""
STOPPED_STATUS = 130
POLL_S = 0.5
LOG_AGAIN = ", last available logs"
"""Behind this Ray's message repeats the log."""
OWN = "dce-fetch-"
"""Begins the names of jobs that bring results: they are asked to end, and would look stopped."""


def lost_contact() -> tuple[type[BaseException], ...]:
    """Exceptions of a connection that broke, was refused or timed out."""
    import aiohttp
    import requests

    return (requests.ConnectionError, requests.Timeout, aiohttp.ClientError, ConnectionError, LostConnection)


class LostConnection(Exception):
    """A connection ended in the middle, as Ray's client tells it (a bare RuntimeError)."""


def job_details(connection: Connection, job: str) -> Any:
    """Ray's details of a job.

    Raises:
        ClusterError: the cluster has none of that name.
        LostConnection: the dashboard answers, but its parts do not yet.
    """
    try:
        return connection.client.get_job_info(job)
    except RuntimeError as fault:
        if "404" in str(fault):
            raise ClusterError(_no_such_job(connection, job)) from fault
        raise LostConnection(str(fault)) from fault


def _no_such_job(connection: Connection, job: str) -> str:
    names = [str(each.submission_id) for each in submitted(connection)]
    guess = nearest(job, names)
    hint = f" (did you mean {guess}?)" if guess else ""
    return (
        f"job={job}: the cluster at {connection.address} has no such job{hint}; it knows {len(names)} that were "
        f"submitted since its head started: {command_line('dce_ray.cluster list', address=connection.address)}"
    )


def submitted(connection: Connection) -> list[Any]:
    """Ray's details of all submitted jobs but those of ``fetch``, the oldest first."""
    found = connection.client.list_jobs()
    jobs = [each for each in found if each.submission_id and not each.submission_id.startswith(OWN)]
    return sorted(jobs, key=lambda each: each.start_time or 0)


def exit_status(details: Any) -> int:
    """The exit status of an ended job as a shell gives it (a signal's is 128 more); never 0 for a failure."""
    code: int | None = details.driver_exit_code
    if details.status == SUCCEEDED:
        return 0
    if details.status == STOPPED:
        return code if code is not None and code > 0 else STOPPED_STATUS
    if code is None or code == 0:
        return 1
    return code if code > 0 else SIGNALLED - code


def described(details: Any) -> str:
    """All that is known of a job, in lines."""
    lines = [
        f"{details.submission_id}: {details.status.value}{_ended(details)}",
        f"  started   {_clock(details.start_time)}",
        f"  ended     {_clock(details.end_time)}",
        f"  command   {(details.metadata or {}).get('arguments', details.entrypoint)}",
    ]
    message = message_of(details)
    return "\n".join([*lines, f"  {message}"] if message else lines)


def message_of(details: Any) -> str:
    """Ray's word on a job in a line, without the log that it repeats; empty where it has none."""
    return " ".join(str(details.message or "").partition(LOG_AGAIN)[0].split())[:500]


def one_line(details: Any) -> str:
    """A job in a list."""
    what = (details.metadata or {}).get("arguments", details.entrypoint)
    return f"{details.submission_id:32s} {details.status.value:10s} {_clock(details.start_time)}  {what[:100]}"


def _ended(details: Any) -> str:
    return f", exit status {exit_status(details)}" if details.status.is_terminal() else ""


def _clock(milliseconds: int | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(milliseconds / 1000)) if milliseconds else "-"


def stop(connection: Connection, job: str, wait_s: float) -> Any:
    """Ask a job to end, and wait for it.

    Args:
        connection: to the cluster.
        job: its name.
        wait_s: for so long; Ray kills it before that.

    Returns:
        Ray's details of it; of an ended job they are what they were.

    Raises:
        ClusterError: there is no such job, or it has not ended in time.
    """
    details = job_details(connection, job)
    if details.status.is_terminal():
        return details
    connection.client.stop_job(job)
    return wait_for(connection, job, wait_s)


def wait_for(connection: Connection, job: str, wait_s: float) -> Any:
    """Ray's details of a job once it has ended.

    Raises:
        ClusterError: it has not ended in time, or the cluster is out of reach.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            details = job_details(connection, job)
        except lost_contact() as fault:
            raise ClusterError(unreachable(connection.address, fault)) from fault
        if details.status.is_terminal():
            return details
        if time.monotonic() > deadline:
            raise ClusterError(
                f"job={job}: is {details.status.value} after {wait_s:.0f} s; see what it does with "
                f"{command_line('dce_ray.cluster logs', address=connection.address, job=job)}"
            )
        time.sleep(POLL_S)
