"""Detections for videos without annotations."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import dce_ray
from dce_ray.errors import CheckpointError, ConfigError, EvaluationError
from dce_ray.predict import main, predict_detections
from dce_ray.presets import run_config


@pytest.fixture(scope="module")
def checkpoint(tiny_store, tmp_path_factory):
    changes = {"training": {"iterations": 4}, "device": "cpu"}
    run = dce_ray.Run(run_config("delu", tiny_store, data_set="synthetic", overrides=changes))
    run.advance(4)
    file = tmp_path_factory.mktemp("run") / "best.pt"
    run.save(file)
    return file


@pytest.fixture
def features(tiny_store, tmp_path):
    """Three of the store's videos as files."""
    store = dce_ray.open_store(tiny_store)
    folder = tmp_path / "features"
    folder.mkdir()
    for row in range(3):
        np.save(folder / f"{store.video_names[row]}.npy", store.features(row))
    return folder


def test_a_stores_videos_get_what_evaluate_finds(checkpoint, tiny_store, tmp_path):
    evaluated = dce_ray.evaluate_checkpoint(checkpoint, device="cpu")
    evaluated.export(tmp_path / "evaluated.json")
    predict_detections(checkpoint.parent, tiny_store, split="test", device="cpu").export(tmp_path / "predicted.json")
    expected, found = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("evaluated", "predicted"))
    assert found["results"].keys() == expected["results"].keys()
    for name, items in expected["results"].items():
        assert len(found["results"][name]) == len(items)
        for one, other in zip(items, found["results"][name], strict=True):
            assert one["label"] == other["label"]
            np.testing.assert_allclose(other["score"], one["score"], rtol=1e-3)
            np.testing.assert_allclose(other["segment"], one["segment"], rtol=1e-6)


def test_a_folder_of_features_needs_no_store(checkpoint, features, tiny_store, tmp_path, capsys):
    target = tmp_path / "found.json"
    main([f"checkpoint={checkpoint}", f"data={features}", f"target={target}", "device=cpu"])
    found = json.loads(target.read_text())["results"]
    assert sorted(found) == sorted(file.stem for file in features.iterdir())
    assert f"in 3 videos: {target}" in capsys.readouterr().out
    twice = predict_detections(checkpoint, features, fps=50.0, stride_frames=8, device="cpu")
    assert twice.snippets_per_second == 6.25
    assert predict_detections(checkpoint, features, device="cpu").snippets_per_second == pytest.approx(
        dce_ray.open_store(tiny_store).snippets_per_second
    )


def test_a_file_with_activitynets_prefix_is_called_as_the_import_calls_it(checkpoint, features, tmp_path):
    one, two, three = sorted(features.iterdir())
    one.rename(one.with_name(f"v_{one.name}"))
    (features / f"v_{two.name}").write_bytes(two.read_bytes())  # another video: both names are taken
    found = predict_detections(checkpoint, features, device="cpu")
    assert found.video_names == tuple(sorted([one.stem, two.stem, f"v_{two.stem}", three.stem]))


def test_videos_keep_the_prefix_where_those_of_the_training_data_have_it(tmp_path):
    about = dce_ray.Description(
        "mine", feature_size=8, rgb_size=4, fps=25.0, stride_frames=16, class_names=("Jump", "Run")
    )

    def videos():
        for number in range(4):
            subset = "train" if number < 3 else "test"
            video = dce_ray.VideoAnnotation(f"v_{number}", subset=subset, duration_s=12.8, labels=[number % 2])
            yield video, np.random.default_rng(number).normal(size=(20, 8))

    dce_ray.write_store(tmp_path / "store", about, videos())
    small = {"training": {"iterations": 1}, "sampling": {"segments": 8}, "protocol": "confirm", "device": "cpu"}
    run = dce_ray.Run(run_config("delu", tmp_path / "store", data_set="default", overrides=small))
    run.advance(1)
    run.save(tmp_path / "new.pt")
    (tmp_path / "new").mkdir()
    np.save(tmp_path / "new" / "v_900.npy", np.ones((20, 8)))
    assert predict_detections(tmp_path / "new.pt", tmp_path / "new", device="cpu").video_names == ("v_900",)
    shutil.rmtree(tmp_path / "store")  # with what videos were called there
    found = predict_detections(tmp_path / "new.pt", tmp_path / "new", fps=25, stride_frames=16, device="cpu")
    assert found.video_names == ("900",)


def test_all_videos_that_do_not_fit_are_named_and_nothing_is_written(checkpoint, features, tmp_path):
    names = sorted(features.iterdir())
    np.save(names[0], np.full((5, np.load(names[0]).shape[1]), np.nan))
    np.save(names[2], np.zeros((5, 6)))
    with pytest.raises(EvaluationError) as fault:
        main([f"checkpoint={checkpoint}", f"data={features}", f"target={tmp_path / 'found.json'}", "device=cpu"])
    assert f"{names[0].stem}: NaN or infinite features: 5 of 5 snippets" in str(fault.value)
    assert f"{names[2].stem}: 6 channels, the network takes" in str(fault.value)
    assert not (tmp_path / "found.json").exists()


def test_what_makes_no_sense_is_refused(checkpoint, features, tiny_store, tmp_path):
    with pytest.raises(ConfigError, match="checkpoint=, data= is missing"):
        main([])
    with pytest.raises(ConfigError, match=r"unknown split 'tset' .did you mean test"):
        predict_detections(checkpoint, tiny_store, split="tset")
    with pytest.raises(ConfigError, match="fps=: a store has its own"):
        predict_detections(checkpoint, tiny_store, fps=25.0)
    with pytest.raises(ConfigError, match=r"split=test: .* holds features alone"):
        predict_detections(checkpoint, features, split="test")
    with pytest.raises(ConfigError, match="timeline=nobody: unknown video"):
        predict_detections(checkpoint, features, keep=["nobody"], device="cpu")
    with pytest.raises(CheckpointError, match="neither a search's folder nor a run's"):
        predict_detections(tmp_path, features)
    with pytest.raises(ConfigError, match="fps='x': must be a number"):
        main([f"checkpoint={checkpoint}", f"data={features}", "fps=x"])


def test_a_search_without_a_winner_says_so(features, tmp_path):
    (tmp_path / "study.journal").touch()
    with pytest.raises(CheckpointError, match=r"has no confirmed winner.*resume="):
        dce_ray.load_winner(tmp_path)
