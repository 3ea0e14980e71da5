"""Ray Tune trainable of CO2-Net."""

from __future__ import annotations

from trainables.base import RunTrainable


class CO2NetTrainable(RunTrainable):
    """CO2-Net with SCS and MCM."""

    baseline = "co2net"
