"""The page of a confirmation that was made anew, with fresh seeds."""

from __future__ import annotations

import json

from dce_ray.experiment.candidate import WINNER
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import write_atomically
from dce_ray.report import html
from dce_ray.report.confirmation import settings_table
from dce_ray.report.measured import confirmed_settings
from dce_ray.report.page import CONFIRMATION, origin_notes, session_parts, verdict_parts
from dce_ray.report.rendering import html_table
from dce_ray.report.setting_figures import confirmation_figure
from dce_ray.report.style import house_style, write_figure
from dce_ray.verdict.verdict import Verdict


def write_page(folder: ExperimentFolder) -> None:
    """Write report.html and figures/confirmation from the runs and the verdict in the folder.

    Raises:
        OutputError: the disk is full or not writable.
    """
    config, verdict, confirmed = folder.config, Verdict.read(folder), confirmed_settings(folder)
    lead = f"Confirmed anew with seeds of its own, look {config['look']} at test. The search: {folder.searched.path}"
    page = html.Page(" / ".join(folder.path.parts[-3:]), lead)
    page.add("verdict", "Verdict", *(verdict_parts(verdict) if verdict else ()))
    table = html_table(settings_table(folder, confirmed, verdict, origin_notes(folder)))
    with house_style():
        planned = verdict.planned_comparison if verdict else None
        svg = write_figure(confirmation_figure(confirmed, WINNER, planned), folder.figures, "confirmation")
    page.add("confirmation", "Confirmation", table, html.figure(svg, CONFIRMATION, "confirmation-figure"))
    asked = html.folded_text("Configuration (config.json)", json.dumps(config, indent=2))
    page.add("provenance", "Provenance", *session_parts(folder), asked)
    write_atomically(folder.path / "report.html", page.render())
