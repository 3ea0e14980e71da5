"""Layers that the baselines share.

Shapes: B videos, T snippets, S channels of one stream, K and E any channels. Inside a network tensors are contiguous
``(B, channels, T)``, the layout of ``Conv1d``: on the CPU its kernels beat matrix products over ``(B, T, channels)``.
``valid_B1T`` is 1 at snippets and 0 at padding, None where nothing is padded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dce_ray.baselines.dropout import Dropout

NEGATIVE_SLOPE = 0.2
"""Slope of every LeakyReLU below zero."""


def convolution(inputs: int, outputs: int, kernel: int) -> nn.Conv1d:
    """Convolution over time that keeps T: Kaiming-uniform weights, zero bias; ``kernel`` is odd."""
    layer = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.kaiming_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def leaky_relu() -> nn.LeakyReLU:
    """LeakyReLU in place: behind a convolution, whose backward does not read its output."""
    return nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)


def valid_mask(lengths_B: Tensor | None, snippets: int, like: Tensor) -> Tensor | None:
    """1 at the first ``lengths_B`` snippets of each video, else 0: ``(B, 1, T)``; None without lengths."""
    if lengths_B is None:
        return None
    inside_BT = torch.arange(snippets, device=like.device) < lengths_B.to(like.device)[:, None]
    return inside_BT.to(like.dtype)[:, None]


def masked(x_BKT: Tensor, valid_B1T: Tensor | None) -> Tensor:
    """``x`` with zeros at padding."""
    return x_BKT if valid_B1T is None else x_BKT * valid_B1T


def mean_over_time(x_BKT: Tensor, valid_B1T: Tensor | None) -> Tensor:
    """Mean over each video's own snippets: ``(B, K)``."""
    if valid_B1T is None:
        return x_BKT.mean(dim=2)
    return (x_BKT * valid_B1T).sum(dim=2) / valid_B1T.sum(dim=2).clamp(min=1)


def smooth_over_time(x_BKT: Tensor, kernel: int, valid_B1T: Tensor | None) -> Tensor:
    """Mean over ``kernel`` snippets around each one, where those outside the video count as zeros: ``(B, K, T)``."""
    return F.avg_pool1d(masked(x_BKT, valid_B1T), kernel, stride=1, padding=kernel // 2, count_include_pad=True)


class TemporalSequential(nn.Sequential):
    """Layers in a row, of which none sees what lies behind a video's end."""

    def forward(self, x_BKT: Tensor, valid_B1T: Tensor | None = None) -> Tensor:
        """Apply all layers; padding is set to zero again before every convolution that looks at neighbours."""
        for layer in self:
            if isinstance(layer, nn.Conv1d) and layer.kernel_size[0] > 1:
                x_BKT = masked(x_BKT, valid_B1T)
            x_BKT = layer(x_BKT)
        return x_BKT


class AttentionHead(TemporalSequential):
    """Probability of action of every snippet of one stream.

    The last dropout stands before the sigmoid, as released: in training half of the snippets have attention 0.5.
    """

    def __init__(self, channels: int) -> None:
        hidden = max(1, channels // 2)
        super().__init__(
            convolution(channels, hidden, 3),
            leaky_relu(),
            Dropout(0.5),
            convolution(hidden, hidden, 3),
            leaky_relu(),
            convolution(hidden, 1, 1),
            Dropout(0.5),
            nn.Sigmoid(),
        )

    def forward(self, x_BKT: Tensor, valid_B1T: Tensor | None = None) -> Tensor:
        """Attention in [0, 1]: ``(B, T)``."""
        return super().forward(x_BKT, valid_B1T)[:, 0]


class ConsensusModule(nn.Module):
    """Cross-modal consensus: the other stream decides what of this one is kept (Hong et al. 2021, section 3.3).

    ``filtered = sigmoid(local gate of the auxiliary stream * global gate of the main stream) * main``, and the
    attention is read from ``filtered``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bit_wise_attn = TemporalSequential(convolution(channels, channels, 3), leaky_relu(), Dropout(0.5))
        self.channel_conv = nn.Sequential(convolution(channels, channels, 3), leaky_relu(), Dropout(0.5))
        self.attention = AttentionHead(channels)

    def forward(self, main_BST: Tensor, auxiliary_BST: Tensor, valid_B1T: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attention ``(B, T)`` and filtered features ``(B, S, T)`` of the main stream."""
        global_BS = self._global_gate(mean_over_time(main_BST, valid_B1T))
        local_BST = self.bit_wise_attn(auxiliary_BST, valid_B1T)
        filtered_BST = (local_BST * global_BS[:, :, None]).sigmoid_() * main_BST
        return self.attention(filtered_BST, valid_B1T), filtered_BST

    def _global_gate(self, mean_BS: Tensor) -> Tensor:
        """``channel_conv`` of a sequence of one snippet.

        Only the centre tap of its kernel meets anything but padding, so the product with that tap is exact; the outer
        taps still get a gradient, which is zero.
        """
        convolve, activate, drop = self.channel_conv
        assert isinstance(convolve, nn.Conv1d)
        gate_BS: Tensor = drop(activate(F.linear(mean_BS, convolve.weight[:, :, 1], convolve.bias)))
        return gate_BS
