"""``python -m dce_ray.tracking``: send experiment folders to MLflow, and open its UI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dce_ray.commandline import command, compose
from dce_ray.errors import ConfigError, DceError, TrackingError, unknown_name
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.single import SingleRun, open_folder
from dce_ray.train.outcome import OPTIONS

USAGE = """
python -m dce_ray.tracking sync <folder> [uri=...]   send an experiment folder to MLflow; safe to repeat
python -m dce_ray.tracking ui <folder> [uri=...]     print how to open MLflow's UI on it

  <folder>  results/<data>/<baseline>/<name> of a search or of ablations, or runs/<data>/<baseline>/<time> of a single
            run, also written folder=...; or a folder above: all that lie in it
  uri       MLflow server or database; default: MLFLOW_TRACKING_URI, else sqlite in the results folder
"""


def main(arguments: list[str]) -> int:
    """Run one of the commands.

    Raises:
        DceError: for arguments that make no sense, and where something could not be sent.
    """
    actions = {"sync": _sync, "ui": _ui, "mirror": _mirror, "check": _check, "follow": _follow}
    if not arguments or arguments[0] not in actions:
        known = ("sync", "ui")
        what = unknown_name("command", arguments[0], known) if arguments else "give a command: sync or ui"
        raise ConfigError(f"{what}\n{USAGE}")
    rest = [text if "=" in text else f"folder='{text}'" for text in arguments[1:]]
    values = compose({"folder": None, "uri": None, "interval_s": 3.0}, rest)
    if values["folder"] is None:
        raise ConfigError(f"{arguments[0]} needs the folder of an experiment\n{USAGE}")
    return actions[arguments[0]](str(values["folder"]), values["uri"], float(values["interval_s"]))


def _experiments(text: str) -> list[Path]:
    """The folder ``text``, or all folders below it that searches, ablations and single runs filled."""
    path = Path(text)
    parents = sorted(file.parent for file in path.glob("**/config.json"))
    below = [parent for parent in parents if any((parent / sign).exists() for sign in ("trials", "confirm", OPTIONS))]
    return [path] if (path / "config.json").is_file() or not below else below


def _for_each(text: str, action: Callable[[ExperimentFolder], None]) -> int:
    """Carry out ``action`` on the experiment at ``text``, or on all below it: one that fails keeps no other back.

    Raises:
        DceError: what was wrong with the one experiment.
        TrackingError: at the end, naming each of several experiments that failed.
    """
    paths, faults = _experiments(text), []
    for path in paths:
        try:
            action(open_folder(path))
        except DceError as fault:
            if len(paths) == 1:
                raise
            faults.append(str(fault))
    if faults:
        lines = "\n".join(dict.fromkeys(faults))
        raise TrackingError(f"{len(faults)} of {len(paths)} experiments below {text} were left out:\n{lines}")
    return 0


def _sync(text: str, uri: str | None, interval_s: float) -> int:
    from dce_ray.tracking.address import address_of, ui_command
    from dce_ray.tracking.writer import sync

    def send(folder: ExperimentFolder) -> None:
        address_of(folder, uri, key="uri")
        report = sync(folder, uri)
        print(report)
        if not report.complete:
            raise TrackingError(f"{folder.path} is not in MLflow completely; mend the above and run the command again")
        opener = ui_command(address_of(folder, uri, key="uri"))
        print(f"open it: {opener}\nthen     {report.url}" if opener else f"open it: {report.url}")

    return _for_each(text, send)


def _ui(text: str, uri: str | None, interval_s: float) -> int:
    from dce_ray.tracking.address import address_of, sync_command
    from dce_ray.tracking.mirror import closing_lines
    from dce_ray.tracking.state import was_sent

    told: set[str] = set()

    def show(folder: ExperimentFolder) -> None:
        address = address_of(folder, uri, key="uri")
        if not was_sent(folder, address.uri):
            raise TrackingError(
                f"{folder.path}: holds no note of having been sent to MLflow {address.shown} (it was not, or it or "
                f"the database was moved since); send it, which is safe to repeat: {sync_command(folder, uri)}"
            )
        text = "\n".join(closing_lines(folder, uri, address))
        if text not in told:  # several of one database and one form of the table
            print(text)
        told.add(text)

    return _for_each(text, show)


def _mirror(text: str, uri: str | None, interval_s: float) -> int:
    """What ``start_mirror`` starts."""
    from dce_ray.tracking.address import address_of
    from dce_ray.tracking.mirror import run_mirror

    folder = ExperimentFolder.open(text)
    return run_mirror(folder, address_of(folder, uri), interval_s)


def _check(text: str, uri: str | None, interval_s: float) -> int:
    """What a single run asks before its folder is there: whether the address is one, and answers."""
    from dce_ray.tracking.address import address_of
    from dce_ray.tracking.connection import silent_server

    planned = SingleRun(Path(text).resolve())
    for line in silent_server(planned, address_of(planned, uri), uri):
        print(line)
    return 0


def _follow(text: str, uri: str | None, interval_s: float) -> int:
    """The mirror of a single run, which says at the end itself where the run is shown."""
    from dce_ray.tracking.address import address_of
    from dce_ray.tracking.mirror import closing_lines, run_mirror

    folder = open_folder(text)
    address = address_of(folder, uri)
    status = run_mirror(folder, address, interval_s)
    print("\n".join(closing_lines(folder, uri, address)), flush=True)
    return status


if __name__ == "__main__":
    command(main, USAGE)
