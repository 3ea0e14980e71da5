"""The page of a search with ``policy=replicates``: its points as the model of the noise sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN_LABEL, PUBLISHED, origin_label
from dce_ray.points.standing import read_standing, searched_ranges
from dce_ray.report import html, noise, point_figures
from dce_ray.report.acting import idle_lines
from dce_ray.report.captions import SHARES, trial_measure
from dce_ray.report.figures import importance_chart
from dce_ray.report.importance import Importance
from dce_ray.report.page_trials import state_counts
from dce_ray.report.point_table import PointRow, read_points, write_points
from dce_ray.report.trial_table import TrialRow, TrialTable
from dce_ray.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DESCRIPTIONS = {
    "history": "Every point in the order in which they came up: its runs, the model's mean and 95 % interval, beside "
    "the plain baseline's.",
    "noise": "Share of each component in the variance of a single run.",
    "importance": "Share of the model's surface that each parameter explains.",
    "slices": "The model's mean along each parameter with its 95 % band, and the runs of all points.",
    "parallel": "One line per point through its six parameters to the model's mean.",
}
"""What each figure shows, for those who cannot see it."""
STEERING = (
    "All of this is the model's view of runs on the selecting split. Its means, intervals and probabilities steer the "
    "search and choose what is confirmed; they never enter the verdict, which rests on the confirmation's runs alone."
)
ADJUSTED = (
    "A run counts with its score at an iteration that other runs chose, never its own best one; adjusted means less "
    "what its fold and seed, by the model, did to all points alike."
)
TOGETHER = (
    "Intervals hold 95 % of what is uncertain of a mean by itself, also what is uncertain of all points together: "
    "overlapping intervals do not mean that two points are alike. P(better) compares a point with the plain baseline "
    "directly."
)
OWN_SEARCH = (
    "Here it is left out: the plain baseline has a search of its own, and its best point, the luckiest of several, is "
    "no fair measure of a single point's chance."
)
PLAIN_LEADS = "The plain baseline leads: no point's mean is above its own, so the search found nothing better."
OTHER_FOLDS = (
    "The plain baseline has finished runs on other folds than the points, so their means are not comparable before "
    "both have runs on the same folds."
)
FLAT = (
    "No difference seen: in this range around the best point, the other parameters as there, the model's mean is "
    "nowhere below the best point's by more than one standard deviation of that difference; a wide range may also mean "
    "that too little was tried."
)


class PointsView:
    """What the page shows of a search's points.

    Args:
        folder: of the search.
        trials: its runs.
    """

    def __init__(self, folder: ExperimentFolder, trials: TrialTable) -> None:
        self.folder, self.trials, self.config = folder, trials, folder.config
        self.standing = read_standing(folder)
        self.points = read_points(trials, self.standing)
        self.ranges = searched_ranges(self.config)
        self.measure = trial_measure(self.config)

    def write_tables(self) -> None:
        """Write points.parquet and points.csv.

        Raises:
            OutputError: the disk is full or not writable.
        """
        write_points(self.points, self.folder.path / "points.parquet", self.folder.path / "points.csv")

    @property
    def descriptions(self) -> Mapping[str, str]:
        """What each figure shows that there may be, by name."""
        return DESCRIPTIONS

    @property
    def lead(self) -> str:
        """How many points and runs there are."""
        plain = sum(row.plain for row in self.trials.rows)
        counts = state_counts(self.trials)
        return (
            f"Points: {len(self.points.points)}. Runs: {counts}; {plain} of them of the plain baseline."
            if counts
            else "Runs: none yet."
        )

    def drawings(self) -> dict[str, Figure]:
        """The figures by name; call inside ``house_style()``."""
        parts = noise.components_of_noise(self.standing) if self.standing else []
        counts = noise.counts_text(self.standing) if self.standing else ""
        drawings = {
            "history": point_figures.point_history(self.points, self.standing, self.measure),
            "noise": point_figures.noise_chart([one for one in parts if one.share is not None], counts),
            "slices": point_figures.model_slices(self.points, self.standing, self.config, self.measure),
            "parallel": point_figures.point_parallel(self.points, self.config, self.measure),
        }
        if self._importance.shares:  # where there are none, a line of the page says why
            what, measure = "What the model's mean depends on", "share of its variance over the space"
            drawings["importance"] = importance_chart(self._importance, what, measure)
        return drawings

    @cached_property
    def _importance(self) -> Importance:
        return noise.model_importance(self.standing, self.ranges)

    @property
    def best_point(self) -> int | None:
        """Number of the best point; None before there is one."""
        return None if self.points.best is None else self.points.best.point

    @property
    def plain_point(self) -> int | None:
        """Number of the plain baseline's best point; None where it is one setting."""
        return None if self.points.plain is None else self.points.plain.point

    @property
    def choice(self) -> str:
        """The best point by the model, beside the plain baseline."""
        best, plain = self.points.best, self.points.plain
        if best is None:
            return html.paragraph("No run of a point has ended yet, so there is no best point.")
        values: dict[str, Any] = {"point": best.point, f"expected {self.measure}": _estimate(best)}
        values |= {"plain baseline there": _estimate(plain) if plain else "not measured"}
        values |= {"probability that it is better than plain": html.probability(best.probability_better) or "unknown"}
        values |= {"probability that it is the best point": html.probability(best.probability_best)}
        values |= {"chosen iteration": best.iteration, "parameters from": _origin(best)}
        values |= {name: "—" if (v := best.parameter(name)) is None else f"{v:.4g}" for name in self.points.names}
        text = "The best point"
        if self.standing is not None and self.standing.plain_leads:
            text = f"{PLAIN_LEADS} {text}"
        if self.standing is not None and not self.standing.comparable:
            text = f"{OTHER_FOLDS} {text}"
        return html.paragraph(f"{text} by the model, on the selecting split:") + html.facts(values)

    def add_searched(self, page: html.Page, drawn: Mapping[str, str]) -> None:
        """Sections on the points, the noise, the scalars and the runs."""
        idle = idle_lines(self.folder)
        pictures = {
            name: html.figure(drawn[name], DESCRIPTIONS[name], f"{name}-figure") if name in drawn else ""
            for name in DESCRIPTIONS
        }
        page.add(
            "points",
            "Points",
            html.paragraph(STEERING, "notice"),
            self._point_table(),
            html.paragraph(f"{TOGETHER} {OWN_SEARCH}" if self.points.plain_points else TOGETHER),
            pictures["history"],
            html.paragraph(ADJUSTED),
        )
        page.add("noise", "Noise", *self._noise(), pictures["noise"])
        page.add(
            "scalars", "Parameters", *self._scalars(), pictures["importance"], pictures["slices"], pictures["parallel"]
        )
        page.add("runs", "Runs", *(html.paragraph(f"{line}.", "notice") for line in idle), self._run_table())

    def _point_table(self) -> str:
        names = self.points.names
        columns = ["point", "from", *names, "runs", "failed", "mean %", "± sd", "95 % low", "high"]
        columns += ["P(better)", "P(best)", "iteration"]
        ranked = [*self.points.plain_rows, *self.points.ranked]
        own = f" (its own search, {len(self.points.plain_points)} points)" if self.points.plain_points else ""
        title = (
            f"The plain baseline{own}, then all {len(self.points.points)} points, the best by the model first and set "
            f"off. Mean: the model's expected {self.measure}; P(better): probability that it is above the plain "
            f"baseline's; P(best): that it is the highest of all points."
        )
        return html.data_table(
            title,
            columns,
            [_cells(row, names) for row in ranked],
            best=ranked.index(self.points.best) if self.points.best else None,
            reference=0 if self.points.plain else None,
            tall=len(ranked) > 20,
        )

    def _noise(self) -> list[str]:
        if self.standing is None:
            return [html.paragraph("No run has ended yet, so nothing is known of the noise.")]
        rows = [
            (
                one.name,
                one.meaning,
                html.percent(one.deviation),
                None if one.share is None else html.percent(one.share, 0),
            )
            for one in noise.components_of_noise(self.standing)
        ]
        title = f"What a run's score is made of, by the model. {noise.counts_text(self.standing)}"
        columns = ["component", "what it is", "standard deviation (mAP points)", "share of a run's whole variance (%)"]
        return [html.paragraph(noise.signal_sentence(self.standing)), html.data_table(title, columns, rows)]

    def _scalars(self) -> list[str]:
        best = self.points.best
        if self.standing is None or best is None:
            return [html.paragraph("No run of a point has ended yet.")]
        rows = [
            (name, text, value, None if share is None else html.percent(share, 0), flat)
            for name, text, value, share, flat in noise.scalar_rows(self.standing, best, self.ranges, self._importance)
        ]
        title = "The searched parameters: how much the model's mean depends on each, and where it does not."
        columns = ["parameter", "searched range", "best point", "share (%)", "no difference seen"]
        return [html.data_table(title, columns, rows), html.paragraph(f"{self._share_text} {FLAT}")]

    @property
    def _share_text(self) -> str:
        if not self._importance.shares:
            return f"There are no shares, and no figure of them. {self._importance.note}"
        return "Share: of the variance of the model's mean over the whole space, interactions counted for each."

    def _run_table(self) -> str:
        columns = ["run", "point", "fold", "seed", "state", "value %", "read at", "iterations", "psi_share"]
        columns += ["mcm_share", "from", "seconds", "error"]
        rows = [
            (
                *(row.number, _who(row), row.fold, row.seed, row.state),
                *(html.percent(row.value), row.value_iteration, row.iterations),
                *(html.share(row.psi_share), html.share(row.mcm_share)),
                *(row.origin and origin_label(row.origin), html.seconds(row.duration_s), row.error),
            )
            for row in self.trials.rows
        ]
        title = (
            f"All {len(rows)} runs in order of start. Value: {self.measure} at the iteration that other runs chose "
            f"when the run ended; later runs may choose another one for the model. {SHARES}"
        )
        return html.data_table(title, columns, rows, tall=len(rows) > 20)


