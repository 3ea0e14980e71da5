"""A door that stays shut ends the search; one that was shut for a moment does not."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dce_ray.session import watch
from dce_ray.session.watch import Watch, answers, descendants


@pytest.fixture
def door():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening


def test_only_a_door_that_stays_shut_counts(door, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    address = door.getsockname()
    looking = Watch({"the door": address}, print)
    assert looking.look() is None
    door.close()
    assert not answers(address)
    assert looking.look() is None
    now[0] = 19.0
    assert looking.look() is None
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(address)
        again.listen()
        assert looking.look() is None
    now[0] = 25.0
    assert looking.look() is None
    now[0] = 45.0
    assert "the door has not answered for 20 s" in looking.look()


def test_a_socket_file_without_a_listener_is_shut(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        assert answers(path)
    assert not answers(path)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_end_takes_everything_along_and_says_how_to_go_on():
    code = (
        "import subprocess, sys; from dce_ray.session.watch import end_now;"
        "child = subprocess.Popen(['sh', '-c', 'sleep 300 & echo $!; wait'], stdout=subprocess.PIPE);"
        "print(child.pid, int(child.stdout.readline()), flush=True); end_now('Ray is dead', 'the command')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    pids, *said = done.stdout.splitlines()
    assert done.returncode == 2
    assert said == ["stopped: Ray is dead", "What is done is kept. Go on with: the command"]
    for pid in map(int, pids.split()):
        deadline = time.monotonic() + 20  # a killed process is gone a moment later, on a busy machine
        while alive(pid):
            assert time.monotonic() < deadline, f"process {pid} was left"
            time.sleep(0.05)


def test_descendants_are_found_however_deep():
    with subprocess.Popen(["sh", "-c", "sleep 300 & echo $!; wait"], stdout=subprocess.PIPE) as child:
        grandchild = int(child.stdout.readline())
        assert {child.pid, grandchild} <= set(descendants(os.getpid()))
        os.kill(grandchild, 9)
