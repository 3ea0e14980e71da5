"""What became of a single run: ``outcome.json``, beside ``options.json``, the command's keys that are none of the run.

A run that was killed has no outcome; that it still trains, its lock says. Without PyTorch, like ``run_files``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from dce_ray.errors import DceError, OutputError
from dce_ray.files import write_json

OPTIONS, OUTCOME = "options.json", "outcome.json"


@contextlib.contextmanager
def outcome_kept(folder: Path) -> Iterator[None]:
    """Keep why the block failed; what a former session of the run came to counts no more.

    Raises:
        DceError: as the block does.
    """
    (folder / OUTCOME).unlink(missing_ok=True)
    try:
        yield
    except DceError as fault:
        with contextlib.suppress(OutputError):  # on a full disk: the run then counts as interrupted
            _keep(folder, "failed", str(fault))
        raise


def keep_finished(folder: Path) -> None:
    """The run and its tables are complete.

    Raises:
        OutputError: the folder cannot be written.
    """
    _keep(folder, "finished", None)


def _keep(folder: Path, state: str, error: str | None) -> None:
    write_json(folder / OUTCOME, {"state": state, "error": error, "ended": time.time()})
