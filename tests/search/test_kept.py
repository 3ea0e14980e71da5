"""A folder is gone on with as it was accepted, whatever is refused of a new search by now."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dce_ray.config import ScalarRange
from dce_ray.errors import ConfigError, SearchSpaceError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.presets import run_config_from_mapping
from dce_ray.search.__main__ import request_of
from dce_ray.search.advice import changed_lines
from dce_ray.search.opening import create, reopen
from dce_ray.search.options import SearchOptions
from dce_ray.search.settings import Settings, build_experiment
from dce_ray.search.space_file import load_space

ODD = {
    "run.training.learning_rate": 0.0,
    "run.evaluation.min_length": 5000,
    "run.evaluation.tiou_thresholds": [0.5, 0.3],
    "run.evaluation.averages": ["0.15:0.2"],
    "search.time_budget": "0s",
    "results": " ",
    "space.delta": {"low": 0.5, "high": 0.5, "log": False},
    "space.training.learning_rate": {"low": 0.0, "high": 0.1, "log": False},
    "search.num_runs": 3,
}
"""What an earlier version took and this one refuses, by key of config.json; 3 runs are fewer than the folds."""


@pytest.fixture
def folder(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentFolder:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    return create(request_of({"data": str(tiny_store), "name": "one", "device": "cpu"}))[1]


def rewrite(folder: ExperimentFolder, key: str, value: object) -> None:
    """Put a value into config.json as an earlier version may have written it."""
    path = folder.path / "config.json"
    config = json.loads(path.read_text())
    *above, last = key.split(".", 1) if key.startswith("space.") else key.split(".")
    node = config
    for part in above:
        node = node[part]
    node[last] = value
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(("key", "value"), ODD.items(), ids=ODD)
def test_what_was_accepted_once_is_accepted_again(folder, key, value):
    rewrite(folder, key, value)
    experiment, _ = reopen(folder.path, {"search.max_failures": 5})
    assert experiment.settings.search.max_failures == 5
    kept = experiment.to_mapping()
    for part in key.split(".", 1) if key.startswith("space.") else key.split("."):
        kept = kept[part]
    assert kept == value
    assert experiment.largest.baseline == "delu"


@pytest.mark.parametrize(("key", "value"), list(ODD.items())[:4], ids=list(ODD)[:4])
def test_a_run_of_such_a_folder_is_the_same_again_and_a_new_one_is_refused(folder, key, value):
    rewrite(folder, key, value)
    config = json.loads((folder.path / "config.json").read_text())["run"]
    assert run_config_from_mapping(config, kept=True).replace(seed=3).seed == 3
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        run_config_from_mapping(config)
    request = request_of({"device": "cpu", key.removeprefix("run."): value})
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        build_experiment(request, "store", "default")


def test_of_a_change_only_what_it_brings_is_refused(folder):
    rewrite(folder, "search.time_budget", "0s")
    with pytest.raises(ConfigError, match=r"\Asearch.max_failures=-1: must lie between 0 and 1000\Z"):
        reopen(folder.path, {"search.max_failures": -1})
    rewrite(folder, "search.time_budget", "1h")
    with pytest.raises(ConfigError, match=r"search.time_budget=0s: must be more than nothing"):
        reopen(folder.path, {"search.time_budget": "0s"})
    with pytest.raises(ConfigError, match=r"search.num_runs=3: the plain baseline on 5 folds.*; give more\Z"):
        reopen(folder.path, {"search.num_runs": 3})


def test_what_another_number_replaces_is_said(folder):
    changes = {"search.num_runs": 12, "search.time_budget": "4h", "confirm.seeds": 5}
    experiment, _ = reopen(folder.path, changes)  # confirm.seeds was 5 already
    assert changed_lines(folder, experiment) == [
        "search.num_runs: 32 before, 12 now",
        "search.time_budget: none before, 4h now",
    ]
    folder.keep_config(experiment.to_mapping())
    assert changed_lines(folder, reopen(folder.path, {"search.num_runs": 12})[0]) == []


def test_a_folder_that_lacks_a_newer_key_can_be_given_it(folder):
    path = folder.path / "config.json"
    config = json.loads(path.read_text())
    del config["tracking"]["system"], config["confirm"]["max_seeds"]
    path.write_text(json.dumps(config))
    experiment, _ = reopen(folder.path, {"tracking.system": False})
    assert not experiment.settings.tracking.system
    assert experiment.settings.confirm.max_seeds == 20


def test_from_python_a_new_search_is_refused_what_the_command_is():
    settings = Settings(search=SearchOptions(time_budget="0s"), results=" ")
    with pytest.raises(ConfigError, match=r"results=''.*\nsearch.time_budget=0s: must be more than nothing"):
        build_experiment(replace(request_of({}), settings=settings), "store", "default")


def test_the_command_line_mends_what_a_file_says(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("delta: {low: 0.9, high: 0.5}\nbeta: {low: 7, high: 6}\n")
    space = load_space("delu", "default", {"delta.high": 0.95, "beta.low": 0.1}, file=str(file))
    assert (space.dimensions["delta"], space.dimensions["beta"]) == (
        ScalarRange(0.9, 0.95),
        ScalarRange(0.1, 6.0, log=True),
    )
    with pytest.raises(SearchSpaceError) as fault:
        load_space("delu", "default", {"delta.high": 0.95, "gamma": "delat"}, file=str(file))
    of_file, of_changes = str(fault.value).split("the search space as you changed it:")
    assert of_file.startswith(f"{file}:\n  beta:")
    assert "delta" not in of_file
    assert "gamma='delat'" in of_changes
