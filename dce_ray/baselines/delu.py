"""DELU (Chen et al., Dual-Evidential Learning, ECCV 2022): CO2-Net's network, an objective with evidence.

Shapes: B videos, T snippets, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from dce_ray import losses
from dce_ray.baselines import co2net
from dce_ray.baselines.baseline import Baseline, require_full_length, weights_of
from dce_ray.baselines.co2net import Co2Net, Shared, co2net_terms
from dce_ray.config import DeluObjectiveConfig
from dce_ray.records import Batch, TwoStreamOutputs

TERMS = (*co2net.TERMS, "evidential", "uncertainty_guide")


class Delu(Co2Net):
    """The network of CO2-Net under its other name."""


@dataclass(frozen=True, slots=True)
class DeluObjective:
    """CO2-Net's total plus ``evidential`` and ``uncertainty_guide``."""

    weights: Mapping[str, float]
    """Weight of each of ``TERMS``."""
    k_ratio: float
    """The multiple-instance losses count each class's ``T // k_ratio`` snippets of highest logit, one at least."""
    evidence: str
    """``exp`` (THUMOS14) or ``relu`` (ActivityNet-1.2)."""
    evidence_ratio: int
    """A video's evidence is that of its ``T // evidence_ratio`` snippets of highest attention, one at least."""
    amplitude: float
    """Of the uncertainty guide's curve."""

    @classmethod
    def of(cls, config: DeluObjectiveConfig) -> Self:
        """From a configuration record."""
        return cls(weights_of(config, *TERMS), config.k_ratio, config.evidence, config.evidence_ratio, config.amplitude)

    def __call__(self, outputs: TwoStreamOutputs, batch: Batch, progress: float | Tensor) -> dict[str, Tensor]:
        """Unweighted terms by name; ``progress`` bends the curve of the uncertainty guide."""
        require_full_length(batch)
        return self.terms(outputs, batch, Shared.of(outputs), progress)

    def terms(
        self, outputs: TwoStreamOutputs, batch: Batch, shared: Shared, progress: float | Tensor
    ) -> dict[str, Tensor]:
        """The eight terms of DELU, unweighted; DDG-Net has them too."""
        evidential = losses.evidential_exp if self.evidence == "exp" else losses.evidential_relu
        best_BC = losses.video_evidence_logits(shared.suppressed, outputs.attention, ratio=self.evidence_ratio)
        weights_BT = losses.uncertainty_weights(shared.suppressed, amplitude=self.amplitude, progress=progress)
        return co2net_terms(outputs, batch, shared, self.k_ratio) | {
            "evidential": evidential(best_BC, batch.labels),
            "uncertainty_guide": (weights_BT * shared.gap).mean(),
        }


ACTIVITYNET12_OBJECTIVE = {
    "k_ratio": 5.0,
    "guide": 0.8,
    "evidential": 1.2,
    "uncertainty_guide": 0.2,
    "evidence": "relu",
    "evidence_ratio": 5,
    "amplitude": 0.2,
}
THUMOS14_OBJECTIVE = {
    "k_ratio": 7.0,
    "guide": 0.4,
    "evidential": 1.3,
    "uncertainty_guide": 0.4,
    "evidence": "exp",
    "evidence_ratio": 9,
    "amplitude": 0.7,
}

DELU = Baseline(
    name="delu",
    title="DELU",
    network=Delu,
    objective=DeluObjective.of,
    objective_config=DeluObjectiveConfig,
    variants={
        "thumos14": {"network": {"pool": False}, "objective": THUMOS14_OBJECTIVE},
        "activitynet12": {"network": {"pool": True}, "objective": ACTIVITYNET12_OBJECTIVE},
    },
)
