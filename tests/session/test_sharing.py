"""Two searches on one machine: what the later one finds and does, with real processes that hold their share."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dce_ray.errors import SearchError
from dce_ray.session.gpus import fullest
from dce_ray.session.limits import usable_cpus
from dce_ray.session.sharing import Note, Share, share_held, share_of_machine

HOLDER = """
import sys
from pathlib import Path
from dce_ray.session.sharing import share_held
with share_held(Path(sys.argv[1]), int(sys.argv[2]) or None) as share:
    print(share.cpus, share.line, flush=True)
    sys.stdin.read()
"""
"""A search, as far as others see it: it takes its share and holds it until its standard input ends."""
SEARCH = """
import sys
from pathlib import Path
from dce_ray.session.ray_session import ray_session
with ray_session(None, Path(sys.argv[1]) / "log.txt") as nodes:
    print(int(nodes[0].cpus))
"""


@pytest.fixture(autouse=True)
def notes(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DCE_SEARCHES", str(tmp_path / "notes"))
    return tmp_path / "notes"


@pytest.fixture
def other(tmp_path) -> Iterator[subprocess.Popen[str]]:
    """A search that has taken the whole machine."""
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "first"), "0"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(usable_cpus()), "alone it takes all, and says nothing"
        yield process
        process.kill()


@pytest.mark.ray
def test_a_second_search_takes_a_share_says_so_and_has_all_when_the_first_is_gone(other, tmp_path):
    (tmp_path / "second").mkdir()
    second = subprocess.run(
        [sys.executable, "-c", SEARCH, str(tmp_path / "second")], capture_output=True, text=True, check=False
    )
    assert second.returncode == 0, second.stderr
    line, cpus = second.stdout.splitlines()
    half = max(1, usable_cpus() // 2)
    assert int(cpus) == half
    assert line.startswith(f"another search runs on this machine: {tmp_path}/first (process {other.pid}, ")
    assert re.search(rf"load \d+\.\d; this one takes {half} CPUs?, its share where none is free: both are slower", line)
    other.kill()  # however it ends
    other.wait()
    share = share_of_machine()
    assert (share.cpus, share.line) == (usable_cpus(), "")


def test_what_another_has_left_is_taken_and_what_the_user_says_counts(tmp_path, notes):
    with share_held(tmp_path / "first", 1) as first:
        assert first.others == ()
        share = Share(8.0, share_of_machine().others)
        assert share.cpus == 7
        assert share.line.endswith("; this one takes the 7 CPUs that are free")
        wished = Share(8.0, share.others, wish=8)
        assert wished.line.endswith("takes 8 CPUs as ray.num_cpus= says, so that they wait for each other")
        with share_held(tmp_path / "second", 2), share_held(tmp_path / "third", 3):
            three = share_of_machine()
            assert [note.cpus for note in three.others] == [1.0, 2.0, 3.0]
            assert "3 other searches run on this machine" in three.line
    assert list(notes.glob("*.json")) == []


def test_what_a_killed_search_left_and_what_another_version_wrote_counts_for_nothing(tmp_path, notes):
    with share_held(tmp_path):
        (note,) = notes.glob("*.json")
        (notes / "left.json").write_text(note.read_text())
        assert len(share_of_machine().others) == 1
        note.write_text('{"pid": 1}')
        assert share_of_machine().others == ()
        with share_held(tmp_path):
            assert not (notes / "left.json").exists()


def bound_to(cpus: str, place: Path, answer: str) -> subprocess.CompletedProcess[str]:
    """Another search's share, in a process that may run on these CPUs alone."""
    words = ["taskset", "--cpu-list", cpus, sys.executable, "-c", HOLDER, str(place), "0"]
    return subprocess.run(words, input=answer, capture_output=True, text=True, check=True)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two sets of CPUs need two CPUs")
