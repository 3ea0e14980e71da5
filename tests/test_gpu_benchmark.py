"""The GPU benchmark without a GPU: it says so, its dry run goes through all of it, and a row that fails stays a row."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import measure
from benchmarks.gpu.rows import VARIANTS, Row, plan
from benchmarks.gpu.table import line, references
from dce_ray.config import TrainingConfig

ROW = Row("eager", "rate", "delu", "/nowhere", "cpu", iterations=3, warm_up=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_device_it_says_so_and_measures_nothing():
    with pytest.raises(SystemExit) as end:
        command.main([])
    assert end.value.code == command.NO_DEVICE


def test_options_it_does_not_know_are_named():
    with pytest.raises(SystemExit, match=r"dri=on|dri, quick=maybe"):
        command.main(["dri=on", "quick=maybe"])


@pytest.fixture
def _own_threads(monkeypatch):
    """The dry run takes one thread for all of its process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_own_threads")
def test_the_dry_run_goes_through_every_kind_of_row(tmp_path, capsys):
    assert command.main(["dry=on", f"out={tmp_path / 'gpu.json'}"]) == 0
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert {"commit", "processor", "torch", "command", "date"} <= report["about"].keys()
    assert "the numbers below mean nothing" in report["skipped"][0]
    assert {row["kind"] for row in report["rows"]} | {"on_signal"} == set(measure.KINDS)
    for row in report["rows"]:
        if row["training"].get("graphs"):
            assert "graphs=True: device cpu has no graphs" in row["failed"]
        else:
            assert "failed" not in row, row
            assert any(row.get(key, 0) > 0 for key in ("iterations_per_second", "seconds", "seconds_test"))
    failed = [check["name"] for check in report["parity"] if not check["passed"]]
    assert failed == ["delu, 12 steps: graphs", "delu, 12 steps: tf32"]
    printed = capsys.readouterr().out
    assert "refused: training.graphs=True" in printed
    assert "taking turns in one process" in printed


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried\nmore"), "out of memory: CUDA out of memory. Tried"),
        (RuntimeError("no kernel\nhere"), "RuntimeError: no kernel"),
        (AssertionError(), "AssertionError: "),
    ],
)
def test_a_row_that_fails_says_why(monkeypatch, fault, reason):
    def fail(row):
        raise fault

    monkeypatch.setitem(measure.KINDS, "rate", fail)
    assert measure.measured(ROW) == {"failed": reason}
    assert line(ROW.to_mapping() | {"failed": reason}, 2.0).endswith(f"FAILED  {reason}")


def test_a_process_that_dies_is_one_failed_row():
    found = command.measured_apart(Row(**{**ROW.to_mapping(), "kind": "rate", "device": "nothing"}))
    assert "not a device" in found["failed"]
    broken = command.measured_apart(ROW)
    assert "/nowhere" in broken["failed"]


def test_ratios_are_to_the_same_network_s_released_loop():
    rows = [
        {"name": "released kind", "kind": "released", "baseline": "delu", "iterations_per_second": 4.0},
        {"name": "released kind", "kind": "released", "baseline": "co2net", "failed": "out of memory"},
        {"name": "eager", "kind": "rate", "baseline": "delu", "iterations_per_second": 10.0, "memory_mib": 7.0},
    ]
    assert references(rows) == {"delu": 4.0}
    assert "2.5x" in line(rows[2], 4.0)
    assert "7 MiB" in line(rows[2], 4.0)


def test_every_variant_is_a_configuration_and_the_quick_plan_is_shorter():
    for keys in VARIANTS.values():
        TrainingConfig.from_mapping({"resident": "device", **keys} if "prefetch" not in keys else keys)
    full, quick = (plan("store", "cuda", quick=quick, dry=False) for quick in (False, True))
    assert len(quick) < len(full)
    assert {row.kind for row in quick} == {row.kind for row in full}
    assert [row.runs for row in full if row.kind == "processes"] == [1, 2, 4, 8]
    assert max(row.iterations for row in full) == 5000
