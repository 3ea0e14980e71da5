"""What a search leaves to look at: tables of runs and points, pictures and a page, all made from the folder alone.

``write_outputs`` may run at any time, also while runs train or after a kill; it writes each file anew. What is shown of
the search itself depends on its policy: :mod:`page_points` and :mod:`page_trials`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from dce_ray.experiment.candidate import WINNER
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, PUBLISHED, origin_label
from dce_ray.files import read_json, write_atomically
from dce_ray.points.threads import one_thread
from dce_ray.report import html
from dce_ray.report.captions import holdout_note, selection_text, test_text
from dce_ray.report.confirmation import chosen_identity, looks_at, settings_table
from dce_ray.report.learning import DESCRIPTION, learning_figure
from dce_ray.report.measured import Measured, confirmed_settings
from dce_ray.report.page_points import PointsView
from dce_ray.report.page_trials import TrialsView
from dce_ray.report.rendering import html_table
from dce_ray.report.setting_figures import confirmation_figure
from dce_ray.report.style import house_style, write_figure
from dce_ray.report.trial_table import read_trials, write_trials
from dce_ray.verdict.verdict import NONE_YET, Verdict
from dce_ray.words import counted, portable_command, runnable

log = logging.getLogger(__name__)
VIEWS: Mapping[str, type[PointsView | TrialsView]] = {"replicates": PointsView, "single": TrialsView}
"""By the policy of the search."""
CONFIRMATION = (
    "Test result of every confirmed setting, and its paired difference to the plain baseline; the winner's has a 95 % "
    "interval."
)
"""What the figure shows, for those who cannot see it."""
FILES: Mapping[str, str] = {
    "best.yaml": "the chosen setting, for python -m dce_ray.train config=<folder>/best.yaml",
    "confirmation.md": "the confirmation's table, to be read",
    "confirmation.csv": "the same for programs",
    "confirmation.tex": "the same for a paper",
    "confirmation.json": "the same with the verdict, all seeds and what they were compared by",
    "points.csv": "the points, with what the model makes of them",
    "points.parquet": "the same for programs",
    "trials.csv": "the runs",
    "trials.parquet": "the same for programs",
    "figures": "every figure of this page, as SVG and PNG",
    "config.json": "all that was asked",
    "sessions.jsonl": "the commits and machines that went on with it",
    "study.journal": "Optuna's study: the truth that resume= goes on from",
    "log.txt": "what Ray and Optuna had to say",
}
"""Files beside the page, and what they hold."""


def write_outputs(folder: ExperimentFolder, *, live: bool | None = None) -> None:
    """Write trials.parquet and .csv, points.parquet and .csv (policy=replicates), figures/ and report.html.

    Args:
        folder: of the search.
        live: whether runs train now, and None asks the folder's lock: a search that stops still holds it.

    Raises:
        SearchError: the folder holds no study.
        OutputError: the disk is full or not writable.
    """
    trials = read_trials(folder, live=live)
    write_trials(trials, folder.path / "trials.parquet", folder.path / "trials.csv")
    view = VIEWS[folder.config["policy"]](folder, trials)
    view.write_tables()
    confirmed = confirmed_settings(folder)
    with house_style(), one_thread():
        drawings = view.drawings()
        drawings["learning"] = learning_figure(folder, trials, view.best_point, view.measure, view.plain_point)
        if confirmed:
            verdict = Verdict.read(folder)
            planned = verdict.planned_comparison if verdict else None
            drawings["confirmation"] = confirmation_figure(confirmed, WINNER, planned)
        drawn = {name: write_figure(drawing, folder.figures, name) for name, drawing in drawings.items()}
    for name in view.descriptions.keys() - drawn.keys():  # an earlier state of the search had something to show
        for suffix in ("svg", "png"):
            (folder.figures / f"{name}.{suffix}").unlink(missing_ok=True)
    write_atomically(folder.path / "report.html", _page(folder, view, confirmed, drawn).render())
    log.info("report: %s", folder.path / "report.html")


def _page(
    folder: ExperimentFolder, view: PointsView | TrialsView, confirmed: Sequence[Measured], drawn: Mapping[str, str]
) -> html.Page:
    config = folder.config
    supervision = selection_text(config["protocol"], config["metric"])
    measured = any(one.scores for one in confirmed)
    page = html.Page(" / ".join(folder.path.parts[-3:]), f"Search of SCS and MCM. {view.lead}")
    verdict = Verdict.read(folder)
    anew = _confirmed_anew(folder)
    own = verdict_parts(verdict, open_end=not _present_looks(folder)) if verdict else _no_verdict_parts(folder)
    page.add("verdict", "Verdict", *own, *anew, *_former(folder, verdict))
    page.add(
        "selection",
        "Selection",
        html.paragraph(f"{supervision} {test_text(config, confirmed=measured)}".rstrip(), "notice"),
        html.paragraph(f"Note: {few}.", "notice") if (few := holdout_note(config)) else "",
        view.choice,
    )
    page.add("confirmation", "Confirmation", *_confirmation(folder, confirmed, drawn, verdict))
    page.add("learning", "Learning curves", html.figure(drawn["learning"], DESCRIPTION, "learning-figure"))
    view.add_searched(page, drawn)
    page.add("files", "Files", html.paragraph("In the folder of this page:"), html.files(_beside(folder)))
    page.add(
        "provenance",
        "Provenance",
        *session_parts(folder),
        html.folded_text("Configuration (config.json)", json.dumps(config, indent=2)),
        html.folded_text("Best configuration (best.yaml)", folder.best.read_text()) if folder.best.is_file() else "",
    )
    return page


def session_parts(folder: ExperimentFolder) -> list[str]:
    """Commit, machine and versions that the numbers come from: all of the first session, then what changed."""
    first, *further = folder.sessions
    parts = [html.facts(first)]
    for before, now in pairwise([first, *further]):
        parts.append(html.paragraph(f"Gone on with from {now['started']} on, where this was another one than before:"))
        changed = {name: now.get(name, "none") for name in now | before if now.get(name) != before.get(name)}
        parts.append(html.facts({name: value for name, value in changed.items() if name != "started"}))
    return parts


def _beside(folder: ExperimentFolder) -> dict[str, str]:
    """The files of a search that a reader may want, of those that are there, with what they hold."""
    return {name: what for name, what in FILES.items() if (folder.path / name).exists()}


def _confirmed_anew(folder: ExperimentFolder) -> list[str]:
    """The verdicts of confirmations that were made anew, with fresh seeds."""
    present = _present_looks(folder)
    parts = []
    for look in looks_at(folder):
        verdict = Verdict.read(look)
        if verdict is not None:
            of = "" if look in present else ", of an earlier choice, which the search has left since"
            parts += [html.paragraph(f"Confirmed anew ({look.path.name}){of}:")]
            parts += verdict_parts(verdict, open_end=bool(present) and look == present[-1])
    return parts


def _former(folder: ExperimentFolder, verdict: Verdict | None) -> list[str]:
    """The verdicts before the search went on, where they said anything else."""
    now = verdict.sentence if verdict else ""
    lines = [
        f"With {counted(one.search_runs, 'run')} of the search: {one.sentence}"
        for one in Verdict.former(folder)
        if one.sentence != now
    ]
    intro = html.paragraph("Before this search went on it had come to (kept in set-aside/, and no more its verdict):")
    return [intro, html.bullets(lines)] if lines else []


def _present_looks(folder: ExperimentFolder) -> list[ExperimentFolder]:
    """The ended confirmations anew of the present choice."""
    looks = [look for look in looks_at(folder) if Verdict.read(look) is not None]
    identity = chosen_identity(folder) if looks else None
    return [look for look in looks if look.config["identity"] == identity]


def _no_verdict_parts(folder: ExperimentFolder) -> list[str]:
    """That there is none yet, and the command that goes on where the search was stopped."""
    command = portable_command("dce_ray.search", resume=folder.path)
    return [
        html.paragraph(NONE_YET, "notice"),
        html.paragraph("If it was stopped, this goes on with it:"),
        html.preformatted(runnable(command, anywhere=True)),
    ]


def verdict_parts(verdict: Verdict, *, open_end: bool = True) -> list[str]:
    """The verdict's sentence, what else is to be known, and the command that goes on.

    Args:
        verdict: of the search, or of a confirmation that was made anew.
        open_end: whether the command is shown; a later verdict has one of its own.
    """
    details, command = verdict.details, verdict.written_command if open_end else ""
    if not command or not details:
        return [html.paragraph(verdict.sentence, "notice"), html.bullets(details[:-1] if verdict.command else details)]
    parts = [html.paragraph(verdict.sentence, "notice"), html.bullets(details[:-1]), html.paragraph(details[-1])]
    return [*parts, html.preformatted(command)]


def _confirmation(
    folder: ExperimentFolder, confirmed: Sequence[Measured], drawn: Mapping[str, str], verdict: Verdict | None
) -> list[str]:
    config = folder.config
    if not confirmed:
        asked = config["confirm"]["seeds"] > 0
        why = "The confirmation has not begun" if asked else "No confirmation was asked for (confirm.seeds=0)"
        return [html.paragraph(f"{why}: no number on this page was measured on test.")]
    rendered = html_table(settings_table(folder, confirmed, verdict, origin_notes(folder)))
    return [rendered, html.figure(drawn["confirmation"], CONFIRMATION, "confirmation-figure")]


def origin_notes(folder: ExperimentFolder) -> list[str]:
    """What each confirmed setting is: the number of its point, and where its scalars come from."""
    found = read_json(folder.confirmation).get("configurations", []) if folder.confirmation.is_file() else []
    what = "trial" if folder.config.get("policy") == "single" else "point"
    return [_origin_note(entry, what) for entry in found if entry.get("point") is not None]


def _origin_note(entry: Mapping[str, Any], what: str) -> str:
    kinds = {"search": "found by the search", PLAIN: "of the plain baseline's own search"}
    kinds |= {name: f"the published values ({origin_label(name)})" for name in PUBLISHED}
    origin = kinds.get(entry["origin"], f"known before ({origin_label(entry['origin'])})")
    return f"{origin_label(entry['name'])} is {what} {entry['point']}, {origin}."
