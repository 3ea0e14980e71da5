"""Detection and classification mAP are the published numbers, on the real annotations of both data sets."""

from __future__ import annotations

import json
from pathlib import Path

import evaluation_rule
import numpy as np
import pytest

from dce_ray.evaluation import classification_ap, detection_ap, mean_ap
from dce_ray.localize import to_snippets
from dce_ray.records import GroundTruth, Proposals

EXACT = 1e-9


@pytest.fixture(scope="module")
def numbers(golden: Path) -> dict:
    return json.loads((golden / "detection.json").read_text())


@pytest.fixture(scope="module")
def load(golden: Path):
    def read(name: str, suffix: str = "") -> tuple[Proposals, GroundTruth]:
        with np.load(golden / f"detection_{name}.npz") as file:
            a = dict(file)
        video, label = a["gt_video"].astype(np.int64), a["gt_label"].astype(np.int64)
        start, end = a["gt_start"].astype(float), a["gt_end"].astype(float)
        np.testing.assert_array_equal(to_snippets(a["gt_start_seconds"], 25 / 16), start)
        np.testing.assert_array_equal(to_snippets(a["gt_end_seconds"], 25 / 16), end)
        truth = GroundTruth(video, start, end, label, tuple(a["video_names"]), tuple(a["class_names"]))
        found = Proposals(
            a["pred_video"].astype(np.int64),
            a[f"pred_start{suffix}"].astype(float),
            a[f"pred_end{suffix}"].astype(float),
            a["pred_label"].astype(np.int64),
            a["pred_score"].astype(float),
        )
        return found, truth

    return read


@pytest.mark.parametrize("name", ["thumos14", "activitynet12"])
def test_every_threshold_and_class(name, load, numbers):
    ap = detection_ap(*load(name), numbers["iou"][name])
    np.testing.assert_allclose(ap, numbers[name]["AP_per_class"], rtol=0, atol=EXACT)
    np.testing.assert_allclose(mean_ap(ap), numbers[name]["mAP"], rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", ["thumos14", "activitynet12"])
def test_the_order_of_the_rows_does_not_matter_without_ties(name, load, numbers):
    found, truth = load(name)
    shuffled = found.select(np.random.default_rng(1).permutation(len(found)))
    levels = numbers["iou"][name]
    np.testing.assert_array_equal(detection_ap(shuffled, truth, levels), detection_ap(found, truth, levels))


def test_tied_tious_follow_the_stable_reversed_order(load, numbers):
    ap = detection_ap(*load("thumos14", "_int"), numbers["iou"]["thumos14"])
    expected = numbers["thumos14_integer"]
    rule = expected["own_code_stable_argsort_reversed"]
    np.testing.assert_allclose(ap, rule["AP_per_class"], rtol=0, atol=EXACT)
    np.testing.assert_allclose(mean_ap(ap), expected["mAP_this_platform"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(ap, expected["AP_per_class_this_platform"], rtol=0, atol=1e-2)


def test_a_class_without_predictions_counts_as_zero(load, numbers):
    found, truth = load("thumos14")
    expected = numbers["thumos14_class_without_predictions"]
    ap = detection_ap(found.select(found.label != expected["dropped_class"]), truth, numbers["iou"]["thumos14"])
    assert (ap[:, expected["dropped_class"]] == 0).all()
    np.testing.assert_allclose(mean_ap(ap), expected["mAP"], rtol=0, atol=EXACT)


def test_ground_truth_as_prediction(load, numbers):
    _, truth = load("thumos14")
    itself = Proposals(truth.video, truth.start, truth.end, truth.label, np.linspace(1, 0, len(truth)))
    nonzero = truth.end > truth.start
    expected = numbers["thumos14_ground_truth_as_prediction_nonzero_length_only"]
    assert nonzero.sum() == expected["n"]
    levels = numbers["iou"]["thumos14"]
    ap = mean_ap(detection_ap(itself.select(nonzero), truth, levels))
    np.testing.assert_allclose(ap, expected["mAP"], rtol=0, atol=EXACT)
    # Our rule: an empty segment matches nothing. The published 1.0 counts 0 / 0 as a match.
    assert (mean_ap(detection_ap(itself, truth, levels)) < 1).all()


def test_equal_scores_stay_inside_what_tie_breaking_can_do(golden, load, numbers):
    _, truth = load("thumos14")
    with np.load(golden / "detection_ties.npz") as file:
        a = dict(file)
    names = {name: row for row, name in enumerate(truth.video_names)}
    rows = np.array([names[name] for name in a["video_names"]])[a["pred_video"]]
    columns = (a[f"pred_{name}"].astype(float) for name in ("start", "end"))
    found = Proposals(rows, *columns, a["pred_label"].astype(np.int64), a["pred_score"].astype(float))
    ap = detection_ap(found, truth, numbers["ties"]["iou"])
    for label, expected in numbers["ties"]["classes"].items():
        ours = ap[:, int(label)]
        assert (ours >= np.array(expected["AP_min_over_random_tie_breaks"]) - EXACT).all()
        assert (ours <= np.array(expected["AP_max_over_random_tie_breaks"]) + EXACT).all()
        stable = expected["AP_stable_descending_by_unique_scores"]
        np.testing.assert_allclose(ours, stable, rtol=0, atol=EXACT)


@pytest.mark.parametrize(("videos", "classes"), [(212, 20), (500, 100)])
def test_classification(golden, videos, classes):
    numbers = json.loads((golden / "classification.json").read_text())
    expected = numbers[f"{videos}x{classes}"]
    scores, labels = evaluation_rule.classification(numbers["seed"], videos, classes)
    assert scores.sum(dtype=np.float64) == pytest.approx(expected["conf_sum"], rel=1e-6)
    ap = classification_ap(scores, labels)
    np.testing.assert_allclose(ap, expected["AP_per_class"], rtol=0, atol=1e-6)
    assert 100 * ap.mean() == pytest.approx(expected["mAP_percent"], abs=1e-4)
