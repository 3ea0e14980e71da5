"""SIGKILL of driver, worker and whole process group, at random moments from the first fold to the last seed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import chain, pairwise
from pathlib import Path

import pytest

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.study import read_study

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
RUNS, READINGS = 15, 6
"""Runs of the search, and how often each is evaluated."""
REPLICATED_FROM = 12
"""Two plain runs and ten first points come before the first point that is replicated."""
ASKED = [
    *("training.iterations=60", "training.eval_every=10", "sampling.segments=24", "evaluation.proposal_thresholds=5"),
    *(f"search.num_runs={RUNS}", "search.folds=2", "confirm.top=1", "confirm.seeds=2", "confirm.max_seeds=3"),
    *("confirm.precision=0.01", "tracking=off", "ray.num_cpus=1", "baseline=delu", "name=one"),
]
"""One run at a time: what is proposed then depends on nothing but the runs that ended."""

SOON_S = 60.0
"""So soon a search whose Ray is dead has ended; 30 s on a quiet machine."""
MARK = "DCE_RAY_KILLED_SEARCH"
"""Variable of the environment by which a search's processes are found."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from dce_ray.data.synthetic import generate_synthetic

    return generate_synthetic(tmp_path_factory.mktemp("data") / "tiny", size="tiny", seed=0)


