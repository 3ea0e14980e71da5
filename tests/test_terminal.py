"""What stands on a terminal and off one: colours or none, lines in place of bars, the presets, a limit's remedy."""

from __future__ import annotations

import io
import re
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dce_ray.baselines import BASELINES
from dce_ray.baselines.delu import DELU
from dce_ray.config import SCALARS
from dce_ray.errors import SearchError
from dce_ray.experiment.record import RunRecord
from dce_ray.presets import presets_line, run_config
from dce_ray.search import display as search_display
from dce_ray.search.advice import seeds_note
from dce_ray.search.display import Display
from dce_ray.session.ray_session import ray_session
from dce_ray.store.__main__ import shown_progress
from dce_ray.train import display as train_display

COLOUR = re.compile(r"\x1b\[[\d;]*\b(3[0-8]|4[0-8]|9[0-7]|10[0-7])\b[\d;]*m")
RECORD = RunRecord("k", "trial", "trial 0", 0, "running", {"scs": False, "mcm": False, "method": {}, "training": {}}, 0)


class Terminal(io.StringIO):
    """Takes what is printed and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def fake_run(iteration: int = 40) -> SimpleNamespace:
    """What a display reads of a run."""
    return SimpleNamespace(
        iteration=iteration,
        last_iteration=100,
        device="cpu",
        best=None,
        finished=iteration == 100,
        caption=lambda what: f"delu {what}",
    )


def shown_by_everything(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    """A run's bar, an import's and a search's table."""
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with train_display.RunDisplay(run := fake_run(), Path("one")) as shown:
        run.iteration = 60
        shown.update({"loss/total": 1.5})
    with shown_progress() as show:
        show("features", 1, 2)
    display = Display("search", 4, 10, stream=stream)
    with display.shown():
        display.started(RECORD)
    return stream.getvalue()


@pytest.mark.parametrize("no_color", [False, True])
def test_no_color_is_respected(monkeypatch, no_color):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    text = shown_by_everything(monkeypatch, Terminal())
    assert "loss 1.500" in text
    assert bool(COLOUR.search(text)) == (not no_color)


def test_off_a_terminal_lines_say_what_runs_without_any_control(monkeypatch):
    stream = io.StringIO()
    text = shown_by_everything(monkeypatch, stream)
    assert re.sub(r"\d+ s left", "0 s left", text).splitlines() == [
        "delu training, on cpu -> one",
        "60/100  0 s left  loss 1.500",
        "features: 50%",
        "search: the first run has started (trial 0); scores are mAP in percent",
    ]
    display = Display("search", 4, 10, stream=stream)
    display.started(RECORD)
    display.scored(RECORD, 3, None)
    assert "running:" not in stream.getvalue(), "not before a minute without a line"
    later = time.monotonic() + 61
    monkeypatch.setattr(search_display.time, "monotonic", lambda: later)
    display.scored(RECORD, 4, None)
    assert stream.getvalue().splitlines()[-1].startswith("[0/4] running: trial 0 4/10; 1.0 min")


def test_a_run_s_lines_come_every_few_seconds_and_at_its_end(monkeypatch):
    now = iter([100.0, *(100.0 + second for second in range(1, 10))])
    monkeypatch.setattr(train_display.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    shown = train_display.RunDisplay(run := fake_run(10), Path("one"))
    for run.iteration in (20, 30, 40, 50, 60, 70, 80):
        shown.update({})
    run.iteration, run.finished = 100, True
    shown.update({})
    told = [line.split()[0] for line in stream.getvalue().splitlines()[1:]]
    assert told == ["20/100", "80/100", "100/100"]


@pytest.mark.parametrize(
    ("data_set", "begins"),
    [
        (
            "thumos14",
            "presets: thumos14's schedule, paper scalars of delu on thumos14; 5000 iterations",
        ),
        ("default", "presets: THUMOS14's schedule, for want of one for this data, paper scalars of delu"),
    ],
)
def test_the_presets_line_says_whose_values_a_run_starts_from(data_set, begins):
    config = run_config("delu", "store", data_set=data_set)
    assert presets_line(config, data_set).startswith(begins)
    changed = run_config("delu", "store", data_set=data_set, overrides={"training": {"iterations": 77}})
    assert "; with your changes 77 iterations at learning rate" in presets_line(changed, data_set)
    assert "evaluated once, at the end" not in presets_line(changed, data_set)
    rarely = run_config("delu", "store", data_set=data_set, overrides={"training": {"eval_every": 7777}})
    assert presets_line(rarely, data_set).endswith("; evaluated once, at the end, for training.eval_every is longer")
    released = run_config("delu", "store", data_set=data_set, preset="released")
    assert "with your changes" not in presets_line(released, data_set)


def test_the_presets_line_says_whose_the_scalars_are():
    config = run_config("delu", "store", data_set="thumos14")
    best = dict.fromkeys(SCALARS, "best.yaml")
    assert "schedule, scalars of best.yaml; 5000" in presets_line(config, "thumos14", best)
    assert ", scalars of best.yaml, but your delta; " in presets_line(config, "thumos14", best | {"delta": None})
    own = dict.fromkeys(SCALARS)
    assert "schedule, your scalars; 5000" in presets_line(config, "thumos14", own)
    some = {"theta_rep": "my.yaml", "beta": None}
    told = presets_line(config, "thumos14", some)
    assert ", paper scalars of delu on thumos14, but theta_rep of my.yaml and your beta; " in told


def test_the_presets_line_of_a_baseline_of_ones_own_says_that_nothing_is_published_for_it(monkeypatch):
    monkeypatch.setitem(BASELINES, "mine", replace(DELU, name="mine"))
    config = run_config("mine", "store", data_set="thumos14")
    assert "schedule, mine's own scalars (none are published for it); " in presets_line(config, "thumos14")
    assert "schedule, no published scalars of mine; " in presets_line(config, "thumos14", searched=True)


def test_a_limit_on_files_is_told_with_its_remedy_before_ray_starts(tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # by another test file of this process
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50 * 2**20, hard))
    try:
        with pytest.raises(SearchError) as refusal, ray_session(None, tmp_path / "log.txt"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "this shell's limit on files is 50 MiB; raise it: ulimit -f unlimited" in str(refusal.value)
    assert "ray status" not in str(refusal.value)


@pytest.mark.parametrize(
    ("seeds", "words"),
    [(0, None), (1, "gives no interval, so the verdict will be undecided"), (3, "itself chance"), (4, None)],
)
def test_few_seeds_are_warned_of_before_they_are_trained(seeds, words):
    note = seeds_note(seeds)
    assert (note is None) if words is None else (f"confirm.seeds={seeds}" in note and words in note)
