"""Released checkpoints: what fits is loaded, what does not is named, nothing is executed."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dce_ray.baselines import BASELINES
from dce_ray.baselines.published import load_published
from dce_ray.errors import CheckpointError


def network(name: str = "delu", classes: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return BASELINES[name].network(feature_size=8, classes=classes, segments=60, pool=False, dropout=0.7)


def released(name: str = "delu") -> dict[str, Tensor]:
    """A file as the repositories write it: our names, and the layer that nothing reads."""
    extra = {"feat_encoder.0.weight": torch.zeros(8, 8, 3), "feat_encoder.0.bias": torch.zeros(8)}
    return OrderedDict(network(name, seed=1).state_dict()) | extra


def saved(content: Any, folder: Path, **options: Any) -> Path:
    torch.save(content, folder / "best.pkl", **options)
    return folder / "best.pkl"


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("zipped", [True, False])
def test_all_parameters_are_copied(name: str, zipped: bool, tmp_path: Path) -> None:
    path = saved(released(name), tmp_path, _use_new_zipfile_serialization=zipped)
    target = network(name)
    load_published(target, path)
    wanted = network(name, seed=1).state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in target.state_dict().items())


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s, "iteration": 5}, lambda s: s])
def test_wrapped_files_fit_too(wrap: Any, tmp_path: Path) -> None:
    prefixed = {f"module.{key}": value for key, value in released().items()}
    target = network()
    load_published(target, saved(wrap(prefixed), tmp_path))
    assert torch.equal(target.state_dict()["fusion.0.weight"], released()["fusion.0.weight"])


def test_the_network_keeps_its_dtype(tmp_path: Path) -> None:
    target = network().double()
    load_published(target, saved(released(), tmp_path))
    assert target.state_dict()["fusion.0.weight"].dtype == torch.float64


def test_one_message_names_all_misfits_and_nothing_is_loaded(tmp_path: Path) -> None:
    content = released()
    del content["fusion.0.bias"]
    content["extra.weight"] = torch.zeros(1)
    content["classifier.4.bias"] = torch.zeros(21)
    content["fAttn.attention.3.bias"] = torch.full((2,), torch.nan)
    target = network()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(CheckpointError) as fault:
        load_published(target, saved(content, tmp_path))
    message = str(fault.value)
    assert "missing (1): fusion.0.bias" in message
    assert "unexpected (1): extra.weight" in message
    assert "mis-shaped (1): classifier.4.bias (21,) instead of (4,)" in message
    assert "not finite (1): fAttn.attention.3.bias" in message
    assert "feat_encoder" not in message
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


def test_long_lists_are_cut(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"unexpected \(50\): .* and 42 more"):
        load_published(network(), saved({f"layer.{i}": torch.zeros(1) for i in range(50)}, tmp_path))


def test_another_baseline_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not fit DdgNet(.|\n)*missing(.|\n)*Attn.action_graph"):
        load_published(network("ddgnet"), saved(released("delu"), tmp_path))


class Hostile:
    """Unpickling it would write a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_files_are_not_executed(tmp_path: Path, zipped: bool) -> None:
    path = saved(released() | {"x": Hostile(tmp_path / "trace")}, tmp_path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"holds more than tensors \(getattr\); it was not executed"):
        load_published(network(), path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list"),
        ({}, "holds a dict"),
        ({"fusion.0.weight": 3}, "'fusion.0.weight': int"),
        ({7: torch.zeros(1)}, "7: Tensor"),
        ({"fusion.0.bias": torch.zeros(8, dtype=torch.int64)}, "not floating point"),
    ],
)
def test_files_without_a_state_dict_are_refused(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        load_published(network(), saved(content, tmp_path))


def test_absent_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_published(network(), tmp_path / "absent.pkl")
    whole = saved(released(), tmp_path).read_bytes()
    for damaged in (b"", b"no pickle at all", whole[: len(whole) // 2], whole[:100]):
        (tmp_path / "broken.pkl").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"broken\.pkl"):
            load_published(network(), tmp_path / "broken.pkl")
