"""What a search needs is imported before its first run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from dce_ray.errors import SearchError
from dce_ray.search.__main__ import request_of
from dce_ray.search.needed import NEEDED
from dce_ray.search.opening import create

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("search", "report", "points", "verdict", "session", "experiment", "evaluation", "train", "winner.py")
NEVER = {
    "dce_ray.report.from_mlflow": "report mlflow=<uri> alone",
    "rich.progress": "python -m dce_ray.train alone",
}
"""What is imported late and no search comes to, and who does."""


def late_imports() -> set[str]:
    """Modules that functions of the rooms import."""
    found = set()
    for room in ROOMS:
        place = ROOT / "dce_ray" / room
        for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
            for function in ast.walk(ast.parse(file.read_text())):
                if isinstance(function, ast.FunctionDef):
                    for node in ast.walk(function):
                        if isinstance(node, ast.Import):
                            found |= {alias.name for alias in node.names}
                        if isinstance(node, ast.ImportFrom):
                            found.add(str(node.module))
    return found


def test_all_that_is_imported_late_was_imported_before():
    late = late_imports() - NEVER.keys()
    assert {"dce_ray.report.page", "matplotlib.figure", "scipy.linalg"} <= late
    code = "import sys; from dce_ray.search.needed import import_needed; import_needed(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert late - set(done.stdout.split()) == set()


def test_a_broken_module_is_told_before_a_folder_is_made(tiny_store, tmp_path, monkeypatch):
    for name in ("dce_ray.report.page", "matplotlib.figure"):
        assert name in NEEDED
        monkeypatch.setitem(sys.modules, name, None)
    values = {"data": str(tiny_store), "results": str(tmp_path / "results"), "device": "cpu"}
    with pytest.raises(SearchError) as refusal:
        create(request_of(values | {"search.num_runs": 16, "tracking": False}))
    assert all(
        f"{name}: ModuleNotFoundError" in str(refusal.value) for name in ("dce_ray.report.page", "matplotlib.figure")
    )
    assert not (tmp_path / "results").exists()
