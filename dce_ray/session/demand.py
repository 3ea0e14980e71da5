"""How much memory one run needs, before anything runs, and what it gets of the cluster."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dce_ray.config import RunConfig
from dce_ray.data import make_splits
from dce_ray.session.resources import Demand, Node, Resources, choose_resources
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
    train = make_splits(store, config.sampling, hold_out=config.protocol == "holdout").train_all
    return Demand(
        network=COPIES * BYTES * parameters,
        activations=LAYERS * BYTES * snippets * store.feature_size,
        features=int(BYTES * store.feature_size * store.lengths[train].sum()) if resident else 0,
    )


def resources_for(
    config: RunConfig,
    store: FeatureStore,
    nodes: Sequence[Node],
    *,
    runs: int,
    cpus: float | None = None,
    gpus: float | None = None,
) -> Resources:
    """CPUs and GPU share of one run of this configuration on this cluster.

    Args:
        config: of any of the runs; they differ in what costs no memory.
        store: their data.
        nodes: of the cluster, with the memory of their GPUs.
        runs: how many there are; more CPUs than that go to the runs' threads.
        cpus: the user's wish; None chooses.
        gpus: the user's wish; None chooses, and takes none with ``device=cpu``.

    Raises:
        SearchError: no run fits.
    """
    wishes = {"cpus": cpus, "gpus": 0.0 if config.device == "cpu" and gpus is None else gpus}
    return choose_resources(nodes, demand_of(config, store), runs=runs, unequal=config.device == "auto", **wishes)
