"""Proposals are those of the published code: the same segments, scores to 1e-5, on seeded outputs and edge cases."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import evaluation_rule
import numpy as np
import pytest

from dce_ray.config import EvaluationConfig
from dce_ray.localize import drop_ambiguous, observe, propose, propose_videos, to_snippets
from dce_ray.localize.proposals import class_scores
from dce_ray.records import Proposals

BASELINES = {"co2net": 10, "delu": 20, "ddgnet": 10}


@pytest.fixture(scope="module")
def numbers(golden: Path) -> dict:
    return json.loads((golden / "proposals.json").read_text())


@pytest.fixture(scope="module")
def arrays(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "proposals.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def outputs(numbers, arrays) -> list[tuple[np.ndarray, np.ndarray]]:
    made = [evaluation_rule.video(numbers["seed"], v["index"], v["T"], v["C"]) for v in numbers["videos"]]
    for (logits, attention), check in zip(made, numbers["input_checks"], strict=True):
        assert zlib.crc32(logits.tobytes()) == check["cas_crc32"]
        assert zlib.crc32(attention.tobytes()) == check["attn_crc32"]
    edges = range(len(numbers["edge_cases"]))
    return made + [(arrays[f"edge_{k}_cas"], arrays[f"edge_{k}_attn"][:, 0]) for k in edges]


@pytest.fixture(scope="module")
def ambiguous(numbers, real_annotations: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = [item["name"] for item in (*numbers["videos"], *numbers["edge_cases"])]
    text = (real_annotations / "Thumos14reduced-Annotations" / "Ambiguous_test.txt").read_text()
    rows = [line.split() for line in text.splitlines() if line.split() and line.split()[0] in names]
    video = np.array([names.index(name) for name, _, _ in rows])
    start, end = (to_snippets(np.array([float(row[column]) for row in rows]), 25 / 16) for column in (1, 2))
    return video, start, end


def sorted_rows(rows: Proposals) -> Proposals:
    return rows.select(np.lexsort((-rows.score, rows.end, rows.start, rows.label, rows.video)))


@pytest.mark.parametrize("baseline", BASELINES)
def test_rows_and_scores(baseline, outputs, numbers, arrays, ambiguous):
    found = propose_videos(outputs, EvaluationConfig(proposal_thresholds=BASELINES[baseline]))
    counts = np.bincount(found.video, minlength=len(outputs)).tolist()
    assert counts == numbers["rows_per_entry_without_ambiguous_filter"][baseline]
    ours = sorted_rows(drop_ambiguous(found, *ambiguous))
    names = {"video": "entry", "start": "start", "end": "end", "label": "label", "score": "score"}
    theirs = sorted_rows(Proposals(**{name: arrays[f"{baseline}_{key}"].astype(float) for name, key in names.items()}))
    assert np.bincount(ours.video, minlength=len(outputs)).tolist() == numbers["rows_per_entry"][baseline]
    for name in ("video", "label", "start", "end"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_allclose(ours.score, theirs.score, rtol=0, atol=1e-5)


def test_class_scores(outputs, arrays, numbers):
    videos = outputs[: len(numbers["videos"])]
    ours = [
        class_scores(np.ascontiguousarray((logits * attention[:, None]).T), max(1, len(attention) // 10))
        for logits, attention in videos
    ]
    np.testing.assert_allclose(np.concatenate(ours), arrays["video_scores"], rtol=0, atol=1e-6)


def test_one_video_at_a_time_is_bitwise_the_same(outputs):
    config = EvaluationConfig(proposal_thresholds=20)
    together = propose_videos(outputs, config)
    for video, (logits, attention) in enumerate(outputs):
        alone, rows = propose(logits, attention, config), together.select(together.video == video)
        for name in ("start", "end", "label", "score"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(rows, name))


def test_no_class_reaches_the_threshold(outputs, numbers):
    assert "argmax" in numbers["edge_cases"][7]["note"]
    seen = observe(*outputs[len(numbers["videos"]) + 7], EvaluationConfig())
    assert len(seen.classes) == 1
    assert seen.class_scores[0] < 0.2
