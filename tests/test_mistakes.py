"""Mistakes that people make in their first hour and week: what they type, and what they are told.

Each line: the command, its exit status, words that its output must have, words that it must not have. Most are run in
this process through the command's own ``main``; ``{here}`` is made once, and no mistake may leave anything in it.
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dce_ray.commandline import status_of
from dce_ray.errors import OutOfTimeError, OutputError, SearchError, TrackingError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import write_atomically
from dce_ray.tracking.address import address_of

ROOT = Path(__file__).resolve().parent.parent
WITH_MAIN = {"search", "train", "store", "tracking", "report", "cluster"}
TINY = "data={store}"
SHORT = "training.iterations=2 training.eval_every=1"
EVERYWHERE_NOT = ("Traceback", "NoneType", "\x1b[")

MISTAKES = [
    # words of other programs, dashes, typos
    (f"search baseline=delu {TINY} --num-trials 4", 2, ["keys take no dashes", "search.num_runs=4"], ["quote odd"]),
    ("search --num-trials=4", 2, ["search.num_runs=4"], ["quote odd"]),
    ("train --lr 0.1", 2, ["training.learning_rate=0.1"], []),
    ("train --batch_size=3", 2, ["sampling.batch=3"], []),
    ("search --verbose", 2, ["keys take no dashes"], []),
    ("search lr=1e-3", 2, ["here it is training.learning_rate"], ["are known"]),
    ("search epochs=4", 2, ["training.iterations", "not in epochs"], []),
    ("train epochs=4", 2, ["training.iterations", "not in epochs"], []),
    ("search dataset=thumos14", 2, ["here it is data"], []),
    ("search model=delu", 2, ["here it is baseline"], []),
    ("evaluate ckpt=x.pt", 2, ["checkpoint"], []),
    ("search trials=4", 2, ["here it is search.num_runs"], []),
    ("search timeout=90m", 2, ["here it is search.time_budget"], []),
    ("search baseline=DELU", 2, ["did you mean delu?"], []),
    ("search baseline=deluu", 2, ["did you mean delu?", "co2net"], []),
    ("train baseline=DDG-Net", 2, ["did you mean ddgnet?"], []),
    ("search sampler=TPE", 2, ["did you mean tpe?"], []),
    ("search policy=multi", 2, ["replicates, single"], []),
    ("search method.detla=1", 2, ["method.delta", "search keys"], ["method.beta, method"]),
    ("train method.detla=1", 2, ["method.delta", "python -m dce_ray.train keys lists"], ["search keys"]),
    ("search space.detla.high=0.9", 2, ["space.delta.high"], []),
    ("search serch.num_runs=9", 2, ["search.num_runs", "are known"], ["confirm.precision"]),
    ("search skip_videos=x", 2, ["evaluation.skip_videos"], []),
    ("search foo", 2, ["'foo'", "--help"], []),
    ("search method.delta=0.7,0.8", 2, ["'key=[a,b]'"], []),
    # values
    ("search search.time_budget=90", 2, ["a duration with units", "90m"], ["a text or null"]),
    ("search search.time_budget=1.5", 2, ["a duration with units"], []),
    ("search search.time_budget=soon", 2, ["a duration with units"], []),
    ("train evaluation.skip_videos=x", 2, ["a list of names such as [a,b]"], ["tuple"]),
    ("train training.iterations=many", 2, ["must be a whole number"], ["int"]),
    ("train training.iterations=-1", 2, ["must lie between 1 and"], []),
    ("train scs=maybe", 2, ["must be on or off"], []),
    ("search search.folds=1", 2, ["must lie between 2 and 20"], []),
    (f"search {TINY} search.num_runs=3", 2, ["search.num_runs=3", "give more, or lower search.folds"], []),
    ("search space.delta.high=2", 2, ["as you changed it", "delta", "must lie in [0, 1]"], ["search_spaces"]),
    ("search method.delta=abc", 2, ["as you changed it", "unknown scalar 'abc'"], ["search_spaces"]),
    ("search space.foo.low=1", 2, ["'space.foo.low'", "are known"], ["space.lambda.step"]),
    ("search space.evaluation.nms_parameter={{low:0.1,high:1}}", 2, ["cannot be searched"], []),
    ("search space.first_points=-1", 2, ["first_points=-1: must be a list"], []),
    ("search space.first_points=papr", 2, ["'papr' (did you mean paper?)"], []),
    ("search preset=-1", 2, ["unknown preset '-1'", "paper, released"], []),
    ("search 'preset=[1,2]'", 2, ["unknown preset '[1, 2]'"], []),
    ("search name=one seed=1 name=two", 2, ["name=: is given twice"], []),
    ("search tracking=off tracking.enabled=on", 2, ["another name of tracking.enabled"], []),
    ("search results=", 2, ["results='': names no folder"], []),
    ("search search.time_budget=0s", 2, ["must be more than nothing"], []),
    ("search training.learning_rate=0", 2, ["training.learning_rate=0.0: must lie between"], []),
    ("search evaluation.min_length=100000", 2, ["evaluation.min_length=100000: must lie between"], []),
    ("search 'evaluation.tiou_thresholds=[1,2]'", 2, ["evaluation.tiou_thresholds=[1.0, 2.0]", "in (0, 1]"], []),
    ("search 'evaluation.tiou_thresholds=[]'", 2, ["give one or more values in (0, 1]"], []),
    ("search 'evaluation.tiou_thresholds=[0.5,0.3]'", 2, ["in (0, 1], rising"], []),
    ("search 'evaluation.tiou_thresholds=[0.5,0.5]'", 2, ["in (0, 1], rising"], []),
    ("search 'evaluation.tiou_thresholds=[0.5]'", 2, ["'0.1:0.5': write first:last", "averages=[0.5:0.5]"], []),
    ("search 'evaluation.averages=[]'", 2, ["evaluation.averages=[]: name at least one first:last"], []),
    ("search 'evaluation.averages=[0.3:0.1]'", 2, ["evaluation.averages: '0.3:0.1': write first:last"], []),
    ("train 'evaluation.averages=[0.1:0.75]'", 2, ["evaluation.averages: '0.1:0.75': write first:last"], []),
    ("search protocol=test", 2, ["holdout", "paper"], []),
    ("search scheduler=asha", 2, ["policy=single"], []),
    ("search confirm.max_seeds=2", 2, ["must be at least seeds=5"], []),
    ("search name=a/b", 2, ["name="], []),
    # data
    ("search data={here}/features.npy", 2, ["features alone have no labels"], ["holds neither"]),
    ("train data={here}/features.npy", 2, ["features alone have no labels"], []),
    ("search data={store}/manifest.json", 2, ["give the store's folder: data={store}"], []),
    ("search data={here}/empty", 2, ["holds neither manifest.json"], []),
    ("search data=thumos14", 2, ["is not in {here}/data; set DCE_DATA"], []),
    (
        "search data={here}/own annotations={here}/own.json fps=25",
        2,
        [
            "classes= is a key of the import by itself",
            " -m dce_ray.store import source=own annotations=own.json",
            "no array of numbers",
        ],
        ["allow_pickle", "unsafely", "skip_faulty"],  # which would leave none
    ),
    ("store import source={here}/own target={here}/made", 2, ["also annotations=<ActivityNet JSON>"], []),
    ("search data={store} fps=25", 2, ["is a store and has its own; import the features again, or leave it out"], []),
    ("search data=sythetic", 2, ["did you mean synthetic?"], []),
    ("search data=synthetic-huge", 2, ["tiny", "bench"], []),
    ("store info {here}/empty", 2, ["{here}/empty"], ["quote odd"]),
    ("store imprt", 2, ["did you mean import?"], []),
    ("data.synthetic size=tinny target={here}/made", 2, ["did you mean tiny?"], []),
    ("data.synthetic size=tiny target=/proc/none/made", 2, ["/proc/none/made cannot be written"], []),
    ("data.synthetic size=tiny target={here}/features.npy/made", 2, ["cannot be written"], []),
    # places, machines, servers
    (f"search {TINY} results=/proc/none", 2, ["/proc/none", "cannot be written"], ["experiment folder:"]),
    (f"search {TINY} results=/proc/none name=one", 2, ["/proc/none", "cannot be written"], ["resume="]),
    (f"search {TINY} results={{here}}/features.npy", 2, ["cannot be written"], []),
    (f"train {TINY} {SHORT} folder=/proc/none", 2, ["/proc/none cannot be written"], ["loss"]),
    (f"search {TINY} device=cuda:7", 2, ["device='cuda:7'"], ["experiment folder:"]),
    (f"search {TINY} search.gpus_per_trial=99", 2, ["no run fits", "99 GPUs"], ["experiment folder:"]),
    (f"search {TINY} search.cpus_per_trial=999", 2, ["no run fits", "999 CPUs"], ["experiment folder:"]),
    (f"search {TINY} ray.address=127.0.0.1:{{closed}}", 2, ["no Ray cluster can be joined"], ["experiment folder:"]),
    (f"search {TINY} ray.address=here", 2, ["host:port"], ["experiment folder:"]),
    (f"search {TINY} tracking.uri=ftp://x", 2, ["neither a server"], ["experiment folder:"]),
    (f"train {TINY} {SHORT} tracking=on tracking.uri=ftp://x folder={{here}}/x", 2, ["neither a server"], ["loss"]),
    (f"train {TINY} tracking=maybe", 2, ["tracking.enabled='maybe'", "must be on or off"], []),
    # going on, looking back
    ("search resume=", 2, ["names no folder"], []),
    ("search resume=nowhere", 2, ["nowhere does not exist; below", "results/synthetic/delu/old"], ["config.json"]),
    (
        "search resume=results/synthetic/delu/bgun",
        2,
        ["does not exist; did you mean results/synthetic/delu/begun?"],
        [],
    ),
    ("tracking sync results/synthetic/delu/xyz", 2, ["does not exist; below {here}/results/synthetic/delu lie:"], []),
    ("search resume={here}/results", 2, ["below it lie:", "results/synthetic/delu/old"], []),
    ("confirm", 2, ["search= is missing"], []),
    ("confirm search={here}/results", 2, ["below it lie:"], []),
    ("evaluate checkpoint={here}/results/synthetic/delu/begun", 2, ["stopped before its first run", "resume="], []),
    ("cluster submit -- baseline=delu", 2, ["address= is missing"], []),
    ("report {here}/nowhere", 2, ["does not exist"], []),
    ("tracking sync", 2, ["needs the folder"], []),
    ("ablate study=component", 2, ["did you mean components?"], []),
    ("evaluate", 2, ["checkpoint: missing"], []),
    (f"evaluate checkpoint={{here}}/foreign.pt baseline=delu {TINY}", 2, ["not executed"], ["weights_only", "trust"]),
    (f"evaluate checkpoint={{here}}/features.npy baseline=delu {TINY}", 2, ["damaged"], ["weights_only"]),
    # a week later
    ("search search.num_runs = 8", 2, ["'search.num_runs = 8': write key=value without blanks"], ["8=<value>"]),
    ("search = 3", 2, ["without blanks round the ="], ["3=<value>"]),
    (f"search data {TINY[5:]}", 2, ["write data=<value>", f"Write <key>={TINY[5:]}"], ["<value>, or see --help\n/"]),
    ("confirm {here}/results", 2, ["which key is it the value of? Write <key>={here}/results"], []),
    (f"search {TINY} storage=~/kept", 2, ["a shell makes nothing of ~", 'write "storage=$HOME/kept"'], ["odd char"]),
    (f"search {TINY} training.iterations=1e4", 2, ["must be a whole number, written 10000"], []),
    (f"search {TINY} search.num_runs=8.5", 2, ["search.num_runs=8.5: must be a whole number"], ["written"]),
    (
        f"search {TINY} 'space.delta={{{{min: 0.1, max: 0.9}}}}'",
        2,
        ["the ends of a range are called low and high: space.delta.low", "space.delta.high"],
        ["are known"],
    ),
    (f"search {TINY} scs=off mcm=off", 2, ["scs=off mcm=off: nothing is left to search"], ["search_spaces/delu.yaml"]),
    (f"search {TINY} scs=off space.delta.high=0.9", 2, ["space.delta: no run reads this"], []),
    (
        "search resume={here}/results/synthetic/delu/old/config.json",
        2,
        ["a file of an experiment; give its folder"],
        [],
    ),
    ("search resume={here}/results/synthetic/delu/old name=x", 2, ["name cannot be changed", "These may be:"], []),
    ("train resume={here}/searched", 2, ["is a search's folder", " -m dce_ray.search resume="], ["options.json"]),
    (f"train {TINY} config={{here}}/searched", 2, ["Is a directory", "such as config={here}/searched/best.yaml"], []),
    (f"train {TINY} sampling.fold=5", 2, ["must lie in 0..4"], []),
    ("report {here}/own.json", 2, ["own.json: is a file; give the folder"], ["does not exist"]),
    ("cluster", 2, ["give a command: fetch, list, logs, status, stop, submit"], ["''"]),
    ("tracking", 2, ["give a command: sync or ui"], ["''"]),
    ("tracking ui {here}/empty uri=localhost:5000", 2, ["no experiment"], []),
    ("cluster submit address=localhost:8265 -- baseline=delu", 2, ["written http://<host>:8265"], []),
    ("confirm search={here}/results/synthetic/delu/old seeds=1", 2, ["seeds=1", "an interval needs two"], []),
    ("ablate study=lambda values=0.5", 2, ["write a list of numbers"], []),
    (f"predict {TINY}", 2, ["checkpoint= is missing"], []),
    # looking for keys
    ("search keys zzz", 2, ["none contains zzz"], []),
    ("search keys seed precision", 0, ["\nseed=0\n", "confirm.precision=1.0\n"], ["seed=off"]),
    ("train keys deterministic fold", 0, ["deterministic=off", "sampling.fold=0\n"], []),
    ("search -h", 0, ["policy=replicates"], []),
    ("search keys lr=3", 2, ["takes baseline=, data="], []),
    ("train keys data=nonsense", 2, ["no such folder"], []),
]


class Foreign:
    """What a checkpoint of somebody else may hold beside tensors."""


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    np.save(folder / "features.npy", np.zeros((4, 2048), np.float32))
    torch.save({"state_dict": {"weight": torch.zeros(3)}, "options": Foreign()}, folder / "foreign.pt")
    (folder / "empty").mkdir()
    (folder / "cache" / "stores").mkdir(parents=True)
    (folder / "own").mkdir()
    (folder / "own" / "one.npy").write_text("1 2 3\n")
    known = {"label": "Jump", "segment": [0.0, 1.0]}
    videos = {"one": ("training", known), "two": ("validation", known | {"label": "Fly"})}
    database = {name: {"subset": subset, "duration": 9.0, "annotations": [it]} for name, (subset, it) in videos.items()}
    (folder / "own.json").write_text(json.dumps({"database": database}))
    begun = folder / "results" / "synthetic" / "delu" / "begun"
    begun.mkdir(parents=True)
    (begun / "config.json").write_text('{"format": 3, "search": {"num_runs": 9}}\n')
    (folder / "searched").mkdir()
    for name in ("study.journal", "best.yaml", "config.json"):
        (folder / "searched" / name).write_text("")
    old = folder / "results" / "synthetic" / "delu" / "old"
    old.mkdir(parents=True)
    (old / "config.json").write_text('{"format": 3}\n')
    return folder


@pytest.fixture(scope="module")
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listing(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize(("line", "status", "words", "never"), MISTAKES, ids=[line for line, *_ in MISTAKES])
def test_a_mistake_is_told_with_its_remedy(
    line, status, words, never, here, closed_port, tiny_store, monkeypatch, capsys
):
    monkeypatch.chdir(here)
    monkeypatch.setenv("DCE_CACHE", str(here / "cache"))
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "MLFLOW_TRACKING_URI", "DCE_DATA"):
        monkeypatch.delenv(name, raising=False)
    places = {"here": here, "store": tiny_store, "closed": closed_port}
    command, *arguments = shlex.split(line.format(**places))
    module = importlib.import_module(f"dce_ray.{command}.__main__" if command in WITH_MAIN else f"dce_ray.{command}")
    before = listing(here)
    found = status_of(module.main, module.USAGE, arguments)
    output = "".join(capsys.readouterr())
    assert found == status, output
    assert [word for word in (text.format(**places) for text in words) if word not in output] == [], output
    assert [word for word in (*never, *EVERYWHERE_NOT) if word in output] == [], output
    assert listing(here) == before


def test_a_folder_in_the_place_of_a_file_is_told_as_such(tmp_path):
    with pytest.raises(OutputError, match="cannot be written, for it is a folder; give the name of a file"):
        write_atomically(tmp_path, "text")


def test_an_address_is_told_by_the_key_it_was_given_as(tmp_path):
    folder = ExperimentFolder(tmp_path / "results" / "synthetic" / "delu" / "one")
    with pytest.raises(TrackingError, match=r"\Auri=localhost:5000: neither a server.*mlflow.db\Z"):
        address_of(folder, "localhost:5000", key="uri")
    with pytest.raises(TrackingError, match=r"\Atracking.uri=localhost:5000: .*tracking=off\Z"):
        address_of(folder, "localhost:5000")


def test_the_table_is_long_enough():
    assert len(MISTAKES) >= 60


def real(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    known = os.environ | {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": "", "NO_COLOR": "1"} | environment
    return subprocess.run(command, cwd=cwd, env=known, capture_output=True, text=True, check=False, timeout=280)


def test_the_package_lists_its_commands_and_runs_one(tmp_path):
    usage = real(sys.executable, "-m", "dce_ray", cwd=tmp_path)
    assert usage.returncode == 0
    assert all(f"python -m dce_ray.{name}" in usage.stdout for name in ("search", "train", "data.synthetic", "cluster"))
    assert "exit status" in usage.stdout
    wrong = real(sys.executable, "-m", "dce_ray", "serch", cwd=tmp_path)
    assert (wrong.returncode, "did you mean search?" in wrong.stderr) == (2, True)
    version = real(sys.executable, "-m", "dce_ray", "tracking", "--version", cwd=tmp_path)
    assert (version.returncode, version.stdout.split()[0]) == (0, "dce-ray")


def test_bare_make_says_what_there_is(tmp_path):
    for command in (["make"], ["make", "help"]):
        done = real(*command, "-C", str(ROOT), cwd=tmp_path)
        assert done.returncode == 0
        assert "make search" in done.stdout
        assert "dce_ray.search" not in done.stdout


def test_keys_say_what_they_mean_for_a_baseline_and_a_data_set(capsys):
    from dce_ray.search.__main__ import main

    assert main(["keys", "baseline=co2net", "data=thumos14", "segments", "sampler"]) == 0
    listed = capsys.readouterr().out
    assert "sampling.segments=500" in listed
    assert "auto|gp|tpe|cmaes|random" in listed
    assert "Who suggests new points" in listed
    assert "training.iterations" not in listed
    assert main(["keys", "space.delta"]) == 0
    assert "space.delta.low=" in capsys.readouterr().out


def test_files_of_a_users_own_are_not_taken_for_ours(tmp_path):
    """Whatever a working folder holds, what a search needs from its start to its report comes from the package."""
    for name in ("results", "trainables", "search_spaces", "tests", "benchmarks"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')\n")
    code = (
        "import sys; sys.path.insert(0, '')\n"
        "import dce_ray.search.stages, dce_ray.report.page, dce_ray.trainables as ours\n"
        "from dce_ray.search.space_file import load_space\n"
        "load_space('delu', 'default', {})\n"
        "print(ours.DeluTrainable.__module__, [n for n in sys.modules if n in ('trainables', 'search_spaces')])"
    )
    done = real(sys.executable, "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "dce_ray.trainables []", done.stderr


def test_a_silent_mlflow_is_told_at_once(closed_port, tmp_path):
    from dce_ray.tracking.connection import silent_server

    folder = ExperimentFolder(tmp_path / "results" / "synthetic" / "delu" / "one")
    uri = f"http://127.0.0.1:{closed_port}"
    (warning,) = silent_server(folder, address_of(folder, uri), uri)
    assert f"nobody answers at {uri}" in warning
    assert "python -m dce_ray.tracking sync" in warning
    assert silent_server(folder, address_of(folder, "sqlite:///x.db"), None) == []


def test_a_search_that_cannot_begin_leaves_no_folder(tmp_path):
    from dce_ray.experiment.record import RunRecord
    from dce_ray.search.surroundings import nothing_left

    folder = ExperimentFolder.create(tmp_path / "results" / "data" / "delu" / "one", {"run": {}}, {})
    with pytest.raises(SearchError), nothing_left(folder):
        raise SearchError("Ray does not start")
    assert listing(tmp_path) == {tmp_path / "results"}
    ended = ExperimentFolder.create(tmp_path / "results" / "data" / "delu" / "tb", {"run": {}}, {})
    with pytest.raises(OutOfTimeError), nothing_left(ended):
        raise OutOfTimeError("to go on: resume=")
    assert ended.path.is_dir()
    begun = ExperimentFolder.create(tmp_path / "results" / "data" / "delu" / "one", {"run": {}}, {})
    begun.trial("a").write(RunRecord("a", "trial", "trial 0", 0, "running", {}, 0))
    with pytest.raises(SearchError), nothing_left(begun):
        raise SearchError("Ray does not start")
    assert begun.path.is_dir()
