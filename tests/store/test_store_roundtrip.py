"""Whatever a data set holds comes back: import, read, export, import."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from small_data_set import small_tables, write_small

from dce_ray.errors import StoreError
from dce_ray.store import FeatureStore, export_released, import_released
from dce_ray.store.schema import Description

CLASSES = ("Jump", "Long jump", "Élan")


@st.composite
def data_sets(draw):
    size = 2 * draw(st.integers(1, 4))
    count = draw(st.integers(2, 6))
    dtype = draw(st.sampled_from([np.float32, np.float16]))
    numbers = st.floats(-1000, 1000, width=16)
    matrices = st.integers(1, 6).flatmap(lambda length: arrays.arrays(dtype, (length, size), elements=numbers))
    seconds = st.floats(0, 1000, allow_nan=False)
    labels = st.lists(st.sampled_from(CLASSES), min_size=1, max_size=3, unique=True)
    per_video = st.lists(st.tuples(st.sampled_from(CLASSES), seconds, seconds), max_size=4)
    instances = [[(name, min(a, b), max(a, b)) for name, a, b in draw(per_video)] for _ in range(count)]
    middle = st.lists(st.sampled_from([b"training", b"testing"]), min_size=count - 2, max_size=count - 2)
    features = []
    for _ in range(count):
        matrix = draw(matrices)
        matrix[0, 0] = 1  # an all-zero video would be left out
        features.append(matrix)
    return {
        "features": features,
        "videoname": [f"v{row}".encode() for row in range(count)],
        "subset": [b"training", b"testing", *draw(middle)],
        "classlist": [name.encode() for name in CLASSES],
        "labels_all": [draw(labels) for _ in range(count)],
        "labels": [[name for name, _, _ in video] for video in instances],
        "segments": [[[start, end] for _, start, end in video] for video in instances],
        "duration": [draw(st.floats(0.01, 1000)) for _ in range(count)],
        "extracted_fps": [draw(st.floats(1, 60))] * count,
    }


@settings(max_examples=30, deadline=None)
@given(data_sets())
def test_import_export_import_loses_nothing(tables):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_small(folder / "released", "Any", tables)
        first = import_released(folder / "released", folder / "first")
        store = FeatureStore.open(first.target, verify=True)
        check_content(store, tables)
        export_released(store, folder / "exported")
        second = import_released(folder / "exported", folder / "second")
        assert second.digest == first.digest


@pytest.mark.parametrize(("name", "fps", "stride_frames"), [("Any", 30.0, 8), ("Thumos14reduced", 29.97, 5)])
def test_an_export_says_how_many_frames_a_snippet_has(tmp_path, name, fps, stride_frames):
    """Also where the data set of that name is known to have others."""
    source = write_small(tmp_path / "released", name, small_tables())
    first = import_released(source, tmp_path / "first", fps=fps, stride_frames=stride_frames)
    export_released(FeatureStore.open(first.target), tmp_path / "exported")
    second = import_released(tmp_path / "exported", tmp_path / "second")
    store = FeatureStore.open(second.target)
    assert (store.fps, store.stride_frames, second.digest) == (fps, stride_frames, first.digest)


def test_a_name_that_leads_elsewhere_is_refused():
    """Of a store that a stranger wrote: results of a search lie in a folder that is called as the store is."""
    for name in ("../../x", "..", "a/b", ""):
        with pytest.raises(StoreError, match="must be a name and no path"):
            Description(name, 8, 4, 25.0, 16, CLASSES)


def check_content(store: FeatureStore, tables) -> None:
    assert [name.encode() for name in store.video_names] == tables["videoname"]
    assert store.subsets == tuple({b"training": "train", b"testing": "test"}[name] for name in tables["subset"])
    for row, features in enumerate(tables["features"]):
        np.testing.assert_array_equal(store.features(row), features.astype(np.float32))
        expected = [float(name in tables["labels_all"][row]) for name in CLASSES]
        assert store.labels([row])[0].tolist() == expected
        instances = store.instances([row])
        assert [CLASSES[label] for label in instances.label] == tables["labels"][row]
        assert np.stack([instances.start_s, instances.end_s], axis=1).tolist() == [
            list(map(float, segment)) for segment in tables["segments"][row]
        ]
