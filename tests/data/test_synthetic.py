"""The embedded data: its tempo is THUMOS14's, its confounding is real, its truth is recorded, its seed decides all."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dce_ray.data import synthetic
from dce_ray.data.context import ACTION, BACKGROUND, MOTION_CONTEXT, VISUAL_CONTEXT, context_path, load_context
from dce_ray.data.synthetic import (
    DRAWS,
    SIZES,
    SyntheticSize,
    draw_scripts,
    ensure_synthetic,
    generate_planned,
    generate_synthetic,
    write_released,
)
from dce_ray.data.synthetic_features import Clarity
from dce_ray.data.synthetic_script import SNIPPET_S, Confounding, class_lengths_s
from dce_ray.datasets import resolve_data, results_name
from dce_ray.errors import ConfigError, DataError, StoreError
from dce_ray.store import FeatureStore, open_store


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return generate_synthetic(tmp_path_factory.mktemp("synthetic") / "tiny", size="tiny", seed=3)


@pytest.fixture(scope="module")
def small_truth():
    """Features and truth of ``small``, drawn without a store."""
    plan = SIZES["small"]
    world = synthetic.draw_world(
        np.random.default_rng([0, 0]), classes=plan.classes, channels=plan.channels, clarity=plan.clarity
    )
    scripts = draw_scripts(plan, 0)
    features = [
        synthetic.draw_features(np.random.default_rng([0, 2, row]), world, script) for row, script in enumerate(scripts)
    ]
    return plan, world, scripts, features


def test_store_is_whole_and_matches_its_plan(tiny):
    plan, store = SIZES["tiny"], FeatureStore.open(tiny, verify=True)
    assert store.name == "synthetic"
    assert (store.fps, store.stride_frames) == (25.0, 16)
    assert store.feature_size == 2 * plan.channels == 2 * store.rgb_size
    assert store.subsets == ("train",) * plan.train_videos + ("test",) * plan.test_videos
    assert len(store.class_names) == plan.classes
    rows = np.arange(len(store.video_names))
    assert (store.labels(rows).sum(axis=0) >= 2).all()
    for video in rows:
        features = store.features(int(video))
        assert features.dtype == np.float32
        assert np.isfinite(features).all()
        assert (features >= 0).all()
        assert plan.snippets[0] <= len(features) <= plan.snippets[1]


def test_truth_fits_the_annotations(tiny):
    store, truth = FeatureStore.open(tiny), load_context(tiny)
    assert truth.video_names == store.video_names
    assert (np.diff(truth.starts) == store.lengths).all()
    instances = store.instances(np.arange(len(store.video_names)))
    assert len(instances.start_s)
    labels = store.labels(np.arange(len(store.video_names)))
    for video in range(len(store.video_names)):
        one = truth.of(video)
        marked = np.zeros(len(one.kinds), dtype=bool)
        for row in np.flatnonzero(np.asarray(instances.video) == video):
            first = round(float(instances.start_s[row]) / SNIPPET_S)
            last = max(round(float(instances.end_s[row]) / SNIPPET_S), first + 1)
            marked[first:last] = True
            assert (one.classes[first:last] == instances.label[row]).all()
            assert labels[video, instances.label[row]] == 1
        assert ((one.kinds == ACTION) == marked).all()
        assert ((one.classes == -1) == (one.kinds == BACKGROUND)).all()
        assert ((one.strengths == 0) == (one.kinds == BACKGROUND)).all()


def test_context_shares_one_stream_with_the_class_and_action_both(small_truth):
    """Correlation of snippets with the class template tells the kinds apart, stream by stream."""
    plan, world, scripts, features = small_truth
    means = {}
    for kind in (BACKGROUND, VISUAL_CONTEXT, MOTION_CONTEXT, ACTION):
        values = []
        for script, video in zip(scripts, features, strict=True):
            rows = np.flatnonzero(script.kinds == kind)
            shown = script.classes[rows] if kind != BACKGROUND else np.resize(script.labels, len(rows))
            streams = video[rows].reshape(len(rows), 2, plan.channels)
            values.append(np.einsum("tsc,tsc->ts", streams, world.classes[:, shown].transpose(1, 0, 2)) / plan.channels)
        means[kind] = np.concatenate(values).mean(axis=0)
    rgb, flow = 0, 1
    gap = (means[ACTION] - means[BACKGROUND]).min()
    assert gap > 0.2
    assert means[VISUAL_CONTEXT][rgb] > means[BACKGROUND][rgb] + gap / 2
    assert means[MOTION_CONTEXT][flow] > means[BACKGROUND][flow] + gap / 2
    assert means[VISUAL_CONTEXT][flow] < means[BACKGROUND][flow] + gap / 5
    assert means[MOTION_CONTEXT][rgb] < means[BACKGROUND][rgb] + gap / 5


def test_context_occurs_with_its_class(small_truth):
    _, _, scripts, _ = small_truth
    own = foreign = 0
    for script in scripts:
        context = np.isin(script.kinds, (VISUAL_CONTEXT, MOTION_CONTEXT))
        inside = np.isin(script.classes[context], script.labels)
        own, foreign = own + inside.sum(), foreign + (~inside).sum()
    assert 0.03 < foreign / (own + foreign) < 0.25  # mostly, so that the label does not tell it from action
    share = own / sum(len(script.kinds) for script in scripts)
    assert 0.1 < share < 0.4


def test_instances_have_a_strong_core_and_weak_rims(small_truth):
    _, _, scripts, _ = small_truth
    rims, cores = [], []
    for script in scripts:
        for start_s, end_s in zip(script.starts_s, script.ends_s, strict=True):
            values = script.strengths[round(start_s / SNIPPET_S) : round(end_s / SNIPPET_S)]
            if len(values) >= 6:
                rims.append(min(values[0], values[-1]))
                cores.append(values.max())
    assert np.mean(cores) > 0.85
    assert np.mean(rims) < 0.6


def statistics(durations_s, starts_s, ends_s, labels):
    counts = np.array([len(row) for row in starts_s])
    lengths = np.concatenate([np.asarray(end) - np.asarray(start) for start, end in zip(starts_s, ends_s, strict=True)])
    covered = np.array([np.sum(np.asarray(e) - np.asarray(s)) for s, e in zip(starts_s, ends_s, strict=True)])
    return {
        "instances per video": counts.mean(),
        "duration": np.mean(durations_s),
        "median duration": np.median(durations_s),
        "length": lengths.mean(),
        "median length": np.median(lengths),
        "log length deviation": np.log(np.maximum(lengths, 0.1)).std(),
        "coverage": (covered / durations_s).mean(),
        "classes per video": np.mean([len(set(row)) for row in labels]),
    }


def of_scripts(size, seed=0):
    scripts = draw_scripts(SIZES[size], seed)
    columns = zip(*((t.starts_s, t.ends_s, t.labels.tolist()) for t in scripts), strict=True)
    return statistics(np.array([t.duration_s for t in scripts]), *columns)


# Of the 412 videos of THUMOS14's validation and test sets.
THUMOS14 = {
    "instances per video": 15.4,
    "duration": 213.0,
    "median duration": 155.0,
    "length": 4.27,
    "median length": 3.0,
    "log length deviation": 0.83,
    "coverage": 0.314,
    "classes per video": 1.12,
}


@pytest.mark.parametrize("seed", [0, 1])
def test_tempo_is_that_of_thumos14(seed):
    found = of_scripts("thumos14", seed)
    for name, value in THUMOS14.items():
        assert found[name] == pytest.approx(value, rel=0.2), name


def test_thumos14_figures_are_those_of_its_annotations(real_annotations):
    folder = real_annotations / "Thumos14reduced-Annotations"
    columns = {
        name: np.load(folder / f"{name}.npy", allow_pickle=True) for name in ("duration", "segments", "labels_all")
    }
    found = statistics(
        columns["duration"].reshape(-1),
        [[segment[0] for segment in row] for row in columns["segments"]],
        [[segment[1] for segment in row] for row in columns["segments"]],
        columns["labels_all"],
    )
    for name, value in THUMOS14.items():
        assert found[name] == pytest.approx(value, rel=0.03), name


def test_small_keeps_the_density_of_thumos14():
    small, full = of_scripts("small"), of_scripts("thumos14")
    for name in ("coverage", "length"):
        assert small[name] == pytest.approx(full[name], rel=0.35), name


def test_class_lengths_differ_and_are_all_used():
    lengths = class_lengths_s(20)
    assert len(set(lengths.round(6))) == 20
    assert lengths.max() > 4 * lengths.min()


def test_same_seed_same_data_in_another_process(tiny, tmp_path):
    code = "import sys; from dce_ray.data.synthetic import generate_synthetic as g; g(sys.argv[1], size='tiny', seed=3)"
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-c", code, str(other)], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    one, two = FeatureStore.open(tiny), FeatureStore.open(other)
    for video in range(len(one.video_names)):
        assert (one.features(video) == two.features(video)).all()
    assert (load_context(tiny).kinds == load_context(other).kinds).all()


def test_other_seed_other_data(tiny, tmp_path):
    other = FeatureStore.open(generate_synthetic(tmp_path / "other", size="tiny", seed=4))
    assert other.lengths.tolist() != FeatureStore.open(tiny).lengths.tolist()


@pytest.mark.parametrize("seed", range(8))
def test_no_seed_makes_faulty_videos(tmp_path, seed):
    # the import is strict: any finding (an instance beyond its video, one without length) would raise
    store = FeatureStore.open(generate_synthetic(tmp_path / "store", size="tiny", seed=seed))
    assert len(store) == SIZES["tiny"].train_videos + SIZES["tiny"].test_videos


def test_released_layout_is_plain_numpy(tmp_path):
    write_released(tmp_path, SIZES["tiny"], 3)
    array = np.load(tmp_path / "synthetic-I3D-JOINTFeatures.npy", allow_pickle=True)
    plan = SIZES["tiny"]
    assert array.shape == (plan.train_videos + plan.test_videos,)
    assert {type(item) for item in array} == {np.ndarray}
    raw = (tmp_path / "synthetic-I3D-JOINTFeatures.npy").read_bytes()
    assert b"dce_ray" not in raw
    assert len({id(item) for item in array}) == len(array)


def test_memory_of_writing_is_bounded(tmp_path):
    """A set whose features take 200 MB is written by a process whose memory grows by less than a third of that."""
    code = (
        "import dataclasses, resource, sys; from pathlib import Path; from dce_ray.data.synthetic import *;"
        "from dce_ray.data.synthetic import write_released;"
        "plan = dataclasses.replace(SIZES['tiny'], channels=1024, train_videos=400, test_videos=200);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "write_released(Path(sys.argv[1]), plan, 0);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    size = (tmp_path / "synthetic-I3D-JOINTFeatures.npy").stat().st_size
    assert size > 150e6
    assert int(run.stdout) * 1024 < size / 3


def test_cached_store_is_reused(tmp_path):
    path = ensure_synthetic("tiny", 1, tmp_path)
    stamp = (path / "manifest.json").stat().st_mtime_ns
    assert ensure_synthetic("tiny", 1, tmp_path) == path
    assert (path / "manifest.json").stat().st_mtime_ns == stamp
    assert ensure_synthetic("tiny", 2, tmp_path) != path
    with pytest.raises(StoreError, match="never overwritten"):
        generate_synthetic(path, size="tiny", seed=1)


def ensure_in_child(folder, results):
    results.put(str(ensure_synthetic("tiny", 5, folder)))


def test_processes_that_ask_at_once_get_one_store(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    children = [context.Process(target=ensure_in_child, args=(tmp_path, results)) for _ in range(3)]
    for child in children:
        child.start()
    paths = {results.get(timeout=120) for _ in children}
    for child in children:
        child.join()
    assert len(paths) == 1
    assert FeatureStore.open(paths.pop(), verify=True).name == "synthetic"
    assert not list(tmp_path.glob(".*source*"))


def test_killed_generator_leaves_nothing_that_is_taken_for_a_store(tmp_path):
    code = "import sys; from dce_ray.data.synthetic import ensure_synthetic as e; e('small', 6, sys.argv[1])"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    limit = time.monotonic() + 60
    while not list(tmp_path.glob(".*source*")) and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert list(tmp_path.glob(".*source*"))
    path = ensure_synthetic("small", 6, tmp_path)
    assert FeatureStore.open(path, verify=True)
    assert context_path(path).exists()
    assert not list(tmp_path.glob(".*source*"))


def test_damaged_cache_is_told(tmp_path):
    path = ensure_synthetic("tiny", 1, tmp_path)
    features = path / "features.arrow"
    features.chmod(0o644)
    features.write_bytes(features.read_bytes()[:-100])
    with pytest.raises(StoreError):
        ensure_synthetic("tiny", 1, tmp_path)


def test_bench_is_frozen():
    """Its docstring's numbers hold for these dials; whoever turns one measures anew and chooses another draw."""
    assert SIZES["bench"] == SyntheticSize(
        train_videos=500,
        test_videos=200,
        classes=6,
        channels=64,
        duration_log_s=(4.0, 0.25),
        snippets=(60, 120),
        confounding=Confounding(
            chance=1.0,
            adjacent=0.9,
            foreign=0.0,
            visual=0.5,
            context_strength=(0.8, 1.0),
            rim_strength=(0.5, 0.8),
        ),
        clarity=Clarity(signal=1.0, background=0.8, noise=0.3, drift=0.15, variation=0.2, cut=0.2),
    )
    assert DRAWS["bench"] not in range(1, 6)  # the draws on which it was chosen


