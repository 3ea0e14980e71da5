"""A single run's mirror into MLflow: a process that is started by its name, since tracking stands behind the wall.

It reads the run's folder, as a search's mirror does, and ends by saying where the run is shown: nothing that happens to
it or to MLflow reaches the run.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dce_ray.config_base import Config
from dce_ray.errors import TrackingError
from dce_ray.interrupts import ends_at_once
from dce_ray.words import argument, command_line, masked

PATIENCE_S = 70.0
"""What the mirror gets at the end; it gives up by itself after 60."""
UNSENT = 3
"""Exit status of a mirror that could not send everything, and has said so."""


@dataclass(frozen=True, slots=True)
class MlflowOptions(Config):
    """Whether and where MLflow is told of a run."""

    enabled: bool = False
    uri: str | None = None

    def faults(self) -> list[str]:
        """Also: an address that is kept in files, and shown to whoever reads them, holds no password."""
        lines = Config.faults(self)
        if not lines and self.uri is not None and masked(self.uri) != self.uri:
            lines.append(
                f"uri={masked(self.uri)}: holds a password or token, and what is asked for is kept in the folder; "
                f"leave it out and set the environment variable MLFLOW_TRACKING_URI to the whole address, or give it "
                f"without the password and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return lines


def check_mlflow(folder: Path, options: MlflowOptions) -> None:
    """Refuse an address that is none before the run's folder is made; print a warning where nobody answers.

    Raises:
        TrackingError: with the reason, also where mlflow is not installed.
    """
    if not options.enabled:
        return
    asked = subprocess.run(_command("check", folder, options), capture_output=True, text=True, check=False)
    if asked.returncode:
        raise TrackingError(asked.stderr.strip().removeprefix("TrackingError: "))
    print(asked.stdout, end="")


@contextlib.contextmanager
def mirrored(folder: Path, options: MlflowOptions) -> Iterator[None]:
    """Mirror the run's folder while the block runs; then wait until everything is sent, a minute at most."""
    if not options.enabled:
        yield
        return
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            _command("follow", folder, options),
            stdin=subprocess.PIPE,  # its end is the end of the run, also where that is killed
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the run, which then lets the mirror finish
        )
    try:
        yield
    except KeyboardInterrupt as fault:
        if ends_at_once(fault):
            process.kill()
        raise
    finally:
        _end(process, folder, options)


def _end(process: subprocess.Popen[bytes], folder: Path, options: MlflowOptions) -> None:
    assert process.stdin is not None, "it was started with a pipe"
    sys.stdout.flush()  # its closing lines stand behind ours
    process.stdin.close()
    try:
        ended = process.wait(PATIENCE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C: the user has waited enough
        process.kill()
        ended = process.wait()
    if ended not in (0, UNSENT):
        uri = {} if options.uri is None else {"uri": options.uri}
        rest = command_line("dce_ray.tracking sync", folder=folder, **uri)
        print(f"warning: the mirror into MLflow ended with {ended} (see {folder}/log.txt); the rest: {rest}")


def _command(action: str, folder: Path, options: MlflowOptions) -> list[str]:
    uri = [] if options.uri is None else [argument("uri", options.uri, pasted=False)]
    place = argument("folder", folder.resolve(), pasted=False)
    return [sys.executable, "-m", "dce_ray.tracking", action, place, *uri]
