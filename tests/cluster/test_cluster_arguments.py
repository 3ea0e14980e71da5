"""What is refused before anything reaches a cluster, and what a submission consists of."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from dce_ray.cluster import entry
from dce_ray.cluster.connection import checked_address, connect
from dce_ray.cluster.entry import missing_packages, with_own_code
from dce_ray.cluster.fetch import FETCHED, _check_targets, experiment_folders
from dce_ray.cluster.follow import Log
from dce_ray.cluster.jobs import exit_status
from dce_ray.cluster.submission import SubmitOptions, check_search, code_folder, entrypoint, runtime_environment
from dce_ray.commandline import parse
from dce_ray.errors import ClusterError, ConfigError, DceError
from dce_ray.presets import run_config
from dce_ray.search.__main__ import request_of
from dce_ray.search.options import ConfirmOptions, RayOptions, SearchOptions
from dce_ray.search.settings import CHANGEABLE, Experiment, build_experiment

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["baseline=delo"], "delu"),
        (["search.num_rns=9"], "did you mean search.num_runs"),
        (["search.num_runs=2"], "give more, or lower"),
        (["space.detla=0.5"], "did you mean"),
        (["baseline=co2net,delo"], "delu"),
        (["data=synthetic-tiny,results/mine"], "data=results/mine: this path counts"),
        (["data=results/mine"], "Give an absolute path that every node has, s3://"),
        (["data=synthetic-tinny"], "or the name of a data set"),
        (["storage=shared/searches"], "storage=shared/searches: this path counts from a folder on the cluster's head"),
        (["storage=shared/searches"], "Give an absolute path that every node has, or s3://..."),
        (["data=/shared/own", "annotations=own.json"], "annotations=own.json: this path counts from"),
        (["resume="], "names no folder"),
        (["resume=results/x", "results=other"], "results cannot be changed"),
        (["resume=results/x", "baseline=delu"], "baseline cannot be changed"),
        (["resume=results/x", "search.num_runs=few"], "search.num_runs='few': must be a whole number"),
        (["resume=results/x", "confirm.seeds=30", "confirm.precision=0"], "confirm.precision=0.0: must lie between"),
        (["resume=results/x", "confirm.seeds=-1", "search.time_budget=0s"], "confirm.seeds=-1: must lie between"),
        (["resume=results/x", "confirm.seeds=-1", "search.time_budget=0s"], "search.time_budget=0s: must be more"),
        (["resume=results/x", "ray.address=ray://head:10001"], "ray.address=ray://head:10001"),
        (["resume=results/x", "tracking.uri=https://me:s3cret@h"], "tracking.uri=https://me:***@h: holds a password"),
    ],
)
def test_a_wrong_search_is_refused_here(arguments, told):
    with pytest.raises(DceError, match=re.escape(told)):
        check_search(arguments)


@pytest.mark.parametrize(
    "words",
    [
        ["data=s3://KEYID:s3/cret@bucket/store"],
        ["data=synthetic-tiny,s3://KEYID:s3cret@bucket/store"],
        ["data=s3a://KEYID:s3cret@bucket/store"],
        ["data=synthetic", "storage=s3://KEYID:s3/cret@bucket/x"],
        ["resume=s3://KEYID:s3cret@bucket/searches/a/delu/one"],
        ["data=synthetic", "space.first_points=[paper,'s3://KEYID:s3cret@bucket/best.yaml']"],
    ],
)
def test_credentials_in_any_address_are_refused_here_and_not_shown(words):
    """The dashboard shows a job's arguments, and its logs keep them."""
    with pytest.raises(DceError, match="address without") as fault:
        check_search(words)
    assert not re.search("KEYID|s3/?cret", str(fault.value))


@pytest.mark.parametrize(
    "arguments",
    [
        ["baseline=delu", "data=/shared/store", "search.num_runs=200", "space.delta.high=0.9", "tracking=off"],
        ["data=s3://bucket/store"],
        [
            "space.training.learning_rate={low: 1e-5, high: 1e-3, log: true}",
            "search.num_runs=40",
        ],
        ["resume=/shared/searches/thumos14/delu/first", "results=other"],
        ["resume=s3://bucket/searches/thumos14/delu/first", "results=other"],
        ["data=synthetic-tiny", "storage=/shared/searches"],
        ["resume=results/x/delu/one", "search.num_trials=64", "tracking=off"],
        ["resume=results/x/delu/one", "confirm.seeds=30"],
        ["resume=results/x/delu/one", "confirm.max_seeds=4"],
        ["baseline=co2net,delu", "data=synthetic-tiny,s3://bucket/store"],
    ],
)
def test_a_right_search_passes(arguments):
    check_search(arguments)


