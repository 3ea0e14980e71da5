"""From a feature store to training batches: splits, sampling, sources, and the embedded synthetic data."""

from __future__ import annotations

from dce_ray.data.sampling import BatchSampler
from dce_ray.data.source import BatchSource
from dce_ray.data.splits import Splits, make_splits

__all__ = ["BatchSampler", "BatchSource", "Splits", "make_splits"]
