"""``python -m dce_ray.train`` as a user meets it: real processes, killed and interrupted."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dce_ray.train.run_files import LOCK, RunFiles
from tests.train.former import former_configuration, write_former_checkpoint

QUICK = (
    "baseline=delu",
    "training.iterations=60",
    "training.eval_every=10",
    "training.log_every=5",
    "training.learning_rate=0.001",
    "sampling.segments=24",
    "sampling.batch=6",
    "sampling.pairs=2",
    "device=cpu",
)


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dce_ray.train", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment())


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dce_ray.train", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, env=environment()
    )


def wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def final_weights(folder: Path) -> torch.Tensor:
    payload = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert payload["iteration"] == 60
    return torch.cat([value.flatten() for value in payload["network"].values()])


@pytest.fixture(scope="module")
def never_stopped(tiny_store, tmp_path_factory) -> Path:
    cwd = tmp_path_factory.mktemp("whole")
    run = train(*QUICK, f"data={tiny_store}", "folder=run", "test=on", cwd=cwd)
    assert run.returncode == 0, run.stderr
    assert "mAP" in run.stdout
    return cwd / "run"


def test_a_run_writes_its_folder(never_stopped):
    names = {item.name for item in never_stopped.iterdir()}
    expected = {"config.json", "environment.json", "progress.jsonl", "checkpoint.pt", "best.pt", "curves.png"}
    expected |= {f"table-{split}.{suffix}" for split in ("holdout", "test") for suffix in ("json", "md", "csv", "tex")}
    assert expected <= names
    lines = [json.loads(line) for line in (never_stopped / "progress.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(5, 61, 5))
    assert "mAP/0.5" in lines[1]["metrics"]
    assert (never_stopped / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_killed_at_random_and_resumed_ends_with_the_same_weights(never_stopped, tiny_store, tmp_path):
    chance = random.Random(7)
    folder = tmp_path / "run"
    process = start(*QUICK, f"data={tiny_store}", f"folder={folder}", "test=on", cwd=tmp_path)
    for _ in range(3):
        reached = len(read_progress(folder))
        wait_for(
            lambda reached=reached, process=process: len(read_progress(folder)) > reached or process.poll() is not None
        )
        time.sleep(chance.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        process = start(f"resume={folder}", cwd=tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert torch.equal(final_weights(folder), final_weights(never_stopped))
    assert read_progress(folder) == read_progress(never_stopped)
    assert read_losses(folder) == read_losses(never_stopped)
    assert json.loads((folder / "table-test.json").read_text()) == json.loads(
        (never_stopped / "table-test.json").read_text()
    )


def wait_for_news(process: subprocess.Popen[str], folder: Path) -> None:
    reached = len(read_progress(folder))
    wait_for(lambda: len(read_progress(folder)) > reached or process.poll() is not None)


def read_progress(folder: Path) -> list[int]:
    return [reading.iteration for reading in RunFiles(folder).readings()]


def read_losses(folder: Path) -> list[dict[str, float]]:
    """Everything but the clock."""
    readings = RunFiles(folder).readings()
    return [{k: v for k, v in reading.metrics.items() if k != "iterations_per_second"} for reading in readings]


def test_ctrl_c_saves_and_says_how_to_go_on(never_stopped, tiny_store, tmp_path):
    folder = tmp_path / "run"
    process = start(*QUICK, f"data={tiny_store}", f"folder={folder}", cwd=tmp_path)
    wait_for(lambda: read_progress(folder))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert output.rstrip().endswith("-m dce_ray.train resume=run")  # as seen from where it was typed
    again = train(f"resume={folder}", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert torch.equal(final_weights(folder), final_weights(never_stopped))


def test_a_reader_that_goes_stops_a_run_tidily(never_stopped, tiny_store, tmp_path):
    """``train | head``: 141, and a resume ends with the same weights."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "dce_ray.train", *QUICK, f"data={tiny_store}", f"folder={folder}"]
    read, write = os.pipe()
    os.close(read)
    buffered = environment() | {"PYTHONUNBUFFERED": ""}  # else it is the line before the run that meets it
    ended = subprocess.run(
        command, stdout=write, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path, env=buffered
    )
    os.close(write)
    assert ended.returncode == 141, ended.stderr
    assert ended.stderr.count("nobody reads the output any more") == 1
    assert "Traceback" not in ended.stderr
    again = train(f"resume={folder}", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert torch.equal(final_weights(folder), final_weights(never_stopped))


def test_a_reader_that_goes_in_the_middle_loses_no_iteration(tiny_store, tmp_path):
    folder = tmp_path / "run"
    quick = [key for key in QUICK if not key.startswith(("training.iterations", "training.eval_every"))]
    keys = [*quick, "training.iterations=100000", "training.eval_every=100000"]
    command = [sys.executable, "-m", "dce_ray.train", *keys, f"data={tiny_store}", f"folder={folder}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment()
    ) as process:
        assert process.stdout.readline().startswith("presets")
        wait_for((folder / "progress.jsonl").is_file)
        process.stdout.close()
        process.wait(120)
        said = process.stderr.read()
    assert process.returncode == 141, said
    assert said.count("nobody reads the output any more") == 1
    told = [json.loads(line)["iteration"] for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["iteration"] == told[-1] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method.detla=1"], "did you mean method.delta, "),
        (["baseline=dulu"], "did you mean delu?"),
        (["method.delta=1.5"], "method.delta=1.5: must lie between 0 and 1"),
        (["training.iterations=few"], "must be a whole number"),
        (["preset=papr"], "did you mean paper?"),
        (["protocol=holdot"], "did you mean holdout?"),
        (["sampling.folds=1"], "sampling.folds=1: must be 2 or more"),
        (["sampling.fold=5"], "sampling.fold=5: must lie in 0..4"),
        (["sampling.folds=13"], "12 of 12 train videos can be held out, but 13 folds need 13"),
        (["sampling.holdout_share=0.1"], "sampling.holdout_share: folds take its place: sampling.folds=5 holds out a"),
        (["sampling.holdout_seed=1"], "sampling.holdout_seed: sampling.fold_seed takes its place"),
        (["data=no/such/folder"], "no such folder"),
        (["data=thumos15"], "did you mean thumos14?"),
        (["data=thumos14"], "Thumos14reduced-I3D-JOINTFeatures.npy"),
        (["device=tpu"], "device='tpu'"),
        (["config=absent.yaml"], "cannot be read"),
        (["resume=absent"], "holds no run"),
        (["resume=absent", "seed=1"], "takes no other key"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_started(arguments, message, tiny_store, tmp_path):
    given = [f"data={tiny_store}", *arguments] if "data=" not in arguments[0] else arguments
    run = train(*(arguments if "resume" in arguments[0] else given), cwd=tmp_path)
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_a_run_is_not_overwritten(never_stopped, tiny_store, tmp_path):
    before = (never_stopped / "config.json").read_bytes()
    run = train(*QUICK, f"data={tiny_store}", f"folder={never_stopped}", cwd=tmp_path)
    assert run.returncode == 2
    assert "holds a run already" in run.stderr
    assert (never_stopped / "config.json").read_bytes() == before


def test_no_room_for_a_run_and_a_damaged_one_are_one_message(never_stopped, tiny_store, tmp_path):
    (tmp_path / "file").write_text("in the way")
    blocked = train(*QUICK, f"data={tiny_store}", "folder=file/run", cwd=tmp_path)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text('{"baseline": ')
    damaged = train("resume=damaged", cwd=tmp_path)
    (tmp_path / "latin1.yaml").write_bytes(b"baseline: d\xe9lu")
    unreadable = train("config=latin1.yaml", f"data={tiny_store}", cwd=tmp_path)
    for run, message in ((blocked, "cannot be written"), (damaged, "is damaged"), (unreadable, "not YAML")):
        assert (run.returncode, "Traceback" in run.stderr) == (2, False), run.stderr
        assert message in run.stderr


def test_a_configuration_file_is_laid_over_the_presets(tiny_store, tmp_path):
    (tmp_path / "best.yaml").write_text("baseline: co2net\nmethod: {delta: 0.25, lambda: 0.5}\n")
    run = train(
        "config=best.yaml", f"data={tiny_store}", "training.iterations=1", "sampling.segments=16", "method.beta=0.125",
        "folder=run", cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["baseline"] == "co2net"
    assert ", paper scalars of co2net on thumos14, but delta, lambda of best.yaml and your beta; " in run.stdout
    assert (config["method"]["delta"], config["method"]["lambda"], config["method"]["beta"]) == (0.25, 0.5, 0.125)


def test_a_configuration_file_of_before_is_told_what_takes_the_place_of_its_keys(tiny_store, tmp_path):
    (tmp_path / "best.yaml").write_text("sampling: {holdout_share: 0.25, holdout_seed: 3, batch: 6}\n")
    run = train("config=best.yaml", f"data={tiny_store}", "folder=run", cwd=tmp_path)
    assert run.returncode == 2
    assert "sampling.holdout_share: folds take its place: sampling.folds=5 holds out a fifth" in run.stderr
    assert "sampling.holdout_seed: sampling.fold_seed takes its place" in run.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_of_before_is_not_gone_on_with(never_stopped, tmp_path):
    """Whether or not it came to a checkpoint: what it held out is not held out any more."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "options.json").write_text('{"test": false}')
    config = json.loads((never_stopped / "config.json").read_text())
    former_configuration(config)
    (folder / "config.json").write_text(json.dumps(config))
    without = train(f"resume={folder}", cwd=tmp_path)
    assert (without.returncode, "Traceback" in without.stderr) == (2, False), without.stderr
    assert "config.json cannot be gone on with; start anew" in without.stderr
    assert "sampling.holdout_share: folds take its place" in without.stderr
    write_former_checkpoint(never_stopped / "checkpoint.pt", folder / "checkpoint.pt")
    before = (folder / "checkpoint.pt").read_bytes()
    run = train(f"resume={folder}", cwd=tmp_path)
    assert (run.returncode, "Traceback" in run.stderr) == (2, False), run.stderr
    assert "format version 2, but a run goes on from version 3 only" in run.stderr
    assert " -m dce_ray.evaluate checkpoint=run/checkpoint.pt" in run.stderr
    assert (folder / "checkpoint.pt").read_bytes() == before


def test_help_names_groups_and_keys(tmp_path):
    run = train("--help", cwd=tmp_path)
    assert run.returncode == 0
    for word in (
        "baseline=co2net|delu|ddgnet",
        "scs=on|off",
        "protocol=",
        "sampling.fold=",
        "method.lambda",
        "resume=",
    ):
        assert word in run.stdout
    keys = train("keys", cwd=tmp_path)
    assert "method.theta_rep=" in keys.stdout


@pytest.mark.parametrize("asked", ["resume", "folder"])
def test_a_run_that_trains_elsewhere_keeps_every_reading_when_another_is_refused(asked, tiny_store, tmp_path):
    """Without a checkpoint a resume drops all readings: not those of a run that is being trained."""
    run = train(*QUICK, f"data={tiny_store}", "folder=run", "tracking=off", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    files = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.name != LOCK}
    for name in ("checkpoint.pt", "config.json")[: 1 if asked == "resume" else 2]:
        (tmp_path / "run" / name).unlink()
        del files[tmp_path / "run" / name]
    words = ("resume=run",) if asked == "resume" else (*QUICK, f"data={tiny_store}", "folder=run", "seed=9")
    with (tmp_path / "run" / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused = train(*words, cwd=tmp_path)
    assert refused.returncode == 2
    assert "another process trains this run" in refused.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.name != LOCK} == files
