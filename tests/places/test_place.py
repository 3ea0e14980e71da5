"""Places: whole files in a folder and in a bucket, and what goes wrong there."""

from __future__ import annotations

import _thread
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from s3_server import KEY, SECRET

from dce_ray.errors import OutputError, StorageAwayError, StorageError
from dce_ray.places import Place, faults, refuse_credentials
from dce_ray.places.place import _undisturbed


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    address = str(tmp_path / "shared") if request.param == "folder" else f"{request.getfixturevalue('bucket')}/some/way"
    return Place.at(address)


def test_files_are_written_listed_read_and_removed(place, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 1000)
    place.write("a/one", b"1")
    place.write("a/one", b"2")
    place.below("b").send(tmp_path / "large", "large")
    assert place.read("a/one") == b"2"
    assert place.read("a/none") is None
    assert place.files() == {"a/one": 1, "b/large": 1000}
    assert sorted(place.folders()) == ["a", "b"]
    place.remove("a/one", "a/none")
    place.below("b").clear()
    place.below("never").clear()
    assert place.files() == {}
    assert place.below("never").files() == {}


def test_a_download_goes_on_behind_what_is_there(place, tmp_path):
    place.write("file", b"0123456789")
    (tmp_path / "part").write_bytes(b"01234")
    place.fetch("file", tmp_path / "part")
    place.fetch("file", tmp_path / "new" / "whole")
    assert (tmp_path / "part").read_bytes() == (tmp_path / "new" / "whole").read_bytes() == b"0123456789"
    with pytest.raises(FileNotFoundError):
        place.fetch("none", tmp_path / "none")


def test_the_way_up_and_down(place):
    inner = place.below("data", "delu", "one")
    assert inner.names[-3:] == ("data", "delu", "one")
    assert inner.above(3) == place
    inner.write("x", b"x")
    assert Place.at(inner.address).read("x") == place.read("data/delu/one/x") == b"x"


def test_a_place_is_tried_before_anything_depends_on_it(place):
    place.check()
    assert place.files() == {}


def test_options_behind_the_question_mark_stay(s3, bucket, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    options = f"?scheme=http&endpoint_override=127.0.0.1:{s3.port}"
    inner = Place.at(f"{bucket}/a{options}").below("b")
    assert inner.address == f"{bucket}/a/b{options}"
    inner.write("x", b"x")
    assert inner.above(2).read("a/b/x") == b"x"


def test_ten_seconds_of_503_are_survived(s3, bucket):
    place = Place.at(bucket)
    place.write("file", b"before")
    s3.tell("fail", status=503, seconds=10)
    started = time.monotonic()
    place.write("file", b"behind")
    assert place.read("file") == b"behind"
    assert time.monotonic() - started > 5


def test_one_that_never_answers_is_told(bucket, monkeypatch):
    monkeypatch.setattr(faults.patiently, "__defaults__", (0.0,))
    with pytest.raises(StorageError, match=r"storage=s3://dead\?.*: it does not answer: see that AWS_ENDPOINT_URL"):
        Place.at("s3://dead?scheme=http&endpoint_override=127.0.0.1:9").check()


def test_a_key_that_is_refused_is_told_without_it(s3, bucket):
    s3.tell("key", only="another")
    try:
        with pytest.raises(StorageError, match=f"storage={bucket}: the key is not accepted: give") as fault:
            Place.at(bucket).check()
        with pytest.raises(StorageError, match=r"access is denied|the key is not accepted"):
            Place.at(bucket).read("file")
    finally:
        s3.tell("key")
    assert KEY not in str(fault.value)
    assert SECRET not in str(fault.value)


def test_a_bucket_that_does_not_exist(bucket):
    with pytest.raises(StorageError, match="storage=s3://no-such-bucket/way: the bucket does not exist: make it"):
        Place.at("s3://no-such-bucket/way").check()


@pytest.mark.parametrize(
    "address",
    [
        "s3://name:hidden@bucket/way",
        "s3://name:hid/hidden@bucket/way",
        "s3://name:hid@hidden/more@bucket/way",
        "s3://name:hid?hidden#hid@bucket/way?region=hidden",
        "s3://hidden@bucket/way",
        "gs://name:hidden@bucket/way",
        "gs://anonymous:hidden@bucket/way",
    ],
)
def test_credentials_in_an_address_are_refused_without_them(address):
    bare = f"{address[:2]}://bucket/way"
    with pytest.raises(StorageError, match=f"storage={bare}: holds credentials, .*give them in [AG]") as fault:
        Place.at(address)
    assert "hid" not in str(fault.value)
    assert "name:" not in str(fault.value)


def test_what_looks_like_credentials_without_a_bucket_is_not_shown():
    with pytest.raises(StorageError, match=r"storage=s3://\.\.\.: has a colon where the bucket's name") as fault:
        Place.at("s3://name:hid/hidden")
    assert "hid" not in str(fault.value)
    refuse_credentials("gs://anonymous@bucket/way", "data")
    refuse_credentials("s3://bucket/way@2:1", "data")


@pytest.mark.parametrize("address", ["ftp://host/way", "https://bucket.s3.amazonaws.com/way"])
def test_another_scheme_is_refused(address):
    with pytest.raises(StorageError, match=r"must be a folder, s3://bucket/prefix or gs://bucket/prefix"):
        Place.at(address)


def test_a_fault_of_this_machines_disk_is_not_the_places(place, tmp_path):
    """Nor is it waited for; one is of a disk that is full, one of a file that cannot be read."""
    place.write("file", b"0123456789")
    began = time.monotonic()
    with pytest.raises(OutputError, match=r"^/dev/full cannot be written \(No space left on device\); free space"):
        place.fetch("file", Path("/dev/full"))
    (tmp_path / "a file").touch()
    with pytest.raises(OutputError, match=r"a file/below/file cannot be written \(.*Not a directory|File exists"):
        place.fetch("file", tmp_path / "a file" / "below" / "file")
    with pytest.raises(OutputError, match=r"cannot be read \(Is a directory\); mend its disk or its rights"):
        place.send(tmp_path, "other")
    with pytest.raises(FileNotFoundError):
        place.send(tmp_path / "none", "other")
    assert time.monotonic() - began < 20
    assert place.files() == {"file": 10}


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"storage=.*/file/below: a file is in the way"):
        Place.at(tmp_path / "file" / "below").check()
    with pytest.raises(StorageError, match="storage=/proc/nowhere: cannot be made"):
        Place.at("/proc/nowhere").check()


