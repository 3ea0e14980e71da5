"""From features on disk to the mAP table, as published: released layout, store, network, proposals, table.

The table of 20 real THUMOS14 test videos with features by rule and weights by rule, for the three baselines' own
evaluations and for those of the code released with SCS and MCM (``edce_*``, which differ for DELU alone).
"""

from __future__ import annotations

import json
import shutil
import zlib
from functools import lru_cache
from pathlib import Path

import evaluation_rule
import golden_rule
import numpy as np
import pytest
import torch

from dce_ray.baselines import baseline_named
from dce_ray.config import EvaluationConfig
from dce_ray.evaluation import Evaluation, evaluate, evaluation_preset
from dce_ray.store import FeatureStore, import_released, open_store

NAME = "Thumos14reduced"
EXACT = 1e-6


def annotations(folder: Path) -> dict[str, np.ndarray]:
    source = folder / "e2e" / f"{NAME}-Annotations"
    return {file.stem: np.load(file, allow_pickle=True) for file in source.glob("*.npy")}


def segments_of(columns: dict[str, np.ndarray], row: int, snippets: int) -> list[tuple[int, int, int]]:
    """Annotated instances in snippets, cut to the features, by the golden rule."""
    classes = [name.decode() for name in columns["classlist"]]
    found = []
    for (start_s, end_s), label in zip(columns["segments"][row], columns["labels"][row], strict=True):
        start, end = max(0, round(start_s * 25 / 16)), min(snippets, round(end_s * 25 / 16))
        if end > start:
            found.append((start, end, classes.index(label)))
    return found


def released_layout(golden: Path, spec: dict, checks: list[int], folder: Path) -> Path:
    """Write the features by rule and the golden annotations as the released files."""
    columns = annotations(golden)
    rows = np.empty(len(spec["video_names"]), object)
    for row, snippets in enumerate(spec["n_snippets"]):
        parts = segments_of(columns, row, snippets)
        rows[row] = evaluation_rule.features(spec["seed"], row, snippets, parts, spec)
        assert zlib.crc32(rows[row].tobytes()) == checks[row], "the feature rule is not the golden one"
    folder.mkdir()
    np.save(folder / f"{NAME}-I3D-JOINTFeatures.npy", rows, allow_pickle=True)
    shutil.copytree(golden / "e2e" / f"{NAME}-Annotations", folder / f"{NAME}-Annotations")
    return folder


@pytest.fixture(scope="module")
def results(golden: Path) -> dict:
    return json.loads((golden / "e2e" / "e2e_results.json").read_text())


@pytest.fixture(scope="module")
def specs(golden: Path) -> dict:
    return json.loads((golden / "e2e" / "e2e_spec.json").read_text())


@pytest.fixture(scope="module")
def stores(golden: Path, specs, results, tmp_path_factory):
    """Stores by baseline, imported from the released layout; CO2-Net and DELU share one."""

    @lru_cache
    def store(baseline: str) -> FeatureStore:
        if baseline == "delu":
            assert specs["delu"] == specs["co2net"]
            return store("co2net")
        folder = tmp_path_factory.mktemp(baseline)
        checks = results[baseline]["features_check"]
        source = released_layout(golden, specs[baseline], _checksums(checks), folder / "released")
        import_released(source, folder / "store", name=NAME)
        shutil.rmtree(source)
        return open_store(folder / "store")

    return store


def _checksums(checks) -> list[int]:
    return [check["crc32"] if isinstance(check, dict) else check for check in checks]


@pytest.fixture(scope="module")
def outcomes(specs, stores):
    """Evaluations by baseline and preset."""

    @lru_cache
    def network(baseline: str):
        made = baseline_named(baseline).network(feature_size=2048, classes=20, segments=320, pool=False, dropout=0.7)
        spec = specs[baseline]
        weights = {
            name: torch.from_numpy(golden_rule.weight(name, tuple(value.shape), spec["seed"], spec["calib"]))
            for name, value in made.state_dict().items()
        }
        made.load_state_dict(weights)
        return made

    @lru_cache
    def outcome(baseline: str, preset: str) -> Evaluation:
        store = stores(baseline)
        config = EvaluationConfig.from_mapping(evaluation_preset(preset, "thumos14", baseline, store_names=(NAME,)))
        test = np.flatnonzero(np.array(store.subsets) == "test")
        return evaluate(network(baseline), store, test, config)

    return outcome


CASES = [
    ("co2net", "co2net", "paper"),
    ("delu", "delu", "paper"),
    ("ddgnet", "ddgnet", "paper"),
    ("edce_co2net", "co2net", "paper"),
    ("edce_delu", "delu", "released"),
    ("edce_ddgnet", "ddgnet", "paper"),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("case", "baseline", "preset"), CASES)
def test_table(case, baseline, preset, outcomes, results):
    outcome, expected = outcomes(baseline, preset), results[case]
    assert len(outcome.ground_truth) == expected["n_ground_truth"]
    assert len(outcome.proposals) == expected["n_predictions"]
    names = outcome.video_names
    per_video = np.bincount(outcome.proposals.video, minlength=len(names))
    for name, count in expected["predictions_per_video"].items():
        assert per_video[names.index(name)] == count, name
    table = outcome.table
    np.testing.assert_allclose(table.map, expected["mAP"], rtol=0, atol=EXACT)
    np.testing.assert_allclose(table.class_ap, expected["AP_per_class"], rtol=0, atol=EXACT)
    assert table.averages["0.1:0.7"] == pytest.approx(expected["mAP_avg_0_1_to_0_7"], abs=EXACT)
    assert 100 * table.classification_map == pytest.approx(expected["classification_mAP_percent"], abs=1e-4)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("baseline", ["co2net", "delu", "ddgnet"])
def test_every_prediction(baseline, outcomes, specs, golden):
    outcome = outcomes(baseline, "paper")
    with np.load(golden / "e2e" / f"predictions_{baseline}.npz") as file:
        theirs = {name: file[name].astype(float) for name in file}
    names = specs[baseline]["video_names"]
    ours = {
        "video": np.array([names.index(outcome.video_names[row]) for row in outcome.proposals.video], float),
        **{name: getattr(outcome.proposals, name).astype(float) for name in ("start", "end", "label", "score")},
    }
    order = [np.lexsort((-r["score"], r["end"], r["start"], r["label"], r["video"])) for r in (ours, theirs)]
    for name in ("video", "label", "start", "end"):
        np.testing.assert_array_equal(ours[name][order[0]], theirs[name][order[1]])
    # The published network rounds otherwise (float32), and the logits reach 20: 1e-4 of a score.
    np.testing.assert_allclose(ours["score"][order[0]], theirs["score"][order[1]], rtol=1e-4, atol=1e-4)


def test_the_published_frame_rate_is_used(stores):
    assert stores("ddgnet").snippets_per_second == 25 / 16  # the files' own extracted_fps.npy says 10


def test_the_left_out_videos_have_no_prediction_but_count(outcomes):
    outcome = outcomes("ddgnet", "paper")
    row = outcome.video_names.index("video_test_0000270")
    assert not (outcome.proposals.video == row).any()
    assert (outcome.ground_truth.video == row).any()