def test_synthetic_means_bench_at_its_own_draw(tmp_path, monkeypatch):
    monkeypatch.setenv("DCE_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(synthetic, "_generate", lambda target, plan, seed: asked.append((plan, seed)) or target.mkdir())
    monkeypatch.setattr(synthetic.FeatureStore, "open", lambda path: None)
    folder = resolve_data("synthetic")
    assert asked == [(SIZES["bench"], 11)]
    assert folder == resolve_data("synthetic-bench")
    assert folder != resolve_data("synthetic-small")
    assert asked[1:] == [(SIZES["small"], 0)]
    with pytest.raises(DataError, match="did you mean bench"):
        resolve_data("synthetic-bensh")


def test_a_size_without_a_name(tmp_path):
    plan = dataclasses.replace(SIZES["tiny"], test_videos=3)
    store = FeatureStore.open(generate_planned(tmp_path / "store", plan, 1))
    assert store.subsets.count("test") == 3
    with pytest.raises(StoreError, match="never overwritten"):
        generate_planned(tmp_path / "store", plan, 1)


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="did you mean small"):
        ensure_synthetic("smal", 0, tmp_path)
    with pytest.raises(ConfigError, match="seed=-1"):
        generate_synthetic(tmp_path / "x", size="tiny", seed=-1)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError):
        load_context(tmp_path / "x")


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "dce_ray.data.synthetic"]
    target = tmp_path / "made"
    run = subprocess.run(
        [*command, "size=tiny", "seed=2", f"target={target}"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "20 videos" in run.stdout
    assert FeatureStore.open(target).name == "synthetic"
    wrong = subprocess.run([*command, "sise=tiny"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert wrong.returncode == 2
    assert "did you mean size" in wrong.stderr


def test_sizes_are_of_the_promised_order():
    assert dataclasses.asdict(SIZES["thumos14"])["channels"] == 1024
    assert (SIZES["thumos14"].train_videos, SIZES["thumos14"].test_videos, SIZES["thumos14"].classes) == (200, 212, 20)
    assert SIZES["tiny"].channels == 16


def test_without_a_target_the_command_makes_the_store_of_the_cache(tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    assert synthetic.main(["size=tiny"]) == 0
    assert str(resolve_data("synthetic-tiny")) in capsys.readouterr().out
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("data", "name"),
    [("synthetic", "synthetic"), ("synthetic-bench", "synthetic"), ("synthetic-tiny", "synthetic-tiny")],
)
def test_every_size_has_results_of_its_own(tiny_store, data, name):
    """Numbers of one size say nothing of another's: they lie apart, in MLflow and reports too."""
    assert results_name(data, open_store(tiny_store)) == name


def test_a_size_is_told_by_the_store_where_a_configuration_names_it(tiny_store, monkeypatch):
    """``config=best.yaml`` holds the store's path: its numbers belong to those of the search that wrote it."""
    assert results_name(None, open_store(tiny_store)) == "synthetic-tiny"
    monkeypatch.setitem(SIZES, "tiny", dataclasses.replace(SIZES["tiny"], test_videos=9))
    assert results_name(None, open_store(tiny_store)) == "synthetic"
