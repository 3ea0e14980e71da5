"""What a two-stream network must offer, and the trunk that the three published ones share.

Shapes: B videos, T snippets, D input channels (the first D / 2 RGB, the others FLOW), S = D / 2, C classes, E fused
channels. Between the methods of a network tensors are ``(B, channels, T)``; at its border ``(B, T, channels)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from dce_ray.baselines.blocks import TemporalSequential, convolution, leaky_relu, masked, smooth_over_time, valid_mask
from dce_ray.baselines.dropout import Dropout
from dce_ray.errors import ConfigError, DataError
from dce_ray.records import TwoStreamOutputs


class TwoStreamNetwork(nn.Module, ABC):
    """Base of all baselines: SCS, MCM, training and evaluation ask nothing else of a network.

    Args:
        feature_size: D, even; the first half of the channels is RGB.
        classes: C, without background.

    Raises:
        ConfigError: a size that no network can have.
    """

    def __init__(self, feature_size: int, classes: int) -> None:
        if feature_size < 2 or feature_size % 2:
            raise ConfigError(f"feature_size={feature_size}: must be even and positive, two streams of the same size")
        if classes < 1:
            raise ConfigError(f"classes={classes}: must be at least 1; the background is added by the network")
        super().__init__()
        self.feature_size = feature_size
        self.classes = classes

    @abstractmethod
    def forward(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> TwoStreamOutputs:
        """All outputs of the network.

        Args:
            features_BTD: ``(B, T, D)``, RGB channels first.
            lengths_B: snippets per video where shorter ones are padded with zeros. The outputs at a video's own
                snippets are those of that video alone; the attentions behind its end are 0, its logits undefined.
        """

    @torch.no_grad()
    def attend(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """RGB and FLOW attention, ``(B, T)`` each, without an autograd graph: all that the E step needs.

        Override where the attentions need only part of the network; the values are those of :meth:`forward`.
        """
        outputs = self(features_BTD, lengths_B)
        return outputs.rgb_attention, outputs.flow_attention


class TrunkNetwork(TwoStreamNetwork):
    """Fusion and classifier of CO2-Net, DELU and DDG-Net over two streams that a subclass enhances.

    ``X = fusion(concat(RGB, FLOW))``, ``logits = classifier(X)``. The ActivityNet-1.2 variants (``pool``) smooth logits
    and attentions over ``segments // 5 // 2 * 2 + 1`` snippets, at test time too.

    Args:
        segments: snippets per training video; decides the width of the pool alone.
        pool: whether logits and attentions are smoothed over time.
        dropout: of the fused features and at the classifier's entrance; the dropouts inside the classifier (0.7) and
            the attentions (0.5) are fixed, as released.
    """

    def __init__(self, feature_size: int, classes: int, segments: int, pool: bool, dropout: float) -> None:
        super().__init__(feature_size, classes)
        self.pool_kernel = segments // 5 // 2 * 2 + 1 if pool else None
        self.fusion = nn.Sequential(convolution(feature_size, feature_size, 1), leaky_relu(), Dropout(dropout))
        self.classifier = TemporalSequential(
            Dropout(dropout),
            convolution(feature_size, feature_size, 3),
            leaky_relu(),
            Dropout(0.7),
            convolution(feature_size, classes + 1, 1),
        )

    def split(self, features_BTD: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """RGB and FLOW channels, contiguous ``(B, S, T)``, and the mask of valid snippets.

        Raises:
            DataError: features of another shape than ``(B, T, feature_size)`` with T >= 1.
        """
        shape = tuple(features_BTD.shape)
        if len(shape) != 3 or shape[2] != self.feature_size or shape[1] < 1:
            raise DataError(
                f"features of shape {shape}: this network reads (videos, snippets >= 1, {self.feature_size}); "
                f"build it with the feature_size of the data"
            )
        half = self.feature_size // 2
        rgb_BST = features_BTD[..., :half].transpose(1, 2).contiguous()
        flow_BST = features_BTD[..., half:].transpose(1, 2).contiguous()
        return rgb_BST, flow_BST, valid_mask(lengths_B, shape[1], features_BTD)

    def fuse(self, rgb_BST: Tensor, flow_BST: Tensor, valid_B1T: Tensor | None) -> tuple[Tensor, Tensor]:
        """Fused features ``(B, T, E)`` and logits ``(B, T, C + 1)`` of the enhanced streams; E = D."""
        fused_BET = self.fusion(torch.cat((rgb_BST, flow_BST), dim=1))
        logits_BCT = self.classifier(fused_BET, valid_B1T)
        if self.pool_kernel is not None:
            logits_BCT = smooth_over_time(logits_BCT, self.pool_kernel, valid_B1T)
        return fused_BET.transpose(1, 2), logits_BCT.transpose(1, 2)

    def finish(self, attention_BT: Tensor, valid_B1T: Tensor | None) -> Tensor:
        """A stream's attention as the network returns it: smoothed where the variant does, 0 behind a video's end."""
        attention_B1T = attention_BT[:, None]
        if self.pool_kernel is not None:
            attention_B1T = smooth_over_time(attention_B1T, self.pool_kernel, valid_B1T)
        return masked(attention_B1T, valid_B1T)[:, 0]