def start(results: Path, *words: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": "", MARK: str(results)}
    with (results / "out.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dce_ray.search", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def whole(results: Path, tiny: Path) -> list[str]:
    return [f"data={tiny}", f"results={results}", *ASKED]


def folder_in(results: Path) -> Path | None:
    found = list(results.glob("*/delu/one/config.json"))
    return found[0].parent if found else None


def progress(results: Path) -> int:
    """Lines that all runs have written: it grows while anything trains."""
    return sum(len(path.read_bytes().splitlines()) for path in results.glob("*/delu/one/*/*/progress.jsonl"))


def processes(mark: str) -> list[tuple[int, bytes]]:
    """Processes of a search and their titles, Ray's included: they inherit its environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((int(entry.name), (entry / "cmdline").read_bytes()))
        except OSError:
            continue  # it has just ended
    return found


def worker_of(mark: str) -> int | None:
    """The process that trains, by the title that Ray gives its actors."""
    return next((pid for pid, title in processes(mark) if title.startswith(b"ray::DeluTrainable")), None)


def end_all(mark: str) -> None:
    """What is left of a killed driver's search."""
    for pid, _ in processes(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def told(folder: ExperimentFolder) -> list[tuple]:
    return [
        (trial.number, trial.state.name, trial.value, trial.user_attrs["point"], trial.user_attrs["fold"], trial.params)
        for trial in read_study(folder.study).trials
    ]


def test_nothing_is_lost_or_doubled_whatever_is_killed_and_when(tiny, tmp_path):
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    calm.mkdir()
    wild.mkdir()
    chance = random.Random(20261124)
    assert start(calm, *whole(calm, tiny)).wait(timeout=600) == 0, (calm / "out.txt").read_text()
    expected = ExperimentFolder.open(folder_in(calm))
    assert len({trial[3] for trial in told(expected)}) < RUNS - 1, "a point is replicated"
    ends = [1, READINGS * REPLICATED_FROM, READINGS * RUNS, progress(calm)]
    moments = [sorted(chance.sample(range(first, end), 2)) for first, end in pairwise(ends)]
    killed = []
    process = start(wild, *whole(wild, tiny))
    for number, moment in enumerate(chain(*moments)):  # two among the folds, the replicates, the confirmation
        what = ("driver", "worker", "group")[number % 3]
        while progress(wild) < moment and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is not None:
            break  # it was done before the moment came
        if what == "worker":
            while (worker := worker_of(str(wild))) is None and process.poll() is None:
                time.sleep(0.02)  # between two stages
            assert worker is not None, (wild / "out.txt").read_text()
            os.kill(worker, signal.SIGKILL)
            killed.append(what)
            continue  # the search goes on by itself
        if what == "driver":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        killed.append(what)
        process.wait()
        end_all(str(wild))
        process = start(wild, f"resume={folder_in(wild)}")
    assert process.wait(timeout=600) == 0, (wild / "out.txt").read_text()
    assert {"driver", "worker", "group"} <= set(killed), (killed, (wild / "out.txt").read_text())

    found = ExperimentFolder.open(folder_in(wild))
    assert told(found) == told(expected)
    assert len(told(found)) == RUNS
    keys = [trial.user_attrs["key"] for trial in read_study(found.study).trials]
    assert sorted(keys) == sorted(run.key for run in found.trials())
    assert len(set(keys)) == RUNS
    for run in found.trials():
        iterations = [reading.iteration for reading in run.readings()]
        assert iterations == sorted(set(iterations))
    assert [run.key for run in found.confirmations()] == [run.key for run in expected.confirmations()]
    for one, other in zip(found.confirmations(), expected.confirmations(), strict=True):
        assert json.loads(one.table.read_text()) == json.loads(other.table.read_text())
    mine, theirs = (json.loads(folder.confirmation.read_text()) for folder in (found, expected))
    commands = [one["verdict"].pop("command") for one in (mine, theirs)]
    assert [text.replace(str(wild), str(calm)) for text in commands] == [commands[1]] * 2
    assert mine["verdict"] == theirs["verdict"]
    assert mine["winner"] == theirs["winner"] == "top1"


def test_sigterm_to_the_whole_group_ends_soon_and_says_how_to_go_on(tiny, tmp_path):
    """As a batch system ends a job: Ray's own processes must not end before the search has ended its Ray."""
    process = start(tmp_path, *whole(tmp_path, tiny))
    while progress(tmp_path) < 8:  # the second run trains
        assert process.poll() is None, (tmp_path / "out.txt").read_text()
        time.sleep(0.05)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    try:
        status = process.wait(timeout=50)  # Ray gives up after 60 s
    finally:
        end_all(str(tmp_path))
    text = (tmp_path / "out.txt").read_text()
    assert status == 130, text
    assert time.monotonic() - began < 50
    assert f" -m dce_ray.search resume={folder_in(tmp_path)}" in text
    assert "Failed to connect to GCS" not in text


def test_two_ctrl_c_end_it_as_an_interruption_that_says_what_is_there(tiny, tmp_path):
    process = start(tmp_path, *whole(tmp_path, tiny))
    while progress(tmp_path) < 2 and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None, (tmp_path / "out.txt").read_text()
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.7)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        status = process.wait(timeout=2 * SOON_S)
    finally:
        end_all(str(tmp_path))
    text = (tmp_path / "out.txt").read_text()
    assert (status, "Traceback" in text) == (130, False), text
    assert f" -m dce_ray.search resume={folder_in(tmp_path)}" in text
    assert (folder_in(tmp_path) / "report.html").is_file() or "report.html was not written" in text


def test_a_dead_raylet_or_head_ends_it_within_a_minute_and_nothing_is_left(tiny, tmp_path):
    """Nobody waits for a Ray that does not come back: one message, the command that goes on, no process left."""
    words = whole(tmp_path, tiny)
    for title in (b"/raylet/raylet", b"/gcs/gcs_server"):
        seen = progress(tmp_path)
        process = start(tmp_path, *words)
        while progress(tmp_path) < seen + 4:  # a run trains
            assert process.poll() is None, (tmp_path / "out.txt").read_text()
            time.sleep(0.05)
        victim = next(pid for pid, command in processes(str(tmp_path)) if title in command.split(b"\0")[0])
        (tmp_path / "out.txt").write_text("")
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        try:
            status = process.wait(timeout=SOON_S)
            text = (tmp_path / "out.txt").read_text()
            assert status == 2, text
            assert text.count("stopped: ") == 1, text
            assert f" -m dce_ray.search resume={folder_in(tmp_path)}" in text
            while processes(str(tmp_path)) and time.monotonic() - began < SOON_S:
                time.sleep(0.2)
            assert processes(str(tmp_path)) == []
        finally:
            end_all(str(tmp_path))
        words = [f"resume={folder_in(tmp_path)}"]
    trials = read_study(ExperimentFolder.open(folder_in(tmp_path)).study).trials
    assert len({trial.user_attrs["key"] for trial in trials}) == len(trials)
