"""The view of an experiment that MLflow's UI opens with: our columns, and parallel coordinates over the six parameters.

MLflow keeps views that users share as tags of the experiment; ``?viewStateShareKey=<key>`` opens one. Its own defaults
show neither metrics nor parameters, and three of six parameters in a parallel-coordinates plot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dce_ray.config import SCALARS
from dce_ray.experiment.record import searched_beside

KIND_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""What makes MLflow show the experiment as training runs."""
SECTIONS = {"Compare": 1, "Curves": 3}
"""Charts per line of our sections; their capitals sort them before those that MLflow makes of metric names."""


@dataclass(frozen=True, slots=True)
class View:
    """What a search's page in MLflow's UI looks like."""

    key: str
    """Of the view; searches of either policy share an experiment and keep their own views."""
    score: str
    """Metric that sorts, and that is drawn over the six parameters: runs without it are not."""
    metrics: tuple[str, ...]
    """Columns before that of the curve."""
    tags: tuple[str, ...]
    """Columns behind the six parameters."""


SINGLE = View(
    "dce-ray", "best_score", ("best_score", "test_score"), ("kind", "setting", "components", "status", "origin", "seed")
)
"""Trials, each a point of its own."""
POINTS = View(
    "dce-ray-points",
    "model_mean",
    ("model_mean", "model_low", "model_high", "p_better", "p_best", "runs", "test_score"),
    ("kind", "setting", "components", "status", "origin", "fold", "seed"),
)
"""Points, each with the model's view of its runs."""


def _view(config: Mapping[str, Any]) -> View:
    view = POINTS if config.get("policy") == "replicates" else SINGLE
    further = searched_beside(config)
    return replace(view, key="-".join([view.key, *further])) if further else view


def view_of(config: Mapping[str, Any]) -> str:
    """Key of the view that the page of a search opens with.

    Args:
        config: of the search.
    """
    return _view(config).key


def view_tags(config: Mapping[str, Any], ranking: str) -> dict[str, str]:
    """The tag of the experiment that holds the view.

    Args:
        config: of the search.
        ranking: name of the metric whose curve is drawn beside, such as ``mAP/avg_0.1:0.7``.
    """
    view = _view(config)
    selected = [_column("metrics", name) for name in (*view.metrics, ranking)]
    names = [*SCALARS, *searched_beside(config)]
    selected += [_column("params", name) for name in names]
    selected += [_column("tags", name) for name in view.tags]
    state = {
        "searchFilter": "",
        "orderByKey": _column("metrics", view.score),
        "orderByAsc": False,
        "selectedColumns": selected,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(view, ranking, names),
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True, "isReordered": False, "columns": columns}
            for name, columns in SECTIONS.items()
        ],
    }
    return {f"mlflow.sharedViewState.{view.key}": json.dumps(state)}


def _column(group: str, name: str) -> str:
    return f"{group}.`{name}`"


def _charts(view: View, ranking: str, names: list[str]) -> list[dict[str, Any]]:
    which = "The six parameters" if len(names) == len(SCALARS) else "The searched parameters"
    parallel = {
        "type": "PARALLEL",
        "uuid": "parallel",
        "metricSectionId": "Compare",
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        "displayName": f"{which} and the score",
        "selectedParams": names,
        "selectedMetrics": [view.score],
        "showAllRuns": False,
    }
    lines = [
        {
            "type": "LINE",
            "uuid": f"line-{name}",
            "metricSectionId": "Curves",
            "runsCountToCompare": 100,
            "deleted": False,
            "isGenerated": False,
            "metricKey": name,
            "selectedMetricKeys": [name],
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "scaleType": "linear",
            "useGlobalXaxisKey": True,
        }
        for name in (ranking, "loss/total", "psi_share", "mcm_share")
    ]
    return [parallel, *lines]
