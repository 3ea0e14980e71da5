"""Ray Tune trainables, one per baseline: thin shells round ``dce_ray.train``'s driver.

The folder is the package ``dce_ray.trainables``. Each class is an attribute of it (``DeluTrainable``), where Ray's
workers find it by name.
"""

from __future__ import annotations

from dce_ray.baselines import BASELINES
from dce_ray.errors import ConfigError, unknown_name

from .base import RunTrainable


def _made_for(baseline: str) -> type[RunTrainable]:
    """The trainable class of a baseline, named after its configuration record: ``delu`` is ``DeluTrainable``."""
    name = f"{''.join(part.capitalize() for part in baseline.split('_'))}Trainable"
    members = {"baseline": baseline, "__module__": __name__, "__doc__": f"{baseline} with SCS and MCM."}
    return type(name, (RunTrainable,), members)


TRAINABLES: dict[str, type[RunTrainable]] = {baseline: _made_for(baseline) for baseline in BASELINES}
globals().update({trainable.__name__: trainable for trainable in TRAINABLES.values()})


def trainable_named(baseline: str) -> type[RunTrainable]:
    """The trainable of a baseline.

    Raises:
        ConfigError: for an unknown name, with the nearest known one.
    """
    if baseline not in TRAINABLES:
        raise ConfigError(unknown_name("baseline", baseline, TRAINABLES))
    return TRAINABLES[baseline]


__all__ = ["TRAINABLES", "RunTrainable", "trainable_named"]
