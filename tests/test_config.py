"""Configuration: ranges, types, the user's keys, and one message for all faults."""

from __future__ import annotations

import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dce_ray.commandline import apply, flatten
from dce_ray.config import (
    PLACES,
    DeluObjectiveConfig,
    EvaluationConfig,
    MethodConfig,
    RunConfig,
    SamplingConfig,
    TrainingConfig,
)
from dce_ray.errors import CheckpointError, ConfigError
from dce_ray.former import FORMER_KEYS, unknown_key
from dce_ray.presets import run_config, run_config_from_mapping
from dce_ray.search.ledger import run_key
from dce_ray.train.checkpoint import VERSION, require_same_run


def test_lambda_is_the_users_key():
    config = MethodConfig.from_mapping({"lambda": 0.3})
    assert config.lambda_ == 0.3
    assert config.to_mapping()["lambda"] == 0.3
    with pytest.raises(ConfigError, match=r"did you mean method\.lambda"):
        MethodConfig.from_mapping({"lambda_": 0.3}, "method.")


@pytest.mark.parametrize(
    ("field", "value"),
    [("delta", -0.01), ("delta", 1.01), ("theta_rep", 2), ("beta", -1), ("lambda_", 1.5), ("delta", math.nan),
     ("delta", "0.5"), ("delta", True), ("strategy", "Ratio"), ("mcm_start_iteration", 1.5)],
)  # fmt: skip
def test_what_is_out_of_range_or_of_the_wrong_type_is_refused(field, value):
    with pytest.raises(ConfigError, match=field.rstrip("_")):
        MethodConfig(**{field: value})


def test_all_faults_come_at_once():
    with pytest.raises(ConfigError) as fault:
        MethodConfig.from_mapping({"delta": 2.0, "beta": "x", "strategy": "rato"}, "method.")
    lines = str(fault.value).splitlines()
    assert lines[0] == "method.delta=2.0: must lie between 0 and 1"
    assert lines[1] == "method.beta='x': must be a number"
    assert "did you mean ratio?" in lines[2]


def test_pairs_must_fit_into_the_batch():
    assert SamplingConfig(batch=6, pairs=3).batch == 6
    with pytest.raises(ConfigError, match="6 videos do not fit into batch=5"):
        SamplingConfig(batch=5, pairs=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"folds": 1},
            "sampling.folds=1: must be 2 or more, for one fold is held out and the others train; protocol=confi",
        ),
        ({"folds": 0, "fold": 7}, "sampling.folds=0: must be 2 or more"),
        (
            {"fold": 5},
            "sampling.fold=5: must lie in 0..4, for folds=5 are counted from 0; choose one of them or raise fo",
        ),
        ({"folds": 3, "fold": -1}, "sampling.fold=-1: must lie in 0..2"),
        ({"folds": 2.5}, "sampling.folds=2.5: must be a whole number"),
        ({"fold_seed": -1}, "sampling.fold_seed=-1: must lie between 0 and 2147483647"),
    ],
)
def test_the_fold_is_one_of_the_folds(values, message):
    assert SamplingConfig(folds=2, fold=1).fold == 1
    with pytest.raises(ConfigError) as fault:
        SamplingConfig.from_mapping(values, "sampling.")
    assert str(fault.value).startswith(message)
    assert len(str(fault.value).splitlines()) == 1


def test_a_key_of_before_is_refused_with_what_takes_its_place():
    with pytest.raises(ConfigError) as fault:
        run_config(
            "delu",
            "store",
            data_set="synthetic",
            overrides={"sampling": {"holdout_share": 0.1, "holdout_seed": 1, "holdout_part": 1}},
        )
    lines = str(fault.value).splitlines()
    assert lines[0].startswith("sampling.holdout_share: folds take its place: sampling.folds=5 holds out a fifth")
    assert lines[1].startswith("sampling.holdout_seed: sampling.fold_seed takes its place")
    assert lines[2].startswith("unknown key 'sampling.holdout_part'")
    known = run_config("delu", "store", data_set="synthetic").to_mapping()
    assert {instead for one in FORMER_KEYS.values() for instead in one} <= flatten(known).keys() | {"search.folds"}
    assert not FORMER_KEYS.keys() & flatten(known).keys()


