"""The structure of the house, read off its own imports: who may import whom, no circle, no room too large."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = """
    errors version
    former words interrupts
    commandline config_base files grids provenance
    config records places
    store losses
    data baselines
    method localize
    evaluation
    presets
    datasets timeline searchable
    keys
    train
    winner
    evaluate predict
    experiment session
    points
    verdict
    tracking trainables
    report
    search
    cluster
    ablation_runs
    confounding
    ablate confirm
    dce_ray __main__
"""
"""Rooms from the ground up: a room imports from rooms on lower floors only. ``dce_ray`` is the package's own face.

Up to ``evaluate`` this is the core, which ``test_import_wall.py`` keeps free of Ray, Optuna, MLflow and Hydra.
"""
WRITERS = {"write_text", "write_bytes", "copyfile", "savefig", "savez_compressed"}
"""Calls that write a file by themselves, unless they are given an open one or a buffer."""
HANDLES = {"file", "vector", "raster"}
WRITING = {
    "dce_ray/files.py": "it is the writer",
    "dce_ray/places/place.py": "bytes from and to buckets, under names of their own until they are whole",
    "dce_ray/places/local.py": "what comes from a bucket, gone on with after a cut",
    "dce_ray/cluster/fetch.py": "a note in a folder that appears whole",
    "dce_ray/cluster/entry.py": "what came with a job, before the search that reads it begins; it needs no package",
    "dce_ray/store/writer.py": "in a folder that appears whole",
    "dce_ray/store/staging.py": "makes folders that appear whole",
    "dce_ray/store/layout.py": "in a folder that appears whole",
    "dce_ray/store/node_cache.py": "in a folder that appears whole, and locks",
    "dce_ray/data/synthetic.py": "in a folder that appears whole, and its lock",
    "dce_ray/session/sharing.py": "a note that is locked before it has its name",
    "dce_ray/tracking/connection.py": "the database's lock",
    "dce_ray/tracking/state.py": "a lock, and a name of which the first one stays",
    "dce_ray/tracking/mirror.py": "the log, which a process of its own appends to",
    "dce_ray/train/mirrored.py": "the same of a single run",
}
"""Files of ours that write by themselves, and why they may."""
LARGEST_SHARE = 0.15
"""Of all lines, that one folder may hold."""


def source_files() -> list[Path]:
    return sorted([*(ROOT / "dce_ray").rglob("*.py"), *(ROOT / "trainables").rglob("*.py")])


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    package = () if parts[0] == "dce_ray" else ("dce_ray",)  # trainables lies at the top
    return ".".join([*package, *parts]).removesuffix(".__init__")


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "dce_ray" and len(parts) > 1 else parts[0]


def imports(file: Path, modules: set[str]) -> set[str]:
    """Modules of ours that a file imports, wherever in it: inside functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & modules or {node.module}
    return found & modules


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    files = source_files()
    modules = {module_of(file) for file in files}
    return {module_of(file): imports(file, modules) - {module_of(file)} for file in files}


def upward(graph: dict[str, set[str]]) -> list[str]:
    floor = {room: level for level, line in enumerate(FLOORS.split("\n")) for room in line.split()}
    return [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in sorted(others)
        if room_of(module) != room_of(other) and floor[room_of(other)] >= floor[room_of(module)]
    ]


def circle(graph: dict[str, set[str]]) -> list[str] | None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as fault:
        return list(fault.args[1])
    return None


def test_every_room_has_its_floor(graph):
    assert {room_of(module) for module in graph} == set(FLOORS.split())


def test_no_arrow_runs_up(graph):
    assert upward(graph) == []


def test_no_circle_among_the_files(graph):
    assert circle(graph) is None


def test_an_arrow_up_and_a_circle_are_seen(graph):
    assert upward(graph | {"dce_ray.store.reader": {"dce_ray.search.space"}}) == [
        "dce_ray.store.reader imports dce_ray.search.space"
    ]
    assert circle(graph | {"dce_ray.errors": {"dce_ray.config"}})


def test_no_folder_holds_too_much():
    lines: dict[Path, int] = {}
    files = [*source_files(), *(ROOT / "benchmarks").rglob("*.py")]
    for file in files:
        lines[file.parent] = lines.get(file.parent, 0) + len(file.read_text().splitlines())
    lines = {folder: count for folder, count in lines.items() if folder != ROOT / "dce_ray"}
    total = sum(len(file.read_text().splitlines()) for file in files)
    large = {str(folder.relative_to(ROOT)): count / total for folder, count in lines.items()}
    assert {name: share for name, share in large.items() if share > LARGEST_SHARE} == {}


def writes(source: str) -> list[str]:
    """What a file of ours calls to write a file by itself: names of functions and methods."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in WRITERS and node.args and getattr(node.args[0], "id", "") in HANDLES:
            continue
        if name == "save" and getattr(getattr(node.func, "value", None), "id", "") == "np":
            found.append("np.save")
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        modes = [item.value for item in values if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        if name in WRITERS or (name == "open" and any(re.fullmatch(r"[wax]b?\+?|rb?\+b?", mode) for mode in modes)):
            found.append(name)
    return found


def test_files_are_written_by_the_one_module_that_survives_a_kill():
    """So that nobody reads half a table, and a full disk is one message. Who may do otherwise is named, with why."""
    writing = {str(file.relative_to(ROOT)) for file in source_files() if writes(file.read_text())}
    assert writing == WRITING.keys()


@pytest.mark.parametrize(
    "source", ['path.write_text("x")', 'path.open("w")', 'open(p, mode="ab")', "figure.savefig(path)", "np.save(p, a)"]
)
def test_a_writer_of_its_own_is_seen(source):
    assert writes(source)
    assert not writes('path.open("rb"); open(p); write_json(p, 1); text.write(3)')


def test_a_whole_search_is_read_in_one_short_file():
    assert len((ROOT / "dce_ray" / "search" / "stages.py").read_text().splitlines()) < 150


def test_the_readme_shows_rooms_that_are_there():
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## Dive into the code") :].split("\n## ")[0]
    named = [name for line in table.splitlines() if line.startswith("| `") for name in re.findall(r"`([\w/.]+)`", line)]
    places = [name for name in named if "/" in name or name.endswith(".py")]
    assert len(places) > 10
    assert [name for name in places if not (ROOT / name).exists()] == []
