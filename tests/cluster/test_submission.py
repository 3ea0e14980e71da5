"""Searches that are submitted through the HTTP job API, with a token, to a Ray of real processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.forwarder import Forwarder
from cluster.loopback import RAY, ROOT, LoopbackCluster, free_ports

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.study import read_study
from dce_ray.provenance import commit

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
RUNS = 7
SEARCH = [
    *("baseline=delu", "data=synthetic-tiny", "training.iterations=20", "training.eval_every=10"),
    *("evaluation.proposal_thresholds=5", "sampling.segments=24", f"search.num_runs={RUNS}", "search.folds=2"),
    *("confirm.top=1", "confirm.seeds=1", "confirm.precision=null", "tracking=off"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    environment = {
        "PATH": os.pathsep.join([str(RAY.parent), os.environ["PATH"]]),  # the job's python is the first one there
        "PYTHONPATH": "",  # the code has to come with the job
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "180",
        "RAY_worker_niceness": "0",  # beside other tests a nice run would take minutes
    }
    with LoopbackCluster(
        nodes=0, head_cpus=1, token=True, dashboard=True, walls=False, environment=environment
    ) as made:
        yield made


def client(cluster: LoopbackCluster, *words: str, **more: str) -> dict:
    """Arguments of a process that runs a verb as on another machine: with a home of its own, and no RAY_ADDRESS."""
    environment = cluster.driver_environment(**{"HOME": str(cluster.folder), **more})
    del environment["RAY_ADDRESS"]
    environment = {name: value for name, value in environment.items() if value != "-"}
    return {"args": [sys.executable, "-m", "dce_ray.cluster", *words], "env": environment, "cwd": cluster.folder}


def run(cluster: LoopbackCluster, verb: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    address = [] if any(word.startswith("address=") for word in words) else [f"address={cluster.dashboard_url}"]
    wanted = client(cluster, verb, *address, *words, **more)
    return subprocess.run(**wanted, capture_output=True, text=True, timeout=600, check=False)


def results(cluster: LoopbackCluster) -> Path:
    """On the head's disk."""
    return cluster.head.folder / "home" / "dce-ray" / "results"


def ended_runs(cluster: LoopbackCluster, name: str) -> int:
    """Runs of a search that have ended, as its study tells."""
    found = list(results(cluster).glob(f"*/delu/{name}/config.json"))
    folder = ExperimentFolder.open(found[0].parent) if found else None
    if folder is None or not folder.study.is_file():
        return 0
    return sum(trial.state.is_finished() for trial in read_study(folder.study).trials)


def await_runs(cluster: LoopbackCluster, name: str, number: int) -> None:
    deadline = time.monotonic() + 600
    while ended_runs(cluster, name) < number:
        assert time.monotonic() < deadline, run(cluster, "logs", f"job={name}", "follow=off").stdout
        time.sleep(0.2)


