"""The method over any two-stream network: SCS (scs.py), MCM (mcm.py, mining.py), and the step of both (em.py)."""

from __future__ import annotations

from dce_ray.config import MethodConfig
from dce_ray.method.em import em_step
from dce_ray.method.mcm import Consistency
from dce_ray.method.presets import METHOD_PRESETS
from dce_ray.method.scs import Intervention, confounders, intervene


def build_method(config: MethodConfig, scs: bool, mcm: bool) -> tuple[Intervention | None, Consistency | None]:
    """The parts of the method that are on.

    Args:
        config: scalars and variants.
        scs: whether the intervention acts; None in its place where not.
        mcm: whether consistency mining acts; None in its place where not.
    """
    return Intervention.of(config) if scs else None, Consistency.of(config) if mcm else None


__all__ = [
    "METHOD_PRESETS",
    "Consistency",
    "Intervention",
    "build_method",
    "confounders",
    "em_step",
    "intervene",
]
