"""One local Ray for all tests of the search, and an experiment of toy runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from toy import PAPER, toy_config

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.search.policy import Policy
from dce_ray.search.replicates import ReplicateLedger
from dce_ray.search.single import SingleLedger
from dce_ray.search.space_file import load_space
from dce_ray.search.study import make_pruner, recover_study

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def cluster():
    """A Ray with two CPUs whose workers can import the toy runs."""
    import ray

    from dce_ray.session import ray_session as session

    before = filter(None, [os.environ.get("PYTHONPATH")])
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), *before])
    os.environ.update(session.QUIET)
    session._start("local", 2)
    yield ray
    ray.shutdown()


@pytest.fixture
def experiment_folder(tmp_path):
    config = {"run": {"seed": 0}, "policy": "single", "space": load_space("delu", "default", {}).to_mapping()}
    return ExperimentFolder.create(tmp_path / "experiment", config, {})


@pytest.fixture
def make_ledger(experiment_folder):
    """A ledger on the study of ``experiment_folder``; calling it again is what a resumed search does."""

    def make(
        num_trials=8, sampler="tpe", scheduler="none", seed=0, space=None, iterations=9, folder=experiment_folder, **toy
    ):
        def configure(params):
            config = toy_config(params, **toy)
            config["training"]["iterations"] = iterations
            return config

        study = recover_study(folder.study)
        study.pruner = make_pruner(scheduler, 1, iterations)
        return SingleLedger(
            folder,
            study,
            space or load_space("delu", "default", {}),
            configure,
            "digest",
            sampler=sampler,
            seed=seed,
            num_runs=num_trials,
        )

    return make


@pytest.fixture
def make_replicates(tmp_path):
    """A ledger of points and replicates in a folder of its own; calling it again is what a resumed search does."""

    def make(num_runs=14, folds=3, seed=0, name="replicates", first_points=(("paper", PAPER),), startup=3, **toy):
        space = load_space("delu", "default", {})
        path = tmp_path / name
        if path.exists():
            folder = ExperimentFolder.open(path)
        else:
            config = {"run": {"seed": 0}, "policy": "replicates", "space": space.to_mapping()}
            folder = ExperimentFolder.create(path, config, {})
        queued = [(origin, space.project(point)[0]) for origin, point in first_points]
        policy = Policy(space.searched, queued, folds, seed, "tpe", startup=startup)
        study = recover_study(folder.study)
        return ReplicateLedger(
            folder, study, space, lambda params: toy_config(params, **toy), "digest", num_runs, policy=policy
        )

    return make
