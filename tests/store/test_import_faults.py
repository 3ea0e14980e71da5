"""Every fault of a released data set: what is said, what is done, and that the other videos come in."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from dce_ray.errors import ImportFault, StoreError
from dce_ray.store import FeatureStore, import_released


def set_cell(stem, row, value):
    def change(tables):
        tables[stem][row] = value

    return change


def zero_out(tables):
    tables["features"][1] = np.zeros((5, 8), np.float32)


def nan_everywhere(tables):
    tables["features"][1] = np.full((5, 8), np.nan, np.float32)


LEFT_OUT = {
    "empty features": (set_cell("features", 1, np.empty((0, 8), np.float32)), "no features", "(0, 8)"),
    "no features": (set_cell("features", 1, None), "no features", "None"),
    "zero features": (zero_out, "all features are zero", "5 snippets"),
    "all NaN": (nan_everywhere, "NaN or infinite features", "5 of 5"),
    "one dimension": (set_cell("features", 1, np.ones(8, np.float32)), "not a matrix (T, D)", "(8,)"),
    "other D": (
        set_cell("features", 1, np.ones((5, 6), np.float32)),
        "other number of channels",
        "6, most videos have 8",
    ),
    "text features": (set_cell("features", 1, np.array([["a"]])), "not an array of numbers", "<U1"),
    "list features": (set_cell("features", 1, [1.0, 2.0]), "not an array of numbers", "list"),
    "duplicate name": (set_cell("videoname", 1, b"video_0"), "name occurs twice", "row 1"),
    "empty name": (set_cell("videoname", 1, b""), "empty name", "row 1"),
    "unknown subset": (set_cell("subset", 1, b"testing"), "unknown subset", "'testing'"),
    "no label in training": (set_cell("labels_all", 1, []), "no video-level label", "an empty list"),
    "segments without labels": (set_cell("labels", 1, ["Run", "Run"]), "differ in number", "1 segments, 2 labels"),
}


@pytest.mark.parametrize("fault", LEFT_OUT)
def test_a_fault_leaves_out_its_video_only(small, tmp_path, fault):
    change, kind, found = LEFT_OUT[fault]
    names = {"train_subset": "validation", "test_subset": "test"}
    report = import_released(small(change), tmp_path / "store", **names)
    (finding,) = report.findings
    assert kind in finding.kind
    assert found in finding.found
    assert finding.action == "left out"
    assert finding.file.endswith(".npy")
    assert finding.remedy
    store = FeatureStore.open(tmp_path / "store", verify=True)
    assert store.video_names == ("video_0", "video_2", "video_3", "video_4", "video_5")
    written = json.loads((tmp_path / "store" / "import_report.json").read_text())
    assert written["left_out"] == list(report.left_out) == [finding.video]
    assert written["videos_in_source"] == 6


def spoil_one_snippet(tables):
    tables["features"][1][2, 3] = np.inf


REPAIRED = {
    "NaN snippet": (spoil_one_snippet, "NaN or infinite features", "1 of 5 snippets, the first is 2"),
    "two dtypes": (lambda tables: set_cell("features", 1, tables["features"][1].astype(np.float64))(tables),
                   "other dtype than most", "float64, most videos have float32"),
    "label not in classlist": (set_cell("labels_all", 1, ["Run", "Swim"]), "label not in classlist.npy", "'Swim'"),
    "instance label not in classlist": (set_cell("labels", 1, ["Swim"]), "label not in classlist.npy", "'Swim'"),
    "NaN segment": (set_cell("segments", 1, [[np.nan, 1.0]]), "NaN or infinite time", "[nan, 1] s"),
    "end before start": (set_cell("segments", 1, [[2.0, 1.0]]), "ends before it starts", "[2, 1] s"),
    "three times": (set_cell("segments", 1, [[2.0, 1.0, 3.0]]), "not [start, end]", "[2.0, 1.0, 3.0]"),
    "no duration": (set_cell("duration", 1, np.nan), "no duration", "nan s"),
    "negative duration": (set_cell("duration", 1, -1.0), "no duration", "-1 s"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REPAIRED)
def test_a_fault_is_repaired_and_reported(small, tmp_path, fault):
    change, kind, found = REPAIRED[fault]
    report = import_released(small(change), tmp_path / "store")
    (finding,) = report.findings
    assert kind in finding.kind
    assert found in finding.found
    assert (finding.video, finding.action) == ("video_1", "repaired")
    assert report.repaired == ("video_1",)
    assert report.counts["videos"] == 6


def test_what_repairs_do(small, tmp_path):
    def spoil(tables):
        spoil_one_snippet(tables)
        tables["labels"][2] = ["Throw", "Swim"]
        tables["segments"][3] = [[3.0, 2.0]]
        tables["duration"][4] = 0

    store_path = import_released(small(spoil), tmp_path / "store").target
    store = FeatureStore.open(store_path)
    assert (store.features(1)[2] == 0).all()
    assert (store.features(1)[[0, 1, 3, 4]] != 0).all()
    assert store.instances([2]).label.tolist() == [2]
    assert len(store.instances([3])) == 0
    assert store.durations_s[4] == pytest.approx(8 * 16 / 25)


def test_what_published_evaluations_count_stays(small, tmp_path):
    def odd(tables):
        tables["segments"][4] = [[100.0, 107.5]]  # the video has 5.12 s
        tables["segments"][5] = [[1.0, 1.0]]
        tables["labels_all"][5] = []

    report = import_released(small(odd), tmp_path / "store")
    assert {finding.kind for finding in report.findings} == {
        "segment beyond the duration",
        "segment without length",
        "no video-level label",
    }
    assert {finding.action for finding in report.findings} == {"kept"}
    store = FeatureStore.open(tmp_path / "store")
    instances = store.instances([4, 5])
    assert instances.start_s.tolist() == [100.0, 1.0]
    assert instances.end_s.tolist() == [107.5, 1.0]
    assert store.labels([5]).sum() == 0


def test_strict_names_all_faults_at_once_and_writes_nothing(small, tmp_path):
    def spoil(tables):
        zero_out(tables)
        tables["labels_all"][2] = ["Throw", "Swim"]
        tables["segments"][4] = [[100.0, 107.5]]

    with pytest.raises(ImportFault) as caught:
        import_released(small(spoil), tmp_path / "store", strict=True)
    for part in ("video_1", "video_2", "video_4", "'Swim'", "all features are zero", "107.5", "3 findings"):
        assert part in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["released"]


def test_strict_passes_a_sound_data_set(small, tmp_path):
    assert import_released(small(), tmp_path / "store", strict=True).counts["videos"] == 6


def drop_entry(stem):
    return lambda tables: tables[stem].pop()


@pytest.mark.parametrize("stem", ["features", "videoname", "subset", "labels_all", "labels", "segments", "duration"])
def test_files_of_different_lengths_cannot_be_matched(small, tmp_path, stem):
    with pytest.raises(ImportFault, match=f"different numbers of entries.*{'JOINT' if stem == 'features' else stem}"):
        import_released(small(drop_entry(stem)), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_missing_files_are_all_named(small, tmp_path):
    folder = small()
    for stem in ("labels", "duration"):
        (folder / "Small-Annotations" / f"{stem}.npy").unlink()
    with pytest.raises(ImportFault) as caught:
        import_released(folder, tmp_path / "store")
    assert "labels.npy" in str(caught.value)
    assert "duration.npy" in str(caught.value)


def test_source_that_is_no_data_set(small, tmp_path):
    with pytest.raises(ImportFault, match="not a folder"):
        import_released(tmp_path / "nowhere", tmp_path / "store")
    with pytest.raises(ImportFault, match="holds no"):
        import_released(tmp_path, tmp_path / "store")
    folder = small()
    shutil.rmtree(folder / "Small-Annotations")
    with pytest.raises(ImportFault, match="Small-Annotations is missing"):
        import_released(folder, tmp_path / "store")


def test_several_data_sets_in_one_folder(small, tmp_path):
    folder = small()
    small(name="Other")
    with pytest.raises(ImportFault, match=r"several data sets.*Other, Small"):
        import_released(folder, tmp_path / "store")
    with pytest.raises(ImportFault, match="did you mean Small"):
        import_released(folder, tmp_path / "store", name="Smal")
    assert import_released(folder, tmp_path / "store", name="Other").name == "Other"


def test_annotations_beside_the_folder(small, tmp_path):
    folder = small()
    (folder / "inner").mkdir()
    (folder / "Small-I3D-JOINTFeatures.npy").rename(folder / "inner" / "Small-I3D-JOINTFeatures.npy")
    assert import_released(folder / "inner", tmp_path / "store").counts["videos"] == 6


def test_odd_number_of_channels_has_no_two_streams(small, tmp_path):
    def odd(tables):
        tables["features"] = [matrix[:, :7] for matrix in tables["features"]]

    with pytest.raises(ImportFault, match="7 channels; two streams"):
        import_released(small(odd), tmp_path / "store")


def test_one_array_for_all_videos(small, tmp_path):
    folder = small()
    features = np.arange(6 * 5 * 8, dtype=np.float64).reshape(6, 5, 8) + 1
    np.save(folder / "Small-I3D-JOINTFeatures.npy", features)
    import_released(folder, tmp_path / "store")
    np.testing.assert_array_equal(FeatureStore.open(tmp_path / "store").features(3), features[3].astype(np.float32))


def test_float16_that_would_overflow_is_refused(small, tmp_path):
    def large(tables):
        tables["features"][2][0, 0] = 70000

    folder = small(large)
    with pytest.raises(StoreError, match=r"video video_2: a feature is not finite as float16.*70000"):
        import_released(folder, tmp_path / "store", dtype="float16")
    assert not (tmp_path / "store").exists()
    import_released(folder, tmp_path / "store")


def test_unknown_dtype(small, tmp_path):
    with pytest.raises(ImportFault, match="dtype='float64': must be one of float32, float16"):
        import_released(small(), tmp_path / "store", dtype="float64")


def test_repeated_class(small, tmp_path):
    with pytest.raises(ImportFault, match="3 names, 2 different"):
        import_released(small(set_cell("classlist", 1, b"Jump")), tmp_path / "store")


def test_no_video_left(small, tmp_path):
    def spoil(tables):
        tables["labels_all"] = [[] for _ in range(6)]
        tables["features"][4:] = [None, None]

    with pytest.raises(ImportFault, match="8 findings and no video is left"):
        import_released(small(spoil), tmp_path / "store")


def test_ambiguous_lines(small, tmp_path):
    folder = small()
    lines = "video_4  0.5 1.5\nvideo_4 2 3\nvideo_9  1 2\nvideo_5 three 4\nvideo_5  4 3\n\nvideo_5  1.25 1.5\n"
    (folder / "Small-Annotations" / "Ambiguous_test.txt").write_text(lines)
    report = import_released(folder, tmp_path / "store")
    found = FeatureStore.open(tmp_path / "store").ambiguous([5, 4])
    assert found.video.tolist() == [0, 1, 1]
    assert found.start_s.tolist() == [1.25, 0.5, 2.0]
    assert found.end_s.tolist() == [1.5, 1.5, 3.0]
    assert [finding.found.split(",")[0] for finding in report.findings] == ["line 3", "line 4", "line 5"]


class TestTiming:
    def test_known_data_sets_overrule_extracted_fps(self, small, tmp_path):
        folder = small(lambda tables: tables.update(extracted_fps=[10] * 6), name="Thumos14reduced")
        report = import_released(folder, tmp_path / "store")
        store = FeatureStore.open(tmp_path / "store")
        assert (store.fps, store.stride_frames) == (25.0, 16)
        (notice,) = report.notices
        assert "Ambiguous_test.txt is missing" in notice

    def test_extracted_fps_with_a_notice(self, small, tmp_path, caplog):
        report = import_released(small(), tmp_path / "store")
        assert FeatureStore.open(tmp_path / "store").snippets_per_second == 25 / 16
        assert any("fps=25 is taken from extracted_fps.npy" in notice for notice in report.notices)
        assert "fps=25 is taken from extracted_fps.npy" in caplog.text

    def test_asked_for_wins_and_is_checked_against_the_durations(self, small, tmp_path):
        report = import_released(small(), tmp_path / "store", fps=50, stride_frames=16)
        assert FeatureStore.open(tmp_path / "store").fps == 50
        assert any("0.50 times as long" in notice for notice in report.notices)

    def test_no_way_to_know(self, small, tmp_path):
        with pytest.raises(ImportFault, match="give fps="):
            import_released(small(lambda tables: tables.pop("extracted_fps")), tmp_path / "store")

    def test_different_rates(self, small, tmp_path):
        with pytest.raises(ImportFault, match=r"2 different values \(25 to 30\)"):
            import_released(small(set_cell("extracted_fps", 1, 30)), tmp_path / "store")

    @pytest.mark.parametrize("asked", [{"fps": 0}, {"fps": float("nan")}, {"stride_frames": 0}])
    def test_impossible(self, small, tmp_path, asked):
        with pytest.raises(ImportFault, match="must be above 0"):
            import_released(small(), tmp_path / "store", **asked)


class TestSubsets:
    def test_activitynet_calls_its_test_videos_validation(self, small, tmp_path):
        def rename(tables):
            tables["subset"] = [b"training"] * 4 + [b"validation"] * 2

        import_released(small(rename, name="ActivityNet1.2"), tmp_path / "store")
        assert FeatureStore.open(tmp_path / "store").subsets == ("train",) * 4 + ("test",) * 2

    def test_guess_is_said_aloud(self, small, tmp_path):
        report = import_released(small(), tmp_path / "store")
        assert any("'validation' is train, 'test' is test" in notice for notice in report.notices)

    def test_three_subsets_are_not_guessed(self, small, tmp_path):
        with pytest.raises(ImportFault, match="give train_subset= and test_subset="):
            import_released(small(set_cell("subset", 0, b"train")), tmp_path / "store")

    def test_asked_for(self, small, tmp_path):
        import_released(small(), tmp_path / "store", train_subset="test")
        assert FeatureStore.open(tmp_path / "store").subsets == ("test",) * 4 + ("train",) * 2

    def test_asked_for_but_absent(self, small, tmp_path):
        with pytest.raises(ImportFault, match="which are 'test', 'validation'"):
            import_released(small(), tmp_path / "store", train_subset="training", test_subset="test")
