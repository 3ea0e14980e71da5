"""What a user sees of a running search, and the durations that a search understands."""

import os
import re
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from dce_ray.commandline import parse
from dce_ray.errors import ConfigError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.report.captions import holdout_note
from dce_ray.search import display as module
from dce_ray.search.__main__ import request_of
from dce_ray.search.display import Display, called
from dce_ray.search.next_steps import next_lines
from dce_ray.search.options import SearchOptions, seconds
from dce_ray.search.searching import searching
from dce_ray.search.settings import build_experiment
from dce_ray.search.stages import Search

SCALARS = {"delta": 0.5, "theta_rep": 0.9, "theta_pro": 0.6, "beta": 0.5, "gamma": 0.5, "lambda": 1.0}
CONFIG = {"scs": True, "mcm": True, "method": SCALARS}


@pytest.mark.parametrize(
    ("text", "expected"), [("45s", 45), ("90m", 5400), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800)]
)
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["90", "m", "1h 30m", "-5m", "", "1y"])
def test_wrong_durations(text):
    with pytest.raises(ConfigError, match="90m"):
        seconds(text)
    with pytest.raises(ConfigError, match="90m"):
        SearchOptions(time_budget=text)


def ended(number, state, value=None, **changes):
    values = {"role": "trial", "setting": f"trial {number}", "config": CONFIG, "seed": 0, "value": value} | changes
    return RunRecord(f"k{number}", number=number, state=state, iteration=9, **values)


def test_the_plain_baseline_has_one_name_in_every_stage():
    record = ended(0, "finished", 0.2, role="confirm", setting="baseline")
    assert called(record) == "confirm plain baseline, seed 0"
    assert called(ended(0, "finished", 0.2, role="plain", setting="baseline")) == "plain baseline"


def test_who_hears_when_nobody_reads_any_more():
    """``search | head``: the search is asked to end, all observers hear of every event, and the status is 141."""
    code = """
from dce_ray.commandline import command
from dce_ray.search.observers import Observer, Observers
heard = []
class Printing(Observer):
    def noted(self, text):
        print(text, flush=True)
class Hearing(Observer):
    def noted(self, text):
        heard.append(text)
def main(arguments):
    both = Observers([Printing(), Hearing()])
    both.unread = lambda: heard.append("asked to end")
    both.noted("one")
    both.noted("two")
    assert heard == ["asked to end", "one", "two"], heard
    return 130
command(main, "usage")
"""
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert ended.returncode == 141
    assert ended.stderr.count("nobody reads the output any more") == 1
    assert "Traceback" not in ended.stderr


def status_without_readers(code: str, argument: str) -> int:
    """Exit status of a program whose output and errors go into one pipe that nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, "-c", code, argument], stdout=write, stderr=write, check=False)
    os.close(write)
    return ended.returncode


@pytest.mark.parametrize("lost", ["both", "closed"])
def test_nobody_reads_what_stands_on_standard_error_either(lost):
    """``search 2>&1 | head``: asked to end all the same; ``search >&-``: there is nothing that anybody would read."""
    code = """
import sys
from dce_ray.commandline import command
from dce_ray.search.display import Display
from dce_ray.search.observers import Observers
asked = []
def main(arguments):
    display = Display("search", 4, 27, [])
    heard = Observers([display])
    heard.unread = lambda: asked.append(1)
    with display.shown():
        heard.noted("one")
        heard.noted("two")
    print("asked", len(asked), file=open(sys.argv[1], "w"))
    return 130
command(main, "usage")
"""
    with tempfile.NamedTemporaryFile() as told:
        if lost == "closed":
            shell = ["bash", "-c", f'{sys.executable} -c "$0" {told.name} >&-', code]
            ended = subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False)
            assert (ended.returncode, ended.stderr) == (130, "")
            assert Path(told.name).read_text() == "asked 0\n"
            return
        assert status_without_readers(code, told.name) == 141
        assert Path(told.name).read_text() == "asked 1\n"


def test_ctrl_c_that_ends_a_tee_too_is_a_tidy_stop():
    """``search 2>&1 | tee log``: the terminal's Ctrl-C ends both, and the line that says so finds nobody."""
    code = """
import os, signal, sys
from dce_ray.commandline import command
from dce_ray.interrupts import stop_on_signal
def main(arguments):
    asked = []
    with stop_on_signal(lambda: not asked and (asked.append(1) or True)):
        os.kill(os.getpid(), signal.SIGINT)
        assert asked == [1]
    with open(sys.argv[1], "w") as told:
        told.write("went on")
    print("stopped", flush=True)
    return 130
command(main, "usage")
"""
    with tempfile.NamedTemporaryFile() as told:
        assert status_without_readers(code, told.name) == 141
        assert Path(told.name).read_text() == "went on"