GROUPS = {"search": SearchOptions, "confirm": ConfirmOptions, "ray": RayOptions}
ENDS = [
    f"{group}.{item.name}={item.metadata[end]}"
    for group, kind in GROUPS.items()
    for item in dataclasses.fields(kind)
    for end in ("low", "high")
    if f"{group}.{item.name}" in CHANGEABLE and end in item.metadata
]
"""Of all numbers that resume= may change, the least and the most that may be given."""


@pytest.mark.parametrize("word", [*ENDS, "confirm.precision=null"])
def test_what_some_folder_takes_goes_to_the_head(word):
    assert len(ENDS) == 18
    check_search(["resume=results/x/delu/one", word])


def test_the_command_refuses_before_it_connects():
    """The address is not even looked at: a typo is told by itself."""
    command = [sys.executable, "-m", "dce_ray.cluster", "submit", "address=http://192.0.2.1:1", "--", "baselin=delu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "did you mean baseline?" in done.stderr
    assert "192.0.2.1" not in done.stderr


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "ray://10.0.0.1:10001", "http://10.0.0.1", "http://10.0.0.1:x"])
def test_other_doors_of_the_cluster_are_told_apart(address):
    with pytest.raises(ClusterError, match=r"written http://<host>:8265"):
        checked_address(address)


def test_addresses(monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://ray.example.org/")
    assert checked_address(None) == "https://ray.example.org"
    assert checked_address("http://10.0.0.1:8265/#/jobs") == "http://10.0.0.1:8265"
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS")
    with pytest.raises(ClusterError, match="address= is missing"):
        checked_address(None)


def test_options_are_checked(tmp_path):
    wheel = tmp_path / "dce_ray-0.1.0-py3-none-any.whl"
    with pytest.raises(ConfigError, match=r"must be here, none, or a wheel that exists"):
        SubmitOptions(code=str(wheel))
    with pytest.raises(ConfigError, match="letters, digits"):
        SubmitOptions(job="a b")
    with pytest.raises(ConfigError, match="lock"):
        SubmitOptions(runtime_env="lok")
    with zipfile.ZipFile(wheel, "w"):
        pass
    assert runtime_environment(SubmitOptions(code=str(wheel)), None)["py_modules"] == [str(wheel)]


def test_what_is_brought_and_installed():
    with code_folder() as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["dce_ray", "search_spaces", "trainables"]
        brought = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        assert {Path("dce_ray/search/__main__.py"), Path("dce_ray/cluster/requirements.txt")} <= brought
        assert not [path for path in brought if path.suffix == ".pyc"]
        environment = runtime_environment(SubmitOptions(), folder)
        assert environment["working_dir"] == str(folder)
        assert "torch" in " ".join(environment["pip"]["packages"])
        assert environment["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "60"
    bare = runtime_environment(SubmitOptions(code="none", runtime_env="none"), None)
    assert bare.keys() == {"env_vars"}


def test_the_command_on_the_head():
    line = entrypoint(SubmitOptions(folder="/my results", python="python3.12"), ["data=s3://b/s", "x='a b'"], "job-1")
    assert line.startswith("python3.12 -m dce_ray.cluster.entry 3.")
    assert line.endswith("""'/my results' data=s3://b/s 'x='"'"'a b'"'"'' name=job-1""")
    assert " any " in entrypoint(SubmitOptions(versions="any"), [], "job-1")
    for named in ("name=mine", "resume=results/x"):
        assert "job-1" not in entrypoint(SubmitOptions(), [named], "job-1")


def test_files_of_this_machine_go_along_and_mean_the_same_there(tmp_path, monkeypatch):
    """The search that the head is asked for has the space and the first points of the one that was checked here."""
    here, head = tmp_path / "here", tmp_path / "head"
    found = run_config("delu", "synthetic", data_set="default").to_mapping()
    for name, delta in (("one", 0.31), ("an other", 0.42)):
        (here / name).mkdir(parents=True)
        found["method"]["delta"] = delta
        (here / name / "best.yaml").write_text(yaml.safe_dump(found))
    (here / "space.yaml").write_text("delta: {low: 2e-1, high: 0.9}\nfirst_points: [paper, one/best.yaml]\n")
    plain = ["baseline=delu", "data=synthetic-tiny", "space=space.yaml"]
    pointed = [*plain, "space.first_points=[an other/best.yaml,paper,one/best.yaml]"]
    execved: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda program, line, environment: execved.append(line))
    for words in (plain, pointed, ["data=synthetic-tiny", "space.first_points=one/best.yaml"]):
        monkeypatch.chdir(here)
        check_search(words)
        asked = experiment_of(words)
        _, _, _, version, folder, *rest = shlex.split(entrypoint(SubmitOptions(folder=str(head)), words, "job-1"))
        entry.main([version, folder, *rest])
        assert execved[-1][1:3] == ["-m", "dce_ray.search"]
        assert Path.cwd() == head
        there = experiment_of(execved[-1][3:])
        assert dict(there.first_points) == dict(asked.first_points)
        assert "best-of-one" in there.first_points
        assert there.space.dimensions == asked.space.dimensions
        assert all(name == "paper" or name.startswith("submitted/job-1/") for name in there.space.first_points)


def test_files_that_are_too_large_for_a_job_are_refused(tmp_path):
    (tmp_path / "space.yaml").write_text("delta: 0.5\n" + "# words\n" * 20_000)
    with pytest.raises(ConfigError, match=f"{tmp_path}/space.yaml: too large together to go with a job"):
        entrypoint(SubmitOptions(), [f"space={tmp_path}/space.yaml"], "job-1")


def experiment_of(words: list[str]) -> Experiment:
    values = {key: value for key, value in parse(words).items() if key != "name"}
    return build_experiment(request_of(values), "synthetic", "default")


def test_the_head_refuses_another_python_and_a_folder_it_cannot_make(tmp_path):
    (tmp_path / "file").write_text("")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    for words, told in (
        (["3.99", str(tmp_path)], f"the cluster runs Python {here}, the submitting machine Python 3.99; both must be"),
        ([here, str(tmp_path / "file" / "x")], "cannot be made on"),
    ):
        command = [sys.executable, "-m", "dce_ray.cluster.entry", *words, "keys"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
        assert done.returncode == 2
        assert done.stderr.startswith("ClusterError: ")
        assert told in done.stderr
    assert "has no torch, ray" in str(missing_packages(lambda name: name not in ("torch", "ray")))
    assert missing_packages(lambda name: True) is None


def test_own_code_comes_first():
    environment = with_own_code({"PYTHONPATH": "/other:", "A": "b"})
    assert environment == {"A": "b", "PYTHONPATH": f"{ROOT}:/other"}


def test_a_log_that_begins_anew_is_shown_once():
    shown: list[str] = []
    log = Log(shown.append)
    log.take("one\ntw")
    log.restart()
    log.take("one\n")
    log.take("two\nthree\n")
    assert "".join(shown) == "one\ntwo\nthree\n"
    log.restart()
    log.take("one\ntwo\nthree\n")
    assert "".join(shown) == "one\ntwo\nthree\n"


class Ended:
    """As much of Ray's details of a job as its exit status depends on."""

    def __init__(self, status: str, code: int | None) -> None:
        self.status, self.driver_exit_code = status, code


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("FAILED", 0, 1),
        ("STOPPED", None, 130),
        ("STOPPED", 0, 130),
    ],
)
def test_exit_status(status, code, expected):
    assert exit_status(Ended(status, code)) == expected


