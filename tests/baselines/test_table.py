"""The table of baselines, and what networks and objectives refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dce_ray.baselines import BASELINES, baseline_named
from dce_ray.errors import ConfigError, DataError
from dce_ray.records import Batch


def small(name: str, **options: Any) -> Any:
    values = {"feature_size": 8, "classes": 2, "segments": 60, "pool": False, "dropout": 0.7}
    return BASELINES[name].network(**values | options)


def test_an_unknown_name_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'delou' \(did you mean delu\?\); known: co2net, ddgnet, delu"):
        baseline_named("delou")


def test_the_table_is_keyed_by_name() -> None:
    assert {name: baseline.name for name, baseline in BASELINES.items()} == {name: name for name in BASELINES}


@pytest.mark.parametrize(("segments", "kernel"), [(60, 13), (4, 1), (10, 3), (320, 65)])
def test_pool_width_follows_the_training_length(segments: int, kernel: int) -> None:
    assert small("co2net", segments=segments, pool=True).pool_kernel == kernel
    assert small("co2net", segments=segments, pool=False).pool_kernel is None


@pytest.mark.parametrize("name", BASELINES)
def test_unused_layers_are_not_allocated(name: str) -> None:
    assert not any(key.startswith("feat_encoder") for key in small(name).state_dict())


@pytest.mark.parametrize("options", [{"feature_size": 7}, {"feature_size": 0}, {"classes": 0}])
def test_impossible_sizes_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))}={next(iter(options.values()))}"):
        small("delu", **options)


@pytest.mark.parametrize("shape", [(2, 5, 6), (5, 8), (2, 0, 8)])
@pytest.mark.parametrize("name", BASELINES)
def test_features_of_another_shape_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"this network reads \(videos, snippets >= 1, 8\)"):
        small(name)(torch.zeros(shape))


@pytest.mark.parametrize("name", BASELINES)
def test_losses_refuse_padded_videos(name: str) -> None:
    baseline = BASELINES[name]
    outputs = small(name)(torch.rand(2, 5, 8))
    padded = Batch(torch.rand(2, 5, 8), torch.ones(2, 2), lengths=torch.tensor([5, 3]))
    with pytest.raises(DataError, match="padding included"):
        baseline.objective(baseline.objective_config())(outputs, padded, 0.0)


@pytest.mark.parametrize("name", BASELINES)
def test_weights_are_the_fields_of_the_configuration(name: str) -> None:
    baseline = BASELINES[name]
    objective = baseline.objective(baseline.objective_config(mutual=0.25, contrastive=3.0))
    assert (objective.weights["mutual"], objective.weights["contrastive"]) == (0.25, 3.0)
    assert objective.weights["guide"] == baseline.objective_config().guide
