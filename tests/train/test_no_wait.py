"""A whole iteration, and a whole evaluation, on a device that cannot be waited for: the meta device holds no values.

Fused Adam has no meta kernel; plain gradient descent takes its place, everything else is what runs.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from no_sync import NoSync, Waits
from test_run import BASELINES, tiny_config

from dce_ray.data.resident import shared_videos
from dce_ray.data.transfer import upload_array
from dce_ray.evaluation import inference
from dce_ray.train import Run, meter
from dce_ray.train import run as run_module

META = torch.device("meta")


class Arrivals:
    """Stands for ``Download``: counts, and gives values that nobody computed."""

    def __init__(self):
        self.events: list[str] = []

    def __call__(self, tensor):
        assert tensor.device == META
        self.events.append("sent")
        return Arrival(self, tuple(tensor.shape))

    @property
    def waits(self):
        return self.events.count("waited")


class Arrival:
    def __init__(self, log, shape):
        self.log, self.shape = log, shape

    def wait(self):
        self.log.events.append("waited")
        return np.random.default_rng(0).random(self.shape, dtype=np.float32)


@pytest.fixture
def arrivals(monkeypatch):
    monkeypatch.setattr(run_module, "choose_device", lambda name: META)
    monkeypatch.setattr(
        run_module, "build_optimiser", lambda config, network: torch.optim.SGD(network.parameters(), lr=0.1)
    )
    arrivals = Arrivals()
    monkeypatch.setattr(meter, "Download", arrivals)
    monkeypatch.setattr(inference, "Download", arrivals)
    return arrivals


def meta_run(store, baseline="delu", resident="device", **training) -> Run:
    config = tiny_config(store, baseline)
    return Run(config.replace(training=config.training.replace(resident=resident, **training)))


@pytest.mark.parametrize("baseline", BASELINES)
def test_an_iteration_waits_for_nothing_and_uploads_its_indices_alone(tiny_store, arrivals, baseline):
    run = meta_run(tiny_store, baseline)
    with NoSync(uploads=True) as watch:
        run.advance(7)
    sampling = run.config.sampling
    assert watch.uploaded == [(sampling.batch * (1 + sampling.segments),)] * 7
    assert arrivals.waits == 3, "one wait per reading: behind 3, 6 and 7 iterations"


@pytest.mark.parametrize("prefetch", [False, True])
def test_the_host_path_uploads_a_batch_once(tiny_store, arrivals, prefetch):
    run = meta_run(tiny_store, resident="host", prefetch=prefetch)
    with NoSync(uploads=True) as watch:
        run.advance(6)
    sampling = run.config.sampling
    if not prefetch:  # a dispatch mode sees its own thread alone
        assert watch.uploaded == [(sampling.batch,), (sampling.batch, sampling.segments, 32)] * 6
    assert arrivals.waits == 2


@pytest.mark.parametrize("resident", ["device", "host"])
def test_an_evaluation_waits_once_per_batch_and_never_for_the_batch_it_just_sent(tiny_store, arrivals, resident):
    run = meta_run(tiny_store, resident=resident)
    evaluation = run.config.evaluation.replace(max_snippets_per_batch=1, drop_ambiguous=False)
    run.config = run.config.replace(evaluation=evaluation)
    videos = len(run.splits.holdout)
    assert videos >= 2
    with NoSync(uploads=True) as watch:
        run.evaluate("holdout")
    assert arrivals.events == ["sent", *["sent", "waited"] * (videos - 1), "waited"]
    widths = {len(shape) for shape in watch.uploaded}
    if resident == "device":
        assert len(watch.uploaded) == videos
        assert widths == {1}, "row numbers, no features"
    else:
        assert len(watch.uploaded) == 2 * videos
        assert widths == {1, 3}


def test_a_blocking_upload_is_one_too_many():
    host = torch.zeros(3)
    with NoSync(uploads=True) as watch:
        upload_array(np.zeros(3), META)
        with pytest.raises(Waits, match="copy from cpu to meta"):
            host.to(META)
    assert watch.uploaded == [(3,)]


class TestSharedFeatures:
    """One copy per process of all train videos, freed with the last run that reads it."""

    def test_runs_folds_and_evaluation_read_one_copy(self, tiny_store):
        runs = [meta_free(tiny_store, seed=seed, fold=seed) for seed in (0, 1)]
        assert runs[0].source.shared is runs[1].source.shared
        assert set(runs[0].splits.train) != set(runs[1].splits.train)
        assert runs[0].source.shared.holds(runs[0].splits.holdout)
        assert not runs[0].source.shared.holds(runs[0].splits.test)

    def test_the_last_run_frees_it(self, tiny_store):
        gc.collect()  # what other tests left
        store = meta_free(tiny_store).store
        first = shared_videos(store, torch.device("cpu"))
        kept = id(first)
        assert id(shared_videos(store, torch.device("cpu"))) == kept
        flat = first.flat_SD
        del first
        assert shared_videos(store, torch.device("cpu")).flat_SD is not flat

    @pytest.mark.parametrize("split", ["holdout", "test"])
    def test_evaluation_from_resident_features_gives_the_same_detections(self, tiny_store, split):
        host, device = meta_free(tiny_store, resident="host"), meta_free(tiny_store)
        one, other = host.evaluate(split), device.evaluate(split)
        assert np.array_equal(one.proposals.score, other.proposals.score)
        assert np.array_equal(one.table.map, other.table.map, equal_nan=True)

    def test_gathered_batches_are_those_that_would_be_sent_zeros_behind_the_end_included(self, tiny_store):
        run, cpu = meta_free(tiny_store), torch.device("cpu")
        videos = run.splits.holdout
        lengths = run.store.lengths[videos]
        assert len(set(lengths.tolist())) > 1
        features, found = inference._gathered(run.source.shared, videos, lengths, cpu)
        assert torch.equal(features, inference._sent(run.store, videos, lengths, cpu))
        assert found.tolist() == lengths.tolist()


def meta_free(store, *, resident="device", fold=0, seed=0) -> Run:
    config = tiny_config(store, seed=seed)
    training = config.training.replace(resident=resident)
    return Run(config.replace(training=training, sampling=config.sampling.replace(fold=fold)))
