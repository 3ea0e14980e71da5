"""What a search leaves to look at: trials table, pictures and a page, all made from the folder alone.

``write_outputs`` may run at any time, also while trials run or after a kill; it writes each file anew.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dce_ray.config import SCALARS
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN
from dce_ray.experiment.study import read_study
from dce_ray.files import write_atomically
from dce_ray.report import figures, html
from dce_ray.report.captions import selection_text, test_text, trial_measure
from dce_ray.report.confirmation import settings_table
from dce_ray.report.importance import importance_of
from dce_ray.report.measured import Measured, confirmed_settings
from dce_ray.report.rendering import html_table
from dce_ray.report.setting_figures import settings_figure
from dce_ray.report.style import house_style, write_figure
from dce_ray.report.trial_table import TrialTable, column_names, read_trials, write_trials

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)
FIGURE_DESCRIPTIONS = {
    "history": "Value of every trial in order of start, with the best so far; pruned and failed trials are marked.",
    "parallel": "One line per trial through its six parameters to its value.",
    "importance": "Share of each parameter in reaching the best trials.",
    "slices": "Value of every trial over each parameter.",
    "confirmation": "Test result of every confirmed setting with its 95 % interval, and the paired difference.",
}
"""What each figure shows, for those who cannot see it."""


def write_outputs(folder: ExperimentFolder) -> None:
    """Write trials.parquet, trials.csv, figures/ and report.html of an experiment.

    Raises:
        SearchError: the folder holds no study.
        OutputError: the disk is full or not writable.
    """
    study = read_study(folder.study)
    table = read_trials(folder, study)
    write_trials(table, folder.path / "trials.parquet", folder.path / "trials.csv")
    confirmed = confirmed_settings(folder)
    drawn = _draw(folder, study, table, confirmed)
    write_atomically(folder.path / "report.html", _page(folder, table, confirmed, drawn).render())
    log.info("report: %s", folder.path / "report.html")


def _draw(
    folder: ExperimentFolder, study: optuna.Study, table: TrialTable, confirmed: Sequence[Measured]
) -> dict[str, str]:
    """All figures, written to ``figures/``; their SVG by name."""
    measure = trial_measure(folder.config)
    with house_style():
        drawings: dict[str, Figure] = {
            "history": figures.history(table, measure),
            "parallel": figures.parallel_coordinates(table, measure),
            "importance": figures.importance_chart(importance_of(study, table)),
            "slices": figures.slices(table, measure),
        }
        if confirmed:
            drawings["confirmation"] = settings_figure("Confirmation on test", confirmed, PLAIN)
        return {name: write_figure(drawing, folder.figures, name) for name, drawing in drawings.items()}


def _page(
    folder: ExperimentFolder, table: TrialTable, confirmed: Sequence[Measured], drawn: Mapping[str, str]
) -> html.Page:
    config = folder.config
    states = ("finished", "pruned", "failed", "running", "waiting")
    counts = ", ".join(f"{len(found)} {state}" for state in states if (found := table.in_state(state)))
    supervision = selection_text(config["protocol"], config["metric"])
    measured = any(one.scores for one in confirmed)
    page = html.Page(" / ".join(folder.path.parts[-3:]), f"Search of SCS and MCM. Trials: {counts or 'none yet'}.")
    page.add(
        "selection",
        "Selection",
        html.paragraph(f"{supervision} {test_text(config, confirmed=measured)}".rstrip(), "notice"),
        _best(table, trial_measure(config), _plain_value(folder)),
    )
    page.add("confirmation", "Confirmation", *_confirmation(config, confirmed, drawn))
    pictures = [html.figure(drawn[name], FIGURE_DESCRIPTIONS[name], name) for name in drawn if name != "confirmation"]
    page.add("figures", "Figures", *pictures)
    page.add("trials", "Trials", _trials(table))
    environment = {name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in folder.environment.items()}
    page.add(
        "provenance",
        "Provenance",
        html.facts(environment),
        html.folded_text("Configuration (config.json)", json.dumps(config, indent=2)),
        html.folded_text("Best configuration (best.yaml)", folder.best.read_text()) if folder.best.is_file() else "",
    )
    return page


def _plain_value(folder: ExperimentFolder) -> float | None:
    """Score of the plain baseline on the selecting split, as a fraction; None where it has none (yet)."""
    records = [run.record() for run in folder.trials()]
    return next((record.value for record in records if record.role == "plain"), None)


def _best(table: TrialTable, measure: str, plain: float | None) -> str:
    best = table.best
    if best is None:
        return html.paragraph("No trial is finished, so there is no best one yet.")
    values: dict[str, Any] = {"trial": best.number, measure: f"{100 * (best.value or 0):.2f} %"}
    values |= {"plain baseline there": "not measured" if plain is None else f"{100 * plain:.2f} %"}
    values |= {"reached at iteration": best.best_iteration, "parameters from": best.origin}
    values |= {name: "—" if (v := best.parameter(name)) is None else f"{v:.4g}" for name in SCALARS}
    return html.paragraph("The best trial on the selecting split:") + html.facts(values)


def _confirmation(config: Mapping[str, Any], confirmed: Sequence[Measured], drawn: Mapping[str, str]) -> list[str]:
    if not confirmed:
        asked = config["confirm"]["seeds"] > 0
        why = "The confirmation has not begun" if asked else "No confirmation was asked for (confirm.seeds=0)"
        return [html.paragraph(f"{why}: no number on this page was measured on test.")]
    rendered = html_table(settings_table(config, confirmed))
    return [rendered, html.figure(drawn["confirmation"], FIGURE_DESCRIPTIONS["confirmation"], "confirmation-figure")]


def _trials(table: TrialTable) -> str:
    names = column_names()
    rows = [row.values() for row in table.rows]
    best = table.rows.index(table.best) if table.best else None
    title = f"All {len(rows)} trials; value is a fraction in [0, 1], the best trial is set off."
    return html.data_table(title, names, rows, best=best, tall=len(rows) > 20)
