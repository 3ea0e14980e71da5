"""Checkpoints survive crashes, and what is damaged or foreign is refused."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch

from dce_ray.errors import CheckpointError
from dce_ray.train.checkpoint import load_checkpoint, load_latest, previous_of, save_checkpoint


def write_two(path):
    save_checkpoint(path, {"iteration": 1, "weights": torch.arange(1000.0)})
    save_checkpoint(path, {"iteration": 2, "weights": torch.arange(1000.0) * 2})


def test_round_trip_and_previous(tmp_path):
    path = tmp_path / "run" / "checkpoint.pt"
    write_two(path)
    assert load_checkpoint(path)["iteration"] == 2
    assert torch.equal(load_checkpoint(path)["weights"], torch.arange(1000.0) * 2)
    assert load_checkpoint(previous_of(path))["iteration"] == 1
    assert sorted(item.name for item in path.parent.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]


def test_one_flipped_bit_is_found_and_the_previous_one_used(tmp_path, caplog):
    path = tmp_path / "checkpoint.pt"
    write_two(path)
    data = bytearray(path.read_bytes())
    place = data.find((torch.arange(1000.0) * 2).numpy().tobytes()[400:440])
    assert place > 0
    data[place + 2] ^= 0x40
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    assert load_latest(path)["iteration"] == 1
    assert "damaged" in caplog.text


@pytest.mark.parametrize("keep", [0, 10, 1000])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"iteration": 1})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=str(path)):
        load_latest(path)


def test_absent_is_none(tmp_path):
    assert load_latest(tmp_path / "checkpoint.pt") is None
    with pytest.raises(CheckpointError, match="no such"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_foreign_and_newer_files_are_refused(tmp_path):
    foreign = tmp_path / "foreign.pt"
    torch.save({"fusion.0.weight": torch.zeros(1)}, foreign)
    with pytest.raises(CheckpointError, match="not a checkpoint of dce_ray"):
        load_checkpoint(foreign)
    newer = tmp_path / "newer.pt"
    torch.save({"format": "dce-ray checkpoint", "version": 99}, newer)
    with pytest.raises(CheckpointError, match="version 99"):
        load_checkpoint(newer)


class Hostile:
    def __reduce__(self):
        return (open, ("hostile-was-here", "w"))


def test_nothing_in_a_hostile_file_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "dce-ray checkpoint", "version": 1, "x": Hostile()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "hostile-was-here").exists()


def test_a_full_disk_loses_nothing(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"iteration": 1})
    code = (
        "import sys, signal, resource, pathlib, torch\n"
        "from dce_ray.train.checkpoint import save_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: save_checkpoint(pathlib.Path(sys.argv[1]), {'weights': torch.zeros(1_000_000)})\n"
        "except Exception as fault: print(type(fault).__name__, fault); sys.exit(2)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "CheckpointError" in run.stdout
    assert "cannot be written" in run.stdout
    assert load_latest(path)["iteration"] == 1
    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint.pt"]
