"""Tune, compare and believe weakly-supervised temporal action localization."""

__version__ = "0.1.0"
