"""``python -m dce_ray.report``: finished experiments as the paper's tables, printed or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dce_ray.commandline import command, compose
from dce_ray.errors import ConfigError, unknown_name
from dce_ray.report.gather import (
    find_experiments,
    find_in_mlflow,
    find_verdicts,
    make_tables,
    shown,
    verdicts_text,
    write_report,
)
from dce_ray.report.rendering import FORMATS
from dce_ray.verdict.verdict import Verdict
from dce_ray.words import argument

USAGE = """
python -m dce_ray.report key=value ...       gather finished experiments into tables, with their verdicts
python -m dce_ray.report <folder>            the same of one search, or of all below a folder

  folders=results              where experiments lie; several as 'folders=[results,elsewhere/results]'
  mlflow=<uri>                 gather them from MLflow instead: http://host:port or sqlite:///results/mlflow.db
  data=                        only this data set; thumos14 and activitynet12 show the paper's numbers at any time
  format=markdown              markdown|csv|latex|html; what is printed
  target=<folder>              also write every format and the figures (SVG, PNG) there
  wide=on                      also columns that the paper does not print

Lines say whether they were printed in the paper or measured here; what is missing is shown as missing.
"""
DEFAULTS: dict[str, Any] = {
    "folders": "results",
    "mlflow": None,
    "data": None,
    "format": "markdown",
    "target": None,
    "wide": False,
}


def main(arguments: list[str]) -> int:
    """Print, and with ``target=`` write, the tables of all experiments; the exit status."""
    options = compose(
        DEFAULTS, [text if "=" in text else argument("folders", text, pasted=False) for text in arguments]
    )
    if options["format"] not in FORMATS:
        raise ConfigError(unknown_name("format", str(options["format"]), FORMATS))
    verdicts: list[tuple[str, Verdict]] = []
    whole = False
    if options["mlflow"]:
        found = find_in_mlflow(str(options["mlflow"]))
    else:
        roots = options["folders"] if isinstance(options["folders"], list) else [options["folders"]]
        paths = [Path(str(root)) for root in roots]
        found, whole = find_experiments(paths), all((path / "config.json").is_file() for path in paths)
        verdicts = find_verdicts(paths, options["data"]) if options["format"] == "markdown" else []
    if verdicts and not found:  # a confirmation that was made anew: its search's table is elsewhere
        print(verdicts_text(verdicts, whole=whole))
        return 0
    tables, groups = make_tables(found, options["data"], wide=bool(options["wide"]))
    print("\n".join(shown(table, options["format"]) for table in tables), end="")
    if verdicts:
        print(f"\n{verdicts_text(verdicts, whole=whole)}")
    if options["target"]:
        write_report(Path(str(options["target"])), tables, groups)
        print(f"written to {options['target']}")
    return 0


if __name__ == "__main__":
    command(main, USAGE)
