"""How much each parameter mattered, or why that cannot be said."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import optuna

from dce_ray.config import SCALARS
from dce_ray.report.trial_table import TrialTable

FEWEST_TRIALS = 8
"""Below this, a quantile of finished trials holds so few that every parameter looks equally important."""
ADVISED_TOP = 5
"""Finished trials that PED-ANOVA wants above its quantile."""


@dataclass(frozen=True, slots=True)
class Importance:
    """Share of each parameter, or the reason why there is none."""

    shares: Mapping[str, float]
    """By parameter, falling, summing to 1; empty where it cannot be computed."""
    note: str
    """How it was computed, or why it could not be; shown with every figure."""


def importance_of(study: optuna.Study, table: TrialTable) -> Importance:
    """Parameter importance by PED-ANOVA (https://arxiv.org/abs/2304.10255) over the finished trials.

    The quantile is the best tenth, or the best five trials where a tenth holds fewer, but never more than half. Optuna
    gives equal shares where it can say nothing; here that is an empty result with a reason.
    """
    finished = [row for row in table.in_state("finished") if row.value is not None]
    searched = [name for name in SCALARS if name in table.ranges and not table.ranges[name].constant]
    fixed = [name for name in SCALARS if name not in searched]
    aside = f" Not searched: {', '.join(fixed)}." if fixed else ""
    if not searched:
        return Importance({}, "Not defined: no parameter was searched.")
    if len(finished) < FEWEST_TRIALS:
        return Importance(
            {}, f"Not defined: {len(finished)} finished trials, at least {FEWEST_TRIALS} are needed.{aside}"
        )
    if len({row.value for row in finished}) == 1:
        return Importance({}, f"Not defined: all {len(finished)} finished trials have the same value.{aside}")
    quantile = min(0.5, max(0.1, ADVISED_TOP / len(finished)))
    try:
        shares = _shares(study, searched, quantile)
    except (ValueError, RuntimeError) as fault:
        return Importance({}, f"Not defined: Optuna says {fault}{aside}")
    if not shares:
        return Importance({}, f"Not defined: the best trials look like all others in every parameter.{aside}")
    note = f"PED-ANOVA, best {math.ceil(quantile * len(finished))} of {len(finished)} finished trials"
    rough = "; rough, since it is advised from 50 on" if len(finished) < 10 * ADVISED_TOP else ""
    return Importance(shares, f"{note}{rough}.{aside}")


def _shares(study: optuna.Study, searched: list[str], quantile: float) -> dict[str, float]:
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental flags of optuna; what they warn of is checked by the caller
        raw = optuna.importance.get_param_importances(study, evaluator=evaluator, params=searched, normalize=False)
    total = sum(raw.values())
    if not math.isfinite(total) or total <= 0:
        return {}
    return {name: value / total for name, value in sorted(raw.items(), key=lambda item: -item[1])}
