"""The baselines: ``BASELINES`` maps a name to a network, an objective and their published variants."""

from __future__ import annotations

from dce_ray.baselines.baseline import Baseline, Objective
from dce_ray.baselines.co2net import CO2NET
from dce_ray.baselines.ddgnet import DDGNET
from dce_ray.baselines.delu import DELU
from dce_ray.baselines.network import TrunkNetwork, TwoStreamNetwork
from dce_ray.errors import ConfigError, unknown_name

BASELINES: dict[str, Baseline] = {baseline.name: baseline for baseline in (CO2NET, DELU, DDGNET)}
"""Every baseline by name."""


def baseline_named(name: str) -> Baseline:
    """The baseline of that name.

    Raises:
        ConfigError: there is none; the message lists the known names and the nearest.
    """
    if name not in BASELINES:
        raise ConfigError(unknown_name("baseline", name, BASELINES))
    return BASELINES[name]


__all__ = ["BASELINES", "Baseline", "Objective", "TrunkNetwork", "TwoStreamNetwork", "baseline_named"]
