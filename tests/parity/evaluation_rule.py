"""The rules by which the golden data's evaluation inputs regenerate from seeds (NumPy alone).

Sections 8 to 10 of the golden data's README, restated. Shapes: T snippets, C classes, D channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from golden_rule import generator
from numpy.typing import NDArray


def smooth(random: np.random.Generator, snippets: int, columns: int, step: float) -> NDArray[np.float64]:
    """``(T, columns)``: piecewise linear noise with a knot every ``step`` snippets."""
    position = np.arange(snippets) / float(step)
    left = np.floor(position).astype(int)
    part = (position - left)[:, None]
    knots = random.standard_normal((int(left[-1]) + 2, columns))
    return (1 - part) * knots[left] + part * knots[left + 1]


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-x))


def video(seed: int, index: int, snippets: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits ``(T, C + 1)`` and attention ``(T,)`` of one synthetic video."""
    random = generator([seed, 700000 + index])
    actions = 1 + index % 3
    active = random.permutation(classes)[:actions]
    step = max(2.0, min(snippets / 6.0, 25.0))
    logits = -1.0 + 0.8 * smooth(random, snippets, classes + 1, step)
    action = smooth(random, snippets, actions, step)
    amplitude = 4.0 + 3.0 * random.random(actions)
    logits[:, active] += amplitude * sigmoid(3.0 * action)
    logits[:, classes] += 2.0 * sigmoid(-3.0 * action.max(axis=1))
    noise = smooth(random, snippets, 1, 2.0)[:, 0]
    attention = sigmoid(3.0 * (action.max(axis=1) - 0.3) + 0.6 * noise)
    return logits.astype(np.float32), attention.astype(np.float32)


def classification(seed: int, videos: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Video-level scores and labels, ``(N, C)`` each; every class has a positive."""
    random = generator([seed, 600000, videos, classes])
    labels = (random.random((videos, classes)) < 1.3 / classes).astype(np.float64)
    for label in range(classes):
        labels[(7 * label) % videos, label] = 1.0
    return (random.random((videos, classes)) + 0.6 * labels).astype(np.float32), labels


@lru_cache(maxsize=256)
def _prototype(seed: int, number: int, size: int) -> NDArray[np.float64]:
    return generator([seed, 900000, number]).standard_normal(size)


def features(
    seed: int,
    row: int,
    snippets: int,
    segments: Sequence[tuple[int, int, int]],
    spec: Mapping[str, Sequence[int]],
    size: int = 2048,
) -> NDArray[np.float32]:
    """``(T, D)``: prototypes of background and of the annotated classes, smoothed over three snippets, noise, cut."""
    background, of_class = spec["background_ids"], spec["class_ids"]
    ids = np.array([background[(t // 12 + row) % len(background)] for t in range(snippets)])
    for start, end, label in segments:
        ids[start:end] = of_class[label]
    kinds, kind = np.unique(ids, return_inverse=True)
    clean = np.stack([_prototype(seed, int(number), size) for number in kinds])[kind]
    before, after = np.concatenate([clean[:1], clean[:-1]]), np.concatenate([clean[1:], clean[-1:]])
    blurred = 0.25 * before + 0.5 * clean + 0.25 * after
    noisy = blurred + 0.12 * generator([seed, 800000, row]).standard_normal((snippets, size))
    return (spec["scale"] * np.maximum(noisy - 0.6, 0.0)).astype(np.float32)
