"""Commands of the guides, carried out one after another as a user would: own data, a run, going on, new videos.

The fourth baseline, a winner's commands and ``predict`` on one are carried out in ``test_after_a_search.py``.
"""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from test_guides import commands

from tests.store.made_per_video import small_database, write_per_video

SHORT = ["training.iterations=4", "training.eval_every=2", "sampling.segments=8", "sampling.folds=2", "device=cpu"]


def carry_out(page: str, module: str, *words: str, more: list[str] | None = None) -> int:
    """The command of a guide that runs ``module`` and holds all ``words``, with ``more`` behind it; its exit status."""
    start = f"python -m dce_ray.{module} "
    (line,) = [
        line for name, line in commands() if name == page and line.startswith(start) if set(words) <= {*line.split()}
    ]
    place = importlib.import_module(f"dce_ray.{module}")
    main = getattr(place, "main", None) or importlib.import_module(f"dce_ray.{module}.__main__").main
    return main([*shlex.split(line, comments=True)[3:], *(more or [])]) or 0


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A working folder with features of a user's own, and a run on them."""
    folder = tmp_path_factory.mktemp("guides")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DCE_CACHE", str(folder / "cache"))
        write_per_video(folder, small_database())
        assert carry_out("own-data.md", "store", "import", "annotations=annotations.json") == 0
        new = folder / "new_features"
        new.mkdir()
        shutil.copy(folder / "features" / "video7.npy", new / "another.npy")
        train = importlib.import_module("dce_ray.train.__main__").main
        assert train(["baseline=delu", "data=stores/mine", "folder=results/mine/delu/first", *SHORT]) == 0
        yield folder


def run_of_its_own(here: Path) -> Path:
    """``runs/first``, the guides' run outside a results folder, newly copied from the fixture's."""
    folder = here / "runs" / "first"
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(here / "results" / "mine" / "delu" / "first", folder))


def test_own_data_is_imported_looked_at_and_verified(here, capsys):
    assert carry_out("own-data.md", "store", "info") == 0
    assert "Jump" in capsys.readouterr().out
    assert carry_out("own-data.md", "store", "verify") == 0
    manifest = json.loads((here / "stores" / "mine" / "manifest.json").read_text())
    assert (manifest["fps"], manifest["stride_frames"]) == (25.0, 16)


def test_train_takes_the_keys_of_an_import(here):
    (line,) = [line for page, line in commands() if page == "own-data.md" and "data=features" in line]
    keys = shlex.split(line)[3:]
    train = importlib.import_module("dce_ray.train.__main__").main
    assert train([*keys, "folder=runs/one-step", *SHORT]) == 0
    assert list((here / "cache").rglob("manifest.json"))


def test_a_run_goes_on_and_writes_anew_what_is_gone(here):
    folder = run_of_its_own(here)
    before = json.loads((folder / "table-holdout.json").read_text())
    (folder / "table-holdout.json").unlink()
    assert carry_out("resume-and-repair.md", "train") == 0
    assert json.loads((folder / "table-holdout.json").read_text()) == before


def test_new_videos_are_looked_through(here):
    assert carry_out("own-data.md", "predict", more=["device=cpu"]) == 0
    found = json.loads((Path(here) / "detections.json").read_text())["results"]
    assert list(found) == ["another"]


def test_a_single_run_is_brought_into_the_database_of_the_searches(here):
    """A search's experiment is called after its data and baseline, too."""
    run_of_its_own(here)
    assert not (here / "results" / "mlflow.db").exists()
    assert carry_out("mlflow.md", "tracking", "runs/first", "uri=sqlite:///results/mlflow.db") == 0
    client = MlflowClient(f"sqlite:///{here / 'results' / 'mlflow.db'}")
    named = [found.name for found in client.search_experiments() if found.name != "Default"]
    assert named == ["mine/delu"]
    (run,) = client.search_runs([client.get_experiment_by_name("mine/delu").experiment_id])
    assert run.data.tags["kind"] == "train"
