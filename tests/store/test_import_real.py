"""The data sets that people have: HAPT whole, THUMOS14 and ActivityNet-1.2 with their real annotations."""

from __future__ import annotations

import numpy as np
import pytest
from small_data_set import object_array

from dce_ray.store import FeatureStore, export_released, import_released


def annotations_of(folder) -> dict[str, np.ndarray]:
    # The folders are the published ones; reading them by NumPy itself is the twin of our own reader.
    return {path.stem: np.load(path, allow_pickle=True) for path in folder.glob("*.npy")}


def with_features(folder, tmp_path, *, size=4):
    """The released layout over real annotations: D = 4, as many snippets as the durations ask for."""
    name = folder.name.removesuffix("-Annotations")
    durations = annotations_of(folder)["duration"].reshape(-1)
    generator = np.random.default_rng(0)
    lengths = np.maximum((durations * 25 / 16).astype(int), 1)
    features = [generator.normal(size=(length, size)).astype(np.float32) for length in lengths]
    source = tmp_path / "released"
    source.mkdir()
    (source / folder.name).symlink_to(folder)
    np.save(source / f"{name}-I3D-JOINTFeatures.npy", object_array(features), allow_pickle=True)
    return source, features


def check_against_numpy(store: FeatureStore, folder, features) -> None:
    table = annotations_of(folder)
    class_names = [name.decode() for name in table["classlist"]]
    assert store.class_names == tuple(class_names)
    assert store.video_names == tuple(name.decode() for name in table["videoname"])
    rows = np.arange(len(store))
    instances = store.instances(rows)
    expected = [
        (row, class_names.index(label.decode() if isinstance(label, bytes) else label), *map(float, segment))
        for row in rows
        for label, segment in zip(table["labels"][row], table["segments"][row], strict=True)
    ]
    found = zip(instances.video, instances.label, instances.start_s, instances.end_s, strict=True)
    assert [tuple(instance) for instance in found] == expected
    labels = store.labels(rows)
    for row in rows:
        expected_labels = [name.decode() if isinstance(name, bytes) else name for name in table["labels_all"][row]]
        assert {class_names[label] for label in np.flatnonzero(labels[row])} == set(expected_labels)
    for row in (0, 1, len(store) // 2, len(store) - 1):
        np.testing.assert_array_equal(store.features(row), features[row])


def test_hapt(hapt_source, tmp_path):
    report = import_released(hapt_source, tmp_path / "store", strict=True)
    store = FeatureStore.open(tmp_path / "store", verify=True)
    assert store.manifest.counts == {
        "videos": 365, "train": 256, "test": 109, "snippets": 68148, "instances": 955, "ambiguous": 0,
    }  # fmt: skip
    assert (store.name, len(store.class_names), store.feature_size, store.rgb_size) == ("HAPT", 9, 128, 64)
    assert (store.fps, store.stride_frames) == (50.0, 16)
    assert len(report.notices) == 3
    features = np.load(hapt_source / "HAPT-I3D-JOINTFeatures.npy", allow_pickle=True)
    check_against_numpy(store, hapt_source / "HAPT-Annotations", [matrix.astype(np.float32) for matrix in features])
    export_released(store, tmp_path / "exported")
    again = import_released(tmp_path / "exported", tmp_path / "again")
    assert again.digest == store.digest


def test_hapt_in_half_precision_is_what_was_released(hapt_source, tmp_path):
    import_released(hapt_source, tmp_path / "store", dtype="float16")
    store = FeatureStore.open(tmp_path / "store")
    features = np.load(hapt_source / "HAPT-I3D-JOINTFeatures.npy", allow_pickle=True)
    for row in range(len(store)):
        np.testing.assert_array_equal(store.features(row), features[row])


def test_thumos14_keeps_every_instance_that_its_evaluation_counts(real_annotations, tmp_path):
    folder = real_annotations / "Thumos14reduced-Annotations"
    source, features = with_features(folder, tmp_path)
    report = import_released(source, tmp_path / "store")
    store = FeatureStore.open(tmp_path / "store", verify=True)
    assert (store.fps, store.stride_frames) == (25.0, 16)  # extracted_fps.npy says 10
    assert report.notices == ()
    assert report.left_out == report.repaired == ()
    counts = store.manifest.counts
    assert (counts["videos"], counts["train"], counts["test"], counts["instances"]) == (412, 200, 212, 6365)
    check_against_numpy(store, folder, features)
    odd = store.video_names.index("video_test_0000270")
    assert store.labels([odd]).sum() == 0
    assert store.instances([odd]).end_s.max() == 713.7 > store.durations_s[odd]
    assert {finding.kind for finding in report.findings if finding.video == "video_test_0000270"} == {
        "segment beyond the duration",
        "no video-level label",
    }
    lines = [line.split() for line in (folder / "Ambiguous_test.txt").read_text().splitlines()]
    known = [line for line in lines if line[0] in store.video_names]
    assert counts["ambiguous"] == len(known) > 0
    chosen = store.video_names.index("video_test_0000293")
    expected = [float(start) for name, start, _ in lines if name == "video_test_0000293"]
    assert store.ambiguous([chosen]).start_s.tolist() == expected


def test_activitynet12(real_annotations, tmp_path):
    folder = real_annotations / "ActivityNet1.2-Annotations"
    source, features = with_features(folder, tmp_path, size=2)
    report = import_released(source, tmp_path / "store")
    store = FeatureStore.open(tmp_path / "store")
    counts = store.manifest.counts
    assert (counts["videos"], counts["train"], counts["test"], counts["instances"]) == (7202, 4819, 2383, 10733)
    assert len(store.class_names) == 100
    assert sum(finding.kind == "segment without length" for finding in report.findings) == 10
    assert {finding.action for finding in report.findings} == {"kept"}
    check_against_numpy(store, folder, features)


@pytest.mark.parametrize("name", ["Thumos14reduced", "ActivityNet1.2"])
def test_exported_annotations_are_readable_by_numpy_and_equal(real_annotations, tmp_path, name):
    folder = real_annotations / f"{name}-Annotations"
    source, _ = with_features(folder, tmp_path, size=2)
    import_released(source, tmp_path / "store")
    exported = export_released(FeatureStore.open(tmp_path / "store"), tmp_path / "exported")
    ours, theirs = annotations_of(exported / folder.name), annotations_of(folder)
    for stem in ("videoname", "subset", "classlist"):
        np.testing.assert_array_equal(ours[stem], theirs[stem])
    np.testing.assert_array_equal(ours["duration"].ravel(), theirs["duration"].ravel())
    for stem in ("labels", "labels_all"):
        for mine, published in zip(ours[stem], theirs[stem], strict=True):
            assert mine == [name.decode() if isinstance(name, bytes) else str(name) for name in published]
    for mine, published in zip(ours["segments"], theirs["segments"], strict=True):
        assert mine == [list(map(float, segment)) for segment in published]
