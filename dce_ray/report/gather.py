"""Finished experiments gathered into the paper's tables, with their verdicts: from folders, or from MLflow."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dce_ray.errors import ConfigError, DceError, SearchError, unknown_name
from dce_ray.experiment.campaign import searches_of
from dce_ray.experiment.candidate import WINNER
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN
from dce_ray.files import read_json, write_atomically
from dce_ray.presets import DATA_SETS
from dce_ray.report import html
from dce_ray.report.confirmation import looks_at
from dce_ray.report.labels import data_title
from dce_ray.report.measured import Measured, confirmed_settings
from dce_ray.report.rendering import FORMATS, html_table
from dce_ray.report.setting_figures import comparison_figure
from dce_ray.report.style import house_style, write_figure
from dce_ray.report.tables import MEASURED, PRINTED, Comparison, Table, comparison_table
from dce_ray.verdict.text import next_command
from dce_ray.verdict.verdict import UNCONFIRMED, Verdict
from dce_ray.words import portable_command, runnable

log = logging.getLogger(__name__)
PAGE = "report.html"
"""File of a page, of a search and of what compares several."""
_SOURCES = {
    (True, True): "Plain baselines and SCS + MCM: the paper's printed numbers and measured ones, each line labelled.",
    (True, False): "Plain baselines and SCS + MCM: the paper's printed numbers; nothing was measured yet.",
    (False, True): "Plain baselines and SCS + MCM: all numbers were measured here.",
    (False, False): "Plain baselines and SCS + MCM: nothing was measured yet.",
}
"""What a page says of its numbers, by whether lines are printed and whether lines are measured."""


@dataclass(frozen=True, slots=True)
class FoundExperiment:
    """One experiment folder as a line of a report."""

    data: str
    """Name of the data set's folder under the results."""
    data_set: str
    """Name of the data set in ``dce_ray.presets.DATA_SETS``, which decides the printed numbers."""
    comparison: Comparison
    lack: str
    """What keeps it from being finished; empty where nothing does."""
    digest: str = ""
    """Of the content of its data."""
    goes_on: str = ""
    """The command that goes on with it where something is lacking; empty where its folder is not at hand."""

    @property
    def left_out(self) -> str:
        """That it is no line of the table, why, and what would make it one."""
        name = f"{self.data}/{self.comparison.baseline}/{self.comparison.name}"
        return f"Left out: {name}, {self.lack}{f'; to go on: {runnable(self.goes_on)}' if self.goes_on else '.'}"


def find_experiments(roots: Sequence[Path]) -> list[FoundExperiment]:
    """Searches anywhere below ``roots``, and those of a campaign, sorted by path.

    One of another format is left out with a warning. A folder of another kind, such as a confirmation made anew, is no
    search, whatever lies in it.

    Raises:
        ConfigError: a root that does not exist.
    """
    absent = [str(root) for root in roots if not root.is_dir()]
    if absent:
        what = "is a file" if all(Path(one).is_file() for one in absent) else "does not exist"
        raise ConfigError(f"folders={', '.join(absent)}: {what}; give the folder that searches wrote into")
    below = [path for root in roots for path in searches_of(root)]
    studies = {study.parent.resolve() for root in below for study in root.rglob("study.journal")}
    found = []
    for path in sorted(studies):
        try:
            folder = ExperimentFolder.open(path)
            if _is_search(folder):
                found.append(_found_in(folder))
        except SearchError as fault:
            log.warning("left out: %s", fault)
    return found


def find_verdicts(roots: Sequence[Path], data: str | None = None) -> list[tuple[str, Verdict]]:
    """Verdicts of searches below ``roots`` and of the confirmations of theirs that were made anew, by where they lie.

    Args:
        roots: folders.
        data: only those on this data set; None: all.
    """
    roots = [path for root in roots for path in searches_of(root)]
    files = (file.parent.resolve() for root in roots for file in root.rglob("confirmation.json"))
    below = {path for path in files if (path / "confirm").is_dir()}  # MLflow keeps copies of files without their runs
    paths = sorted(below | {look.path for path in below for look in looks_at(ExperimentFolder(path))})
    found = []
    for path in paths:
        try:
            verdict = Verdict.read(ExperimentFolder.open(path))
        except DceError:  # the tables say what was left out
            continue
        if verdict is not None and data in (None, path.parts[-3]):
            found.append(("/".join(path.parts[-3:]), verdict))
    return found


def verdicts_text(verdicts: Sequence[tuple[str, Verdict]], *, whole: bool) -> str:
    """The verdicts, one below the other.

    Args:
        verdicts: with where they lie.
        whole: with all their lines; else the sentence of each.
    """
    if whole:
        return "\n\n".join(verdict.text for _, verdict in verdicts)
    return "\n".join(f"{name}: {verdict.sentence}" for name, verdict in verdicts)


def find_in_mlflow(uri: str) -> list[FoundExperiment]:
    """Searches that an MLflow store holds, sorted by path.

    Raises:
        TrackingError: the store does not answer.
    """
    from dce_ray.report.from_mlflow import fetch_experiments  # a report of folders needs no MLflow

    with tempfile.TemporaryDirectory(prefix="dce-ray-report-") as temporary:
        folders = sorted(fetch_experiments(uri, Path(temporary)))
        opened = [ExperimentFolder.open(path) for path in folders if (path / "config.json").is_file()]
        return [replace(_found_in(folder), goes_on="") for folder in opened if _is_search(folder)]


