"""Ray Tune trainable of DELU."""

from __future__ import annotations

from trainables.base import RunTrainable


class DeluTrainable(RunTrainable):
    """DELU with SCS and MCM."""

    baseline = "delu"
