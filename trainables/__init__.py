"""Ray Tune trainables, one per baseline: thin shells round ``dce_ray.train.Run``."""

from __future__ import annotations

from dce_ray.errors import ConfigError, unknown_name
from trainables.base import RunTrainable
from trainables.co2net import CO2NetTrainable
from trainables.ddgnet import DdgNetTrainable
from trainables.delu import DeluTrainable

TRAINABLES: dict[str, type[RunTrainable]] = {
    trainable.baseline: trainable for trainable in (CO2NetTrainable, DeluTrainable, DdgNetTrainable)
}


def trainable_named(baseline: str) -> type[RunTrainable]:
    """The trainable of a baseline.

    Raises:
        ConfigError: for an unknown name, with the nearest known one.
    """
    if baseline not in TRAINABLES:
        raise ConfigError(unknown_name("baseline", baseline, TRAINABLES))
    return TRAINABLES[baseline]


__all__ = ["TRAINABLES", "CO2NetTrainable", "DdgNetTrainable", "DeluTrainable", "RunTrainable", "trainable_named"]
