"""Batches change nothing, the memory bound holds, and every odd test set has its stated outcome."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dce_ray.baselines import BASELINES, baseline_named
from dce_ray.config import EvaluationConfig
from dce_ray.errors import EvaluationError
from dce_ray.evaluation import evaluate, evaluation_preset, ground_truth, run_network
from dce_ray.evaluation.inference import batches_by_length
from dce_ray.evaluation.presets import DDGNET_LEFT_OUT
from dce_ray.presets import run_config
from dce_ray.store import FeatureStore, import_released, open_store
from dce_ray.train import Run


@pytest.fixture(scope="module")
def store(tiny_store) -> FeatureStore:
    return open_store(tiny_store)


def network_for(store: FeatureStore, baseline: str = "delu"):
    torch.manual_seed(3)
    made = baseline_named(baseline).network(
        feature_size=store.feature_size, classes=len(store.class_names), segments=60, pool=False, dropout=0.7
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.7)  # away from attention 0.5 everywhere
    return made


def videos_of_test(store) -> np.ndarray:
    return np.flatnonzero(np.array(store.subsets) == "test")


@pytest.mark.parametrize("baseline", sorted(BASELINES))
def test_batches_equal_one_at_a_time(store, baseline):
    network, videos = network_for(store, baseline), np.arange(len(store))
    everything = np.arange(len(videos))
    together = dict(run_network(network, store, videos, everything, max_snippets=10**6))
    alone = dict(run_network(network, store, videos, everything, max_snippets=1))
    assert len(set(store.lengths.tolist())) > 3
    for place in everything.tolist():
        for name in ("logits", "rgb_attention", "flow_attention"):
            ours, theirs = getattr(together[place], name), getattr(alone[place], name)
            assert len(ours) == store.lengths[place]
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_batches_keep_to_the_bound():
    lengths = np.array([5, 100, 7, 30, 30, 6, 8])
    places = np.array([0, 1, 2, 3, 4, 6])
    batches = [batch.tolist() for batch in batches_by_length(lengths, places, 60)]
    assert batches == [[1], [3, 4], [6, 2, 0]]  # 100 alone goes over it
    for batch in batches[1:]:
        assert len(batch) * lengths[batch].max() <= 60


def test_the_table_does_not_depend_on_batches_or_order(store):
    network, videos = network_for(store), videos_of_test(store)
    config = EvaluationConfig()
    first = evaluate(network, store, videos, config, caption="one")
    second = evaluate(network, store, videos[::-1], config.replace(max_snippets_per_batch=1))
    assert first.table.caption == "one"
    np.testing.assert_allclose(first.table.map, second.table.map, rtol=0, atol=1e-6)
    assert first.table.classification_map == pytest.approx(second.table.classification_map)
    assert first.video_names == second.video_names[::-1]
    assert len(first.proposals) > 0


def test_modes_are_restored_and_nothing_is_traced(store):
    network = network_for(store).train()
    network.fusion.eval()
    before = [module.training for module in network.modules()]
    evaluate(network, store, videos_of_test(store)[:2], EvaluationConfig())
    assert [module.training for module in network.modules()] == before
    assert all(parameter.grad is None for parameter in network.parameters())


def test_modes_are_restored_after_a_fault(store):
    network = network_for(store).train()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(EvaluationError, match=f"video {store.video_names[0][:5]}.*NaN or infinite"):
        evaluate(network, store, videos_of_test(store), EvaluationConfig())
    assert network.training


def test_zero_videos(store):
    with pytest.raises(EvaluationError, match="zero videos"):
        evaluate(network_for(store), store, np.array([], np.int64), EvaluationConfig())


def test_skipped_videos_have_no_prediction_but_count(store):
    network, videos = network_for(store), videos_of_test(store)
    name = store.video_names[videos[0]]
    full = evaluate(network, store, videos, EvaluationConfig())
    less = evaluate(network, store, videos, EvaluationConfig(skip_videos=(name, *DDGNET_LEFT_OUT)))
    assert (full.proposals.video == 0).any()
    assert not (less.proposals.video == 0).any()
    assert less.table.instances == full.table.instances
    assert less.table.videos == full.table.videos


def test_a_video_to_skip_that_is_none_is_refused_with_the_nearest(store):
    """Before a run has trained for it, too."""
    name, alien = store.video_names[0], "nothing like it"
    config = EvaluationConfig(skip_videos=(store.video_names[1], f"{name}x", alien))
    with pytest.raises(EvaluationError, match="skip_videos names videos that") as refused:
        evaluate(network_for(store), store, videos_of_test(store), config)
    assert f"{name}x (did you mean {name}" in str(refused.value)
    assert f"{alien}; it has {len(store)} others, such as {name}" in str(refused.value)
    run = run_config("delu", store.path, data_set="synthetic", overrides={"device": "cpu"}).replace(evaluation=config)
    with pytest.raises(EvaluationError, match=f"{name}x"):
        Run(run, store)


def test_every_video_skipped_is_zero_not_an_error(store):
    videos = videos_of_test(store)
    names = tuple(store.video_names[video] for video in videos)
    table = evaluate(network_for(store), store, videos, EvaluationConfig(skip_videos=names)).table
    assert (table.map == 0).all()
    assert np.isnan(table.classification_map)


def test_only_the_asked_videos_are_read(store, monkeypatch):
    videos, asked = videos_of_test(store)[:3], []
    for name in ("labels", "instances", "ambiguous"):
        original = getattr(FeatureStore, name)
        monkeypatch.setattr(
            FeatureStore, name, lambda self, rows, original=original: (asked.extend(rows), original(self, rows))[1]
        )
    features = FeatureStore.features
    monkeypatch.setattr(FeatureStore, "features", lambda self, row: (asked.append(row), features(self, row))[1])
    evaluate(network_for(store), store, videos, EvaluationConfig())
    assert set(asked) == set(videos.tolist())


def test_detections_are_exported_in_seconds(store, tmp_path):
    outcome = evaluate(network_for(store), store, videos_of_test(store), EvaluationConfig())
    outcome.export(tmp_path / "d.json")
    hits = json.loads((tmp_path / "d.json").read_text())["results"]
    assert list(hits) == list(outcome.video_names)
    longest = max(hit["segment"][1] for video in hits.values() for hit in video)
    assert longest == pytest.approx(outcome.proposals.end.max() / store.snippets_per_second)


def test_hapt_uses_its_own_rate(hapt_source, tmp_path):
    import_released(hapt_source, tmp_path / "hapt", name="HAPT")
    hapt = open_store(tmp_path / "hapt")
    assert hapt.snippets_per_second == 50 / 16
    videos = videos_of_test(hapt)
    truth = ground_truth(hapt, videos)
    seconds = hapt.instances(videos)
    np.testing.assert_array_equal(truth.start, np.round(seconds.start_s * 50 / 16))
    assert (truth.end <= hapt.lengths[videos][truth.video] + 1).all()
    table = evaluate(network_for(hapt), hapt, videos, EvaluationConfig()).table
    assert (table.videos, table.instances) == (109, len(truth))
    assert not np.isnan(table.map).any()


def test_presets_of_the_published_evaluations():
    def preset(*key):
        return EvaluationConfig.from_mapping(evaluation_preset(*key, store_names=("Thumos14reduced",)))

    published = preset("paper", "thumos14", "delu")
    assert (published.proposal_thresholds, published.min_length, published.skip_videos) == (20, 2, ())
    released = preset("released", "thumos14", "delu")
    assert (released.proposal_thresholds, released.min_length) == (10, 1)
    assert len(preset("paper", "thumos14", "ddgnet").skip_videos) == 3
    assert preset("paper", "thumos14", "co2net") == EvaluationConfig()
    activitynet = preset("paper", "activitynet12", "co2net")
    assert activitynet.tiou_thresholds == tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
    assert activitynet.averages == ("0.5:0.95",)
    assert "skip_videos" not in evaluation_preset("paper", "thumos14", "ddgnet", store_names=("HAPT",))


def test_run_configurations_carry_the_presets(tiny_store):
    config = run_config("ddgnet", tiny_store, data_set="thumos14", preset="released")
    assert "video_test_0000270" in config.evaluation.skip_videos
    assert run_config("ddgnet", tiny_store, data_set="hapt", preset="released").evaluation.skip_videos == ()
