"""Ray Tune trainable of DDG-Net."""

from __future__ import annotations

from trainables.base import RunTrainable


class DdgNetTrainable(RunTrainable):
    """DDG-Net with SCS and MCM."""

    baseline = "ddgnet"
