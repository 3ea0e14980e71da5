"""The switches of a device's arithmetic: set for the block, as the key says, and put back."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from test_run import tiny_config, weights

from dce_ray.baselines.ddgnet import DdgNetObjective
from dce_ray.config import TrainingConfig
from dce_ray.errors import ConfigError
from dce_ray.train import Run
from dce_ray.train import arithmetic as module
from dce_ray.train.arithmetic import arithmetic, check_training
from dce_ray.train.build import build_optimiser, load_optimiser

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def switches() -> dict[str, object]:
    return {
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "convolution": torch.backends.cudnn.allow_tf32,
        "bf16": torch.is_autocast_enabled("cuda"),
        "repeatable": torch.are_deterministic_algorithms_enabled(),
        "cudnn repeatable": torch.backends.cudnn.deterministic,
        "cudnn benchmark": torch.backends.cudnn.benchmark,
    }


@pytest.fixture(autouse=True)
def _pretend(monkeypatch):
    """Autocast refuses a device type that is not there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)


@pytest.mark.parametrize(
    ("precision", "tf32", "bf16"), [("float32", False, False), ("tf32", True, False), ("bf16", False, True)]
)
@pytest.mark.parametrize("before", [(False, True), (True, False)])
def test_precision_sets_both_switches_and_puts_them_back(precision, tf32, bf16, before):
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    outside = switches()
    with arithmetic(CUDA, TrainingConfig(precision=precision)):
        inside = switches()
        assert torch.is_autocast_cache_enabled() is not bf16
    assert (inside["matmul"], inside["convolution"], inside["bf16"]) == (tf32, tf32, bf16)
    assert switches() == outside
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True


def test_deterministic_sets_all_of_it_and_puts_it_back(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    outside = switches()
    inside = {}

    def stopped():
        with arithmetic(CUDA, TrainingConfig(deterministic=True)):
            inside.update(switches())
            raise KeyError

    with pytest.raises(KeyError):
        stopped()
    assert (inside["repeatable"], inside["cudnn repeatable"], inside["cudnn benchmark"]) == (True, True, False)
    assert switches() == outside


def test_on_the_cpu_bf16_is_autocast_and_the_switches_of_cuda_are_left_alone():
    outside = switches()
    with arithmetic(CPU, TrainingConfig(precision="bf16", deterministic=True)):
        assert torch.is_autocast_enabled("cpu")
        assert not torch.is_autocast_cache_enabled()
        assert switches() == outside
    assert not torch.is_autocast_enabled("cpu")
    with arithmetic(CPU, TrainingConfig()):
        assert not torch.is_autocast_enabled("cpu")


def test_the_cpu_refuses_what_it_cannot_do():
    with pytest.raises(ConfigError, match=r"precision=tf32: device cpu has no TF32; use .*precision=bf16"):
        check_training(TrainingConfig(precision="tf32"), CPU)
    check_training(TrainingConfig(precision="tf32"), CUDA)
    check_training(TrainingConfig(precision="bf16"), CPU)


def run_of(store: Path, baseline: str, precision: str) -> Run:
    config = tiny_config(store, baseline)
    return Run(config.replace(training=config.training.replace(precision=precision)))


def test_bf16_trains_on_the_weights_of_each_step_and_stays_near_float32(tiny_store):
    """Weights that autocast had kept from the first step would be those of the last one in blocks of one step alone."""
    at_once, one_by_one, whole = (run_of(tiny_store, "delu", name) for name in ("bf16", "bf16", "float32"))
    losses = at_once.advance(6)
    for _ in range(6):
        one_by_one.advance(1)
    assert torch.equal(weights(at_once), weights(one_by_one))
    expected = whole.advance(6)
    assert losses["loss/total"] != expected["loss/total"]
    assert losses["loss/total"] == pytest.approx(expected["loss/total"], rel=0.01)


def test_under_bf16_losses_read_whole_precision_whatever_a_baseline_adds_to_its_outputs(tiny_store, monkeypatch):
    """DDG-Net's early attentions weigh its loss: exp(-(1 / a - 1) / tau) of an a of 8 bits is another number."""
    seen, whole = [], DdgNetObjective.__call__

    def noted(self, outputs, *rest):
        seen.append(outputs)
        return whole(self, outputs, *rest)

    monkeypatch.setattr(DdgNetObjective, "__call__", noted)
    run_of(tiny_store, "ddgnet", "bf16").advance(1)
    types = {item.name: getattr(seen[0], item.name).dtype for item in fields(seen[0])}
    assert "early_rgb_attention" in types
    assert set(types.values()) == {torch.float32}


def test_deterministic_sets_the_workspace_before_cuda_starts_and_refuses_behind(monkeypatch):
    training = TrainingConfig(deterministic=True)
    monkeypatch.delenv(module.WORKSPACE, raising=False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match=r"CUBLAS_WORKSPACE_CONFIG=None .*start the process with .*=:4096:8"):
        check_training(training, CUDA)
    check_training(training, CPU)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setenv(module.WORKSPACE, ":0:0")
    with pytest.raises(ConfigError, match="':0:0'"):
        check_training(training, CUDA)
    monkeypatch.delenv(module.WORKSPACE)
    check_training(training, CUDA)
    assert module.os.environ[module.WORKSPACE] == ":4096:8"


def test_prefetch_of_resident_features_is_refused():
    with pytest.raises(ConfigError, match="prefetch=True: with resident='device' nothing is read ahead"):
        TrainingConfig(prefetch=True, resident="device")


def test_weights_under_autocast_are_those_behind_the_last_step():
    """Why its cache is off: with it on, a network answers from the weights with which the block began."""
    layer, features = torch.nn.Linear(4, 4), torch.ones(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        first = layer(features).detach()
        with torch.no_grad():
            layer.weight.add_(1.0)
        assert not torch.equal(layer(features), first)


def test_a_step_is_fused_and_counts_on_the_device_where_it_is_captured(tiny_store, monkeypatch):
    made = {}
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, **options: made.update(options))
    config, network = tiny_config(tiny_store), torch.nn.Linear(1, 1)
    for graphs in (False, True):
        build_optimiser(config.replace(training=config.training.replace(graphs=graphs)), network)
        assert (made["fused"], made["capturable"]) == (True, graphs)


def test_a_checkpoint_does_not_carry_its_device_s_kernels_along(tiny_store, tmp_path):
    saved = Run(tiny_config(tiny_store))
    saved.advance(3)
    state = saved.optimiser.state_dict()
    state["param_groups"] = [group | {"fused": False, "capturable": True} for group in state["param_groups"]]
    other = Run(tiny_config(tiny_store))
    load_optimiser(other.optimiser, state)
    assert all((group["fused"], group["capturable"]) == (True, False) for group in other.optimiser.param_groups)
    assert len(other.optimiser.state) == len(saved.optimiser.state) > 0
    assert len(weights(other))
