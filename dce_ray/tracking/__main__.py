"""``python -m dce_ray.tracking``: send experiment folders to MLflow, and open its UI."""

from __future__ import annotations

from dce_ray.commandline import command, compose
from dce_ray.errors import ConfigError, TrackingError, unknown_name
from dce_ray.experiment.folder import ExperimentFolder

USAGE = """
python -m dce_ray.tracking sync <folder> [uri=...]   send an experiment folder to MLflow; safe to repeat
python -m dce_ray.tracking ui <folder> [uri=...]     print how to open MLflow's UI on it

  <folder>  results/<data>/<baseline>/<name>, also written folder=...; or a folder above: all experiments in it
  uri       MLflow server or database; default: MLFLOW_TRACKING_URI, else sqlite in the results folder
"""


def main(arguments: list[str]) -> int:
    """Run one of the commands.

    Raises:
        DceError: for arguments that make no sense, and where something could not be sent.
    """
    actions = {"sync": _sync, "ui": _ui, "mirror": _mirror}
    if not arguments or arguments[0] not in actions:
        raise ConfigError(f"{unknown_name('command', arguments[0] if arguments else '', ('sync', 'ui'))}\n{USAGE}")
    rest = [text if "=" in text else f"folder='{text}'" for text in arguments[1:]]
    values = compose({"folder": None, "uri": None, "interval_s": 3.0}, rest)
    if values["folder"] is None:
        raise ConfigError(f"{arguments[0]} needs the folder of an experiment\n{USAGE}")
    return actions[arguments[0]](str(values["folder"]), values["uri"], float(values["interval_s"]))


def _folders(text: str) -> list[ExperimentFolder]:
    """The experiment at ``text``, or all experiments below it."""
    from pathlib import Path

    below = sorted(path.parent for path in Path(text).glob("**/config.json") if (path.parent / "trials").is_dir())
    direct = (Path(text) / "config.json").is_file()
    return [ExperimentFolder.open(path) for path in ([text] if direct or not below else below)]


def _sync(text: str, uri: str | None, interval_s: float) -> int:
    from dce_ray.tracking.address import address_of, ui_command
    from dce_ray.tracking.writer import sync

    for folder in _folders(text):
        report = sync(folder, uri)
        print(report)
        if not report.complete:
            raise TrackingError(f"{folder.path} is not in MLflow completely; mend the above and run the command again")
        opener = ui_command(address_of(folder, uri))
        print(f"open it: {opener}\nthen     {report.url}" if opener else f"open it: {report.url}")
    return 0


def _ui(text: str, uri: str | None, interval_s: float) -> int:
    from dce_ray.tracking.address import address_of
    from dce_ray.tracking.mirror import closing_lines

    for folder in _folders(text):
        print("\n".join(closing_lines(folder, uri, address_of(folder, uri))))
    return 0


def _mirror(text: str, uri: str | None, interval_s: float) -> int:
    """What ``start_mirror`` starts."""
    from dce_ray.tracking.address import address_of
    from dce_ray.tracking.mirror import run_mirror

    folder = ExperimentFolder.open(text)
    return run_mirror(folder, address_of(folder, uri), interval_s)


if __name__ == "__main__":
    command(main, USAGE)
