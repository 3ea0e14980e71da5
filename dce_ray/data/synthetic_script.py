"""When things happen in a synthetic video: instances, their strength, and the context around them.

Durations, instance lengths and gaps follow THUMOS14's annotations (train and test together): 15 instances per video of
213 s on average, 4.3 s long, covering 31 % of it, one class in nine videos of ten, else two.
Letters: T snippets of one video.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dce_ray.data.context import ACTION, MOTION_CONTEXT, VISUAL_CONTEXT

FPS = 25.0
STRIDE_FRAMES = 16
SNIPPET_S = STRIDE_FRAMES / FPS

SECOND_CLASS_SHARE = 0.1
"""Part of the videos that show a second class."""
CLASS_LENGTH_LOG_S = (1.3, 0.7)
"""Mean and deviation over classes of a class's typical log length in seconds."""
LENGTH_LOG_DEVIATION = 0.4
"""Deviation of log lengths within a class."""
SHORTEST_S = 0.7
GAP_LOG_S = (1.4, 1.3)
"""Mean and deviation of the log gap between instances, in seconds."""
VIDEO_GAP_LOG_DEVIATION = 0.7
"""Deviation between videos of their typical log gap."""
CONTEXT_LOG_S = (1.2, 0.5)
"""Mean and deviation of the log length of a stretch of context, in seconds."""


@dataclass(frozen=True, slots=True)
class Confounding:
    """How strongly context is tied to the classes."""

    chance: float = 0.75
    """Chance of context on each side of an instance."""
    adjacent: float = 0.6
    """Chance that such a stretch touches the instance; otherwise it lies anywhere in the gap."""
    foreign: float = 0.1
    """Chance that a stretch resembles a class that the video does not show."""
    visual: float = 0.5
    """Chance that a stretch is visual context; otherwise it is motion context."""
    context_strength: tuple[float, float] = (0.8, 1.0)
    """Range of the strength of context: as strong as an instance's core, which is what misleads."""
    rim_strength: tuple[float, float] = (0.2, 0.4)
    """Range of the strength at an instance's rims: weak content that a detector leaves out."""


@dataclass(frozen=True, slots=True)
class VideoScript:
    """What happens when in one video, before it has features."""

    duration_s: float
    starts_s: NDArray[np.float64]
    """First moment of each instance, ascending; a tenth of a second fine, as annotated."""
    ends_s: NDArray[np.float64]
    """Last moment of each instance."""
    labels: NDArray[np.int64]
    """Class of each instance."""
    kinds: NDArray[np.int8]
    """What each snippet is, ``(T,)`` (:mod:`dce_ray.data.context`)."""
    strengths: NDArray[np.float32]
    """How much of the template each snippet shows, ``(T,)``, in [0, 1]."""
    classes: NDArray[np.int16]
    """Class of action and context snippets, else -1, ``(T,)``."""
    instances: NDArray[np.int16]
    """Number of the instance that a snippet belongs to, by its place in ``labels``, else -1, ``(T,)``."""


def class_lengths_s(classes: int) -> NDArray[np.float64]:
    """Typical length of an instance of each class: evenly spaced quantiles of their law, in a fixed mixed order."""
    mean, deviation = CLASS_LENGTH_LOG_S
    quantiles = [NormalDist(mean, deviation).inv_cdf((index + 0.5) / classes) for index in range(classes)]
    order = np.random.default_rng(classes).permutation(classes)
    lengths_s: NDArray[np.float64] = np.exp(np.array(quantiles))[order]
    return lengths_s


def draw_script(
    random: Generator,
    *,
    main_class: int,
    lengths_s: NDArray[np.float64],
    duration_log_s: tuple[float, float],
    snippets: tuple[int, int],
    confounding: Confounding,
) -> VideoScript:
    """Draw one video.

    Args:
        random: the video's own generator.
        main_class: the class that it shows for certain.
        lengths_s: typical instance length of every class, in seconds.
        duration_log_s: mean and deviation of the log duration.
        snippets: least and largest number of snippets.
        confounding: of context with classes.
    """
    duration_s = float(np.exp(random.normal(*duration_log_s)))
    length = int(np.clip(duration_s / SNIPPET_S, *snippets))
    duration_s = round(length * SNIPPET_S + random.uniform(0.05, 0.95) * SNIPPET_S, 2)
    shown = [main_class]
    if len(lengths_s) > 1 and random.random() < SECOND_CLASS_SHARE:
        shown.append(int(random.choice(np.delete(np.arange(len(lengths_s)), main_class))))
    starts_s, ends_s, labels = _draw_instances(random, length * SNIPPET_S, shown, lengths_s)
    kinds, strengths = np.zeros(length, np.int8), np.zeros(length, np.float32)
    classes, instances = np.full(length, -1, np.int16), np.full(length, -1, np.int16)
    for number, (start_s, end_s, label) in enumerate(zip(starts_s, ends_s, labels, strict=True)):
        first, values = _instance_strength(random, start_s, end_s, length, confounding)
        rows = slice(first, first + len(values))
        kinds[rows], strengths[rows], classes[rows], instances[rows] = ACTION, values, label, number
    script = VideoScript(duration_s, starts_s, ends_s, labels, kinds, strengths, classes, instances)
    _add_context(random, script, len(lengths_s), confounding)
    return script


