"""``python -m dce_ray.evaluate``: ours and published weights, tables, detections, pictures, and mistakes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dce_ray import evaluate as command
from dce_ray.config import MethodConfig
from dce_ray.errors import CheckpointError, ConfigError, DceError, EvaluationError
from dce_ray.evaluation import MapTable, VideoOutputs
from dce_ray.method import Intervention
from dce_ray.presets import run_config
from dce_ray.records import GroundTruth, Proposals
from dce_ray.store import open_store
from dce_ray.timeline import Timeline, best_apart, draw_timelines, timeline_of, timelines_figure
from dce_ray.train import Run
from tests.train.former import write_former_checkpoint

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def trained(tiny_store, tmp_path_factory) -> Path:
    quick = {"sampling": {"segments": 24, "batch": 6, "pairs": 2}, "device": "cpu", "training": {"iterations": 5}}
    run = Run(run_config("delu", tiny_store, data_set="synthetic", overrides=quick))
    run.advance(5)
    folder = tmp_path_factory.mktemp("run")
    run.save(folder / "best.pt")
    torch.save(run.network.state_dict(), folder / "published.pkl")
    (folder / "table.json").write_text(json.dumps(run.evaluate("test").table.to_mapping()))
    return folder


def test_our_checkpoint_gives_the_runs_own_table(trained, tmp_path, capsys):
    assert command.main([f"checkpoint={trained / 'best.pt'}", "device=cpu", f"table={tmp_path / 't.json'}"]) == 0
    ours = MapTable.from_mapping(json.loads((tmp_path / "t.json").read_text()))
    expected = MapTable.from_mapping(json.loads((trained / "table.json").read_text()))
    np.testing.assert_array_equal(ours.class_ap, expected.class_ap)
    assert "iteration 5 on synthetic" in capsys.readouterr().out


def test_a_checkpoint_of_before_there_were_folds_gives_the_same_table(trained, tmp_path):
    former = tmp_path / "former.pt"
    write_former_checkpoint(trained / "best.pt", former)
    assert command.main([f"checkpoint={former}", "device=cpu", f"table={tmp_path / 't.json'}"]) == 0
    ours = MapTable.from_mapping(json.loads((tmp_path / "t.json").read_text()))
    expected = MapTable.from_mapping(json.loads((trained / "table.json").read_text()))
    np.testing.assert_array_equal(ours.class_ap, expected.class_ap)
    with pytest.raises(EvaluationError, match=r"split=holdout: .* cannot be told any more; use split=test"):
        command.main([f"checkpoint={former}", "device=cpu", "split=holdout"])


def test_the_holdout_of_a_checkpoint_is_its_runs_own(trained, capsys):
    assert command.main([f"checkpoint={trained / 'best.pt'}", "device=cpu", "split=holdout"]) == 0
    assert "3 videos" in capsys.readouterr().out  # of 12: folds of 3, 3, 2, 2 and 2


def test_published_weights_give_the_same_numbers(trained, tiny_store, tmp_path):
    base = ["device=cpu", "evaluation.proposal_thresholds=7", "per_class=on"]
    for name, extra in (("best.pt", []), ("published.pkl", ["baseline=delu", f"data={tiny_store}"])):
        command.main([f"checkpoint={trained / name}", f"table={tmp_path / name}.csv", *base, *extra])
    rows = [list(csv.reader((tmp_path / f"{name}.csv").open())) for name in ("best.pt", "published.pkl")]
    assert rows[0] == rows[1]
    assert len(rows[0]) > 2


def test_detections_and_pictures(trained, tiny_store, tmp_path):
    store = open_store(tiny_store)
    names = [name for name, subset in zip(store.video_names, store.subsets, strict=True) if subset == "test"][:2]
    for figure in ("t.png", "t.svg"):
        arguments = [
            f"timeline=[{','.join(names)}]",
            f"figure={tmp_path / figure}",
            f"detections={tmp_path / 'd.json'}",
        ]
        command.main([f"checkpoint={trained / 'best.pt'}", "device=cpu", *arguments])
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "t.svg").read_text().startswith("<?xml")
    assert names[0] in json.loads((tmp_path / "d.json").read_text())["results"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([], ConfigError, "checkpoint: missing"),
        (["checkpoint=none.pt"], CheckpointError, "no such checkpoint"),
        (["checkpoint={best}", "splt=test"], ConfigError, "did you mean split"),
        (["checkpoint={best}", "split=train"], ConfigError, "unknown split"),
        (["checkpoint={best}", "table=t.xls"], ConfigError, "table=t.xls"),
        (["checkpoint={best}", "timeline=nobody"], ConfigError, "unknown video 'nobody'"),
        (["checkpoint={best}", "baseline=co2net"], CheckpointError, "holds delu"),
        (["checkpoint={best}", "evaluation.min_length=0"], ConfigError, "evaluation.min_length=0"),
        (["checkpoint={published}"], ConfigError, "also needs baseline= and data="),
        (["checkpoint={published}", "baseline=ddgnet", "data={data}"], CheckpointError, "missing"),
    ],
)
def test_mistakes(trained, tiny_store, arguments, error, message):
    places = {"best": trained / "best.pt", "published": trained / "published.pkl", "data": tiny_store}
    with pytest.raises(error, match=message):
        command.main([argument.format(**places) for argument in arguments])


def test_a_damaged_checkpoint_is_named(trained, tiny_store, tmp_path):
    (tmp_path / "half.pt").write_bytes((trained / "best.pt").read_bytes()[:2000])
    with pytest.raises(DceError, match=r"half\.pt"):
        command.main([f"checkpoint={tmp_path / 'half.pt'}", "baseline=delu", f"data={tiny_store}"])


def test_as_a_process():
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "dce_ray.evaluate", *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)

    assert "checkpoint=<file>" in run("--help").stdout
    wrong = run("checkpoint=none.pt")
    assert wrong.returncode == 2
    assert wrong.stderr.strip() == "CheckpointError: none.pt: no such checkpoint"


def test_the_timeline_by_hand():
    logits, rgb = np.zeros((4, 3), np.float32), np.array([0.9, 0.9, 0.1, 0.1], np.float32)
    outputs = VideoOutputs(logits, rgb, np.array([0.1, 0.9, 0.1, 0.9], np.float32))
    truth = GroundTruth(np.array([1]), np.array([1.0]), np.array([3.0]), np.array([1]), ("a", "b"), ("run", "jump"))
    columns = ([1, 1, 1, 0], [0.0, 2, 1, 0], [2.0, 4, 3, 1], [0, 0, 0, 1], [0.5, 0.4, 0.9, 1])
    found = Proposals(*(np.array(column) for column in columns))
    intervention = Intervention.of(MethodConfig(delta=0.7))
    made = timeline_of(1, outputs, found, truth, snippets_per_second=2.0, intervention=intervention)
    assert made.title == "b"
    assert made.annotated == {"jump": [(0.5, 1.5, 1.0)]}
    assert made.detected == {"run": [(0.5, 1.5, 0.9)]}  # the best; the others overlap it
    assert made.psi.tolist() == [1.0, 0.0, 0.0, 1.0]
    assert best_apart(found.select(found.video == 1).select(np.array([0, 1])), 1.0) == [(0, 2, 0.5), (2, 4, 0.4)]


def made_timeline(psi):
    logits, rgb = np.zeros((4, 3), np.float32), np.array([0.9, 0.9, 0.1, 0.1], np.float32)
    return Timeline("b", 2.0, VideoOutputs(logits, rgb, rgb), np.array(psi, np.float32), {}, {"run": [(0.5, 1.5, 0.9)]})


def test_a_picture_explains_its_numbers_and_shows_no_psi_where_there_is_none():
    shown = [
        [text.get_text() for text in timelines_figure([made_timeline(psi)]).axes[1].get_legend().get_texts()]
        for psi in ([0, 1, 0, 0], [0, 0, 0, 0])
    ]
    assert shown[0] == ["Psi", "RGB attention", "FLOW attention"]
    assert shown[1] == ["no snippet in Psi", "RGB attention", "FLOW attention"]
    assert "rank of a detection" in timelines_figure([made_timeline([0, 1, 0, 0])]).axes[0].get_title(loc="right")


def test_the_pictures_of_two_videos_do_not_replace_each_other(trained, tiny_store, tmp_path, monkeypatch, caplog):
    store = open_store(tiny_store)
    names = [name for name, subset in zip(store.video_names, store.subsets, strict=True) if subset == "test"][:2]
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    for name in names:
        command.main([f"checkpoint={trained / 'best.pt'}", "device=cpu", f"timeline={name}"])
        assert f"1 timeline drawn to timeline-{name}.png" in caplog.text
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(f"timeline-{name}.png" for name in names)


def test_nothing_to_draw(tmp_path):
    with pytest.raises(EvaluationError, match="of 0 videos"):
        draw_timelines([], tmp_path / "t.png")
