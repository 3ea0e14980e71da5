"""What one stage hands to the next: ``Batch``, ``TwoStreamOutputs``, ``StepResult``, ``Proposals``, ``GroundTruth``.

Shapes: B videos, T snippets, D input channels (RGB first, FLOW second), E fused channels, C classes.
Times of proposals and ground truth are snippets: snippet t covers [t, t + 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dce_ray.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Batch:
    """Videos that go through the network together."""

    features: Tensor
    """``(B, T, D)`` float32, RGB channels first."""
    labels: Tensor
    """Video-level labels, ``(B, C)`` float32, multi-hot."""
    pairs: int = 0
    """The first ``2 * pairs`` videos are pairs (0, 1), (2, 3), ... that share a class."""
    lengths: Tensor | None = None
    """Snippets per video, ``(B,)`` int64, where videos are padded with zeros; None where all have T."""


@dataclass(frozen=True, slots=True)
class TwoStreamOutputs:
    """All that losses, method and proposals may read of a two-stream network."""

    features: Tensor
    """Fused features that the classifier reads, ``(B, T, E)``."""
    logits: Tensor
    """Class activation sequence before softmax, ``(B, T, C + 1)``; index C is background."""
    rgb_attention: Tensor
    """Probability of action seen by the RGB stream, ``(B, T)``, in [0, 1]."""
    flow_attention: Tensor
    """Probability of action seen by the FLOW stream, ``(B, T)``, in [0, 1]."""

    @property
    def attention(self) -> Tensor:
        """Mean of both streams' attentions, ``(B, T)``, in [0, 1]."""
        return (self.rgb_attention + self.flow_attention) / 2


@dataclass(frozen=True, slots=True)
class StepResult:
    """Loss terms and diagnostics of one optimisation step; tensors on the device, nothing waits for it."""

    terms: dict[str, Tensor]
    """Unweighted loss terms by name, 0-dimensional."""
    weights: Mapping[str, float]
    """Weight of each term in the total, by the same names."""
    diagnostics: dict[str, Tensor] = field(default_factory=dict)
    """0-dimensional, without gradient: ``psi_share`` (share of snippets in Psi), ``mcm_share`` (share of proposals with
    a proper subset of representatives), ``proposals`` (number of them)."""

    @property
    def total(self) -> Tensor:
        """Weighted sum of the terms (Eq. 13)."""
        items: Iterator[Tensor] = (self.weights[name] * value for name, value in self.terms.items())
        total = next(items)
        for item in items:
            total = total + item
        return total


@dataclass(frozen=True, slots=True)
class Proposals:
    """Detected segments of many videos, one row each; all arrays have the same length N."""

    video: NDArray[np.int64]
    """Row of the video in the list of video names that belongs to the table."""
    start: NDArray[np.float64]
    """First snippet."""
    end: NDArray[np.float64]
    """Snippet behind the last."""
    label: NDArray[np.int64]
    """Class index, in [0, C)."""
    score: NDArray[np.float64]
    """Confidence; only its order counts."""

    def __post_init__(self) -> None:
        sizes = {name: len(getattr(self, name)) for name in self.__slots__}
        if len(set(sizes.values())) > 1:
            raise EvaluationError(f"columns of different lengths: {sizes}; every proposal needs all five values")

    def __len__(self) -> int:
        return len(self.video)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Proposals:
        """The proposals at ``rows``, a mask or indices."""
        return Proposals(self.video[rows], self.start[rows], self.end[rows], self.label[rows], self.score[rows])

    @staticmethod
    def empty() -> Proposals:
        """No proposal at all."""
        whole, real = np.empty(0, np.int64), np.empty(0, np.float64)
        return Proposals(whole, real, real, whole, real)

    @staticmethod
    def concatenate(parts: list[Proposals]) -> Proposals:
        """All rows of all parts, in order."""
        if not parts:
            return Proposals.empty()
        columns = (np.concatenate([getattr(part, name) for part in parts]) for name in Proposals.__slots__)
        return Proposals(*columns)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Annotated instances of a set of videos; the four arrays have one entry per instance."""

    video: NDArray[np.int64]
    """Row in ``video_names``."""
    start: NDArray[np.float64]
    """First snippet (rounded half to even from seconds)."""
    end: NDArray[np.float64]
    """Snippet behind the last."""
    label: NDArray[np.int64]
    """Class index, in [0, C)."""
    video_names: tuple[str, ...]
    """All videos of the set, those without an instance included."""
    class_names: tuple[str, ...]
    """All C classes of the data set."""

    @classmethod
    def empty(cls, video_names: tuple[str, ...], class_names: tuple[str, ...]) -> GroundTruth:
        """Videos of which nothing is annotated."""
        times, whole = np.empty(0, np.float64), np.empty(0, np.int64)
        return cls(whole, times, times, whole, video_names, class_names)

    def __len__(self) -> int:
        return len(self.video)
