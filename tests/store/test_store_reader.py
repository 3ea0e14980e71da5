"""Reading a store: views, copies, annotations by hand, and every way in which a folder is not a good store."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dce_ray.errors import StoreError
from dce_ray.store import Description, FeatureStore, VideoAnnotation, open_store, write_store, writer

DESCRIPTION = Description("Hand", 4, 2, 25.0, 16, ("a", "b", "c"))


def videos(lengths=(3, 5, 2)):
    for row, length in enumerate(lengths):
        features = np.arange(length * 4, dtype=np.float32).reshape(length, 4) + 100 * row
        labels = [[0], [2, 1], []][row % 3]
        instances = [[(0, 0.5, 1.0), (1, 2.0, 2.5)], [], [(2, 0.0, 1.0)]][row % 3]
        ambiguous = [[], [(0.25, 0.75)], []][row % 3]
        subset = "test" if row % 3 == 2 else "train"
        yield VideoAnnotation(f"v{row}", subset, length * 0.64, labels, instances, ambiguous), features


@pytest.fixture
def path(tmp_path) -> Path:
    write_store(tmp_path / "store", DESCRIPTION, videos(), provenance={"why": "a test"})
    return tmp_path / "store"


def test_description_and_annotations_by_hand(path):
    store = FeatureStore.open(path)
    assert (store.name, store.feature_size, store.rgb_size, store.fps, store.stride_frames) == ("Hand", 4, 2, 25.0, 16)
    assert store.snippets_per_second == 1.5625
    assert store.video_names == ("v0", "v1", "v2")
    assert store.subsets == ("train", "train", "test")
    assert store.lengths.tolist() == [3, 5, 2]
    assert store.lengths.dtype == np.int64
    assert store.labels([1, 2, 0]).tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    instances = store.instances([2, 1, 0])
    assert instances.video.tolist() == [0, 2, 2]
    assert instances.label.tolist() == [2, 0, 1]
    assert instances.start_s.tolist() == [0.0, 0.5, 2.0]
    assert instances.end_s.tolist() == [1.0, 1.0, 2.5]
    ambiguous = store.ambiguous([0, 1])
    assert (ambiguous.video.tolist(), ambiguous.start_s.tolist(), ambiguous.end_s.tolist()) == ([1], [0.25], [0.75])
    assert store.manifest.provenance == {"why": "a test"}
    counts = {"videos": 3, "train": 2, "test": 1, "snippets": 10, "instances": 3, "ambiguous": 1}
    assert store.manifest.counts == counts


def test_no_videos_asked_for(path):
    store = FeatureStore.open(path)
    none = np.empty(0, np.int64)
    assert store.labels(none).shape == (0, 3)
    assert len(store.instances(none)) == len(store.ambiguous(none)) == 0
    assert store.gather(none, np.empty((0, 7), np.int64)).shape == (0, 7, 4)


def test_features_are_views_of_one_map_that_nobody_can_write(path):
    store = FeatureStore.open(path)
    before = pa.total_allocated_bytes()
    views = [store.features(video) for video in range(3)]
    assert pa.total_allocated_bytes() == before
    assert views[1][0].tolist() == [100, 101, 102, 103]
    assert np.shares_memory(views[0], store.features(0))
    for view in views:
        assert view.flags.c_contiguous
        assert not view.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        store.lengths[0] = 7


def test_gather_gives_fresh_float32(path):
    store = FeatureStore.open(path)
    gathered = store.gather([2, 0, 2], [[0, 1], [2, 2], [1, 0]])
    assert gathered.dtype == np.float32
    assert gathered[:, :, 0].tolist() == [[200, 204], [8, 8], [204, 200]]
    gathered += 1000
    assert store.features(2)[0, 0] == 200


@pytest.mark.parametrize(
    ("rows", "snippets", "message"),
    [
        ([3], [[0]], "rows 0 to 2"),
        ([-1], [[0]], "rows 0 to 2"),
        ([0, 2], [[2], [2]], "video v2: snippets 2 to 2 asked for; it has 0 to 1"),
        ([0], [[-1]], "video v0: snippets -1"),
        ([0, 1], [[0]], r"give \(B, T\)"),
    ],
)
def test_gather_out_of_range(path, rows, snippets, message):
    with pytest.raises(StoreError, match=message):
        FeatureStore.open(path).gather(rows, snippets)


def test_features_out_of_range(path):
    with pytest.raises(StoreError, match="video 3: Hand has rows 0 to 2"):
        FeatureStore.open(path).features(3)


def test_many_record_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "BATCH_BYTES", 200)  # rows of 16 bytes: 12 snippets
    lengths = [3, 5, 4, 1, 30, 2, 12, 13, 1]
    write_store(tmp_path / "store", DESCRIPTION, videos(lengths))
    with pa.memory_map(str(tmp_path / "store" / "features.arrow")) as file:
        reader = pa.ipc.open_file(file)
        batches = [reader.get_batch(number)["name"].to_pylist() for number in range(reader.num_record_batches)]
    assert batches == [["v0", "v1", "v2"], ["v3"], ["v4"], ["v5"], ["v6"], ["v7"], ["v8"]]
    store = FeatureStore.open(tmp_path / "store", verify=True)
    for row, (_, features) in enumerate(videos(lengths)):
        np.testing.assert_array_equal(store.features(row), features)
    np.testing.assert_array_equal(store.gather([4, 8, 7], [[29], [0], [12]])[:, 0, 0], [400 + 29 * 4, 800, 700 + 48])


def test_no_offset_overflows_at_the_size_of_activitynet():
    # 128 MiB of float16 in one batch, and the longest video that a batch may hold, both count below 2^31.
    assert writer.BATCH_BYTES // 2 < 2**31
    assert writer.LARGEST_LIST == 2**31 - 1
    annotation = VideoAnnotation("long", "train", 1.0, [0])
    too_long = np.broadcast_to(np.zeros((1, 4), np.float32), (2**29, 4))
    unopened = writer._Writer.__new__(writer._Writer)
    unopened._description = DESCRIPTION
    with pytest.raises(StoreError, match="2147483648 values; a video may have 2147483647"):
        unopened._checked(annotation, too_long)


@pytest.mark.parametrize(
    ("annotation", "features", "message"),
    [
        (VideoAnnotation("v", "val", 1.0, [0]), np.ones((2, 4)), "subset 'val'"),
        (VideoAnnotation("v", "train", 1.0, [3]), np.ones((2, 4)), "class 3; the data set has 0 to 2"),
        (VideoAnnotation("v", "train", 1.0, [0]), np.ones((2, 5)), r"shape \(2, 5\)"),
        (VideoAnnotation("v", "train", 1.0, [0]), np.ones((0, 4)), r"shape \(0, 4\)"),
        (VideoAnnotation("v", "train", 1.0, [0]), np.full((2, 4), np.nan), "not finite"),
    ],
)
def test_writer_refuses_what_does_not_fit(tmp_path, annotation, features, message):
    with pytest.raises(StoreError, match=message):
        write_store(tmp_path / "store", DESCRIPTION, [(annotation, features)])
    assert list(tmp_path.iterdir()) == []


def test_writer_refuses_a_name_twice(tmp_path):
    with pytest.raises(StoreError, match="occurs twice"):
        write_store(tmp_path / "store", DESCRIPTION, [*videos(), *videos()])


def test_float16_is_stored_and_comes_out_as_float32(tmp_path):
    description = Description("Half", 4, 2, 25.0, 16, ("a", "b", "c"), "float16")
    write_store(tmp_path / "store", description, ((a, f + 0.1) for a, f in videos()))
    store = FeatureStore.open(tmp_path / "store")
    assert store.features(0).dtype == np.float16
    gathered = store.gather([0], [[0, 2]])
    assert gathered.dtype == np.float32
    np.testing.assert_array_equal(gathered[0, 1], (np.arange(8, 12) + np.float32(0.1)).astype(np.float16))


def test_digest_is_of_the_content(tmp_path):
    first = write_store(tmp_path / "a", DESCRIPTION, videos(), provenance={"at": 1}).digest
    assert write_store(tmp_path / "b", DESCRIPTION, videos(), provenance={"at": 2}).digest == first
    other_rate = Description("Hand", 4, 2, 30.0, 16, ("a", "b", "c"))
    assert write_store(tmp_path / "c", other_rate, videos()).digest != first
    assert write_store(tmp_path / "d", DESCRIPTION, videos((3, 5, 3))).digest != first


def test_pickling_carries_the_path_only(path):
    store = open_store(path)
    packed = pickle.dumps(store)
    assert len(packed) < 500
    assert pickle.loads(packed) is store
    assert open_store(str(path)) is store


def test_open_store_notices_another_store_in_the_same_place(path):
    first = open_store(path)
    for file in path.iterdir():
        file.unlink()
    write_store(path, DESCRIPTION, videos((3, 5, 4)))
    assert open_store(path).lengths.tolist() == [3, 5, 4]
    assert first.lengths.tolist() == [3, 5, 2]  # the old map lives on


def test_opening_reads_neither_features_nor_rows(tmp_path):
    description = Description("Many", 2, 1, 25.0, 16, ("a",))
    one = np.ones((4, 2), np.float32)
    many = [(VideoAnnotation(f"video_{row}", "train", 2.56, [0], [(0, 0.0, 1.0)] * 3), one) for row in range(7202)]
    write_store(tmp_path / "store", description, many)
    FeatureStore.open(tmp_path / "store")
    started = time.perf_counter()
    for _ in range(5):
        FeatureStore.open(tmp_path / "store")
    assert (time.perf_counter() - started) / 5 < 0.1


def edit_manifest(path: Path, **changes) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


def test_not_a_store(path, tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        FeatureStore.open(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="is a file"):
        FeatureStore.open(path / "manifest.json")
    with pytest.raises(StoreError, match=r"not a store, it has no manifest.json; make one"):
        FeatureStore.open(tmp_path)
    (tmp_path / "Name-Annotations").mkdir()
    with pytest.raises(StoreError, match=r"it holds a released data set: python -m dce_ray.store import"):
        FeatureStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "a web application"}')
    with pytest.raises(StoreError, match="is of something else"):
        FeatureStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": ')
    with pytest.raises(StoreError, match="not JSON"):
        FeatureStore.open(tmp_path)


def test_newer_version(path):
    edit_manifest(path, schema_version=2)
    with pytest.raises(StoreError, match="store version 2, this dce_ray reads up to 1; upgrade"):
        FeatureStore.open(path)


@pytest.mark.parametrize("version", [None, "1", 0])
def test_impossible_version(path, version):
    edit_manifest(path, schema_version=version)
    with pytest.raises(StoreError, match="not a number from 1"):
        FeatureStore.open(path)


def test_manifest_changed_by_hand(path):
    edit_manifest(path, fps=30.0)
    with pytest.raises(StoreError, match="was changed after the import"):
        FeatureStore.open(path)


def test_manifest_with_a_key_missing(path):
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["rgb_size"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"damaged \(KeyError: 'rgb_size'\)"):
        FeatureStore.open(path)


@pytest.mark.parametrize("name", ["features.arrow", "annotations.arrow"])
class TestDamagedFiles:
    def test_missing(self, path, name):
        (path / name).unlink()
        with pytest.raises(StoreError, match=f"{name} is missing"):
            FeatureStore.open(path)

    def test_truncated(self, path, name):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[:-10])
        with pytest.raises(StoreError, match=f"{name} is truncated: {len(content) - 10} of {len(content)} bytes"):
            FeatureStore.open(path)

    def test_longer(self, path, name):
        with (path / name).open("ab") as file:
            file.write(b"more")
        with pytest.raises(StoreError, match=f"{name} has a wrong size"):
            FeatureStore.open(path)

    def test_footer_overwritten(self, path, name):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[:-20] + bytes(20))
        with pytest.raises(StoreError, match=f"{name}: cannot be read as an Arrow file"):
            FeatureStore.open(path)

    def test_a_flipped_bit_is_found_by_verifying(self, path, name):
        content = bytearray((path / name).read_bytes())
        where = content.index(np.float32(101).tobytes()) if name.startswith("features") else content.index(b"v1")
        content[where] ^= 1
        (path / name).write_bytes(content)
        FeatureStore.open(path)
        with pytest.raises(StoreError, match=f"{name} has a wrong SHA-256"):
            FeatureStore.open(path, verify=True)


def test_opening_and_reading_import_neither_pandas_nor_torch(path):
    script = (
        "import sys\nfrom dce_ray.store import FeatureStore\nstore = FeatureStore.open(sys.argv[1])\n"
        "store.gather([0], [[0]]); store.labels([0]); store.instances([0]); store.ambiguous([0])\n"
        "sys.exit(str([name for name in ('pandas', 'torch', 'rich') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
