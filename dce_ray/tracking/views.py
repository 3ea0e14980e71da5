"""The view of an experiment that MLflow's UI opens with: our columns, and parallel coordinates over the six parameters.

MLflow keeps views that users share as tags of the experiment; ``?viewStateShareKey=<key>`` opens one. Its own defaults
show neither metrics nor parameters, and three of six parameters in a parallel-coordinates plot.
"""

from __future__ import annotations

import json
from typing import Any

from dce_ray.config import SCALARS

VIEW = "dce-ray"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
KIND_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""What makes MLflow show the experiment as training runs."""
TAG_COLUMNS = ("kind", "setting", "components", "status", "origin", "seed")
SECTIONS = {"Compare": 1, "Curves": 3}
"""Charts per line of our sections; their capitals sort them before those that MLflow makes of metric names."""


def view_state(ranking: str) -> str:
    """Value of :data:`VIEW_TAG`.

    Args:
        ranking: name of the metric whose curve is drawn beside, such as ``mAP/avg_0.1:0.7``.
    """
    selected = [_column("metrics", "best_score"), _column("metrics", "test_score"), _column("metrics", ranking)]
    selected += [_column("params", name) for name in SCALARS]
    selected += [_column("tags", name) for name in TAG_COLUMNS]
    return json.dumps(
        {
            "searchFilter": "",
            "orderByKey": _column("metrics", "best_score"),
            "orderByAsc": False,
            "selectedColumns": selected,
            "runsHiddenMode": "SHOW_ALL",
            "compareRunCharts": _charts(ranking),
            "compareRunSections": [
                {"uuid": name, "name": name, "display": True, "isReordered": False, "columns": columns}
                for name, columns in SECTIONS.items()
            ],
        }
    )


def _column(group: str, name: str) -> str:
    return f"{group}.`{name}`"


def _charts(ranking: str) -> list[dict[str, Any]]:
    parallel = {
        "type": "PARALLEL",
        "uuid": "parallel",
        "metricSectionId": "Compare",
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        "displayName": "The six parameters and the score",
        "selectedParams": list(SCALARS),
        "selectedMetrics": ["best_score"],
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