def _is_search(folder: ExperimentFolder) -> bool:
    return not folder.config.get("kind")


def _found_in(folder: ExperimentFolder) -> FoundExperiment:
    config, winner = folder.config, winner_of(folder)
    run = config["run"]
    settings = {one.name: one for one in confirmed_settings(folder)}
    plain = settings.get(PLAIN, Measured(PLAIN, {}))
    ours = settings.get(winner or WINNER, Measured(WINNER, {}))
    if not settings:
        lack = "its confirmation has not begun"
    elif winner is None:
        lack = "its confirmation names no winner yet"
    else:
        lack = "" if plain.scores and ours.scores else "no confirmed run is finished"
    goes_on = portable_command("dce_ray.search", resume=str(folder.path))
    if (verdict := Verdict.read(folder)) is not None and verdict.outcome == UNCONFIRMED:
        lack = lack or "its confirmation was cut off by the time budget"
        goes_on = next_command(verdict, folder)
    remark = "selected on test" if run["protocol"] == "paper" else ""
    pair = Comparison(run["baseline"], folder.path.name, plain, ours, remark)
    digest = str(config.get("digest") or "")
    return FoundExperiment(folder.path.parts[-3], config["data_set"], pair, lack, digest, goes_on if lack else "")


def winner_of(folder: ExperimentFolder) -> str | None:
    """Name of the confirmed setting that was best on the selecting split, or None before that is known."""
    if not folder.confirmation.is_file():
        return None
    winner = read_json(folder.confirmation).get("winner")
    return None if winner is None else str(winner)


def make_tables(
    found: Sequence[FoundExperiment], data: str | None, *, wide: bool
) -> tuple[list[Table], dict[str, list[FoundExperiment]]]:
    """One table per data set, and the finished experiments behind it.

    Raises:
        ConfigError: nothing to show, with what was looked for.
    """
    names = list(dict.fromkeys(one.data for one in found)) if data is None else [data]
    if not names:
        raise ConfigError(
            "no experiment found; run python -m dce_ray.search first, give folders=, or show the paper's numbers "
            "with data=thumos14"
        )
    if data is not None and data not in DATA_SETS and all(one.data != data for one in found):
        raise ConfigError(unknown_name("data", data, {*DATA_SETS, *(one.data for one in found)}))
    tables, groups = [], {}
    for name in names:
        members = [one for one in found if one.data == name]
        groups[name] = [one for one in members if not one.lack]
        data_set = members[0].data_set if members else name
        table = comparison_table(name, data_set, [one.comparison for one in groups[name]], wide=wide)
        left_out = [one.left_out for one in members if one.lack]
        tables.append(replace(table, notes=(*table.notes, *_mixed(groups[name]), *left_out)))
    return tables, groups


def shown(table: Table, form: str) -> str:
    """A table as it is printed; to be read, one without any number is a line that says so, and why.

    Args:
        table: to show.
        form: one of ``FORMATS``.
    """
    if form != "markdown" or any(row.cells for row in table.rows):
        return FORMATS[form][1](table)
    data = data_title(table.name.removeprefix("comparison_"))
    return "\n".join([f"{data}: no search has finished, so there is no table.", *_left_out_of(table)]) + "\n"


def _left_out_of(table: Table) -> list[str]:
    return [f"- {note}" for note in table.notes if note.startswith("Left out: ")]


def _mixed(members: Sequence[FoundExperiment]) -> list[str]:
    """A line where searches that share a table share no data: their stores hold something else."""
    by_digest: dict[str, list[str]] = {}
    for one in members:
        by_digest.setdefault(one.digest, []).append(f"{one.comparison.baseline}/{one.comparison.name}")
    if len(by_digest) < 2:
        return []
    parts = "; ".join(f"{', '.join(names)} (digest {digest[:12]})" for digest, names in by_digest.items())
    return [f"Not all of these are on the same data, and numbers of different data cannot be compared: {parts}."]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one search of several came to, for the head of the page that compares them."""

    name: str
    text: str
    page: str = ""
    """Address of its own page, as seen from theirs; empty where there is none."""


def write_report(
    target: Path,
    tables: Sequence[Table],
    groups: Mapping[str, Sequence[FoundExperiment]],
    outcomes: Sequence[Outcome] = (),
    title: str = "Plain baselines and SCS + MCM",
) -> None:
    """Every table in every format, one figure per data set, and all of it on one page.

    Args:
        target: folder.
        tables: one for each of ``groups``.
        groups: the searches, by their data.
        outcomes: what each search came to, for the head of the page.
        title: of the page.

    Raises:
        OutputError: the disk is full or not writable.
    """
    sources = {row.source for table in tables for row in table.rows if row.cells}
    page = html.Page(title, _SOURCES[PRINTED in sources, MEASURED in sources])
    if outcomes:
        page.add("verdicts", "Verdicts", html.linked((one.name, one.page, one.text) for one in outcomes))
    for table, (data, members) in zip(tables, groups.items(), strict=True):
        for name in ("markdown", "csv", "latex"):
            suffix, render = FORMATS[name]
            write_atomically(target / f"{table.name}.{suffix}", render(table))
        parts, heading = [html_table(table)], data_title(data)
        if members:
            with house_style():
                svg = write_figure(comparison_figure(heading, [one.comparison for one in members]), target, table.name)
            shown = f"Plain baselines and SCS + MCM on {data}."
            parts.append(html.figure(svg, shown, f"figure-{data}"))
        page.add(f"data-{data}", heading, *parts)
    write_atomically(target / PAGE, page.render())