def test_plain_lines_one_per_event():
    stream = StringIO()
    display = Display("search", 4, 27, [ended(9, "finished", 0.2)], stream=stream)
    with display.shown():
        display.started(ended(0, "running"))
        display.scored(ended(0, "running"), 9, 0.2)
        display.ended(ended(0, "finished", 0.25, origin="paper"))
        display.ended(ended(1, "pruned", 0.1))
        display.ended(ended(2, "failed", error="NonFiniteError: too bad"))
    lines = stream.getvalue().splitlines()
    scalars = "delta=0.5 theta_rep=0.9 theta_pro=0.6 beta=0.5 gamma=0.5 lambda=1"
    assert lines == [
        "search: the first run has started (trial 0); scores are mAP in percent",
        f"[2/4] trial 0 (paper scalars) finished: 25.00 at iteration 9, best so far  {scalars}",
        f"[3/4] trial 1 pruned: best 10.00 at iteration 9  {scalars}",
        f"[4/4] trial 2 failed: NonFiniteError: too bad  {scalars}",
    ]


def test_live_table_names_what_runs_and_the_best():
    from rich.console import Console

    display = Display("search", 4, 27, [], stream=StringIO())
    display.ended(ended(0, "finished", 0.25))
    display.started(ended(1, "running"))
    display.scored(ended(1, "running"), 9, 0.1)
    stream = StringIO()
    Console(file=stream, width=120).print(display.table())
    text = stream.getvalue()
    for word in ("1 running", "1 finished", "score (%)", "9/27", "best: trial 0", "25.00", "per minute"):
        assert word in text


def test_best_so_far_counts_earlier_sessions():
    stream = StringIO()
    display = Display("search", 4, 27, [ended(0, "finished", 0.4), ended(1, "pruned", 0.9)], stream=stream)
    with display.shown():
        display.ended(ended(2, "finished", 0.3))
    assert "best so far" not in stream.getvalue()
    assert "best trial: trial 0 with 40.00, plain baseline not measured" in display.summary()


def test_the_plain_baseline_s_value_stands_beside_the_best():
    plain = ended(0, "finished", 0.33).replace(role="plain", setting="baseline")
    display = Display("search", 4, 27, [plain, ended(0, "finished", 0.4)], stream=StringIO())
    assert display.summary().endswith("; best trial: trial 0 with 40.00, plain baseline 33.00")
    fresh = Display("search", 4, 27, stream=StringIO())
    for record in (plain, ended(0, "finished", 0.4)):
        fresh.ended(record)
    assert fresh.summary().endswith("; best trial: trial 0 with 40.00, plain baseline 33.00")
    assert any("plain baseline" in str(cell) for cell in fresh.table().columns[0].cells)


def test_states_that_no_run_has_are_left_out_and_a_session_without_work_says_so():
    done = [ended(number, "finished", 0.4) for number in range(2)]
    assert (
        Display("search", 2, 27, done, stream=StringIO())
        .summary()
        .startswith("search: 2 finished of 2, all in earlier sessions")
    )
    assert "0 finished of 2, nothing was run in this session" in Display("search", 2, 27, stream=StringIO()).summary()
    display = Display("search", 3, 27, done, stream=StringIO())
    display.ended(ended(2, "failed", error="x"))
    assert display.summary().startswith("search: 2 finished, 1 failed of 3 in 0.0 min")


