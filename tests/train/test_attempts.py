"""Attempts of a run by hand: which one is gone on with, and what of it counts."""

import json
from dataclasses import dataclass

import pytest

from dce_ray.errors import CheckpointError
from dce_ray.places import Place
from dce_ray.train.attempts import Attempts


@dataclass
class CountingRun:
    """A run whose state is its iteration."""

    iteration: int = 0

    def restore(self, path):
        if not path.is_file():
            return False
        text = path.read_text()
        if text == "damaged":
            raise CheckpointError(f"{path}: damaged")
        self.iteration = int(text)
        return True


@pytest.fixture
def attempts(tmp_path):
    return Attempts(tmp_path / "state")


@pytest.fixture
def machine(tmp_path):
    """The attempts of a run as one of several machines sees them that share a place and no disk."""
    place = Place.at(tmp_path / "shared" / "state")

    def on(name, session=0):
        return Attempts(tmp_path / name / "state", place, session)

    return on


def leave(files, checkpoint=None, readings=(), detections=None):
    files.path.mkdir(parents=True)
    for iteration in readings:
        files.append(iteration, {"score": iteration / 100}, float(iteration))
    for path, content in ((files.checkpoint, checkpoint), (files.detections, detections)):
        if content is not None:
            path.write_text(content)


def iterations(readings):
    return [reading.iteration for reading in readings]


def test_the_first_attempt_begins_at_the_beginning(attempts):
    run = CountingRun()
    assert list(attempts.resume(run, 1)) == []
    assert run.iteration == 0
    assert attempts.latest() is None
    assert not attempts.root.exists()


def test_the_latest_attempt_with_a_checkpoint_counts_and_all_of_it_up_to_there(attempts):
    leave(attempts.of(1), "4", [2, 4, 6, 8])
    leave(attempts.of(9), "6", [2, 4, 6, 8], "found")  # it read on behind its checkpoint
    leave(attempts.of(10), None, [2, 4, 6])  # killed before its first checkpoint
    run = CountingRun()
    assert iterations(attempts.resume(run, 11)) == [2, 4, 6]
    assert run.iteration == 6
    own = attempts.of(11)
    assert iterations(own.readings()) == [2, 4, 6]
    assert own.readings() == attempts.of(9).readings()[:3]
    assert own.detections.read_text() == "found"
    assert not own.checkpoint.exists()
    assert attempts.latest() == own


def test_an_attempt_that_begins_again_goes_on_with_its_own_and_reads_nothing_of_later_ones(attempts):
    """Ray restarts a trial whose node was taken back with notice, and counts no failure."""
    leave(attempts.of(1), "2", [2])
    leave(attempts.of(2), "4", [2, 4, 6], "found")
    leave(attempts.of(3), "8", [2, 4, 6, 8])
    run = CountingRun()
    assert iterations(attempts.resume(run, 2)) == [2, 4]
    assert run.iteration == 4
    assert iterations(attempts.of(2).readings()) == [2, 4]
    assert attempts.of(2).detections.read_text() == "found"
    assert iterations(attempts.of(3).readings()) == [2, 4, 6, 8]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(attempts, caplog):
    leave(attempts.of(1), "4", [2, 4])
    leave(attempts.of(2), "damaged", [2, 4, 6])
    run = CountingRun()
    assert iterations(attempts.resume(run, 3)) == [2, 4]
    assert run.iteration == 4
    assert "damaged" in caplog.text


def test_only_earlier_attempts_are_forgotten(attempts):
    for number in (1, 2, 10, 11):
        leave(attempts.of(number), str(number))
    (attempts.root / "not a number").touch()
    attempts.forget_before(10)
    assert sorted(path.name for path in attempts.root.iterdir()) == ["10", "11", "not a number"]
    attempts.clear()
    assert not attempts.root.exists()
    attempts.clear()


def test_what_is_not_finite_is_carried_over_as_null(attempts):
    leave(attempts.of(1), "2")
    attempts.of(1).append(2, {"loss/total": float("nan")}, 1.0)
    attempts.resume(CountingRun(), 2)
    assert json.loads(attempts.of(2).progress.read_text())["metrics"] == {"loss/total": None}


def test_another_machine_goes_on_with_what_was_published(machine):
    files = machine("one").of(1)
    leave(files, "4", [2, 4], "found")
    files.publish()
    files.append(6, {"score": 0.06}, 6.0)  # never published
    run = CountingRun()
    two = machine("two")
    assert iterations(two.resume(run, 2)) == [2, 4]
    assert run.iteration == 4
    assert iterations(two.of(2).readings()) == [2, 4]
    assert two.of(2).detections.read_text() == "found"


def test_only_what_changed_is_published_and_the_checkpoint_behind_its_readings(machine, monkeypatch):
    sent = []
    monkeypatch.setattr(Place, "send", lambda self, path, name: sent.append(name))
    files = machine("one").of(1)
    leave(files, "2", [2])
    files.publish()
    files.publish()
    files.append(4, {"score": 0.04}, 4.0)
    files.publish()
    assert sent == ["progress.jsonl", "checkpoint.pt", "progress.jsonl"]


def test_who_was_cut_off_writes_into_an_attempt_that_nobody_reads_any_more(machine):
    cut_off = machine("one").of(1)
    leave(cut_off, "4", [2, 4])
    cut_off.publish()
    two, run = machine("two"), CountingRun()
    two.resume(run, 2)
    own = two.of(2)
    own.checkpoint.write_text("6")
    own.publish()
    two.forget_before(2)
    cut_off.checkpoint.write_text("800")
    cut_off.publish()
    again = CountingRun()
    machine("three").resume(again, 3)
    assert again.iteration == 6


def test_a_driver_that_was_cut_off_numbers_attempts_that_come_before_those_of_the_next_session(machine):
    own = machine("new", session=1).of(1)
    leave(own, "2", [2])
    own.publish()
    stale = machine("old").of(7)
    leave(stale, "800", [2])
    stale.publish()
    run = CountingRun()
    machine("other", session=1).resume(run, 2)
    assert run.iteration == 2
    assert machine("driver", session=1).latest().path.name == "1-1"


def test_all_attempts_are_removed_at_the_place_too(machine, tmp_path):
    files = machine("one").of(1)
    leave(files, "4", [2, 4])
    files.publish()
    machine("driver").clear()
    assert machine("two").latest() is None
    assert list(machine("two").resume(CountingRun(), 2)) == []


def test_a_driver_that_was_cut_off_removes_nothing_of_a_later_session(machine):
    own = machine("new", session=1).of(1)
    leave(own, "2", [2])
    own.publish()
    machine("old").clear()
    assert machine("driver", session=1).latest().path.name == "1-1"
    machine("driver", session=1).clear()
    assert machine("driver", session=1).latest() is None
