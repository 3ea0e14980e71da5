"""Logging the confirmed winner as an MLflow model, once."""

from __future__ import annotations

import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dce_ray.errors import DceError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.store import open_store
from dce_ray.tracking.run_store import KnownRun, RunStore
from dce_ray.train.build import load_trained
from dce_ray.train.checkpoint import load_checkpoint, save_checkpoint
from dce_ray.winner import winners_checkpoint

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

NAME = "winner"
CODE = Path(__file__).with_name("winner_model.py")
PACKAGE = Path(__file__).resolve().parent.parent
"""This package, which travels with the model."""
PACKAGES = ("torch", "numpy", "pandas", "pyarrow")
MODEL_TAG = "dce.model"


def winning_run(folder: ExperimentFolder) -> RunFolder | None:
    """The winner's confirmation run of the first seed; None where nothing was confirmed."""
    found = winners_checkpoint(folder.path)
    return None if found is None else RunFolder(found.parent)


def log_winner(store: RunStore, experiment_id: str, known: KnownRun, run: RunFolder) -> None:
    """Log the network of ``run`` as the model ``winner`` of the MLflow run ``known``; replaces one cut off half-way.

    Raises:
        CheckpointError: the run's checkpoint cannot be read.
        StoreDown, StoreRefused: see :class:`RunStore`.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    client = store.client
    model = _pending(store, experiment_id, known)
    if model is None:
        params = {name: str(value) for name, value in run.record().params.items()}
        tags = {"baseline": known.tags.get("baseline", ""), "data": known.tags.get("data", "")}
        model = store.call(
            "model", client.create_logged_model, experiment_id, NAME, known.run_id, tags, params, "localization"
        )
    with tempfile.TemporaryDirectory(prefix="dce-ray-model-") as scratch:
        _save(run, Path(scratch), model, known.run_id)
        store.call("model", client.log_model_artifacts, model.model_id, str(Path(scratch) / "model"))
    outputs = [LoggedModelOutput(model.model_id, step=run.record().iteration or 0)]
    store.call("model", client.log_outputs, known.run_id, outputs)
    store.call("model", client.finalize_logged_model, model.model_id, LoggedModelStatus.READY)


def _pending(store: RunStore, experiment_id: str, known: KnownRun) -> LoggedModel | None:
    """A model of this run that was begun and not finished."""
    found = store.call("model", store.client.search_logged_models, [experiment_id], f"name = '{NAME}'")
    return next((model for model in found if model.source_run_id == known.run_id), None)


def _save(run: RunFolder, scratch: Path, model: LoggedModel, run_id: str) -> None:
    """The model's files: its code, this package, and a checkpoint without what only training needs."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    payload = load_checkpoint(run.checkpoint)
    slim = scratch / "checkpoint.pt"
    save_checkpoint(slim, {key: payload[key] for key in ("config", "iteration", "network", "data")})
    trained = load_trained(slim)
    columns = {"label": "string", "start": "double", "end": "double", "score": "double"}
    model_config = _tempo(trained.config.data)
    if model_config:
        columns |= {"start_s": "double", "end_s": "double"}
    features = TensorSpec(np.dtype(np.float32), (-1, trained.network.feature_size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow would like an example: a video's features are megabytes
        pyfunc.save_model(
            path=str(scratch / "model"),
            python_model=str(CODE),
            artifacts={"checkpoint": str(slim)},
            model_config=model_config,
            code_paths=[str(PACKAGE)],
            signature=ModelSignature(
                Schema([features]), Schema([ColSpec(kind, name) for name, kind in columns.items()])
            ),
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in PACKAGES],
            mlflow_model=Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id),
        )


def _tempo(data: str) -> dict[str, Any]:
    try:
        return {"snippets_per_second": open_store(data).snippets_per_second}
    except DceError:  # the store is gone: proposals then come in snippets only
        return {}