def test_folders_that_a_log_names():
    log = "x\nfolder on the cluster: /home/me/dce-ray on head\nexperiment folder: results/a/delu/one\n"
    again = log + "experiment folder: /abs/b/delu/two\nexperiment folder: results/a/delu/one\n"
    assert experiment_folders(again, "j") == ["/home/me/dce-ray/results/a/delu/one", "/abs/b/delu/two"]
    assert experiment_folders("experiment folder: /abs/b/delu/two\n", "j") == ["/abs/b/delu/two"]
    several = "campaign: /r/campaigns/all\nexperiment folder: /r/a/delu/all\ncampaign: 1 of 2 searches to do\n"
    assert experiment_folders(several, "j") == ["/r/campaigns/all", "/r/a/delu/all"]
    with pytest.raises(ClusterError, match="has made no experiment folder"):
        experiment_folders("nothing", "j")
    with pytest.raises(ClusterError, match="Give results=<absolute path"):
        experiment_folders("experiment folder: results/a/delu/one\n", "j")


def test_a_fetched_search_that_was_gone_on_with_here_is_not_replaced(tmp_path):
    (tmp_path / "study.journal").write_text("")
    (tmp_path / FETCHED).write_text("{}")
    os.utime(tmp_path / "study.journal", (1, 1))
    _check_targets([tmp_path])
    (tmp_path / "report.html").write_text("looked at")
    _check_targets([tmp_path])
    os.utime(tmp_path / "study.journal", (2**32, 2**32))
    with pytest.raises(ClusterError, match="was fetched and then gone on with here"):
        _check_targets([tmp_path])


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", b"<html>a page</html>"), ("application/json", b'{"version": 1}')]
)
def test_what_answers_and_is_no_dashboard_is_told(kind, body):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(
            ClusterError, match=r"something answers there \(status 200\), but not as Ray's dashboard does"
        ):
            connect(f"http://127.0.0.1:{server.server_port}", any_version=True)
        server.shutdown()