def _draw_instances(
    random: Generator, end_of_video_s: float, shown: list[int], lengths_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Gap, instance, gap, ... until the video is full; at least one instance of each class shown."""
    gap_mean, gap_deviation = GAP_LOG_S
    gap_mean += random.normal(0, VIDEO_GAP_LOG_DEVIATION)
    rows: list[tuple[float, float, int]] = []
    now_s = 0.0
    while True:
        label = shown[len(rows)] if len(rows) < len(shown) else int(random.choice(shown))
        gap_s = max(SNIPPET_S, float(np.exp(random.normal(gap_mean, gap_deviation))))
        length_s = max(SHORTEST_S, lengths_s[label] * float(np.exp(random.normal(0, LENGTH_LOG_DEVIATION))))
        if len(rows) < len(shown):  # the first ones must fit, however short the video is
            room_s = (end_of_video_s - now_s) / (len(shown) - len(rows))
            length_s = min(length_s, 0.6 * room_s)
            gap_s = min(gap_s, 0.3 * room_s)
        start_s, end_s = round(now_s + gap_s, 1), round(now_s + gap_s + length_s, 1)
        if len(rows) >= len(shown) and end_s > end_of_video_s:
            break
        rows.append((start_s, min(end_s, end_of_video_s), label))
        now_s = end_s
    columns = np.array(rows, dtype=np.float64)
    return columns[:, 0], columns[:, 1], columns[:, 2].astype(np.int64)


def _instance_strength(
    random: Generator, start_s: float, end_s: float, length: int, confounding: Confounding
) -> tuple[int, NDArray[np.float32]]:
    """First snippet of an instance and the strength of each: strong in a core, weak at the rims.

    With u in [0, 1] the place within the instance: weak + (1 - weak) exp(-((u - core) / width)^2).
    """
    first = min(round(start_s / SNIPPET_S), length - 1)
    last = max(min(round(end_s / SNIPPET_S), length), first + 1)
    place = (np.arange(last - first) + 0.5) / (last - first)
    weak = random.uniform(*confounding.rim_strength)
    core, width = random.uniform(0.3, 0.7), random.uniform(0.2, 0.4)
    values = weak + (1 - weak) * np.exp(-(((place - core) / width) ** 2))
    return first, values.astype(np.float32)


def _add_context(random: Generator, script: VideoScript, classes: int, confounding: Confounding) -> None:
    """Put stretches of context, in place, on the background snippets on either side of instances."""
    length = len(script.kinds)
    foreign = np.setdiff1d(np.arange(classes), script.labels)
    for label, moment_s, after in _sides(script):
        if random.random() >= confounding.chance:
            continue
        kind = VISUAL_CONTEXT if random.random() < confounding.visual else MOTION_CONTEXT
        shown = int(random.choice(foreign)) if len(foreign) and random.random() < confounding.foreign else label
        size = max(1, round(float(np.exp(random.normal(*CONTEXT_LOG_S))) / SNIPPET_S))
        border = min(round(moment_s / SNIPPET_S), length)
        free = _free_run(script.kinds, border, after)
        if not free:
            continue
        size = min(size, len(free))
        skip = 0 if random.random() < confounding.adjacent else int(random.integers(0, len(free) - size + 1))
        rows = np.array(free[skip : skip + size])
        script.kinds[rows] = kind
        script.classes[rows] = shown
        script.strengths[rows] = random.uniform(*confounding.context_strength)


def _sides(script: VideoScript) -> list[tuple[int, float, bool]]:
    """Class, moment and direction (after?) of both borders of every instance."""
    before = zip(script.labels, script.starts_s, strict=True)
    behind = zip(script.labels, script.ends_s, strict=True)
    return [(int(label), float(s), False) for label, s in before] + [
        (int(label), float(s), True) for label, s in behind
    ]


def _free_run(kinds: NDArray[np.int8], border: int, after: bool) -> list[int]:
    """Background snippets that run from a border away from its instance, nearest first."""
    rows = range(border, len(kinds)) if after else range(border - 1, -1, -1)
    free: list[int] = []
    for row in rows:
        if kinds[row]:
            break
        free.append(row)
    return free
