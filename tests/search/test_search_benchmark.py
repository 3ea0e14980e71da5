"""Where a search's seconds go, in small: what is counted, for whom, and what the tables say of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from benchmarks.search import clocked
from benchmarks.search.__main__ import main
from benchmarks.search.clocked import START, VARIABLE, Clock
from benchmarks.search.seconds import followed, mirror_start, parted, table


def compute(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_what_lies_inside_of_a_part_is_counted_once():
    clock = Clock()
    with clock.part("outer"):
        compute(0.05)
        for _ in range(2):
            with clock.part("inner"):
                compute(0.03)
    assert clock.spent["outer"] == pytest.approx(0.05, abs=0.02)
    assert clock.spent["inner"] == pytest.approx(0.06, abs=0.02)

    @clock.part("outer")
    def fail():
        compute(0.05)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert clock.spent["outer"] == pytest.approx(0.10, abs=0.03)


def test_a_method_is_clocked_and_does_what_it_did(tmp_path, monkeypatch):
    class Worker:
        def work(self, seconds, *, more=0.0):
            compute(seconds + more)
            return seconds + more

    clock = Clock()
    clock.around(Worker, "work", "work")
    assert Worker().work(0.02, more=0.02) == 0.04
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    clock.write()
    clock.write()
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["work"] == pytest.approx(0.04, abs=0.02)


def test_a_clocked_run_is_the_trainables_own(tmp_path, monkeypatch):
    monkeypatch.setattr(clocked, "CLOCK", Clock())
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(clocked.RunTrainable, "_begin", lambda self, config: compute(0.02))
    monkeypatch.setattr(clocked.RunTrainable, "step", lambda self: {"score": 0.5})
    run = clocked.Clocked.__new__(clocked.Clocked)
    monkeypatch.setattr(clocked.CLOCK, "around", lambda *_: None)  # the class Run is everybody's
    run._begin({})
    assert run.step() == {"score": 0.5}
    assert set(clocked.CLOCK.spent) == {START, "beginning of runs", "records of runs"}
    assert clocked.CLOCK.spent["beginning of runs"] >= 0.02


def test_descendants_are_followed_to_their_end():
    burn = "import time; [None for _ in iter(lambda: time.process_time() < 1.5, False)]"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}, 'grandchild'])"
    found = followed(subprocess.Popen([sys.executable, "-c", program, "child"]))
    (grandchild,) = [core_s for line, core_s in found.values() if line.rstrip().endswith("grandchild")]
    assert 0.3 < grandchild < 2.5
    assert len(found) == 2


def test_parts_by_hand():
    found = {
        1: ("python -c ...", 10.0),
        2: ("ray::Clocked.step", 100.0),
        3: ("ray::IDLE", 2.0),
        4: ("/site-packages/ray/core/src/ray/raylet/raylet --x", 3.0),
        5: ("python -m dce_ray.tracking mirror x", 4.0),
        6: ("git rev-parse", 0.5),
        7: ("ray::DashboardAgent", 0.25),
    }
    clocks = {1: {START: 3.0, "driver: report": 2.0}, 2: {START: 2.0, "training": 80.0, "evaluation": 15.0}}
    parts = parted(found, clocks, driver=1, mirror=2.5)
    assert parts == {
        f"driver: {START}": 3.0,
        "driver: report": 2.0,
        "driver: rest": 5.0,
        f"workers: {START}": 2.0,
        "training": 80.0,
        "evaluation": 15.0,
        "workers: Ray's part": 3.0,
        "workers that never ran": 2.0,
        "Ray's processes": 3.25,
        f"MLflow mirror: {START}": 2.5,
        "MLflow mirror": 1.5,
        "other": 0.5,
    }
    lines = table(parts)
    assert lines[0].split() == ["training", "80.0", "66.8%"]
    assert lines[-2].split() == ["in", "all", "119.8"]
    assert lines[-1] == "training and evaluation of runs: 79.3%, imports apart 84.6%"


def test_the_mirrors_imports_take_the_time_of_a_process_of_its_own():
    assert 0.5 < mirror_start() < 30.0


def test_slots_wait_for_no_proposal(capsys):
    main(["idle", "runs=16", "slots=2", "seconds=0.05"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[-4:]]
    assert [int(line[0]) for line in lines] == [1, 4, 8, 16]
    assert all(0.0 <= float(line[1].rstrip("%")) < 100.0 for line in lines)