class Interrupting:
    """A file during whose second piece the process is told to end."""

    def __init__(self, content: bytes) -> None:
        self.content, self.pieces = io.BytesIO(content), 0

    def open(self, mode: str) -> Interrupting:
        return self

    def __enter__(self) -> Interrupting:
        return self

    def __exit__(self, *fault: object) -> None:
        return None

    def read(self, size: int) -> bytes:
        self.pieces += 1
        if self.pieces == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.2)
        return self.content.read(size)


def test_a_process_that_is_told_to_end_leaves_no_part_of_an_object(bucket, monkeypatch):
    place, content = Place.at(f"{bucket}/a"), os.urandom(20 * 2**20)
    place.write("checkpoint.pt", b"the last whole one")
    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit(1))  # as a worker of Ray does on SIGTERM
    try:
        with pytest.raises(SystemExit):
            place.send(Interrupting(content), "checkpoint.pt")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert place.read("checkpoint.pt") == content


def test_a_process_that_is_told_to_end_while_an_upload_starts_does_not_begin_it(bucket, monkeypatch, tmp_path):
    place, file = Place.at(f"{bucket}/a"), tmp_path / "checkpoint.pt"
    file.write_bytes(os.urandom(20 * 2**20))
    place.write(file.name, b"the last whole one")
    start = _thread.start_new_thread

    def told_to_end(act: Callable[[], None], arguments: tuple[()]) -> None:
        start(act, arguments)
        time.sleep(0.2)  # the thread is there, and whoever started it knows nothing of it
        sys.exit(1)

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", told_to_end)
        with pytest.raises(SystemExit):
            place.send(file, file.name)
    time.sleep(1)
    assert place.read(file.name) == b"the last whole one"


def test_what_an_upload_meets_is_met_by_who_asked_for_it():
    def broken(text: str) -> None:
        raise KeyError(text)

    with pytest.raises(KeyError, match="a key"):
        _undisturbed(broken, "a key")


def test_signals_at_any_moment_leave_no_upload_running_and_nothing_hanging():
    """A process that is told to end over and over, at random moments of uploads that take next to no time."""
    code = """
import random, signal, sys, time
from dce_ray.places.place import _undisturbed
running = 0
def upload():
    global running
    running += 1
    time.sleep(1e-4)
    running -= 1
def told(*_):
    raise SystemExit(1)
signal.signal(signal.SIGALRM, told)
ends = 0
deadline = time.monotonic() + 4
while time.monotonic() < deadline:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 4e-4))
        _undisturbed(upload)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except SystemExit:
        ends += 1
        assert running == 0, "an upload was left running"
assert ends > 100, ends
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


class Expired(BaseHTTPRequestHandler):
    """What S3 answers to a key that has expired: 400, and to a HEAD without a body that would say why."""

    def do_HEAD(self) -> None:
        body = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(400)
        self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.mark.parametrize("what", ["read", "files", "write", "remove", "clear"])
def test_a_key_that_has_expired_is_told_at_once_and_is_no_outage(what, bucket, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Expired) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = Place.at(f"s3://bucket/x?endpoint_override=127.0.0.1:{server.server_port}&scheme=http")
        arguments = {"read": ("a",), "write": ("a", b"1"), "remove": ("a",)}.get(what, ())
        with pytest.raises(
            StorageError, match="the key is not accepted: give the right one in AWS_ACCESS_KEY_ID"
        ) as told:
            getattr(place, what)(*arguments)
        assert not isinstance(told.value, StorageAwayError)
        assert place.state(write=False) == place.state(write=True) == "refused"
        server.shutdown()
