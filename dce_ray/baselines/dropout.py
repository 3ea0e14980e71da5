"""Dropout whose masks cost little on the CPU; on any other device it is PyTorch's own.

PyTorch's CPU kernel asks its generator for one number per element, one after the other: a quarter of a training step.
Here a burst of NumPy's SFC64 gives 8, 16 or 32 random bits per element, and one vectorised comparison makes the mask.

Every call starts a generator of its own from three numbers of PyTorch's CPU generator. So there is no second state:
``torch.manual_seed`` decides the masks, and whoever keeps or swaps PyTorch's state (``RandomStates``, ``fork_rng``, a
checkpoint) keeps or swaps them too. The masks do not depend on the number of threads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn

TOLERANCE = 5e-4
"""Largest error of the drawn share, as a part of p or 1 - p, whichever is less."""
FEWEST = 7000
"""Elements below which starting a generator costs more than PyTorch's own masks (``python -m benchmarks.dropout``)."""
CHUNK = 1 << 17
"""Elements whose random bits are held at a time, so that they stay in the cache."""
WIDTHS = (np.int8, np.int16, np.int32)
"""Random integers that decide over an element; the narrowest that meets p is drawn."""


class Dropout(nn.Dropout):
    """Zeroes each element with probability p in training and divides the others by 1 - p; eval mode is the identity.

    Args:
        p: in [0, 1].
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)

    def forward(self, input: Tensor) -> Tensor:
        """``input`` of any shape and floating-point type; the result has the same."""
        return dropout(input, self.p) if self.training else input


def dropout(x: Tensor, p: float) -> Tensor:
    """``x`` with each element zeroed with probability ``p`` and the others divided by ``1 - p``.

    PyTorch's own function serves all but the CPU, a compiled network (the compiler fuses it), fewer than ``FEWEST``
    elements, ``p`` of 0 or 1 (nothing is drawn), and integers (which it refuses).
    """
    drawn_here = x.device.type == "cpu" and not torch.compiler.is_compiling()
    if not drawn_here or x.numel() < FEWEST or not x.is_floating_point() or not 0 < p < 1:
        return F.dropout(x, p)
    return scaled(x, draw_mask(x.shape, p), 1 / (1 - p))


def draw_mask(shape: torch.Size, p: float) -> Tensor:
    """1 with probability ``1 - p``, else 0: uint8 of ``shape`` on the CPU, decided by PyTorch's CPU generator.

    Args:
        shape: of the mask.
        p: in (0, 1); met within ``TOLERANCE``.
    """
    integers, lowest_kept = threshold(p)
    elements, per_word = shape.numel(), 8 // integers.itemsize
    source = np.random.SFC64(SeedFromTorch())  # type: ignore[arg-type]  # NumPy documents it, its stubs forget it
    keep_N = np.empty(elements, dtype=np.bool_)
    for start in range(0, elements, CHUNK):
        chunk_N = keep_N[start : start + CHUNK]
        words = source.random_raw(-(-len(chunk_N) // per_word))
        np.greater_equal(words.view(integers)[: len(chunk_N)], lowest_kept, out=chunk_N)
    return torch.from_numpy(keep_N.view(np.uint8)).view(shape)


@lru_cache
def threshold(p: float) -> tuple[np.dtype[Any], Any]:
    """The type of the random integers to draw, and the lowest one that keeps its element.

    Of b bits there are ``2^b`` equally likely values, of which the ``round(p 2^b)`` lowest drop: p = 0.5 needs 8 bits,
    the published 0.7 has 16.
    """
    for width in WIDTHS:
        values = 1 << np.iinfo(width).bits
        dropped = min(round(p * values), values - 1)
        if abs(dropped / values - p) <= TOLERANCE * min(p, 1 - p):
            break
    return np.dtype(width), width(dropped + np.iinfo(width).min)


class SeedFromTorch(ISeedSequence):
    """Seeds a NumPy generator with the next numbers of PyTorch's CPU generator."""

    def generate_state(self, n_words: int, dtype: DTypeLike = np.uint32) -> NDArray[Any]:
        """As many words as the generator asks for, of 8 bytes at most."""
        return torch.empty(n_words, dtype=torch.int64, device="cpu").random_().numpy().astype(dtype)


def scaled(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    """``scale x`` where ``keep`` is 1, else 0; differentiable where x asks for it.

    Args:
        x: floating point, any shape.
        keep: uint8 of 0 and 1, same shape.
        scale: any number.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        result: Tensor = Scaled.apply(x, keep, scale)  # type: ignore[no-untyped-call]
        return result
    kept = keep.to(x.dtype)
    return torch.addcmul(kept.new_zeros(()), x, kept, value=scale, out=kept)


class Scaled(torch.autograd.Function):
    """:func:`scaled` with a gradient for x, which is the same function of the gradient; remembers the mask alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        """The values of :func:`scaled`; autograd is off in here."""
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return scaled(x, keep, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Gradient of x; the mask is a constant."""
        (keep,) = ctx.saved_tensors
        return scaled(gradient, keep, ctx.scale), None, None
