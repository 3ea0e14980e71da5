"""The interval over test videos, from files as a confirmation writes them, against copies of the videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dce_ray.data import make_splits
from dce_ray.data.synthetic import generate_synthetic
from dce_ray.evaluation import detection_ap, export_detections, ground_truth, map_table
from dce_ray.evaluation.resampling import draw_videos
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.files import write_json
from dce_ray.presets import run_config
from dce_ray.records import GroundTruth, Proposals
from dce_ray.store import open_store
from dce_ray.verdict import videos as subject
from dce_ray.verdict.videos import snippets_of, video_interval


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    store = open_store(generate_synthetic(tmp_path_factory.mktemp("data") / "tiny", size="tiny", seed=0))
    config = run_config("delu", str(store.path), data_set="synthetic")
    return store, config, ground_truth(store, make_splits(store, config.sampling).test)


def found_by(truth: GroundTruth, quality: float, seed: int) -> Proposals:
    """Whole snippets around the truth, more of them wrong the lower ``quality`` is; every score once."""
    random = np.random.default_rng(seed)
    rows = np.repeat(np.arange(len(truth)), 4)
    shift = random.integers(0, 1 + round(12 * (1 - quality)), (2, len(rows)))
    start = truth.start[rows] + shift[0]
    return Proposals(
        truth.video[rows], start, start + 3 + shift[1], truth.label[rows], random.permutation(len(rows)) / 9
    )


def ranking(config, proposals, truth):
    ap_KC = detection_ap(proposals, truth, config.tiou_thresholds)
    return map_table(
        ap_KC,
        thresholds=config.tiou_thresholds,
        averages=config.averages,
        class_names=truth.class_names,
        videos=len(truth.video_names),
        instances=len(truth),
    )


def written(path, store, config, truth, proposals) -> RunFolder:
    run = RunFolder(path)
    names = truth.video_names, truth.class_names
    export_detections(run.detections, proposals, *names, store.snippets_per_second)
    write_json(run.table, ranking(config.evaluation, proposals, truth).to_mapping())
    return run


def resample(proposals, truth, counts_V):
    """Every copy of a video is a video of its own."""
    parts, starts = [], []
    for copy, video in enumerate(np.repeat(np.arange(len(counts_V)), counts_V)):
        mine = proposals.select(proposals.video == video)
        parts.append(replace(mine, video=np.full(len(mine), copy)))
        there = truth.video == video
        starts.append((np.full(there.sum(), copy), truth.start[there], truth.end[there], truth.label[there]))
    columns = [np.concatenate(column) for column in zip(*starts, strict=True)]
    return Proposals.concatenate(parts), GroundTruth(*columns, truth.video_names, truth.class_names)


def test_interval_is_that_of_copied_videos(tmp_path, data, monkeypatch):
    store, config, truth = data
    monkeypatch.setattr(subject, "RESAMPLES", 30)
    pairs, told = [], []
    for seed in range(2):
        both = [found_by(truth, quality, 10 * seed + place) for place, quality in enumerate((0.9, 0.5))]
        names = [f"{name}-{seed}" for name in ("ours", "theirs")]
        runs = [written(tmp_path / name, store, config, truth, one) for name, one in zip(names, both, strict=True)]
        pairs.append(tuple(runs))
        told.append(both)
    interval = video_interval(config.to_mapping(), pairs)
    gains = []
    for counts_V in draw_videos(truth, 30, subject.SEED).T:
        both = [[ranking(config.evaluation, *resample(one, truth, counts_V)).ranking for one in pair] for pair in told]
        gains.append(100 * np.mean([ours - theirs for ours, theirs in both]))
    low, high = np.quantile(gains, [0.025, 0.975])
    assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
    assert interval.low < interval.high
    assert interval.note == f"30 resamples of {len(truth.video_names)} test videos"


def test_the_same_networks_twice_differ_by_nothing(tmp_path, data):
    store, config, truth = data
    run = written(tmp_path / "run", store, config, truth, found_by(truth, 0.8, 0))
    interval = video_interval(config.to_mapping(), [(run, run)])
    assert (interval.low, interval.high) == (0.0, 0.0)


def test_detections_that_do_not_give_their_table_are_refused(tmp_path, data):
    store, config, truth = data
    run = written(tmp_path / "run", store, config, truth, found_by(truth, 0.8, 0))
    names = truth.video_names, truth.class_names
    export_detections(run.detections, found_by(truth, 0.3, 1), *names, store.snippets_per_second)
    interval = video_interval(config.to_mapping(), [(run, run)])
    assert interval.low is None
    assert "one of them was changed" in interval.note


def test_what_lacks_is_said(tmp_path, data):
    store, config, truth = data
    assert video_interval(config.to_mapping(), []).note == "no pair of runs is finished"
    run = written(tmp_path / "run", store, config, truth, found_by(truth, 0.8, 0))
    run.detections.unlink()
    assert "detections.json" in video_interval(config.to_mapping(), [(run, run)]).note
    assert "/gone" in video_interval(config.to_mapping() | {"data": "/gone"}, [(run, run)]).note
    assert video_interval({"baseline": "delu"}, [(run, run)]).low is None


def test_times_come_back_as_whole_snippets():
    start = np.arange(200.0)
    back = start / 1.5625 * 1.5625
    assert (back != start).any() or (start / 0.3 * 0.3 != start).any()
    whole = np.zeros(200, np.int64)
    rows = snippets_of(Proposals(whole, start / 0.3 * 0.3, (start + 1) / 0.3 * 0.3, whole, start))
    np.testing.assert_array_equal(rows.start, start)
    np.testing.assert_array_equal(rows.end, start + 1)
