"""What a run takes of its machine: read where it can be, told once why where it cannot."""

from __future__ import annotations

import os
import sys
import time

import pytest
import torch
from dce_ray.trainables.system import SystemMeter, gpu_of

from dce_ray.search.fleet import Fleet
from dce_ray.search.in_flight import RunsInFlight
from dce_ray.search.observers import Observer
from dce_ray.search.options import TrackingOptions
from dce_ray.session.resources import Node, Resources


def test_processor_and_memory_of_this_process():
    meter = SystemMeter()
    before_s, before = time.process_time(), time.monotonic()
    while time.process_time() - before_s < 0.3:
        pass
    held = bytearray(os.urandom(2**20) * 64)
    found = meter.read()
    share = 100 * (time.process_time() - before_s) / (time.monotonic() - before)
    assert found["system/cpu_percent"] == pytest.approx(share, rel=0.25)
    assert found["system/memory_mib"] > 64
    assert meter.lacks == []
    idle = time.monotonic()
    while time.monotonic() - idle < 0.3:
        time.sleep(0.05)
    assert meter.read()["system/cpu_percent"] < 50, "only since the reading before"
    del held


def test_a_gpu_that_cannot_be_read_is_told_and_all_else_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # what Python does where it is not installed
    meter = SystemMeter("GPU-00000000-0000-0000-0000-000000000000")
    assert meter.lacks == ["GPU use is not recorded: pynvml is not there; pip install nvidia-ml-py"]
    assert set(meter.read()) == {"system/cpu_percent", "system/memory_mib"}


def test_a_gpu_that_is_not_there_is_told():
    pytest.importorskip("pynvml", reason="pynvml is not installed; pip install nvidia-ml-py")
    meter = SystemMeter("GPU-00000000-0000-0000-0000-000000000000")
    assert meter.lacks[0].startswith("GPU use is not recorded: NVML gives none of GPU-0000")
    assert set(meter.read()) == {"system/cpu_percent", "system/memory_mib"}


def test_a_run_on_the_cpu_has_no_gpu():
    assert gpu_of(torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("enabled", "system", "told"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_runs_are_asked_to_tell_where_mlflow_shows_it(enabled, system, told):
    assert TrackingOptions(enabled=enabled, system=system).system_metrics is told


def test_what_lacks_is_told_once():
    told = []
    observer = Observer()
    observer.noted = told.append
    runs = RunsInFlight(None, Fleet(Resources(1.0, 0.0), lambda: [Node(1.0)]), observer, system=True)
    for _ in range(2):
        runs._tell_lacks({"lacks": ["GPU use is not recorded: pynvml is not there"]})
    assert told == ["GPU use is not recorded: pynvml is not there; tracking.system=off says nothing of it"]
