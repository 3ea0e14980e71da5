"""What can be done about a job that has ended: go on with its search, bring its results here."""

from __future__ import annotations

import re
from typing import Any

from dce_ray.cluster.connection import Connection
from dce_ray.cluster.fetch import FOLDER_LINE
from dce_ray.cluster.jobs import SUCCEEDED, exit_status
from dce_ray.words import command_line

GO_ON = re.compile(r"Go on with: .*\bdce_ray\.search (\S.*)$", re.MULTILINE)
"""What a search says that was ended before its end, with its arguments: paths count from the job's folder."""
MISTAKE = 2
"""Exit status of a search that was asked for something wrong."""


def verb_line(verb: str, address: str, job: str) -> str:
    """A command of ``dce_ray.cluster`` for a job, that can be pasted."""
    return command_line(f"dce_ray.cluster {verb}", address=address, job=job)


def afterwards(connection: Connection, details: Any) -> list[str]:
    """What a user may do about an ended job, in lines.

    Args:
        connection: to its cluster.
        details: Ray's, of the job.
    """
    log = connection.client.get_job_logs(str(details.submission_id)) or ""
    return ways_on(connection.address, details, log)


def ways_on(address: str, details: Any, log: str) -> list[str]:
    """The same of a job whose log is known.

    Args:
        address: of the dashboard.
        details: Ray's, of the job.
        log: all of it.
    """
    lines, ways = [], GO_ON.findall(log)
    if ways and details.status != SUCCEEDED:
        submit = command_line("dce_ray.cluster submit", address=address)
        lines.append(f"To go on with it: {submit} -- {ways[-1].strip()}")
    if FOLDER_LINE.search(log):
        lines.append(f"Its results: {verb_line('fetch', address, str(details.submission_id))}")
        lines.append(
            "(what the search says to run next is for the head; here it works on the folder that fetch prints)"
        )
    elif exit_status(details) == MISTAKE:
        lines.append("No search began. What data=, storage= and results= name must be there on the head and every node")
    return lines
