"""The mirror beside a search: a server that dies or hangs, a driver that is killed, many searches at once."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chromium import free_port
from mirrored import Server, add_trial, assert_all_there_once, new_experiment, readings, runs_of
from mlflow import MlflowClient

from dce_ray.errors import TrackingError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.interrupts import stop_on_signal
from dce_ray.tracking import Mirror, start_mirror, sync

Make = Callable[..., ExperimentFolder]
PATIENCE_S = 180.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def current(mirror: Mirror) -> int:
    return mirror.report.current if mirror.report else 0


def test_a_server_that_is_killed_and_comes_back_has_everything_once(make_experiment: Make, server: Server):
    folder = make_experiment("killed")
    with start_mirror(folder, server.uri) as mirror:
        wait_until(lambda: current(mirror) == 6, "the mirror did not send what was there")
        running = folder.trials()[4]
        readings(running, 110, 200)
        server.kill()
        before = time.monotonic()
        for number in range(5, 9):
            add_trial(folder, number)
        readings(running, 210, 300)
        assert time.monotonic() - before < 2.0, "writing results waited for MLflow"
        wait_until(lambda: mirror.report.faults, "the mirror did not notice")
        assert "does not answer" in mirror.report.faults[0]
        server.start()
        add_trial(folder, 9)
    assert mirror.report.complete, mirror.message
    assert server.uri in mirror.message
    assert_all_there_once(MlflowClient(server.uri), folder)


def test_a_server_that_hangs_holds_nobody_up(make_experiment: Make, server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    folder = make_experiment("slow")
    with start_mirror(folder, server.uri) as mirror:
        wait_until(lambda: current(mirror) == 6, "the mirror did not send what was there")
        server.signal(signal.SIGSTOP)
        try:
            before = time.monotonic()
            for number in range(5, 9):
                add_trial(folder, number)
            assert time.monotonic() - before < 2.0, "writing results waited for MLflow"
            # Requests now time out, and the hanging server has them in its queue: it carries them out later.
            wait_until(lambda: mirror.report.faults, "no request timed out")
        finally:
            threading.Timer(2.0, server.signal, [signal.SIGCONT]).start()
    assert mirror.report.complete, mirror.message
    assert_all_there_once(MlflowClient(server.uri), folder)


def test_a_server_that_never_comes_leaves_a_command_that_sends_later(make_experiment: Make, server: Server):
    folder = make_experiment("later")
    before = time.monotonic()
    with start_mirror(folder, f"http://127.0.0.1:{free_port()}", limit_s=6.0) as mirror:
        pass
    assert time.monotonic() - before < 6.0 + 5.0 + 2.0
    assert "Nothing is lost" in mirror.message
    assert f"dce_ray.tracking sync {folder.path}" in mirror.message
    command = [sys.executable, "-m", "dce_ray.tracking", "sync", str(folder.path), f"uri={server.uri}"]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        assert f"{server.uri}/#/experiments/" in done.stdout
    assert "0 new, 0 metric values" in done.stdout
    assert_all_there_once(MlflowClient(server.uri), folder)


def test_artifacts_go_through_the_server(make_experiment: Make, server: Server, tmp_path: Path):
    folder = make_experiment("through")
    with start_mirror(folder, server.uri):
        pass
    client = MlflowClient(server.uri)
    run = runs_of(client, "through")["through trial 000"]
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    got = client.download_artifacts(run.info.run_id, "tables/map.csv", str(tmp_path))
    assert Path(got).read_text().splitlines()[0] == "tIoU,mAP"


def test_a_killed_driver_leaves_a_mirror_that_finishes_and_goes(make_experiment: Make):
    """SIGKILL of the search: what it had written is sent, its running trials are taken up by the next mirror."""
    folder = make_experiment("driver")
    code = (
        "import sys, time\n"
        "from dce_ray.experiment.folder import ExperimentFolder\n"
        "from dce_ray.tracking import start_mirror\n"
        "folder = ExperimentFolder.open(sys.argv[1])\n"
        "with folder.lock(), start_mirror(folder) as mirror:\n"
        "    print(mirror.process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, str(folder.path)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    pid = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or _zombie(pid), "the mirror stayed behind")
    client = MlflowClient(f"sqlite:///{folder.path.parents[2] / 'mlflow.db'}")
    assert_all_there_once(client, folder)
    before = {name: run.info.run_id for name, run in runs_of(client, "driver").items()}
    assert runs_of(client, "driver")["driver"].info.status == "KILLED"
    add_trial(folder, 5)
    with folder.lock(), start_mirror(folder) as mirror:
        wait_until(lambda: mirror.report and mirror.report.current == 7, "the second mirror did not send")
        assert runs_of(client, "driver")["driver"].info.status == "RUNNING"
    assert_all_there_once(client, folder)
    after = {name: run.info.run_id for name, run in runs_of(client, "driver").items()}
    assert {name: after[name] for name in before} == before


def test_who_ends_at_once_does_not_wait_for_what_mlflow_lacks(tmp_path: Path):
    folder = new_experiment(tmp_path / "results", "once")
    uri = f"http://127.0.0.1:{free_port()}"
    mirrors, began = [], 0.0

    def work() -> None:
        nonlocal began
        with start_mirror(folder, uri, limit_s=60.0) as mirror:
            mirrors.append(mirror)
            with stop_on_signal(lambda: True):
                os.kill(os.getpid(), signal.SIGINT)  # has ended the work
            began = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        work()
    (mirror,) = mirrors
    try:
        assert time.monotonic() - began < 5
        assert "Send the rest: " in mirror.message
        assert mirror.process is not None
        assert mirror.process.poll() is None  # it sends by itself as long as the server may answer
    finally:
        mirror.process.kill()
        mirror.process.wait()


def _zombie(pid: int) -> bool:
    """Ended, and nobody has asked for its status: init does that outside of containers."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_four_writers_make_one_database_and_lose_nothing(tmp_path: Path):
    """MLflow's own creation of a database by several processes at once leaves it unusable."""
    results = tmp_path / "results"
    folders = [new_experiment(results, f"search{number}") for number in range(4)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, "-m", "dce_ray.tracking", "sync", str(folder.path)] for folder in folders]
    writers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    outputs = [writer.communicate(timeout=240)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, "\n".join(outputs)
    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    for folder in folders:
        assert_all_there_once(client, folder)
    with sqlite3.connect(results / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (24,)
        assert database.execute("select count(*) from experiments where name = 'hapt/delu'").fetchone() == (1,)


def test_a_mirror_that_cannot_start_costs_nothing(make_experiment: Make, monkeypatch: pytest.MonkeyPatch):
    folder = make_experiment("none")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with start_mirror(folder) as mirror:
        add_trial(folder, 5)
    assert "nothing was sent" in mirror.message
    assert "sync" in mirror.message


BREAKING = """
import sys
from dce_ray.tracking import points
def broken(self, *given, **named):
    raise KeyError("nobody foresaw this")
points.PointReader.read = broken
"""


def test_a_mirror_that_dies_of_a_fault_of_ours_is_told_with_its_remedy(
    make_experiment: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    folder = make_experiment("dying")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BREAKING)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
        with start_mirror(folder) as mirror:
            pass
    (warning,) = [line for line in mirror.message.splitlines() if line.startswith("warning: ")]
    assert "died (exit status 1;" in warning
    assert f"python -m dce_ray.tracking sync {folder.path}" in warning
    assert "nobody foresaw this" in folder.log.read_text()
    assert sync(folder).complete
    assert_all_there_once(MlflowClient(f"sqlite:///{folder.path.parents[2] / 'mlflow.db'}"), folder)


def test_a_mirror_that_ends_as_it_should_warns_of_nothing(make_experiment: Make):
    with start_mirror(make_experiment("calm")) as mirror:
        pass
    assert mirror.report.complete
    assert "warning" not in mirror.message


def test_a_wrong_address_is_refused_before_the_search(make_experiment: Make):
    with pytest.raises(TrackingError, match="neither a server"), start_mirror(make_experiment(), "htp://host"):
        raise AssertionError("the search started")


def test_an_error_of_the_search_is_the_search_s(make_experiment: Make):
    folder = make_experiment("broken")
    with pytest.raises(ZeroDivisionError), start_mirror(folder, "http://127.0.0.1:9", limit_s=0.5) as mirror:
        raise ZeroDivisionError
    assert mirror.process is not None
    assert mirror.process.poll() is not None, "the mirror stayed behind"
    shutil.rmtree(folder.path)
