"""The confirmed winner as an MLflow model: features of a video in, proposals out.

MLflow keeps this file with the model and runs it when the model is loaded ("models from code"), so that nothing of ours
is pickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext

from dce_ray.errors import EvaluationError
from dce_ray.localize import propose
from dce_ray.train.build import load_trained


class WinnerModel(PythonModel):  # type: ignore[misc]  # mlflow is not typed
    """``predict`` takes the features of one video, ``(T, D)``, RGB channels first."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the network; called once by MLflow."""
        self.trained = load_trained(Path(context.artifacts["checkpoint"]))
        self.snippets_per_second = (context.model_config or {}).get("snippets_per_second")

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Proposals of one video, best first.

        Args:
            context: MLflow's; not used.
            model_input: features ``(T, D)``, T >= 1.
            params: MLflow's; not used.

        Returns:
            One row per proposal: ``label``, ``start`` and ``end`` in snippets, ``start_s`` and ``end_s`` in seconds
            where the data set's tempo is known, ``score``.

        Raises:
            EvaluationError: for another shape, or features that are not finite.
        """
        features_TD = np.asarray(model_input, np.float32)
        size = self.trained.network.feature_size
        if features_TD.ndim != 2 or not len(features_TD) or features_TD.shape[1] != size:
            raise EvaluationError(f"features of shape {features_TD.shape}: one video (T, {size}) with T >= 1 is needed")
        with torch.inference_mode():
            outputs = self.trained.network(torch.from_numpy(features_TD)[None])
        found = propose(outputs.logits[0].numpy(), outputs.attention[0].numpy(), self.trained.config.evaluation)
        table = pd.DataFrame(
            {
                "label": [self.trained.class_names[label] for label in found.label],
                "start": found.start,
                "end": found.end,
                "score": found.score,
            }
        )
        if self.snippets_per_second:
            table["start_s"] = table["start"] / self.snippets_per_second
            table["end_s"] = table["end"] / self.snippets_per_second
        return table.sort_values("score", ascending=False, ignore_index=True)


mlflow.models.set_model(WinnerModel())
