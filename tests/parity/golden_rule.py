"""The rules by which the golden data's weights, inputs and gradient probes regenerate from seeds (NumPy alone).

Sections 2 to 4 of the golden data's README, restated. Shapes: B videos, T snippets, D channels, C classes, K knots.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def generator(key: int | Sequence[int]) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(key))


def weight(name: str, shape: Sequence[int], seed: int, calibration: Mapping[str, Any]) -> NDArray[np.float32]:
    """A parameter: He-scaled normal times the gain of the longest known prefix, or a small normal bias plus shift."""
    draw = generator(zlib.crc32(name.encode()) + 1_000_003 * seed).standard_normal(tuple(shape))
    if len(shape) == 1:
        return (0.1 * draw + float(calibration["bias_shift"].get(name, 0.0))).astype(np.float32)
    prefixes = [prefix for prefix in calibration["gain"] if name.startswith(prefix)]
    gain = float(calibration["gain"][max(prefixes, key=len)]) if prefixes else 1.0
    # One product at a time and in this order: the checksums are of the rounded values.
    draw *= math.sqrt(2.0 / math.prod(shape[1:]))
    draw *= gain
    return draw.astype(np.float32)


def probe(name: str, shape: Sequence[int]) -> NDArray[np.float64]:
    """The fixed direction that a parameter's gradient is projected on."""
    return generator([zlib.crc32(name.encode()), 424242]).standard_normal(tuple(shape))


def features(
    seed: int, videos: int, snippets: int, *, step: float, pool: int, cut: float, noise: float, scale: float, size: int
) -> NDArray[np.float32]:
    """``(B, T, D)``: each stream walks from prototype to prototype in its own order, then noise, cut and scale."""
    position_T = np.arange(snippets) / float(step)
    knot_T = np.floor(position_T).astype(int)
    part_T1 = (position_T - knot_T)[:, None]
    knots, half = int(knot_T[-1]) + 2, size // 2
    rows = []
    for video in range(videos):
        random = generator([seed, video])
        prototype_PD = random.standard_normal((pool, size))
        orders = random.integers(0, pool, size=knots), random.integers(0, pool, size=knots)
        white_TD = random.standard_normal((snippets, size))
        streams = [
            (1 - part_T1) * stream_PS[order[knot_T]] + part_T1 * stream_PS[order[knot_T + 1]]
            for order, stream_PS in zip(orders, np.split(prototype_PD, [half], axis=1), strict=True)
        ]
        walk_TD = np.concatenate(streams, axis=1) + noise * white_TD
        rows.append((scale * np.maximum(walk_TD - cut, 0.0)).astype(np.float32))
    return np.stack(rows)


def labels(seed: int, videos: int, classes: int, pairs: int = 3) -> NDArray[np.float32]:
    """``(B, C)`` multi-hot: the videos of a pair share a class, the others have one; then up to two more each."""
    random = generator([seed, 99991])
    labels_BC = np.zeros((videos, classes), np.float32)
    for pair in range(pairs):
        labels_BC[2 * pair : 2 * pair + 2, random.integers(0, classes)] = 1
    for video in range(videos):
        if video >= 2 * pairs:
            labels_BC[video, random.integers(0, classes)] = 1
        for _ in range(random.integers(0, 3)):
            labels_BC[video, random.integers(0, classes)] = 1
    return labels_BC