def search_process(cluster: LoopbackCluster, name: str) -> int:
    """The driver of a search that was submitted to this cluster, as soon as it is there; other tests have theirs."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                ours = (entry / "cwd").resolve().is_relative_to(cluster.folder.resolve())
                ours = ours or f"{cluster.folder}/".encode() in b" ".join(words)
                if ours and b"dce_ray.search" in words and any(name.encode() in word for word in words):
                    return int(entry.name)
        time.sleep(0.1)
    raise AssertionError(f"no driver of {name}")


def test_a_search_is_followed_through_a_lost_connection_and_fetched(cluster, tmp_path):
    (tmp_path / "space.yaml").write_text("delta: {low: 0.3, high: 0.7}\n")  # on this machine alone
    words = ["runtime_env=none", "job=first", "--", *SEARCH, f"space={tmp_path / 'space.yaml'}"]
    with Forwarder(cluster.dashboard_port) as way:
        wanted = client(cluster, "submit", f"address={way.url}", *words, HOME=str(tmp_path))
        with subprocess.Popen(**wanted, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
            try:
                await_runs(cluster, "first", 2)
                way.close()
                await_runs(cluster, "first", 4)  # it goes on with nobody looking
                way.open()
                meanwhile = tmp_path / "meanwhile"
                for _ in range(2):  # again and again, while it runs
                    early = run(cluster, "fetch", "job=first", f"target={meanwhile}")
                    assert early.returncode == 0, early.stderr
                shown, told = following.communicate(timeout=400)
            finally:
                following.kill()
    assert following.returncode == 0, (shown, told)
    assert "is lost; the job goes on" in told
    assert "SUCCEEDED, exit status 0" in told
    assert "warning" not in told  # it asks for a token
    assert shown == run(cluster, "logs", "job=first", "follow=off").stdout
    assert shown.count("experiment folder: ") == 1
    early_copy = ExperimentFolder.open(next(meanwhile.glob("*/delu/first")))
    begun = {trial.user_attrs.get("key"): trial.state for trial in read_study(early_copy.study).trials}
    assert {each.key for each in early_copy.trials()} <= begun.keys()
    ended = {key for key, state in begun.items() if state.is_finished()}
    assert len(ended) >= 4
    assert ended <= {each.key for each in early_copy.trials() if each.record().state != "running"}

    fetched = run(cluster, "fetch", "job=first", f"target={tmp_path / 'here'}")
    assert fetched.returncode == 0, fetched.stderr
    here = Path(fetched.stdout.strip())
    assert here.relative_to(tmp_path / "here").parts[1:] == ("delu", "first")
    there = results(cluster) / here.relative_to(tmp_path / "here")
    files = {file.relative_to(there): file.read_bytes() for file in there.rglob("*") if file.is_file()}
    files = {name: content for name, content in files.items() if not name.name.startswith(".")}
    copied = {file.relative_to(here): file.read_bytes() for file in here.rglob("*") if file.is_file()}
    assert copied.pop(Path("fetched.json"))
    assert copied == files
    delta = json.loads((there / "config.json").read_text())["space"]["delta"]
    assert (delta["low"], delta["high"]) == (0.3, 0.7)
    assert json.loads((there / "environment.json").read_text())["commit"] == commit()  # it came with the code
    assert sum(trial.state.is_finished() for trial in read_study(ExperimentFolder.open(here).study).trials) == RUNS
    (here / "report.html").unlink()
    assert run(cluster, "fetch", "job=first", f"target={tmp_path / 'here'}").returncode == 0  # a copy is made anew
    assert (here / "report.html").is_file()
    (here / "fetched.json").unlink()
    refused = run(cluster, "fetch", "job=first", f"target={tmp_path / 'here'}")
    assert refused.returncode == 2
    assert f"{here}: is there already and was not fetched; give target=" in refused.stderr
    assert not list((tmp_path / "here").glob(".fetching*"))
    assert not list((cluster.head.folder / "ray").glob("session_2*/logs/*.tar.gz"))  # nothing stays on the head

    listed = run(cluster, "list")
    assert re.search(r"^first +SUCCEEDED .*data=synthetic-tiny", listed.stdout, re.MULTILINE)
    known = run(cluster, "status", "job=first").stdout
    assert "first: SUCCEEDED, exit status 0" in known
    again = run(cluster, "submit", "job=first", "runtime_env=none", "--", *SEARCH)
    assert again.returncode == 2
    assert "has a job of that name" in again.stderr


def test_a_stopped_and_a_killed_search_go_on_with_nothing_doubled(cluster):
    submitted = run(cluster, "submit", "runtime_env=none", "job=wild", "follow=off", "--", *SEARCH, "name=wild")
    assert submitted.returncode == 0, submitted.stderr
    await_runs(cluster, "wild", 1)
    stopped = run(cluster, "stop", "job=wild")
    assert stopped.returncode == 0, stopped.stderr
    assert "wild: STOPPED" in stopped.stdout
    said = r"To go on with it: \S*python\S* -m dce_ray.cluster submit address=\S+ runtime_env=none -- (.*)"
    way = re.search(said, stopped.stdout)
    assert way, stopped.stdout
    log = run(cluster, "logs", "job=wild", "follow=off").stdout
    place = re.search(r"Go on with: \S*python\S* -m dce_ray.search (resume=\S+/wild)", log)
    assert place, log  # it ended tidily

    assert way.group(1) == place.group(1)
    resume = ["--", way.group(1)]
    assert run(cluster, "submit", "runtime_env=none", "job=wild-2", "follow=off", *resume).returncode == 0
    driver, before = search_process(cluster, "wild"), ended_runs(cluster, "wild")
    await_runs(cluster, "wild", min(before + 1, RUNS))
    os.kill(driver, signal.SIGKILL)
    killed = run(cluster, "logs", "job=wild-2")
    assert killed.returncode in (128 + 9, 1), killed.stderr
    assert "FAILED" in killed.stderr

    ended = run(cluster, "submit", "runtime_env=none", "job=wild-3", *resume)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder = ExperimentFolder.open(next(results(cluster).glob("*/delu/wild")))
    keys = [trial.user_attrs["key"] for trial in read_study(folder.study).trials if trial.state.is_finished()]
    assert len(keys) == RUNS
    assert sorted(keys) == sorted({run.key for run in folder.trials()})
    for each in folder.trials():
        iterations = [reading.iteration for reading in each.readings()]
        assert iterations == sorted(set(iterations))


def test_rays_own_command_submits_a_search(cluster, tmp_path):
    """As docs/cluster.md shows it."""
    wanted = client(cluster)
    words = [str(RAY), "job", "submit", "--address", cluster.dashboard_url, "--working-dir", "."]
    done = subprocess.run(
        [*words, "--", "python", "-m", "dce_ray.search", "keys"],
        env=wanted["env"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "search.num_runs=32" in done.stdout


def test_wrong_ways_are_told_at_once(cluster):
    """One message each: value, rule, remedy."""
    nobody = f"address=http://127.0.0.1:{free_ports(1)[0]}"
    for words, environment, expected in (
        (["list", nobody], {}, ("nobody listens there", "Remedy: see on the head with 'ray status'")),
        (["list"], {"RAY_AUTH_TOKEN": "0" * 64}, ("the token that was sent is another one", "Remedy: export RAY_AUTH")),
        (["list"], {"RAY_AUTH_TOKEN": "-", "RAY_AUTH_MODE": "-"}, ("no token was sent", "Remedy: export RAY_AUTH")),
        (["list"], {"RAY_AUTH_TOKEN": "-"}, ("no token is found on this machine", "Remedy: export RAY_AUTH")),
        (["logs", "job=fist"], {}, ("job=fist: the cluster at", "has no such job", "cluster list")),
        (["stop", "job=fist"], {}, ("has no such job",)),
        (["fetch", "job=fist"], {}, ("has no such job",)),
    ):
        began = time.monotonic()
        done = run(cluster, *words, **environment)
        assert done.returncode == 2, (words, done.stdout, done.stderr)
        assert done.stderr.startswith("ClusterError: "), done.stderr
        assert "Traceback" not in done.stderr
        for text in expected:
            assert text in done.stderr, (words, done.stderr)
        assert time.monotonic() - began < 60  # some seconds on a quiet machine, most of them imports


def test_a_token_that_lies_here_is_used_without_being_told(cluster, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(cluster.secret)
    done = run(cluster, "list", RAY_AUTH_TOKEN="-", RAY_AUTH_MODE="-", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_another_ray_is_refused(cluster):
    import ray

    mine = f'"ray_version": "{ray.__version__}"'.encode()
    theirs = mine.replace(ray.__version__.encode(), b"1" + ray.__version__.encode()[1:])
    with Forwarder(cluster.dashboard_port, answered=lambda data: data.replace(mine, theirs)) as way:
        done = run(cluster, "submit", f"address={way.url}", "runtime_env=none", "--", *SEARCH)
    assert done.returncode == 2
    assert f"the cluster runs Ray 1{ray.__version__[1:]}, here is Ray {ray.__version__}" in done.stderr
    assert "Remedy: pip install 'ray[default,tune]==1" in done.stderr


def test_a_dashboard_that_is_open_to_all_is_warned_of(cluster):
    """The real one, behind a door that others reach and that adds the token for everybody."""
    token = f"\r\nX-Ray-Authorization: Bearer {cluster.secret}\r\n".encode()

    def admit(data: bytes) -> bytes:
        return data.replace(b"\r\n", token, 1) if b"HTTP/1.1\r\n" in data else data

    alone = {"RAY_AUTH_TOKEN": "-", "RAY_AUTH_MODE": "-"}
    with Forwarder(cluster.dashboard_port, asked=admit, host="0.0.0.0") as way:
        done = run(cluster, "list", f"address={way.url}", **alone)
    assert done.returncode == 0, done.stderr
    assert re.search(r"warning: http://[\d.]+:\d+ asks for no token", done.stderr)
    assert "ray get-auth-token --generate" in done.stderr
    with Forwarder(cluster.dashboard_port, asked=admit) as way:  # on the loopback device alone
        done = run(cluster, "list", f"address={way.url}", **alone)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