def test_lists_become_tuples():
    config = EvaluationConfig.from_mapping({"tiou_thresholds": [0.5, 1], "averages": ["0.5:1"], "skip_videos": ["a"]})
    assert config.tiou_thresholds == (0.5, 1.0)
    assert config.skip_videos == ("a",)


@given(
    delta=st.floats(0, 1),
    beta=st.floats(0, 100),
    strength=st.floats(0, 1),
    start=st.integers(0, 10**9),
    scs=st.booleans(),
)
def test_a_run_configuration_survives_json_and_pickle(delta, beta, strength, start, scs):
    method = MethodConfig(delta=delta, beta=beta, lambda_=strength, mcm_start_iteration=start)
    config = RunConfig(baseline="delu", data="folder", objective=DeluObjectiveConfig(), method=method, scs=scs)
    mapping = json.loads(json.dumps(config.to_mapping()))
    objective = DeluObjectiveConfig.from_mapping(mapping.pop("objective"))
    assert RunConfig.from_mapping({**mapping, "objective": objective}) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_what_has_no_default_must_be_given():
    with pytest.raises(ConfigError, match="baseline: missing"):
        RunConfig.from_mapping({"data": "x", "objective": DeluObjectiveConfig()})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stop_at": "soon"}, "training.stop_at='soon': must be a whole number or null"),
        ({"compile": "maybe"}, "training.compile='maybe': must be on or off"),
        ({"precision": 16}, "training.precision=16: must be a text"),
        ({"iterations": 0}, "training.iterations=0: must lie between 1 and 1000000000"),
        ({"stop_at": 0}, "training.stop_at=0: must lie between 1 and 1000000000, or be null"),
    ],
)
def test_types_and_ranges_are_said_in_human_words(values, message):
    with pytest.raises(ConfigError) as fault:
        TrainingConfig.from_mapping(values, "training.")
    assert str(fault.value) == message


def test_lists_are_said_with_what_is_in_them():
    with pytest.raises(ConfigError, match=r"tiou_thresholds='x': must be a list of numbers such as \[0\.3,0\.5\]"):
        EvaluationConfig.from_mapping({"tiou_thresholds": "x"})
    with pytest.raises(ConfigError, match=r"skip_videos=3: must be a list of names such as \[a,b\]"):
        EvaluationConfig.from_mapping({"skip_videos": 3})


def test_a_former_key_within_a_search_names_the_search_s_own():
    known = ["sampling.folds", "sampling.fold_seed", "search.folds"]
    assert "search.folds=5 holds out a fifth" in unknown_key("sampling.holdout_share", known)
    assert "sampling.fold says" not in unknown_key("sampling.holdout_seed", known)


def test_keys_that_decide_nothing_are_said_once_for_run_names_and_checkpoints(tiny_store, tmp_path):
    """Whatever such a key says, a run has the same name, and its checkpoint is gone on with."""
    other = {"data": "/elsewhere", "device": "cuda", "training.log_every": 7, "training.resident": "host"}
    other |= {f"training.{key}": True for key in ("graphs", "prefetch", "deterministic")}
    assert other.keys() == PLACES
    config = run_config("delu", tiny_store, data_set="synthetic")
    payload = {"version": VERSION, "config": json.dumps(config.to_mapping()), "data": {"digest": "d", "name": "tiny"}}
    for key, value in other.items():
        changed = run_config_from_mapping(apply(config.to_mapping(), {key: value}))
        assert changed != config
        assert run_key(changed.to_mapping(), "d") == run_key(config.to_mapping(), "d")
        require_same_run(payload, tmp_path, changed, "d")
    for key, value in {"training.eval_every": 3, "training.precision": "bf16", "seed": 1}.items():
        changed = run_config_from_mapping(apply(config.to_mapping(), {key: value}))
        assert run_key(changed.to_mapping(), "d") != run_key(config.to_mapping(), "d")
        with pytest.raises(CheckpointError, match=key):
            require_same_run(payload, tmp_path, changed, "d")
