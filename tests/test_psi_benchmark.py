"""The benchmark of Psi against the generator's record: its line by hand, and a run of it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import psi
from benchmarks.psi import Marked, marked, trained
from dce_ray.data.context import ACTION, BACKGROUND, MOTION_CONTEXT, VISUAL_CONTEXT, load_context
from dce_ray.data.levels import LevelDraw
from dce_ray.store import open_store


def test_the_line_by_hand():
    kinds = np.array([VISUAL_CONTEXT, MOTION_CONTEXT, ACTION, ACTION, BACKGROUND], np.int8)
    marks = np.array([1, 0, 1, 0, 0], np.float32)
    line = Marked(marks, np.full(5, 0.75, np.float32), np.arange(5, dtype=np.float32), kinds).line().split()
    assert line[:5] == ["0.400", "0.50", "0.50", "0.500", "0.40"]  # share, precision, recall, of action, context
    assert line[5:] == [
        *("background", "0.75/4.00,", "visual_context", "0.75/0.00,"),
        *("motion_context", "0.75/1.00,", "action", "0.75/2.50"),
    ]


def test_it_runs_and_repeats(capsys):
    asked = ["size=tiny", "iterations=4", "levels=none,strong", "deltas=0.0,0.9"]
    found = []
    for _ in range(2):
        psi.main(asked)
        lines = capsys.readouterr().out.splitlines()
        found.append([line.split() for line in lines if line.split()[0] in ("none", "strong")])
    assert found[0] == found[1]
    assert [(line[0], *line[2:4]) for line in found[0]] == [
        (level, delta, dropout) for level in ("none", "strong") for delta in ("0.0", "0.9") for dropout in ("on", "off")
    ]
    share = {(line[0], *line[2:4]): float(line[4]) for line in found[0]}
    for level in ("none", "strong"):
        assert 0.5 < share[level, "0.0", "on"] <= 1  # nearly everything: dropout lets the streams differ
        assert share[level, "0.9", "on"] < share[level, "0.0", "on"]  # a higher delta marks less
        assert share[level, "0.9", "off"] == 0  # after four steps the streams agree
    assert {line[8] for line in found[0][:4]} == {"0.00"}  # no context at this level
    assert all(0.2 < float(line[8]) < 0.6 for line in found[0][4:])


@pytest.mark.parametrize("dropout", [True, False])
def test_only_train_videos_are_looked_at(dropout, tmp_path):
    place = LevelDraw("tiny", "strong", 1).ensure(tmp_path)
    store = open_store(place)
    train = np.asarray(store.subsets) == "train"
    run = trained(place, "delu", 0.5, 2)
    found = marked(run, place, dropout=dropout)
    assert run.network.training == dropout
    kinds = load_context(place).kinds[: int(store.lengths[train].sum())]  # train videos come first
    assert (found.kinds == kinds).all()
    assert found.psi.shape == found.rgb.shape == found.flow.shape == kinds.shape
    ratio = np.abs(found.rgb - found.flow) / (found.rgb + found.flow + 1e-8)
    assert ((ratio > 0.5) == (found.psi == 1)).all()


def test_unknown_options_are_refused():
    with pytest.raises(SystemExit, match="unknown: detlas; known: baseline"):
        psi.main(["detlas=0.5"])
