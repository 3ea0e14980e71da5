"""A user's own features, one file per video, with annotations in the ActivityNet format."""

from __future__ import annotations

import json
import logging
import shlex

import numpy as np
import pytest
from made_per_video import small_database, write_per_video

from dce_ray.datasets import ImportOptions, resolve_data
from dce_ray.errors import ConfigError, DataError, ImportFault
from dce_ray.search.__main__ import request_of
from dce_ray.store import import_per_video, open_store
from dce_ray.store.__main__ import main
from dce_ray.train.configure import configure


@pytest.fixture
def own(tmp_path):
    return write_per_video(tmp_path / "own", small_database())


def imported(features, target, **options):
    return import_per_video(features, features.parent / "annotations.json", target, **options)


def rewrite(features, change):
    """The annotations with ``change`` made to the database."""
    file = features.parent / "annotations.json"
    content = json.loads(file.read_text())
    change(content["database"])
    file.write_text(json.dumps(content))


def test_the_store_holds_what_the_files_hold(own, tmp_path):
    report = imported(own, tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert (store.name, store.fps, store.stride_frames, store.feature_size, store.rgb_size) == (
        *("annotations", 25.0, 16, 8, 4),
    )
    assert store.class_names == ("Jump", "Run")
    assert store.subsets == ("train",) * 6 + ("test",) * 2
    for row, name in enumerate(store.video_names):
        np.testing.assert_array_equal(store.features(row), np.load(own / f"{name}.npy"))
    instances = store.instances([1])
    assert (instances.label.tolist(), instances.start_s.tolist(), instances.end_s.tolist()) == ([1], [0.5], [1.5])
    assert report.findings == ()
    assert any("fps=25" in notice for notice in report.notices)
    assert any("'Validation' is train" in notice for notice in report.notices)


def test_streams_apart_and_archives_give_the_same_store(own, tmp_path):
    digest = imported(own, tmp_path / "whole").digest
    apart = write_per_video(tmp_path / "apart", small_database(), apart=True)
    assert imported(apart, tmp_path / "a").digest == digest
    named = import_per_video(
        apart, apart.parent / "annotations.json", tmp_path / "b", rgb=apart / "rgb", flow=apart / "flow"
    )
    assert named.digest == digest
    for row, file in enumerate(sorted(own.glob("*.npy"))):
        matrix = np.load(file)
        file.unlink()
        archive = own / f"v_{file.stem}.npz"  # ActivityNet's own names
        if row % 2:
            np.savez(archive, rgb=matrix[:, :4], flow=matrix[:, 4:])
        else:
            np.savez(archive, features=matrix, times=np.arange(3))
    assert imported(own, tmp_path / "c").digest == digest


def test_all_faults_in_one_message_and_nothing_written(tmp_path):
    database = small_database(12)
    own = write_per_video(tmp_path / "own", database, apart=True)
    (own / "rgb" / "video0.npy").unlink()
    (own / "flow" / "video0.npy").unlink()
    (own / "flow" / "video1.npy").unlink()
    nan = np.load(own / "rgb" / "video2.npy")
    nan[3] = np.nan
    np.save(own / "rgb" / "video2.npy", nan)
    np.save(own / "flow" / "video3.npy", np.load(own / "flow" / "video3.npy")[:-2])
    for stream in ("rgb", "flow"):
        np.save(own / stream / "video4.npy", np.load(own / stream / "video4.npy")[:, :3])
    np.save(own / "flow" / "video5.npy", np.array([{"not": "numbers"}]), allow_pickle=True)

    def spoil(database):
        database["video6"]["annotations"][0]["segment"] = [0.5, 99.0]
        database["video7"]["annotations"][0]["segment"] = [2.0, 1.0]
        database["video8"]["annotations"] = []
        database["video11"]["annotations"][0]["label"] = "Runn"

    rewrite(own, spoil)
    with pytest.raises(ImportFault) as fault:
        imported(own, tmp_path / "store")
    text = str(fault.value)
    for words in (
        "no feature file (1)",
        "video1: flow is missing",
        "video2: 1 of 6 snippets, the first is 3",
        "video3: RGB 7, FLOW 5 snippets",
        "video4: 6, most videos have 8",
        "file cannot be read (1)",
        "video6: [0.5, 99] s, the video has 6.4 s",
        "video7: segment [2.0, 1.0] is not [start, end]",
        "training video without a label (1)",
        "'Runn' (did you mean Run?)",
        "10 faults, so nothing was imported",
    ):
        assert words in text, words
    assert not (tmp_path / "store").exists()
    report = imported(own, tmp_path / "store", skip_faulty=True)
    assert len(report.left_out) == 10
    assert open_store(tmp_path / "store").video_names == ("video9", "video10")


def changed(own, change):
    for file in own.glob("*.npy"):
        np.save(file, change(np.load(file)))


def test_transposed_features_are_told_once_with_a_remedy_that_helps(tmp_path):
    own = write_per_video(tmp_path / "own", small_database(40))
    changed(own, np.transpose)
    with pytest.raises(ImportFault) as fault:
        imported(own, tmp_path / "store")
    told = str(fault.value)
    assert "1 fault, so nothing was imported:\n" in told
    assert "features look transposed: 40 of 40 files have 8 rows, and most other channels: video0 (8, 4), " in told
    assert "a row per snippet: save each anew with numpy.save(<video>.npy, array.T)" in told
    assert "skip_faulty" not in told
    assert len(told.splitlines()) == 2
    changed(own, np.transpose)  # the remedy
    assert imported(own, tmp_path / "store").counts["videos"] == 40


def test_a_few_transposed_files_are_told_each_and_can_be_left_out(tmp_path):
    own = write_per_video(tmp_path / "own", small_database())
    np.save(own / "video3.npy", np.load(own / "video3.npy").T)
    with pytest.raises(ImportFault, match="video3: 7, most videos have 8") as fault:
        imported(own, tmp_path / "store")
    assert "look transposed" not in str(fault.value)
    assert str(fault.value).endswith("skip_faulty=true leaves these videos out and imports the rest")


@pytest.mark.parametrize("skip_faulty", [False, True])
def test_what_most_videos_have_is_told_once_and_nothing_is_offered_that_leaves_none(tmp_path, skip_faulty):
    own = write_per_video(tmp_path / "own", small_database())
    changed(own, lambda features: features * np.nan)
    with pytest.raises(ImportFault) as fault:
        imported(own, tmp_path / "store", skip_faulty=skip_faulty)
    told = str(fault.value)
    assert "NaN or infinite features: 8 of 8 videos, such as video0: 4 of 4 snippets, the first is 0; extract" in told
    assert ("skip_faulty=true would leave no test and no train video" in told) is skip_faulty
    assert "skip_faulty=true leaves" not in told


def test_an_odd_number_of_channels_is_told_without_leaving_videos_out(tmp_path):
    own = write_per_video(tmp_path / "own", small_database(), size=7)
    with pytest.raises(ImportFault) as fault:
        imported(own, tmp_path / "store")
    assert "odd number of channels: 7; the networks take two streams of equal size" in str(fault.value)
    assert "skip_faulty" not in str(fault.value)


def test_channels_of_which_no_number_is_most_videos_are_told_once(tmp_path):
    own = write_per_video(tmp_path / "own", small_database())
    for row, file in enumerate(sorted(own.glob("*.npy"))):
        np.save(file, np.load(file)[:, : 2 + 2 * (row % 4)])
    np.save(own / "video7.npy", np.load(own / "video7.npy").repeat(3, axis=1))
    with pytest.raises(ImportFault, match="numbers of channels differ: 5 different ones in 8 files: video0") as fault:
        imported(own, tmp_path / "store")
    assert len(str(fault.value).splitlines()) == 2


@pytest.mark.parametrize("apart", [False, True])
def test_the_import_by_itself_that_a_refused_search_prints_works_as_printed(tmp_path, monkeypatch, apart):
    own = write_per_video(tmp_path / "own data", small_database(), apart=apart)
    faulty = own / "flow" / "video2.npy" if apart else own / "video2.npy"
    np.save(faulty, np.load(faulty) * np.nan)
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    options = ImportOptions(str(own.parent / "annotations.json"), fps=12.5, stride_frames=8, train_subset="Validation")
    with pytest.raises(ImportFault) as fault:
        resolve_data(str(own), options)
    *_, line = str(fault.value).splitlines()
    assert line.startswith("skip_faulty= is a key of the import by itself: ")
    assert "source='own data/features'" in line
    main(shlex.split(line.partition(" -m dce_ray.store ")[2]))
    made = open_store("stores/annotations")
    assert (len(made), made.fps, made.stride_frames) == (7, 12.5, 8)


def test_streams_are_cut_where_asked(tmp_path):
    own = write_per_video(tmp_path / "own", small_database(), apart=True)
    np.save(own / "flow" / "video3.npy", np.load(own / "flow" / "video3.npy")[:-1])
    with pytest.raises(ImportFault, match="trim_streams=true"):
        imported(own, tmp_path / "store")
    imported(own, tmp_path / "store", trim_streams=True)
    assert open_store(tmp_path / "store").lengths.tolist() == [4, 5, 6, 6, 8, 9, 10, 11]


def test_what_cannot_be_told_is_asked_for_at_once(own, tmp_path):
    def spoil(database):
        for row, video in enumerate(database.values()):
            video["fps"] = 25 + row % 2
            video["subset"] = ("a", "b", "c")[row % 3]

    rewrite(own, spoil)
    with pytest.raises(ImportFault) as fault:
        imported(own, tmp_path / "store")
    assert "give fps=" in str(fault.value)
    assert "annotations.json: the subsets are 'a', 'b', 'c', and which of them trains" in str(fault.value)
    assert "give train_subset= and test_subset=" in str(fault.value)
    report = imported(own, tmp_path / "store", fps=30, stride_frames=4, train_subset="a", test_subset="c")
    assert (report.counts["train"], report.counts["test"]) == (3, 2)
    assert any("subset 'b' (3 videos)" in notice for notice in report.notices)
    assert any("times as long as the videos" in notice for notice in report.notices)


def test_a_file_of_one_subset_and_one_that_is_cut_off_are_named_with_a_remedy(own, tmp_path):
    file = own.parent / "annotations.json"
    rewrite(own, lambda database: [video.update(subset="all") for video in database.values()])
    with pytest.raises(ImportFault) as fault:
        imported(own, tmp_path / "store")
    assert str(fault.value).startswith(f"annotations={file}: 'all' is its only subset; training and test need one each")
    file.write_text(file.read_text()[:-40])
    with pytest.raises(ImportFault, match=r"annotations\.json: not JSON \(.*\); give an .* anew .* it may be cut off"):
        imported(own, tmp_path / "store")


def test_labels_without_segments_and_ambiguous_stretches(own, tmp_path):
    def change(database):
        database["video0"]["annotations"] = [{"label": "Jump"}]
        database["video7"]["annotations"].append({"label": "Ambiguous", "segment": [2, 3]})

    rewrite(own, change)
    imported(own, tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.video_labels()[0] == [0]
    assert len(store.instances([0])) == 0
    assert store.ambiguous([7]).start_s.tolist() == [2.0]
    assert store.class_names == ("Jump", "Run")


def test_classes_may_be_named(own, tmp_path):
    (tmp_path / "classes.txt").write_text("Run\nJump\nFly\n")
    imported(own, tmp_path / "store", classes=tmp_path / "classes.txt")
    store = open_store(tmp_path / "store")
    assert store.class_names == ("Run", "Jump", "Fly")
    assert store.video_labels()[0] == [1]


def test_files_without_a_reader_are_named(own, tmp_path):
    for file in own.glob("*.npy"):
        file.rename(file.with_suffix(".h5"))
    with pytest.raises(ImportFault, match=r"8 files such as video0.h5.*numpy.save"):
        imported(own, tmp_path / "store")


def test_the_command_imports_and_refuses_keys_of_the_other_layout(own, tmp_path, capsys):
    given = [f"source={own}", f"annotations={own.parent / 'annotations.json'}", f"target={tmp_path / 'store'}"]
    with pytest.raises(ConfigError, match="strict=: read for the released layout alone"):
        main(["import", *given, "strict=true"])
    with pytest.raises(ConfigError, match="skip_faulty=: read for your own data"):
        main(["import", given[0], given[2], "skip_faulty=true"])
    main(["import", *given[:2], f"target={tmp_path / 'named_so'}/"])
    assert "named_so: 8 videos" in capsys.readouterr().out  # as its results will be
    main(["import", *given, "name=mine", "fps=25", "train_subset=Validation", "dtype=float16"])
    out = capsys.readouterr().out
    assert "mine: 8 videos (6 train, 2 test)" in out
    assert "note: stride_frames=16 is assumed" in out
    assert open_store(tmp_path / "store").dtype == np.float16


def test_data_may_be_the_folder(own, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="0 JSON files"):
        resolve_data(str(own))
    file = str(own.parent / "annotations.json")
    with caplog.at_level(logging.WARNING):
        first = resolve_data(str(own), ImportOptions(annotations=file))
    assert "stride_frames=16 is assumed" in caplog.text
    assert resolve_data(str(own), ImportOptions(annotations=file)) == first
    other = resolve_data(str(own), ImportOptions(annotations=file, fps=50.0, stride_frames=32))
    assert other != first
    assert open_store(other).fps == 50
    with pytest.raises(ConfigError, match=r"fps=, stride_frames=: .* is a store"):
        resolve_data(str(other), ImportOptions(fps=25.0, stride_frames=16))
    with pytest.raises(ConfigError, match=r"train_subset=: data=synthetic-tiny is generated"):
        resolve_data("synthetic-tiny", ImportOptions(train_subset="a"))
    (own / "database.json").write_text((own.parent / "annotations.json").read_text())
    assert open_store(resolve_data(str(own))).name == "database"


def test_train_and_search_take_the_keys_of_the_import(own, tmp_path, monkeypatch):
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    values = {"data": str(own), "annotations": str(own.parent / "annotations.json"), "fps": 50, "stride_frames": 32}
    values |= {"train_subset": "Test", "test_subset": "Validation"}
    config, _ = configure(values)
    store = open_store(config.data)
    assert (store.fps, store.stride_frames, store.subsets[0]) == (50, 32, "test")
    assert request_of(values).importing.given == {key: values[key] for key in values if key != "data"}
    with pytest.raises(ConfigError, match=r"did you mean stride_frames"):
        request_of(values | {"stride_frame": 3})
    with pytest.raises(ConfigError, match="fps"):
        configure(values | {"fps": "fast"})
