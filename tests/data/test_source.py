"""Batches from host and device agree bit for bit and resume where they stopped."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch

from dce_ray.config import SamplingConfig
from dce_ray.data import source as source_module
from dce_ray.data.source import BatchSource, resolve_resident, training_bytes
from dce_ray.errors import CheckpointError, ConfigError, DataError

SAMPLING = SamplingConfig(segments=9, batch=8, pairs=2)


class FakeStore:
    """Features that say where they come from: video * 1000 + snippet, plus a channel's share."""

    feature_size = 6

    def __init__(self, lengths, dtype=np.float32):
        self.lengths = np.asarray(lengths)
        self.subsets = ("train",) * len(lengths)
        self.digest = f"{list(lengths)} {np.dtype(dtype)}"
        self._labels = np.eye(3, dtype=np.float32)[np.arange(len(lengths)) % 3]
        self._features = []
        for video, length in enumerate(lengths):
            array = np.random.default_rng(video).random((length, self.feature_size)).astype(dtype)
            array[:, 0] = np.arange(length)
            array[:, 1] = video
            array.flags.writeable = False
            self._features.append(array)

    def labels(self, videos):
        return self._labels[videos]

    def features(self, video):
        return self._features[video]

    def gather(self, videos, snippets, out):
        for place, (video, row) in enumerate(zip(videos, snippets, strict=True)):
            out[place] = self._features[video][row]
        return out


VIDEOS = np.array([1, 2, 4, 5, 7, 8, 9, 10])


def make(store, **options):
    options = {"seed": 5, "device": "cpu", **options}
    return BatchSource(store, VIDEOS, SAMPLING, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_device_and_host_agree_bit_for_bit(dtype):
    store = FakeStore(np.arange(3, 14), dtype)
    host, device = make(store, resident="host"), make(store, resident="device")
    assert (host.resident, device.resident) == ("host", "device")
    for _ in range(10):
        one, two = host.next(), device.next()
        assert one.features.dtype == two.features.dtype == one.labels.dtype == two.labels.dtype == torch.float32
        assert one.features.shape == (8, 9, 6)
        assert torch.equal(one.features, two.features)
        assert torch.equal(one.labels, two.labels)
        assert one.pairs == two.pairs == 2


def test_batches_hold_the_named_videos_and_their_labels():
    store = FakeStore(np.arange(3, 14))
    batches = [make(store, resident=resident).next() for resident in ("host", "device")]
    for batch in batches:
        video = batch.features[:, :, 1]
        assert (video == video[:, :1]).all()
        rows = video[:, 0].long().numpy()
        assert set(rows) <= set(VIDEOS)
        assert (batch.labels.numpy() == store.labels(rows)).all()
        assert (batch.features[:, :, 0].diff(dim=1) >= 0).all()
        assert batch.lengths is None
        for first in (0, 2):
            assert rows[first] != rows[first + 1]
            assert (batch.labels[first] * batch.labels[first + 1]).sum() >= 1


def test_batches_own_their_memory():
    store = FakeStore(np.arange(3, 14))
    for resident in ("host", "device"):
        one, two = make(store, resident=resident), make(store, resident=resident)
        first = one.next()
        kept = first.features.clone()
        one.next().features.fill_(7)
        assert torch.equal(first.features, kept)
        two.next()
        assert torch.isfinite(two.next().features).all()


def test_restored_source_goes_on_through_torch_save():
    store = FakeStore(np.arange(3, 14))
    source = make(store)
    source.next()
    buffer = io.BytesIO()
    torch.save(source.state(), buffer)
    ahead = [source.next().features for _ in range(3)]
    buffer.seek(0)
    other = make(store, seed=99, resident="device")
    other.restore(torch.load(buffer, weights_only=True))
    for wanted in ahead:
        assert torch.equal(other.next().features, wanted)
    with pytest.raises(CheckpointError):
        other.restore({})


def test_reading_ahead_changes_no_batch_and_no_state():
    store = FakeStore(np.arange(3, 14))
    plain, ahead = make(store, resident="host"), make(store, resident="host", prefetch=True)
    assert ahead.state() == plain.state()
    for _ in range(4):
        one, two = plain.next(), ahead.next()
        assert torch.equal(one.features, two.features)
        assert torch.equal(one.labels, two.labels)
        assert ahead.state() == plain.state()
    kept = ahead.state()
    wanted = [ahead.next().features for _ in range(3)]
    ahead.restore(kept)
    assert all(torch.equal(ahead.next().features, features) for features in wanted)


def test_the_next_batch_is_gathered_while_this_one_is_trained_on():
    store, gathered = FakeStore(np.arange(3, 14)), threading.Semaphore(0)
    gather = store.gather
    store.gather = lambda *arguments: (gather(*arguments), gathered.release())[0]
    source = make(store, resident="host", prefetch=True)
    source.next()
    assert gathered.acquire(timeout=20)
    assert gathered.acquire(timeout=20), "the second batch, which nobody has asked for yet"
    assert not gathered.acquire(timeout=0.05), "and no third"


def test_a_fault_of_the_loader_reaches_the_caller():
    store = FakeStore(np.arange(3, 14))
    source = make(store, resident="host", prefetch=True)
    store.gather = lambda *arguments: 1 / 0
    with pytest.raises(ZeroDivisionError):
        source.next()


def test_seeds_differ():
    store = FakeStore(np.arange(3, 14))
    assert not torch.equal(make(store, seed=1).next().features, make(store, seed=2).next().features)


def test_auto_needs_twice_the_memory_free(monkeypatch):
    store = FakeStore([100, 50, 30], np.float16)
    assert training_bytes(store, np.array([0, 2])) == 130 * 6 * 2
    monkeypatch.setattr(source_module.torch.cuda, "mem_get_info", lambda device: (2000, 10_000))
    cuda = torch.device("cuda")
    monkeypatch.setattr(source_module.torch.cuda, "current_device", lambda: 0)
    fits, too_large = FakeStore([50, 33], np.float16), FakeStore([50, 34], np.float16)
    assert training_bytes(fits, np.arange(2)) == 996
    assert resolve_resident("auto", cuda, fits) == "device"
    assert resolve_resident("auto", cuda, too_large) == "host"
    assert resolve_resident("device", cuda, too_large) == "device"
    assert resolve_resident("auto", torch.device("cpu"), fits) == "host"


def test_refusals():
    store = FakeStore([5, 5, 5, 5])
    with pytest.raises(ConfigError, match="did you mean device"):
        make(FakeStore(np.arange(3, 14)), resident="devise")
    with pytest.raises(DataError, match="no training video"):
        BatchSource(store, np.empty(0, np.int64), SAMPLING, seed=0, device="cpu")
    with pytest.raises(DataError, match="no class has two"):
        BatchSource(store, np.array([0, 1, 2]), SAMPLING, seed=0, device="cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: the page-locked path")
def test_cuda_paths_agree_with_the_host():
    store = FakeStore(np.arange(3, 14))
    host = make(store)
    others = [make(store, device="cuda", resident=resident) for resident in ("host", "device")]
    for _ in range(20):
        wanted = host.next()
        for other in others:
            assert torch.equal(other.next().features.cpu(), wanted.features)
