"""The core imports where only torch, numpy and pyarrow are installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("places", "store", "data", "baselines", "losses", "method", "localize", "evaluation", "train")
MODULES = (
    "errors",
    "config",
    "records",
    "presets",
    "datasets",
    "provenance",
    "evaluate",
    "predict",
    "winner",
)
BEHIND_THE_WALL = (
    *("ray", "optuna", "mlflow", "hydra", "omegaconf", "rich", "yaml", "matplotlib", "pandas", "scipy", "sklearn"),
)

PROBE = """
import importlib, importlib.abc, sys
behind = set(sys.argv[1].split(","))
class Wall(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in behind:
            raise ModuleNotFoundError(f"behind the wall: {name}", name=name)
sys.meta_path.insert(0, Wall())
for name in sys.argv[2:]:
    importlib.import_module(name)
    print(name)
"""


def core_modules() -> list[str]:
    package = ROOT / "dce_ray"
    files = [package / f"{name}.py" for name in MODULES]
    files += [
        file for name in PACKAGES for file in sorted((package / name).rglob("*.py")) if file.name != "__main__.py"
    ]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.exists()]
    return [name.removesuffix(".__init__") for name in names]


def probe(*modules: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROBE, ",".join(BEHIND_THE_WALL), *modules]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_every_core_module_imports_without_what_is_behind_the_wall():
    modules = core_modules()
    assert len(modules) > 20
    run = probe(*modules)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == modules


def test_the_gpu_benchmark_imports_on_a_bare_box():
    modules = [f"benchmarks.gpu.{name}" for name in ("__main__", "measure", "parity", "rows", "table")]
    run = probe(*modules)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == modules


@pytest.mark.parametrize("name", ["ray", "optuna", "mlflow", "hydra"])
def test_the_probe_sees_an_import_of(name: str):
    run = probe(name)
    assert run.returncode != 0
    assert f"behind the wall: {name}" in run.stderr


def test_the_command_line_says_what_is_missing():
    code = PROBE + "\nfrom dce_ray.commandline import compose\ncompose({'a': 1}, ['a=2'])"
    command = [sys.executable, "-c", code, ",".join(BEHIND_THE_WALL), "dce_ray.commandline"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert "pip install hydra-core" in run.stderr
