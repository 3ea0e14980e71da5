"""How much memory one trial needs, before anything runs."""

from __future__ import annotations

import torch

from dce_ray.config import RunConfig
from dce_ray.data import make_splits
from dce_ray.session.resources import Demand
from dce_ray.store import FeatureStore
from dce_ray.train.build import build_network

COPIES = 4
"""Parameters, gradients, Adam's two moments."""
LAYERS = 16
"""Activations of the input's size that a training step keeps; two forward passes, one with gradient."""
BYTES = 4


def demand_of(config: RunConfig, store: FeatureStore) -> Demand:
    """Estimate a trial's memory; the network is laid out without being filled."""
    with torch.device("meta"):
        network = build_network(config, feature_size=store.feature_size, classes=len(store.class_names))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    snippets = max(config.sampling.batch * config.sampling.segments, config.evaluation.max_snippets_per_batch)
    resident = config.training.resident != "host"
    train = make_splits(store, config.sampling).train_all
    return Demand(
        network=COPIES * BYTES * parameters,
        activations=LAYERS * BYTES * snippets * store.feature_size,
        features=int(BYTES * store.feature_size * store.lengths[train].sum()) if resident else 0,
    )
