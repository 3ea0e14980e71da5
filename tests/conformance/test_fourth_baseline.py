"""A fourth baseline in one file: network, objective, one line. It passes the suite as the published ones do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
import torch
from suite import ConformanceSuite
from torch import Tensor, nn

from dce_ray import losses
from dce_ray.baselines import BASELINES, Baseline, TwoStreamNetwork
from dce_ray.config import SCALARS, ObjectiveConfig
from dce_ray.presets import run_config
from dce_ray.records import Batch, TwoStreamOutputs
from dce_ray.search.first_points import known_points
from dce_ray.search.space_file import load_space
from dce_ray.train import Run


class Linear(TwoStreamNetwork):
    """Every snippet for itself: one linear map per stream for the attention, one for the logits."""

    def __init__(self, feature_size: int, classes: int, *, segments: int, pool: bool, dropout: float) -> None:
        super().__init__(feature_size, classes)
        self.rgb = nn.Linear(feature_size // 2, 1)
        self.flow = nn.Linear(feature_size // 2, 1)
        self.embed = nn.Linear(feature_size, 8)
        self.drop = nn.Dropout(dropout)
        self.classify = nn.Linear(8, classes + 1)

    def forward(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> TwoStreamOutputs:
        rgb_BTS, flow_BTS = features_BTD.chunk(2, dim=2)
        valid_BT = torch.ones_like(features_BTD[..., 0])
        if lengths_B is not None:
            valid_BT = (torch.arange(features_BTD.shape[1]) < lengths_B[:, None]).to(features_BTD.dtype)
        embedded_BTE = self.drop(self.embed(features_BTD).relu())
        return TwoStreamOutputs(
            features=embedded_BTE,
            logits=self.classify(embedded_BTE),
            rgb_attention=self.rgb(rgb_BTS)[..., 0].sigmoid() * valid_BT,
            flow_attention=self.flow(flow_BTS)[..., 0].sigmoid() * valid_BT,
        )


@dataclass(frozen=True)
class LinearObjective:
    weights: Mapping[str, float]
    k_ratio: float

    @classmethod
    def of(cls, config: ObjectiveConfig) -> Self:
        return cls({"mil_suppressed": config.mil_suppressed, "mutual": config.mutual}, config.k_ratio)

    def __call__(self, outputs: TwoStreamOutputs, batch: Batch, progress: float) -> dict[str, Tensor]:
        suppressed_BTC = losses.suppress(outputs.logits, outputs.attention)
        return {
            "mil_suppressed": losses.mil(suppressed_BTC, batch.labels, k_ratio=self.k_ratio, background=0.0),
            "mutual": losses.mutual(outputs.rgb_attention, outputs.flow_attention),
        }


LINEAR = Baseline(
    "linear",
    Linear,
    LinearObjective.of,
    ObjectiveConfig,
    {"own": {"network": {}, "objective": {}}},
    method={"delta": 0.6},
)


class TestFourthBaseline(ConformanceSuite):
    baseline, variant = LINEAR, "own"


def test_a_name_in_the_table_is_all_that_presets_spaces_and_runs_need(tiny_store: Path, monkeypatch) -> None:
    """What is published nowhere begins with the baseline's own values; default.yaml says what is searched."""
    monkeypatch.setitem(BASELINES, "linear", LINEAR)
    changes = {"training": {"iterations": 2, "eval_every": 2}, "device": "cpu"}
    config = run_config("linear", tiny_store, data_set="synthetic", overrides=changes)
    assert (config.method.delta, config.method.theta_rep) == (0.6, 0.8)
    space = load_space("linear", "synthetic", {})
    assert set(space.searched) == set(SCALARS)
    assert known_points(space, config, "synthetic") == {}
    run = Run(config)
    run.advance(2)
    assert run.select()[1]


class Peeking(Linear):
    """Faulty on purpose: its attention depends on the video's neighbours and on the padding."""

    def forward(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> TwoStreamOutputs:
        return super().forward(features_BTD - features_BTD.mean(dim=(0, 1)), lengths_B)


class Waiting(Linear):
    """Faulty on purpose: Python reads a value of the device."""

    def forward(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> TwoStreamOutputs:
        if features_BTD.max() > 1e6:
            raise ValueError("overflow")
        return super().forward(features_BTD, lengths_B)


def suite_of(network: type[TwoStreamNetwork]) -> ConformanceSuite:
    suite = ConformanceSuite()
    suite.baseline = Baseline("faulty", network, LinearObjective.of, ObjectiveConfig, LINEAR.variants)
    suite.variant = "own"
    return suite


@pytest.mark.parametrize("test", ["test_padding_does_not_reach_a_video", "test_videos_do_not_see_each_other"])
def test_the_suite_notices_a_network_that_peeks(test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(suite_of(Peeking), test)()


def test_the_suite_notices_a_network_that_waits() -> None:
    with pytest.raises(AssertionError, match="waits for the device"):
        suite_of(Waiting).test_nothing_waits_for_the_device(20, False)