def _who(row: TrialRow) -> Any:
    """The point of a run, or that it is the plain baseline's."""
    return row.point if not row.plain else html.Number("plain" if row.point is None else f"plain {row.point}")


def _cells(row: PointRow, names: Sequence[str]) -> tuple[Any, ...]:
    scalars = [html.significant(row.parameter(name)) for name in names]
    plain = PLAIN_LABEL if row.point is None else f"{PLAIN_LABEL} {row.point}"
    return (
        *(plain if row.plain else row.point, _origin(row), *scalars, row.runs, row.failed_runs),
        *(html.percent(row.mean_fraction), html.percent(row.deviation_fraction)),
        *(html.percent(row.low_fraction), html.percent(row.high_fraction)),
        *(html.probability(row.probability_better), html.probability(row.probability_best), row.iteration),
    )


def _origin(row: PointRow) -> str:
    """Where a point comes from; published values are called so."""
    origin = row.origin or "unknown"
    return f"published ({origin_label(origin)})" if origin in PUBLISHED else origin_label(origin)


def _estimate(row: PointRow) -> str:
    if row.mean_fraction is None:
        return "not measured"
    values = (row.mean_fraction, row.deviation_fraction, row.low_fraction, row.high_fraction)
    mean, deviation, low, high = (f"{100 * (value or 0):.2f}" for value in values)
    return f"{mean} % (standard deviation {deviation}, 95 % interval {low} to {high}; {counted(row.runs, 'run')})"
