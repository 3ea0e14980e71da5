"""A golden configuration as our own objects: network with weights by rule, batch, and the published numbers.

Shared by the parity tests of baselines and method: ``case = load_case(golden, "delu_thumos14")``.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import golden_rule
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dce_ray.baselines import Objective, TwoStreamNetwork, baseline_named
from dce_ray.records import Batch

CONFIGURATIONS = tuple(
    f"{baseline}_{data_set}" for baseline in ("co2net", "delu", "ddgnet") for data_set in ("thumos14", "activitynet12")
)
COMPACT = Path(__file__).parent / "compact"
"""Folder of the committed part: the same names and keys, but ``*cas_sub`` (every eighth snippet) for ``*cas``."""
COMPACT_CONFIGURATIONS = ("co2net_thumos14", "delu_activitynet12", "ddgnet_thumos14")
TERM_OF = {
    "mil_orig": "mil_original",
    "mil_supp": "mil_suppressed",
    "contrastive": "contrastive",
    "mutual": "mutual",
    "norm": "norm",
    "guide": "guide",
    "edl": "evidential",
    "uct_guide": "uncertainty_guide",
    "feat_loss": "feature_consistency",
    "complementary": "complementary",
}
"""Our name of each loss term by its golden name."""


@dataclass(frozen=True)
class GoldenCase:
    """One configuration."""

    name: str
    numbers: dict[str, Any]
    """The JSON file."""
    arrays: dict[str, NDArray[Any]]
    """The npz file, expanded."""
    feature_size: int = 2048

    @property
    def baseline(self) -> str:
        return self.name.split("_")[0]

    @property
    def data_set(self) -> str:
        return self.name.split("_")[1]

    @property
    def iterations(self) -> list[int]:
        """The two iterations of which losses and gradients are known."""
        return [int(key) for key in self.numbers["losses"]]

    def progress(self, iteration: int) -> float:
        return iteration / self.numbers["max_iter"]

    @cached_property
    def features(self) -> Tensor:
        """``(B, T, D)`` float32, checked against the file's checksum."""
        numbers = self.numbers
        made = golden_rule.features(
            numbers["input_seed"], numbers["B"], numbers["T"], size=self.feature_size, **numbers["features"]
        )
        assert zlib.crc32(made.tobytes()) == numbers["input_check"]["crc32"], "the input rule is not the golden one"
        return torch.from_numpy(made)

    @cached_property
    def labels(self) -> Tensor:
        """``(B, C)`` float32 multi-hot."""
        return torch.from_numpy(golden_rule.labels(self.numbers["input_seed"], self.numbers["B"], self.numbers["C"]))

    def batch(self, dtype: torch.dtype = torch.float32) -> Batch:
        return Batch(self.features.to(dtype), self.labels.to(dtype), pairs=3)

    def network(self, dtype: torch.dtype = torch.float32) -> TwoStreamNetwork:
        """A network in eval mode with weights by rule; a new one at each call, so that it may be trained."""
        baseline = baseline_named(self.baseline)
        options = baseline.variants[self.data_set]["network"]
        network = baseline.network(
            feature_size=self.feature_size,
            classes=self.numbers["C"],
            segments=self.numbers["options"]["max_seqlen"],
            **options,
        )
        weights = {name: self.weight(name, tuple(value.shape)) for name, value in network.state_dict().items()}
        network.load_state_dict(weights, assign=True)
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        return network.to(dtype).eval()

    def weight(self, name: str, shape: tuple[int, ...]) -> Tensor:
        calibration = self.numbers["calib"]
        gains = tuple(sorted(calibration["gain"].items()))
        shifts = tuple(sorted(calibration["bias_shift"].items()))
        return torch.from_numpy(_weight(name, shape, self.numbers["weight_seed"], gains, shifts).copy())

    def objective(self) -> Objective:
        """The objective with the published values of the data set."""
        baseline = baseline_named(self.baseline)
        return baseline.objective(baseline.objective_config(**baseline.variants[self.data_set]["objective"]))

    def published_names(self) -> dict[str, float]:
        """The golden names of the terms, with their published weights."""
        return dict(self.numbers["loss_weights"])

    def terms(self, values: dict[str, float]) -> dict[str, float]:
        """The golden loss components that are terms of ours, by our names."""
        return {TERM_OF[name]: value for name, value in values.items() if name in TERM_OF}


@lru_cache(maxsize=48)
def _weight(
    name: str, shape: tuple[int, ...], seed: int, gains: tuple[Any, ...], shifts: tuple[Any, ...]
) -> NDArray[np.float32]:
    """Kept, because CO2-Net and DELU have the same weights and every test builds a network anew."""
    return golden_rule.weight(name, shape, seed, {"gain": dict(gains), "bias_shift": dict(shifts)})


def intervene(case: GoldenCase, features_BTD: Tensor, rgb_BT: Tensor, flow_BT: Tensor, key: str) -> Tensor:
    """Features of the golden second pass ``key``; its factor is rounded to float32, as the data's README says."""
    published = case.numbers["scs"]["intervened"][key]
    ratio_BT = (rgb_BT - flow_BT).abs() / (rgb_BT + flow_BT + case.numbers["scs_eps"])
    psi_BT = (ratio_BT > published["delta"]).float()
    return features_BTD * (1 - published["lambda"] * psi_BT)[:, :, None].to(features_BTD.dtype)


def load_case(folder: Path, name: str) -> GoldenCase:
    """The configuration ``name`` of the golden data in ``folder``."""
    return _load_case(folder, name)


@lru_cache(maxsize=8)
def _load_case(folder: Path, name: str) -> GoldenCase:
    numbers = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as arrays:
        return GoldenCase(name, numbers, dict(arrays))
