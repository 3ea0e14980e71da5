"""What can be done about a job that has ended: go on with its search, bring its results here."""

from __future__ import annotations

import json
import re
from typing import Any

from dce_ray.cluster.connection import Connection
from dce_ray.cluster.fetch import FOLDER_LINE, PLACE_LINE
from dce_ray.cluster.jobs import SUCCEEDED, exit_status
from dce_ray.words import argument, command_line

GO_ON = re.compile(r"[Gg]o on(?: with)?: .*\bdce_ray\.search (\S.*)$", re.MULTILINE)
"""What a search says that was ended before its end, with its arguments: paths count from the job's folder."""
CAMPAIGN_LINE = re.compile(r"^campaign: (/.+)$", re.MULTILINE)
"""Tells the folder of a campaign, which is what goes on with all of its searches."""
OPTIONS = "options"
"""In a job's metadata, what its submission was given beside the defaults: JSON, value by key."""
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
    lines = []
    if details.status != SUCCEEDED and (way := _way_on(log, refused=exit_status(details) == MISTAKE)):
        lines.append(f"To go on with it: {_submit_again(address, details, log)} -- {way}")
    if FOLDER_LINE.search(log):
        lines.append(f"Its results: {verb_line('fetch', address, str(details.submission_id))}")
        lines.append(
            "(what the search says to run next is for the head; here it works on the folder that fetch prints)"
        )
    elif exit_status(details) == MISTAKE:
        lines.append("No search began. What data=, storage= and results= name must be there on the head and every node")
    return lines


def _way_on(log: str, *, refused: bool) -> str:
    """Arguments of the search that goes on; empty where none can.

    One that was killed has said nothing, and its folder is what goes on; one that was ``refused`` may have none.

    Of a campaign it is always the campaign: its searches say how each of them goes on alone, the last to fail last.
    """
    if campaigns := CAMPAIGN_LINE.findall(log):
        return argument("resume", campaigns[-1].strip())
    ways = GO_ON.findall(log)
    if not ways and not refused:
        ways = [argument("resume", folder.strip()) for folder in FOLDER_LINE.findall(log)]
    return ways[-1].strip() if ways else ""


def _submit_again(address: str, details: Any, log: str) -> str:
    """The command that submits to where a job ran, as that was submitted.

    The folder is the one that the log names: it is whole, and a shell makes nothing of ``~`` behind a ``=``. All paths
    stay as they are, for most of them are the head's.
    """
    known = (details.metadata or {}).get(OPTIONS)
    options = json.loads(known) if known else {}
    place = PLACE_LINE.search(log)
    if place and (known is None or "folder" in options):  # jobs of other submitters have no options to be read
        options["folder"] = place.group(1)
    words = [argument(key, value) for key, value in options.items()]
    return " ".join([command_line("dce_ray.cluster submit", address=address), *words])
