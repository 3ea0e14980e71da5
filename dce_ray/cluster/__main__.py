"""``python -m dce_ray.cluster``: submit a search to a Ray cluster, follow it, stop it, fetch its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dce_ray.cluster.afterwards import afterwards, verb_line
from dce_ray.cluster.connection import Connection, checked_address, connect
from dce_ray.cluster.fetch import fetch
from dce_ray.cluster.follow import follow, tell, write_out
from dce_ray.cluster.jobs import (
    described,
    exit_status,
    job_details,
    lost_contact,
    message_of,
    one_line,
    stop,
    submitted,
)
from dce_ray.commandline import command, compose
from dce_ray.errors import ClusterError, ConfigError, unknown_name

USAGE = """
python -m dce_ray.cluster submit address=http://HEAD:8265 -- baseline=delu data=... search.num_runs=200
                               start a search on a cluster, show its log, end with its exit status
    address=                   the dashboard of the head (default: RAY_API_SERVER_ADDRESS)
    python=python              the head's Python: a name on its PATH or an absolute path
    runtime_env=lock|none      the nodes install the lock file of all requirements (default), or have what is needed
    code=here|none|<wheel>     bring this machine's code (default), none (the nodes have it), or a wheel
    folder=~/dce-ray           on the head: where results/ lies and resume= looks
    job=                       a name for the job; the experiment is called like it unless name= is given
    follow=on|off              show the log until the end (default), or return at once
    versions=equal|any         refuse a cluster with another Ray or Python (default), or not
python -m dce_ray.cluster list                       all jobs of the cluster
python -m dce_ray.cluster status job=ID              one of them
python -m dce_ray.cluster logs job=ID follow=on|off  its log, to its end; ends with its exit status
python -m dce_ray.cluster stop job=ID                end it tidily; resume=results/... goes on with it
python -m dce_ray.cluster fetch job=ID target=results   its experiment folders, to here

All take address=. Behind -- stand the search's own arguments: python -m dce_ray.search --help.
Clusters of all kinds, tokens, what goes where: docs/cluster.md.
"""
DETACHED = 130
STOPPED_S = 120.0
"""A job that was asked to stop has ended by then: Ray kills it after a minute."""


def submit_command(arguments: list[str], search: list[str]) -> int:
    """Check, submit, follow."""
    if not search:
        raise ConfigError("submit: the search's arguments stand behind --, as in submit address=... -- baseline=delu")
    if not any(word.startswith("address=") for word in arguments):
        checked_address(None)  # before what takes long
    from dce_ray.cluster.submission import SubmitOptions, check_search, submit  # imports the search, and torch with it

    options = SubmitOptions.from_mapping(compose(SubmitOptions().to_mapping(), arguments))
    check_search(search)
    connection = reach(options.address, any_version=options.versions == "any")
    job = submit(connection, options, search)
    tell(f"job {job} is submitted to {connection.address}")
    return shown(connection, job) if options.follow else 0


def shown(connection: Connection, job: str) -> int:
    """Follow a job to its end; its exit status. Ctrl-C leaves it running."""
    try:
        details = follow(connection, job)
    except KeyboardInterrupt:
        tell(f"\nnot following any more; the job goes on. Again: {verb_line('logs', connection.address, job)}")
        tell(f"To end it: {verb_line('stop', connection.address, job)}")
        return DETACHED
    status = exit_status(details)
    tell(f"job {job}: {details.status.value}, exit status {status}")
    if status and (message := message_of(details)):
        tell(f"  {message}")
    for line in afterwards(connection, details):
        tell(line)
    return status


def list_command(arguments: list[str], _: list[str]) -> int:
    """A line for each job."""
    given = compose({"address": None}, arguments)
    jobs = submitted(reach(given["address"]))
    write_out("".join(f"{one_line(each)}\n" for each in jobs) or "no job was submitted since the head started\n")
    return 0


def status_command(arguments: list[str], _: list[str]) -> int:
    """What is known of one job."""
    connection, job, _given = of_one_job(arguments)
    write_out(f"{described(job_details(connection, job))}\n")
    return 0


def logs_command(arguments: list[str], _: list[str]) -> int:
    """A job's log."""
    connection, job, given = of_one_job(arguments, follow=True)
    if given["follow"]:
        return shown(connection, job)
    job_details(connection, job)
    write_out(connection.client.get_job_logs(job))
    return 0


def stop_command(arguments: list[str], _: list[str]) -> int:
    """End a job tidily."""
    connection, job, _given = of_one_job(arguments)
    details = stop(connection, job, STOPPED_S)
    write_out("".join(f"{line}\n" for line in [described(details), *afterwards(connection, details)]))
    return 0


def fetch_command(arguments: list[str], _: list[str]) -> int:
    """A job's results."""
    connection, job, given = of_one_job(arguments, target="results")
    for folder in fetch(connection, job, Path(str(given["target"]))):
        print(folder)
    return 0


COMMANDS: Mapping[str, Callable[[list[str], list[str]], int]] = {
    "submit": submit_command,
    "list": list_command,
    "status": status_command,
    "logs": logs_command,
    "stop": stop_command,
    "fetch": fetch_command,
}


def reach(address: str | None, *, any_version: bool = True) -> Connection:
    """Connect, and print what is to be warned of."""
    connection = connect(address, any_version=any_version)
    for line in connection.warnings:
        tell(line)
    return connection


def of_one_job(arguments: list[str], **more: Any) -> tuple[Connection, str, dict[str, Any]]:
    """The connection, the job's name and all keys of a verb that takes ``job=``."""
    given = compose({"address": None, "job": None, **more}, arguments)
    if given["job"] is None:
        raise ConfigError("job= is missing: 'python -m dce_ray.cluster list' shows the names of all jobs")
    return reach(given["address"]), str(given["job"]), given


def main(arguments: list[str]) -> int:
    """Run one verb; its exit status."""
    if not arguments or arguments[0] not in COMMANDS:
        given = arguments[0] if arguments else ""
        what = unknown_name("command", given, COMMANDS) if given else f"give a command: {', '.join(sorted(COMMANDS))}"
        raise ConfigError(f"{what}; python -m dce_ray.cluster --help explains")
    verb, *rest = arguments
    cut = rest.index("--") if "--" in rest else len(rest)
    own, search = rest[:cut], rest[cut + 1 :]
    try:
        return COMMANDS[verb](own, search)
    except lost_contact() as fault:
        raise ClusterError(f"{verb}: the connection to the cluster is lost ({fault}); try again") from fault


if __name__ == "__main__":
    command(main, USAGE)
