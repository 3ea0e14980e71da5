"""Detections in the ActivityNet format, read and scored by an independent reader of that format."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dce_ray.errors import EvaluationError, OutputError
from dce_ray.evaluation import detection_ap, export_detections, mean_ap, read_detections
from dce_ray.records import GroundTruth, Proposals

RATE = 50 / 16
VIDEOS, CLASSES = ("a", "b", "c", "empty"), ("run", "jump")


def sample() -> tuple[Proposals, GroundTruth]:
    random = np.random.default_rng(3)
    video, start, label = random.integers(0, 3, 30), random.integers(0, 60, 30).astype(float), random.integers(0, 2, 30)
    truth = GroundTruth(video, start, start + random.integers(2, 9, 30), label, VIDEOS, CLASSES)
    rows = random.integers(0, 30, 120)
    begin = truth.start[rows] + random.integers(-2, 3, 120)
    end = np.maximum(begin + 1, truth.end[rows] + random.integers(-2, 3, 120))
    score = random.permutation(120) / 7.0
    return Proposals(truth.video[rows], begin, end, truth.label[rows], score), truth


def score_file(path, database: dict, level: float) -> float:
    """mAP of a detections file: plain Python over the file format, knowing nothing of this project."""
    results = json.loads(path.read_text())["results"]
    labels = {item["label"] for entry in database.values() for item in entry["annotations"]}
    total = 0.0
    for label in labels:
        wanted = {
            name: [item["segment"] for item in entry["annotations"] if item["label"] == label]
            for name, entry in database.items()
        }
        hits = [
            (hit["score"], name, hit["segment"])
            for name, all_ in results.items()
            for hit in all_
            if hit["label"] == label
        ]
        used, flags = set(), []
        for _, name, (s, e) in sorted(hits, reverse=True):
            best, which = level, None
            for number, (ts, te) in enumerate(wanted[name]):
                shared = max(0.0, min(e, te) - max(s, ts))
                tiou = shared / ((e - s) + (te - ts) - shared)
                if tiou >= best - 1e-9 and (name, number) not in used:
                    best, which = tiou, (name, number)
            used.add(which)
            flags.append(which is not None)
        precision = np.cumsum(flags) / np.arange(1, len(flags) + 1)
        envelope = [precision[n:].max() for n in range(len(flags))]
        total += sum(p for p, flag in zip(envelope, flags, strict=True) if flag) / sum(map(len, wanted.values()))
    return total / len(labels)


def database_of(truth: GroundTruth) -> dict:
    entries: dict = {name: {"annotations": []} for name in VIDEOS}
    for v, s, e, c in zip(truth.video, truth.start, truth.end, truth.label, strict=True):
        entries[VIDEOS[v]]["annotations"].append({"label": CLASSES[c], "segment": [s / RATE, e / RATE]})
    return entries


@pytest.mark.parametrize("level", [0.3, 0.5, 0.7])
def test_an_independent_reader_scores_the_same(tmp_path, level):
    proposals, truth = sample()
    export_detections(tmp_path / "d.json", proposals, VIDEOS, CLASSES, RATE)
    ours = mean_ap(detection_ap(proposals, truth, [level]))[0]
    assert 0.1 < ours < 0.95
    assert score_file(tmp_path / "d.json", database_of(truth), level) == pytest.approx(ours, abs=1e-9)


def test_the_format(tmp_path):
    proposals, _ = sample()
    export_detections(tmp_path / "new" / "d.json", proposals, VIDEOS, CLASSES, RATE)
    content = json.loads((tmp_path / "new" / "d.json").read_text())
    assert set(content) == {"version", "results", "external_data"}
    assert set(content["results"]) == set(VIDEOS)
    assert content["results"]["empty"] == []
    scores = [hit["score"] for hit in content["results"]["a"]]
    assert scores == sorted(scores, reverse=True)
    best = int(np.where(proposals.video == 0, proposals.score, -1).argmax())
    first = content["results"]["a"][0]
    assert first["segment"] == [proposals.start[best] / RATE, proposals.end[best] / RATE]
    assert first["label"] == CLASSES[proposals.label[best]]


def test_reading_back(tmp_path):
    proposals, _ = sample()
    export_detections(tmp_path / "d.json", proposals, VIDEOS, CLASSES, RATE)
    back = read_detections(tmp_path / "d.json", VIDEOS, CLASSES, RATE)
    order, theirs = np.argsort(-proposals.score), np.argsort(-back.score)
    np.testing.assert_allclose(back.start[theirs], proposals.start[order])
    np.testing.assert_array_equal(back.label[theirs], proposals.label[order])
    np.testing.assert_array_equal(back.video[theirs], proposals.video[order])
    empty = tmp_path / "e.json"
    export_detections(empty, Proposals.empty(), VIDEOS, CLASSES, RATE)
    assert len(read_detections(empty, VIDEOS, CLASSES, RATE)) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"results": {"d": []}}', "unknown video 'd'.*1 videos are not in the ground truth"),
        ('{"results": {"a": [{"label": "jumpp", "score": 1, "segment": [0, 1]}]}}', "did you mean jump"),
        ('{"results": {"a": [{"label": "jump", "score": 1}]}}', "not detections in the ActivityNet format"),
        ('{"results": {"a": [{"label": "jump", "score": 1, "segment": [0, 1, 2]}]}}', "not detections"),
        ('{"results": []}', "not detections"),
        ("{", "not detections"),
    ],
)
def test_foreign_files(tmp_path, content, message):
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(EvaluationError, match=message):
        read_detections(tmp_path / "d.json", VIDEOS, CLASSES, RATE)


def test_a_nan_in_a_file_is_refused_when_scored(tmp_path):
    (tmp_path / "d.json").write_text('{"results": {"a": [{"label": "jump", "score": NaN, "segment": [0, 1]}]}}')
    rows = read_detections(tmp_path / "d.json", VIDEOS, CLASSES, RATE)
    with pytest.raises(EvaluationError, match="NaN"):
        detection_ap(rows, sample()[1], [0.5])


def test_missing_and_unwritable_files(tmp_path):
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_detections(tmp_path / "none.json", VIDEOS, CLASSES, RATE)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        export_detections(tmp_path / "file" / "d.json", Proposals.empty(), VIDEOS, CLASSES, RATE)
