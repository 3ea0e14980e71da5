"""Splits and batches from real stores: a generated one, and HAPT where it is at hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dce_ray.config import SamplingConfig
from dce_ray.data import BatchSource, make_splits
from dce_ray.data.synthetic import generate_synthetic
from dce_ray.store import FeatureStore, import_released


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return FeatureStore.open(generate_synthetic(tmp_path_factory.mktemp("stores") / "tiny", size="tiny"))


@pytest.fixture(scope="module")
def hapt(hapt_source, tmp_path_factory):
    target = tmp_path_factory.mktemp("stores") / "hapt"
    import_released(hapt_source, target, dtype="float16")
    return FeatureStore.open(target)


def check_batches(store, sampling):
    splits = make_splits(store, sampling)
    host, device = (
        BatchSource(store, splits.train, sampling, seed=1, device="cpu", resident=resident)
        for resident in ("host", "device")
    )
    for _ in range(3):
        one, two = host.next(), device.next()
        assert one.features.shape == (sampling.batch, sampling.segments, store.feature_size)
        assert torch.equal(one.features, two.features)
        assert torch.equal(one.labels, two.labels)
        assert one.features.dtype == torch.float32
        assert torch.isfinite(one.features).all()
    return splits


def test_synthetic_store(tiny):
    splits = check_batches(tiny, SamplingConfig(segments=24, batch=6, pairs=2))
    assert len(splits.train_all) == 12
    assert len(splits.test) == 8
    assert (tiny.labels(splits.holdout).sum(axis=0) >= 1).any()


def test_batch_is_what_the_store_holds(tiny):
    """Every snippet of a batch is, bit for bit, a snippet of a training video that carries the batch's labels."""
    splits = make_splits(tiny, SamplingConfig())
    batch = BatchSource(tiny, splits.train, SamplingConfig(segments=7, batch=4, pairs=1), seed=0, device="cpu").next()
    for features, labels in zip(batch.features.numpy(), batch.labels.numpy(), strict=True):
        owners = [
            video for video in splits.train if (tiny.features(int(video))[:, None] == features).all(axis=2).any(0).all()
        ]
        assert len(owners) == 1
        assert (tiny.labels(np.array(owners))[0] == labels).all()


def test_hapt(hapt):
    splits = check_batches(hapt, SamplingConfig(segments=40))
    assert (len(splits.train_all), len(splits.test)) == (256, 109)
    held = [make_splits(hapt, SamplingConfig(fold=fold)).holdout for fold in range(5)]
    assert sorted(np.concatenate(held)) == splits.train_all.tolist()
    assert [abs(len(videos) - 51.2) <= 2 for videos in held] == [True] * 5
    counts = hapt.labels(splits.train_all).sum(axis=0)
    assert all((np.abs(hapt.labels(videos).sum(axis=0) - 0.2 * counts) <= 2).all() for videos in held)
