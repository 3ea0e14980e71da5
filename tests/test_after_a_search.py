"""A fourth baseline from its guide to the end of a search, in a copy of the package, and what its end prints."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]
SMALL = ("training.iterations=4", "training.eval_every=2", "device=cpu")
SPACE = """
delta: {low: 0.5, high: 0.9}
lambda: 1.0
gamma: beta
"""


def run(place: Path, command: list[str] | str) -> str:
    """What a command prints; a line of text goes through a shell, as a user pastes it."""
    environment = os.environ | {"PYTHONPATH": str(place), "DCE_CACHE": str(place / "cache"), "RAY_ADDRESS": ""}
    shell = isinstance(command, str)
    done = subprocess.run(
        command, shell=shell, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=1200
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with a copy of the package and the baseline of the guide in it."""
    folder = tmp_path_factory.mktemp("fourth")
    for part in ("dce_ray", "trainables", "search_spaces"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    guide = (ROOT / "docs" / "fourth-baseline.md").read_text()
    (code,) = re.findall(r"```python title=linear.py\n(.*?)```", guide, flags=re.DOTALL)
    baselines = folder / "dce_ray" / "baselines"
    (baselines / "linear.py").write_text(code)
    table = (baselines / "__init__.py").read_text()
    table = table.replace("(CO2NET, DELU, DDGNET)", "(CO2NET, DELU, DDGNET, LINEAR)")
    table = table.replace("from dce_ray.errors", "from dce_ray.baselines.linear import LINEAR\nfrom dce_ray.errors")
    (baselines / "__init__.py").write_text(table)
    (folder / "mine.yaml").write_text(SPACE)
    return folder


@pytest.fixture(scope="module")
def printed(place):
    """What the search prints, whose folder is results/synthetic-tiny/linear/first."""
    options = ("search.num_runs=7", "search.folds=2", "confirm.top=1", "confirm.seeds=2", "confirm.precision=null")
    command = [sys.executable, "-m", "dce_ray.search", "baseline=linear", "data=synthetic-tiny", "name=first"]
    return run(place, [*command, "space=mine.yaml", *options, *SMALL])


@pytest.fixture(scope="module")
def searched(place, printed):
    return place / "results" / "synthetic-tiny" / "linear" / "first"


def next_commands(printed: str) -> dict[str, str]:
    lines = printed[printed.index("\nNext:\n") :].splitlines()[2:]
    parts = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines if line.startswith("  ")]
    return {part[0]: part[1] for part in parts}


def test_a_fourth_baseline_comes_to_a_verdict(printed, searched):
    assert "linear" in printed
    assert ", no published scalars of linear; " in printed
    verdict = json.loads((searched / "confirmation.json").read_text())
    assert verdict["winner"] == "top1"
    space = json.loads((searched / "config.json").read_text())["space"]
    assert (space["delta"]["low"], space["delta"]["high"]) == (0.5, 0.9)  # of the file
    assert (space["lambda"], space["gamma"]) == (1.0, "beta")
    assert space["theta_rep"]["low"] == 0.4  # of search_spaces/default.yaml
    assert space["first_points"] == []


def test_tiny_holdouts_and_the_best_point_beside_plain_are_told(printed, searched):
    """On the terminal and in the report."""
    sizes = json.loads((searched / "config.json").read_text())["holdout_videos"]
    assert len(sizes) == 2
    note = f"each fold holds out only {' to '.join(map(str, sorted(set(sizes))))} videos"
    page = (searched / "report.html").read_text()
    assert f"note: {note}" in printed
    assert f"Note: {note}" in page
    assert re.search(
        r"(best point|leading by the model): point \d+.*plain baseline|plain baseline.*best point", printed
    )
    assert re.search(r"<dt>plain baseline there</dt><dd>\d+\.\d\d %", page)


def test_the_report_has_learning_curves(searched):
    page = (searched / "report.html").read_text()
    section = page[page.index('<section id="learning"') :].split("</section>")[0]
    assert "<svg" in section
    assert "No reading yet" not in section
    assert (searched / "figures" / "learning.png").is_file()


def test_the_winner_is_evaluated_by_the_printed_command(place, printed, searched):
    command = next_commands(printed)["the winner's table anew"]
    table = json.loads((searched / "confirm" / min(_winners(searched)) / "table.json").read_text())
    out = run(place, command)
    assert "linear" in out
    assert f"iteration {_record(searched)['iteration']} on synthetic test" in out
    assert all(f"{100 * ap:.1f}" in out or f"{100 * ap:.2f}" in out for ap in table["map"][:3])


def _record(searched: Path) -> dict[str, object]:
    return json.loads((searched / "confirm" / min(_winners(searched)) / "record.json").read_text())


def _winners(searched: Path) -> list[str]:
    """Folders of the winner's confirmation runs, that of the first seed first."""
    records = [json.loads(file.read_text()) for file in searched.glob("confirm/*/record.json")]
    mine = sorted((one for one in records if one["setting"] == "top1"), key=lambda one: one["seed"])
    return [mine[0]["key"]]


def test_the_setting_is_trained_again_by_the_printed_command(place, printed):
    assert "mAP" in run(place, next_commands(printed)["the setting again, alone"])


def test_mlflows_command_names_the_interpreter_that_has_it(printed):
    command = next(line for line in printed.splitlines() if line.startswith("Compare in MLflow: "))
    words = shlex.split(command.removeprefix("Compare in MLflow: "))
    assert words[1:4] == ["-m", "mlflow", "ui"]
    done = subprocess.run([*words[:4], "--help"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0
    assert "--backend-store-uri" in done.stdout


def test_the_winner_finds_actions_in_new_videos(place, searched):
    code = """
import dce_ray, numpy, pathlib
store = dce_ray.open_store(dce_ray.load_winner("results/synthetic-tiny/linear/first").config.data)
folder = pathlib.Path("new")
folder.mkdir()
for row in range(3):
    numpy.save(folder / f"{store.video_names[row]}.npy", store.features(row))
"""
    run(place, [sys.executable, "-c", code])
    arguments = ["checkpoint=results/synthetic-tiny/linear/first", "data=new", "target=found.json", "device=cpu"]
    video = sorted(file.stem for file in (place / "new").iterdir())[0]
    out = run(place, [sys.executable, "-m", "dce_ray.predict", *arguments, f"timeline={video}"])
    found = json.loads((place / "found.json").read_text())["results"]
    assert len(found) == 3
    assert "in 3 videos: found.json" in out
    assert (place / f"timeline-{video}.png").stat().st_size > 1000
    assert np.isfinite([item["score"] for items in found.values() for item in items]).all()


def test_more_runs_are_made_by_the_printed_command(place, printed, searched):
    """Last: it changes the folder."""
    command = next_commands(printed)["twice the runs"]
    assert command.endswith("search.num_runs=14")
    out = run(place, command.replace("search.num_runs=14", "search.num_runs=8"))
    assert "Next:" in out
    assert len(list((searched / "trials").iterdir())) == 8