def test_searches_that_are_bound_to_other_cpus_are_no_rivals(tmp_path, notes):
    before = os.sched_getaffinity(0)
    first, second = sorted(before)[:2]
    os.sched_setaffinity(0, {first})
    try:
        with share_held(tmp_path / "here"):
            assert json.loads(next(notes.glob("*.json")).read_text())["cpu_set"] == [first]
            assert bound_to(str(second), tmp_path, "").stdout.strip() == "1", "it takes its own, and says nothing"
            assert "another search runs" in bound_to(str(first), tmp_path, "").stdout
            both = bound_to(f"{first},{second}", tmp_path, "").stdout
            assert re.search(r"of 2 in all, .*; this one takes the 1 CPU that is free", both)
    finally:
        os.sched_setaffinity(0, before)


def test_of_sets_that_overlap_only_what_another_needs_of_ours_counts():
    other = Note(1, "a", 4.0, tuple(range(8)))
    assert Share(2.0, (other,), cpu_set=frozenset({0, 1})).cpus == 2, "six are left beside ours for its four"
    assert Share(6.0, (other,), cpu_set=frozenset(range(2, 8))).cpus == 4
    assert Share(8.0, (other,), cpu_set=frozenset(range(8))).cpus == 4
    assert Share(8.0, (Note(1, "a", 4.0),), cpu_set=frozenset(range(8))).cpus == 4, "of another version, anywhere"


def test_nobody_finds_a_note_that_is_not_held_or_gone_while_it_is_read(tmp_path):
    ended, faults = threading.Event(), []

    def look() -> None:
        while not ended.is_set():
            try:
                share_of_machine()
            except Exception as fault:
                faults.append(fault)

    others = [threading.Thread(target=look) for _ in range(3)]
    for one in others:
        one.start()
    try:
        for _ in range(300):
            with share_held(tmp_path, 1):
                pass
    finally:
        ended.set()
        for one in others:
            one.join()
    assert faults == []


def test_of_two_that_start_together_the_later_sees_the_earlier(tmp_path):
    words = [sys.executable, "-c", HOLDER]
    started = [
        subprocess.Popen([*words, str(tmp_path / name), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in "abc"
    ]
    told = [one.stdout.readline() for one in started if one.stdout]
    for one in started:
        one.communicate("")
    assert sorted("other search" in line for line in told) == [False, True, True]


def test_notes_that_cannot_be_written_are_one_message(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DCE_SEARCHES", str(tmp_path / "file" / "notes"))
    with pytest.raises(SearchError, match="set DCE_SEARCHES to another folder"), share_held(tmp_path):
        pass


def test_more_cpus_than_there_are_is_told():
    assert Share(2.0, (), wish=2).line == ""
    line = Share(2.0, (), wish=1000).line
    assert line.startswith("note: ray.num_cpus=1000 is more than the 2 CPUs that this process may use: runs wait")


def test_a_machine_of_one_cpu_gives_every_search_one():
    assert Share(1.0, (Note(1, "a", 1.0), Note(2, "b", 1.0))).cpus == 1


class NVML(SimpleNamespace):
    """NVIDIA's library as it answers for two GPUs: no GPU is here to ask the real one."""

    NVMLError = RuntimeError

    def __init__(self, **free: float) -> None:
        super().__init__(free=free, nvmlInit=lambda: None)

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:
        return name.removeprefix("GPU-")

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        if handle not in self.free:
            raise RuntimeError("not found")
        return SimpleNamespace(free=self.free[handle])


def test_free_memory_of_the_fullest_gpu_is_planned_with():
    gib = 2**30
    both = [("a", 80.0 * gib), ("b", 80.0 * gib)]
    memory = fullest(NVML(a=70.0 * gib, b=12.0 * gib), both)
    assert memory.free == 12 * gib
    assert "12.0 of 80.0 GiB" in memory.line
    assert fullest(NVML(a=79.0 * gib, b=78.0 * gib), both).line == ""
    unknown = fullest(NVML(a=70.0 * gib), both)
    assert unknown.free == unknown.total == 80 * gib
    assert "NVML gives none of it (not found)" in unknown.line


def test_of_more_than_two_searches_all_are_said_to_be_slower():
    for others, word in ((1, "both are slower"), (5, "all are slower")):
        notes = tuple(Note(number, "a", 2.0) for number in range(others))
        assert word in Share(2.0, notes).line
