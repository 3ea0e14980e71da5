"""The page of a search with ``policy=single``: its trials, the best of which was chosen by its best evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dce_ray.config import SCALARS
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import origin_label
from dce_ray.experiment.study import read_study
from dce_ray.report import figures, html
from dce_ray.report.acting import idle_lines
from dce_ray.report.captions import SHARES, trial_measure
from dce_ray.report.importance import Importance, importance_of
from dce_ray.report.trial_table import INTERRUPTED, TrialTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DESCRIPTIONS = {
    "history": "Value of every trial in order of start, with the best so far; pruned and failed trials are marked.",
    "parallel": "One line per trial through its six parameters to its value.",
    "importance": "Share of each parameter in reaching the best trials.",
    "slices": "Value of every trial over each parameter.",
}
"""What each figure shows, for those who cannot see it."""


class TrialsView:
    """What the page shows of a search's trials.

    Args:
        folder: of the search.
        trials: read from it.
    """

    def __init__(self, folder: ExperimentFolder, trials: TrialTable) -> None:
        self.folder, self.trials = folder, trials
        self.measure = trial_measure(folder.config)

    def write_tables(self) -> None:
        """Nothing beside the trials."""

    @property
    def descriptions(self) -> Mapping[str, str]:
        """What each figure shows that there may be, by name."""
        return DESCRIPTIONS

    @property
    def lead(self) -> str:
        """How many trials there are."""
        return f"Trials: {state_counts(self.trials) or 'none yet'}."

    def drawings(self) -> dict[str, Figure]:
        """The figures by name; call inside ``house_style()``."""
        drawings = {
            "history": figures.history(self.trials, self.measure),
            "parallel": figures.parallel_coordinates(self.trials, self.measure),
            "slices": figures.slices(self.trials, self.measure),
        }
        if self._importance.shares:  # where there are none, a line of the page says why
            drawings["importance"] = figures.importance_chart(self._importance)
        return drawings

    @cached_property
    def _importance(self) -> Importance:
        return importance_of(read_study(self.folder.study), self.trials)

    @property
    def best_point(self) -> int | None:
        """Number of the best point; None before there is one."""
        return None if self.trials.best is None else self.trials.best.point

    @property
    def plain_point(self) -> None:
        """The plain baseline is one setting here."""
        return

    @property
    def choice(self) -> str:
        """The best trial beside the plain baseline."""
        best, plain = self.trials.best, self._plain
        if best is None:
            return html.paragraph("No trial is finished, so there is no best one yet.")
        values: dict[str, Any] = {"trial": best.number, self.measure: f"{100 * (best.value or 0):.2f} %"}
        values |= {"plain baseline there": "not measured" if plain is None else f"{100 * plain:.2f} %"}
        values |= {
            "reached at iteration": best.value_iteration,
            "parameters from": origin_label(best.origin or "unknown"),
        }
        values |= {name: "—" if (v := best.parameter(name)) is None else f"{v:.4g}" for name in SCALARS}
        return html.paragraph("The best trial on the selecting split:") + html.facts(values)

    @property
    def _plain(self) -> float | None:
        """Score of the plain baseline, a fraction; None where it has none (yet)."""
        records = [run.record() for run in self.folder.trials()]
        return next((record.value for record in records if record.role == "plain"), None)

    def add_searched(self, page: html.Page, drawn: Mapping[str, str]) -> None:
        """Sections on what was searched."""
        shown = [name for name in DESCRIPTIONS if name in drawn]
        aside = [] if self._importance.shares else [html.paragraph(f"Importance: {self._importance.note}")]
        page.add("figures", "Figures", *(html.figure(drawn[name], DESCRIPTIONS[name], name) for name in shown), *aside)
        idle = idle_lines(self.folder)
        page.add("trials", "Trials", *(html.paragraph(f"{line}.", "notice") for line in idle), self._trial_table())

    def _trial_table(self) -> str:
        further = list(self.trials.rows[0].further) if self.trials.rows else []
        names = [*SCALARS, *further]
        columns = ["trial", "state", "from", *names, "value %", "read at", "iterations", "psi_share", "mcm_share"]
        rows = [
            (
                *(row.number, row.state, row.origin and origin_label(row.origin)),
                *(html.significant(row.parameter(name)) for name in names),
                *(html.percent(row.value), row.value_iteration, row.iterations),
                *(html.share(row.psi_share), html.share(row.mcm_share), html.seconds(row.duration_s), row.error),
            )
            for row in self.trials.rows
        ]
        best = self.trials.rows.index(self.trials.best) if self.trials.best else None
        title = (
            f"All {len(rows)} trials in order of start; the best is set off. Value: {self.measure}, the highest of a "
            f"trial's evaluations. {SHARES}"
        )
        return html.data_table(title, [*columns, "seconds", "error"], rows, best=best, tall=len(rows) > 20)


def state_counts(trials: TrialTable) -> str:
    """How many trials are in which state: ``7 finished, 1 failed``; empty where there are none."""
    states = ("finished", "pruned", "failed", "running", INTERRUPTED, "waiting")
    return ", ".join(f"{len(found)} {state}" for state in states if (found := trials.in_state(state)))
