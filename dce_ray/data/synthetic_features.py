"""What a synthetic video looks like to the two streams: templates, background, noise, ReLU.

The causal model of the paper: the class decides appearance and motion; context shares one of the two with the class
and occurs in the same videos, so that video-level labels alone cannot tell it from action. An instance may have a look
of its own beside that of its class, so that its weaker content resembles no other instance.
Letters: T snippets, S channels of one stream, C classes, K background templates, I stretches of a video.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dce_ray.data.context import MOTION_CONTEXT, VISUAL_CONTEXT
from dce_ray.data.synthetic_script import VideoScript

Floats = NDArray[np.float32]

BACKGROUNDS = 12
"""Background templates of each stream; a video mixes three of them."""
TEMPLATE_DENSITY = 0.3
"""Part of the channels that a template touches."""


@dataclass(frozen=True, slots=True)
class Clarity:
    """How clearly a stream shows what happens; together with the confounding the difficulty of the data."""

    signal: float = 1.0
    """Size of a class template (root mean square over channels) where the strength is 1."""
    background: float = 0.8
    """Size of the background."""
    noise: float = 0.5
    """Deviation of the noise of each snippet and channel."""
    drift: float = 0.3
    """Deviation of the noise that lasts for some snippets."""
    variation: float = 0.4
    """How much a class differs from video to video, relative to its template."""
    individuality: float = 0.0
    """Size of the look that every stretch of a video has of its own: an instance, in its core and at its rims alike,
    and what lies between two of them. It is the individual instance I of the paper: it says nothing of the class or of
    whether there is action at all, and where the strength is small it is most of what is seen."""
    cut: float = 0.2
    """Taken off before the ReLU; what makes features sparse."""


@dataclass(frozen=True, slots=True)
class World:
    """The templates that all videos of a data set share; index 0 is the RGB stream, 1 the FLOW stream."""

    classes: Floats
    """``(2, C, S)``, size 1."""
    backgrounds: Floats
    """``(2, K, S)``, size 1."""
    clarity: Clarity


def draw_world(random: Generator, *, classes: int, channels: int, clarity: Clarity) -> World:
    """Draw the templates: sparse, non-negative, root mean square 1 over the ``channels`` of a stream."""
    return World(_templates(random, classes, channels), _templates(random, BACKGROUNDS, channels), clarity)


def _templates(random: Generator, count: int, channels: int) -> Floats:
    values = random.gamma(2.0, size=(2, count, channels)) * (random.random((2, count, channels)) < TEMPLATE_DENSITY)
    values[..., 0] += 1e-3  # a template of few channels may touch none
    return np.asarray(values / np.sqrt((values**2).mean(axis=-1, keepdims=True)), dtype=np.float32)


def draw_features(random: Generator, world: World, script: VideoScript) -> Floats:
    """Features of one video, ``(T, 2 S)`` float32 and non-negative, RGB channels first.

    Per stream: x = relu(strength * template + own look + (1 - strength / 2) * background + drift + noise - cut), where
    the strength of the RGB stream is 0 on motion context and that of the FLOW stream is 0 on visual context, and the
    own look is that of the stretch: of the instance, or of what lies between two of them.
    """
    looks_2TS = _own_looks(random, world, script)
    streams = [
        _stream(
            random,
            world,
            stream,
            script,
            strengths_T=np.where(script.kinds == missing, 0, script.strengths),
            look_TS=None if looks_2TS is None else looks_2TS[stream],
        )
        for stream, missing in enumerate((MOTION_CONTEXT, VISUAL_CONTEXT))
    ]
    return np.concatenate(streams, axis=1)


def _own_looks(random: Generator, world: World, script: VideoScript) -> Floats | None:
    """What each stretch of a video looks like on its own account, ``(2, T, S)``; None without individuality.

    A stretch is an instance, or what lies between two of them. Drawn aside from ``random``, so that all else of the
    video is the same with and without it.
    """
    if not world.clarity.individuality:
        return None
    stretches_T = np.cumsum(np.diff(script.instances, prepend=script.instances[0]) != 0)
    looks_2IS = _templates(random.spawn(1)[0], int(stretches_T[-1]) + 1, world.classes.shape[-1])
    return np.asarray(world.clarity.individuality * looks_2IS[:, stretches_T], dtype=np.float32)


def _stream(
    random: Generator,
    world: World,
    stream: int,
    script: VideoScript,
    *,
    strengths_T: NDArray[np.float32],
    look_TS: Floats | None,
) -> Floats:
    clarity = world.clarity
    length, channels = len(strengths_T), world.classes.shape[-1]
    own_CS = world.classes[stream] + clarity.variation * _templates_like(random, world.classes[stream])
    own_CS *= np.exp(0.15 * random.standard_normal())
    background_TS = clarity.background * _mixed(random, world.backgrounds[stream], length)
    shown_TS = strengths_T[:, None] * own_CS[np.maximum(script.classes, 0)]
    x_TS = clarity.signal * shown_TS + (1 - strengths_T[:, None] / 2) * background_TS
    if look_TS is not None:
        x_TS += look_TS
    x_TS += clarity.drift * _slow(random, length, channels, knots_every=6)
    x_TS += clarity.noise * random.standard_normal((length, channels), dtype=np.float32)
    return np.asarray(np.maximum(x_TS - clarity.cut, 0), dtype=np.float32)


def _templates_like(random: Generator, templates_CS: Floats) -> Floats:
    """Deviation of one video's classes from their templates: size 1, where the template is not zero."""
    deviation = random.standard_normal(templates_CS.shape, dtype=np.float32) * (templates_CS > 0)
    size = np.sqrt((deviation**2).mean(axis=-1, keepdims=True))
    return np.asarray(deviation / np.maximum(size, 1e-6), dtype=np.float32)


def _mixed(random: Generator, backgrounds_KS: Floats, length: int) -> Floats:
    """Three of the backgrounds, blended with weights that change slowly: ``(T, S)``."""
    chosen = random.choice(len(backgrounds_KS), size=3, replace=False)
    weights_T3 = np.exp(1.5 * _slow(random, length, 3, knots_every=20))
    weights_T3 /= weights_T3.sum(axis=1, keepdims=True)
    return np.asarray(weights_T3 @ backgrounds_KS[chosen], dtype=np.float32)


def _slow(random: Generator, length: int, channels: int, *, knots_every: int) -> Floats:
    """Unit noise at knots, straight lines between them: ``(T, channels)``."""
    knots = random.standard_normal((length // knots_every + 2, channels), dtype=np.float32)
    place = (np.arange(length, dtype=np.float32) / knots_every)[:, None]
    left = place.astype(np.int64)[:, 0]
    part = place - left[:, None]
    return np.asarray((1 - part) * knots[left] + part * knots[left + 1], dtype=np.float32)
