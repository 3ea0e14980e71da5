"""The examples in docstrings are run as they stand; ``folder`` and ``store`` are there for them."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dce_ray

ROOT = Path(__file__).resolve().parent.parent
WITH_EXAMPLES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in (ROOT / "dce_ray").rglob("*.py")
    if "    >>> " in file.read_text()
)


def examples(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return [test for test in found if test.examples]


@pytest.mark.ray
@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_run(module, tmp_path, tiny_store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    tests = examples(module)
    assert tests
    for test in tests:
        test.globs |= {"folder": tmp_path, "store": tiny_store}
        report: list[str] = []
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
        assert result.failed == 0, "".join(report)


@pytest.mark.ray
def test_the_readmes_python_runs(tmp_path):
    """Every Python block of README and guides in a process of its own, as a user would paste it."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    blocks = [
        block for page in pages for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    ]
    assert len(blocks) >= 3
    for block in blocks:
        code = block.replace("num_runs=9", 'num_runs=9, run={"training": {"iterations": 4, "eval_every": 2}}')
        assert code != block or "run_search" not in block
        environment = os.environ | {"PYTHONPATH": str(ROOT), "DCE_CACHE": str(tmp_path / "cache"), "RAY_ADDRESS": ""}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


@pytest.mark.parametrize(
    "name",
    ["run_search", "evaluate_checkpoint", "Run", "open_store", "write_store", "load_winner", "predict_detections"],
)
def test_public_names_have_an_example(name):
    assert ">>> " in (getattr(dce_ray, name).__doc__ or "")


def test_public_names_are_all_there():
    for name in dce_ray.__all__:
        assert getattr(dce_ray, name) is not None
    with pytest.raises(AttributeError, match="run_search"):
        dce_ray.run_serach  # noqa: B018


def test_the_version_is_the_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert dce_ray.__version__ == project["version"]
