"""The winner as an MLflow model, loaded and asked in a process that knows nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mirrored import add_confirmation, finish, runs_of
from mlflow import MlflowClient

from dce_ray.data.synthetic import generate_synthetic
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.localize import propose
from dce_ray.presets import run_config
from dce_ray.tracking import sync
from dce_ray.train import Run
from dce_ray.train.build import load_trained

Make = Callable[..., ExperimentFolder]
LOADER = """
import json, sys
import mlflow, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
table = model.predict(np.load(sys.argv[2]))
print(json.dumps(table.to_dict("list")))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = generate_synthetic(tmp_path_factory.mktemp("data") / "store", size="tiny")
    changes = {"training": {"iterations": 2, "eval_every": 2}, "sampling": {"segments": 32}, "device": "cpu"}
    run = Run(run_config("delu", store, data_set="synthetic", overrides=changes))
    run.advance(2)
    return run


def test_a_fresh_process_loads_the_winner_and_predicts(make_experiment: Make, trained: Run, tmp_path: Path):
    folder = make_experiment()
    finish(folder)
    for run in folder.confirmations():
        trained.save(run.checkpoint)
    assert sync(folder).complete
    uri = f"sqlite:///{folder.path.parents[2] / 'mlflow.db'}"
    client = MlflowClient(uri)
    number = client.get_experiment_by_name("hapt/delu").experiment_id
    (model,) = client.search_logged_models([number])
    assert model.name == "winner"
    assert str(model.status) == "READY"
    winner = runs_of(client, "first")["first confirm top1, seed 0"]
    assert model.source_run_id == winner.info.run_id
    assert [output.model_id for output in winner.outputs.model_outputs] == [model.model_id]

    features = np.array(trained.store.features(0), np.float32)
    np.save(tmp_path / "features.npy", features)
    code = [sys.executable, "-c", LOADER, model.model_uri, str(tmp_path / "features.npy")]
    done = subprocess.run(
        code,
        cwd=tmp_path,  # not the repository: the model brings its code
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    table = pd.DataFrame(json.loads(done.stdout.splitlines()[-1]))

    own = load_trained(folder.confirm("top1-0").checkpoint)
    with torch.inference_mode():
        outputs = own.network(torch.from_numpy(features)[None])
    expected = propose(outputs.logits[0].numpy(), outputs.attention[0].numpy(), own.config.evaluation)
    assert len(table) == len(expected) > 0
    assert table["score"].is_monotonic_decreasing
    np.testing.assert_allclose(np.sort(table["score"]), np.sort(expected.score), rtol=1e-5)
    assert set(table["label"]) <= set(trained.store.class_names)
    np.testing.assert_allclose(table["end_s"], table["end"] / trained.store.snippets_per_second)

    assert sync(folder).created == 0
    add_confirmation(folder, "top1", 2, 9)  # another run; the winner's model is the one of the first seed
    sync(folder)
    assert len(client.search_logged_models([number])) == 1


def test_a_winner_whose_checkpoint_is_damaged_is_reported(make_experiment: Make):
    folder = make_experiment()
    finish(folder)  # its checkpoints are no checkpoints
    report = sync(folder)
    assert report.current == report.runs, "the runs themselves are there"
    assert not report.complete
    assert "damaged or not a checkpoint" in report.faults[0]
