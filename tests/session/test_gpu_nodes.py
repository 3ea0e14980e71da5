"""What GPUs of a cluster are planned with: given nodes, and real Ray processes with a library in NVIDIA's place.

No GPU is here to ask; the library that stands in answers as NVIDIA's does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dce_ray.presets import run_config
from dce_ray.session.demand import resources_for
from dce_ray.session.gpus import smallest
from dce_ray.session.resources import Node
from dce_ray.store import open_store

GIB = 2**30
LIBRARY = """
from types import SimpleNamespace
class NVMLError(Exception): pass
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(number): return number
def nvmlDeviceGetMemoryInfo(handle): return SimpleNamespace(total=(48 + handle) * 2**30, free=2**30)
def nvmlDeviceGetMigMode(handle): raise NVMLError("Not Supported")
"""
SESSION = """
import subprocess, sys
from pathlib import Path
import ray
from dce_ray.session.ray_session import ray_session
def told(where):
    with ray_session(None, Path(sys.argv[1]) / "log.txt") as nodes:
        print(where, nodes[0].gpus, nodes[0].gpu_bytes, flush=True)
if len(sys.argv) == 2:
    ray.init(address="local", num_cpus=1, num_gpus=2, include_dashboard=False, object_store_memory=2**27)
    told("own")
    address = ray.get_runtime_context().gcs_address
    subprocess.run([sys.executable, __file__, sys.argv[1], address], check=True)
else:
    ray.init(address=sys.argv[2])
    told("joined")
"""


def test_a_moment_on_the_drivers_machine_decides_nothing(tiny_store, monkeypatch):
    driver = SimpleNamespace(total_memory=80 * GIB, uuid="a")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: driver)
    store, config = open_store(tiny_store), run_config("delu", str(tiny_store), data_set="synthetic")

    def share(*memory: float | None) -> float:
        nodes = [Node(16.0, 2.0, gpu_bytes=one) for one in memory]
        return resources_for(config, store, nodes, runs=32).gpus

    assert share(80 * GIB, 80 * GIB) == 0.25
    assert share(80 * GIB, 2 * GIB) == 0.5, "what fits the smallest of the nodes' GPUs"
    assert share(80 * GIB, None) == 1.0, "nothing is known of one of them, and the driver's own says nothing of it"


@pytest.mark.ray
def test_a_joined_ray_is_planned_with_all_memory_of_its_nodes_and_an_own_one_with_what_is_free(tmp_path):
    (tmp_path / "pynvml.py").write_text(LIBRARY)
    script = tmp_path / "session.py"
    script.write_text(SESSION)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH"), str(Path.cwd())])])
    environment = {**os.environ, "PYTHONPATH": path, "RAY_ADDRESS": ""}
    words = [sys.executable, str(script), str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    own, joined = (line.split() for line in ended.stdout.splitlines())
    assert own == ["own", "2.0", "None"], "PyTorch finds no GPU here, and it is PyTorch that is asked"
    assert joined == ["joined", "2.0", str(48.0 * GIB)], "the smallest of the node's, all of it"


class Parts(SimpleNamespace):
    """NVIDIA's library on a machine whose second GPU is parted."""

    NVMLError = RuntimeError

    def __init__(self) -> None:
        super().__init__(nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: 2, nvmlDeviceGetHandleByIndex=lambda n: n)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=80 * GIB)

    def nvmlDeviceGetMigMode(self, handle: int) -> tuple[int, int]:
        return handle, handle


def test_of_a_gpu_in_parts_nothing_is_claimed():
    assert smallest(Parts()) is None
