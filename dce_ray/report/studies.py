"""The paper's ablations: which settings each compares, its table and its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dce_ray.errors import ConfigError, unknown_name
from dce_ray.experiment.record import PLAIN, WITHOUT_METHOD
from dce_ray.report.labels import baseline_title, data_title, in_order
from dce_ray.report.measured import Measured
from dce_ray.report.published import TABLE_5, printed_table
from dce_ray.report.setting_figures import components_figure, settings_figure, sweep_figure
from dce_ray.report.tables import Table, printed_strategies, sweep_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STUDIES = {
    "components": "figure 5 of the paper: baseline, + SCS, + MCM, both",
    "psi": "table 5 of the paper: how Psi is made of the two attentions",
    "lambda": "figure 6 of the paper: strength of the intervention",
    "thresholds": "sensitivity to delta, theta_rep and theta_pro",
}
THRESHOLDS = ("delta", "theta_rep", "theta_pro")
LAMBDAS = tuple(index / 10 for index in range(11))
THRESHOLD_VALUES = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of an ablation."""

    name: str
    changes: Mapping[str, Any]
    """Laid over the run's configuration, nested, with the user's keys."""
    parameter: str | None = None
    """What a sweep varies; None for a setting beside it."""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What an ablation was run on."""

    study: str
    baseline: str
    data: str
    """Name of the data set's folder under the results."""
    protocol: str
    method: Mapping[str, Any]
    """The run's own values of the method, from which each setting departs."""

    @property
    def title(self) -> str:
        """Baseline and data set as readers call them."""
        return f"{baseline_title(self.baseline)}, {data_title(self.data)}"


def study_settings(study: str, method: Mapping[str, Any], values: Sequence[float] | None = None) -> list[Setting]:
    """The settings of a study, the plain baseline first.

    >>> [setting.name for setting in study_settings("components", {})]
    ['baseline', 'scs', 'mcm', 'scs+mcm']

    Args:
        study: name in :data:`STUDIES`.
        method: the run's own values; a threshold sweep always holds them.
        values: places of a sweep; None takes the usual ones.

    Raises:
        ConfigError: for an unknown study, or values where nothing is swept.
    """
    if study not in STUDIES:
        raise ConfigError(unknown_name("study", study, STUDIES))
    plain = Setting(PLAIN, WITHOUT_METHOD)
    if values is not None and study in ("components", "psi"):
        raise ConfigError(f"values={list(values)}: study={study} sweeps no number; leave values= out")
    if study == "components":
        parts = {"scs": (True, False), "mcm": (False, True), "scs+mcm": (True, True)}
        return [plain, *(Setting(name, {"scs": scs, "mcm": mcm}) for name, (scs, mcm) in parts.items())]
    if study == "psi":
        return [plain, *(Setting(name, {**_BOTH, "method": {"strategy": name}}) for name in strategies())]
    names = ("lambda",) if study == "lambda" else THRESHOLDS
    usual = LAMBDAS if study == "lambda" else THRESHOLD_VALUES
    return [plain, *(point for name in names for point in _sweep(name, values or usual, float(method[name])))]


_BOTH: Mapping[str, Any] = {"scs": True, "mcm": True}


def _sweep(name: str, values: Sequence[float], own: float) -> list[Setting]:
    places = sorted({*(float(value) for value in values), own})
    return [Setting(f"{name}={place:g}", {**_BOTH, "method": {name: place}}, name, place) for place in places]


def strategies() -> list[str]:
    """Table 5's ways to make Psi, by their names in ``dce_ray.method.scs.STRATEGIES``, as the paper lists them."""
    rows = printed_table(TABLE_5).rows
    return [row.names["strategy"] for row in rows if row.names.get("equation")]


def study_table(context: Context, measured: Sequence[Measured], idle: Sequence[str] = ()) -> Table:
    """Every setting with its paired difference to the plain baseline; Table 5 with the paper's lines, labelled.

    Args:
        context: what was run on what.
        measured: what finished, by setting.
        idle: a line for each component that never acted in runs which had it.
    """
    caption = f"Ablation of {context.title} ({STUDIES[context.study]}): test mAP in percent."
    notes = [*_notes(context), *(f"{line}." for line in idle)]
    table = sweep_table(f"{context.study}_{context.data}_{context.baseline}", caption, measured, PLAIN, notes)
    if context.study != "psi" or (context.data, context.baseline) != ("thumos14", "ddgnet"):
        return table
    return replace(table, rows=(*table.rows, *printed_strategies()))


def _notes(context: Context) -> list[str]:
    own = {name: context.method[name] for name in (*THRESHOLDS, "beta", "gamma", "lambda", "strategy")}
    lines = ["Unless a line says otherwise: " + ", ".join(f"{name}={value}" for name, value in own.items()) + "."]
    if context.protocol == "paper":
        lines.append("protocol=paper: the iteration of every run was selected on test, as published (optimistic).")
    else:
        lines.append("Trained on all of train; the last iteration was evaluated on test, nothing was selected there.")
    if context.study == "psi":
        lines.append(f"All strategies cut at delta={context.method['delta']}; the paper does not print their own cuts.")
    return lines


def study_figure(
    context: Context,
    settings: Sequence[Setting],
    measured: Sequence[Measured],
    others: Mapping[str, Sequence[Measured]] | None = None,
) -> Figure:
    """The study's figure; call inside ``house_style()``.

    Args:
        context: what was run on what.
        settings: of the study.
        measured: what finished, by the settings' names.
        others: for ``components``, the same of other baselines on the same data, by baseline.
    """
    by_name = {one.name: one for one in measured}
    if context.study == "components":
        groups = {**(others or {}), context.baseline: measured}
        named = {baseline_title(name): groups[name] for name in in_order(groups)}
        return components_figure(f"Components, {data_title(context.data)}, test", named)
    if context.study == "psi":
        return settings_figure(f"How Psi is made: {context.title}", measured, PLAIN)
    sweeps: dict[str, dict[float, Measured]] = {}
    for setting in settings:
        if setting.parameter is not None and setting.value is not None:
            found = by_name.get(setting.name, Measured(setting.name, {}))
            sweeps.setdefault(setting.parameter, {})[setting.value] = found
    title = "Strength of the intervention" if context.study == "lambda" else "Sensitivity to the thresholds"
    own = {name: float(context.method[name]) for name in sweeps}
    return sweep_figure(f"{title}: {context.title}", sweeps, own, by_name.get(PLAIN))