def test_a_search_by_classification_says_what_each_number_is():
    stream = StringIO()
    config = CONFIG | {"metric": "classification"}
    display = Display("search", 4, 27, stream=stream)
    display.ended(ended(0, "finished", 0.25, config=config))
    display.ended(ended(1, "finished", 0.1, config=config, role="confirm", setting="top1"))
    first, second = stream.getvalue().splitlines()
    assert "finished: 25.00 (classification mAP) at iteration 9" in first
    assert "finished: 10.00 (detection mAP) at iteration 9" in second
    assert "with 25.00 (classification mAP)" in display.summary()


def test_the_time_left_is_that_of_runs_whose_processes_are_there(monkeypatch):
    clock = SimpleNamespace(at=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.at))
    display = Display("search", 12, 100, stream=StringIO())

    def run(*numbers, seconds):
        for number in numbers:
            display.started(ended(number, "running", started=clock.at))
        began = clock.at
        clock.at += seconds
        for number in numbers:
            display.ended(ended(number, "finished", 0.2, started=began, ended=clock.at))

    assert display.rate() == "0.0 min"
    run(0, 1, seconds=50)
    assert display.rate() == "0.8 min, 2.4 per minute, about 4.2 min left"
    run(2, 3, seconds=10)
    assert display.rate() == "1.0 min, 4.0 per minute, about 40 s left", "eight runs of 10 s, two at once"
    display.started(ended(4, "running"))
    display.scored(ended(4, "running"), 50, 0.1)
    assert display.rate().endswith("about 38 s left"), "half of one is done"


@pytest.mark.parametrize(("budget", "words"), [(None, ""), ("1h30m", " search.time_budget=180m")])
def test_twice_the_runs_get_twice_the_time(tmp_path, budget, words):
    options = SearchOptions(num_runs=16, time_budget=budget)
    experiment = SimpleNamespace(settings=SimpleNamespace(search=options))
    *_, last = next_lines(experiment, ExperimentFolder(tmp_path))
    assert last.endswith(f" search.num_runs=32{words}")


@pytest.mark.parametrize(("policy", "best_run"), [("single", True), ("replicates", False)])
def test_the_best_run_leads_where_single_runs_decide_and_the_model_elsewhere(tmp_path, capsys, policy, best_run):
    experiment = build_experiment(request_of({"policy": policy}), "store", "default")
    folder = ExperimentFolder.create(tmp_path / "one", experiment.to_mapping(), {})
    display = Search(experiment, folder).display("search", 4, searching(experiment, folder))
    display.ended(ended(0, "finished", 0.33).replace(role="plain", setting="baseline"))
    display.ended(ended(1, "finished", 0.4))
    assert ("best so far" in capsys.readouterr().out) is best_run
    assert display.summary().endswith("; best trial: trial 1 with 40.00, plain baseline 33.00") is best_run


@pytest.mark.parametrize("data_set", ["default", "thumos14"])
def test_data_that_no_preset_knows_is_called_in_progress_as_its_results_lie(tmp_path, data_set):
    experiment = build_experiment(request_of({}), "store", data_set)
    folder = ExperimentFolder.create(tmp_path / "mine" / "delu" / "one", experiment.to_mapping(), {})
    called = {"default": "mine"}.get(data_set, data_set)
    assert Search(experiment, folder).display("search", 4).title == f"search delu on {called}, protocol=holdout"


@pytest.mark.parametrize("policy", ["single", "replicates"])
def test_the_key_that_a_small_holdout_is_told_is_one_that_the_search_takes(policy):
    note = holdout_note({"policy": policy, "holdout_videos": [4, 3]})
    (key,) = re.findall(r"\((\S+)=\)", note)
    words = [f"policy={policy}", f"{key}=2"]
    assert build_experiment(request_of(parse(words)), "store", "default").settings.search.folds == 2


def test_a_run_that_is_tried_again_counts_once():
    stream = StringIO()
    former = [ended(0, "failed", error="lost"), ended(1, "finished", 0.2)]
    display = Display("search", 2, 27, former, stream=stream)
    display.started(ended(0, "running"))
    assert display.before == 1, "what this session did not do is not counted as its pace"
    display.ended(ended(0, "finished", 0.3))
    assert "[2/2] trial 0 finished" in stream.getvalue()
    assert display.counts["failed"] == 0
