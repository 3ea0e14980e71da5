"""The one loop: readings before checkpoints, checkpoints where they are due and affordable, test read once."""

from __future__ import annotations

import pytest
import torch
from test_run import tiny_config

from dce_ray.errors import CheckpointError
from dce_ray.train import Run, driver
from dce_ray.train.driver import Driver
from dce_ray.train.run_files import RunFiles


@pytest.fixture
def make(tiny_store, tmp_path):
    """A driver over a real run in ``tmp_path``, evaluated every 4 of 12 iterations."""

    def build(name="run", *, iterations=12, stop_at=None, protocol="holdout", **options):
        training = {"iterations": iterations, "eval_every": 4, "log_every": 2, "stop_at": stop_at}
        config = tiny_config(tiny_store, training=training, protocol=protocol)
        return Driver(Run(config), RunFiles(tmp_path / name), **options)

    return build


def drive(one):
    steps = []
    while not one.run.finished:
        steps.append(one.step())
    return steps


def iterations(one):
    return [reading.iteration for reading in one.files.readings()]


def test_steps_are_evaluation_periods_or_shorter_readings(make):
    assert [step.iteration for step in drive(make("periods"))] == [4, 8, 12]
    steps = drive(make("readings", read_every=3))
    assert [step.iteration for step in steps] == [3, 4, 6, 8, 9, 12]
    assert [step.score is not None for step in steps] == [False, True, False, True, False, True]
    assert [step.finished for step in steps] == [False] * 5 + [True]


def test_readings_hold_losses_and_at_evaluations_the_table_and_what_ranks(make):
    one = make(read_every=2)
    drive(one)
    for reading in one.files.readings():
        assert "loss/total" in reading.metrics
        assert ("score" in reading.metrics) == (reading.iteration % 4 == 0)
    assert one.files.scores()[one.run.best.iteration] == one.run.best.score
    assert one.run.best.score == max(one.files.scores().values())


def test_readings_fall_on_the_same_iterations_after_a_stop_in_between(make):
    one = make(read_every=4)
    one.run.advance(3)  # where a stop has left it
    drive(one)
    assert iterations(one) == [4, 8, 12]


def test_stop_at_is_the_end(make):
    assert [step.iteration for step in drive(make(stop_at=6))] == [4, 6]


def test_reading_is_written_before_the_checkpoint_that_knows_of_it(make, monkeypatch):
    one = make()

    def full(path):
        raise CheckpointError("no space left")

    monkeypatch.setattr(one.run, "save", full)
    with pytest.raises(CheckpointError):
        one.step()
    assert iterations(one) == [4]
    assert not one.files.checkpoint.exists()


def test_trial_keeps_no_last_state_and_other_runs_do(make):
    trial, other = make("trial", keep_last=False), make("other")
    drive(trial)
    drive(other)
    saved = [torch.load(one.files.checkpoint, weights_only=True)["iteration"] for one in (trial, other)]
    assert saved[0] < 12
    assert saved[1] == 12


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(("writing_s", "saved_at"), [(0.1, [4, 8, 12, 16, 20]), (1.0, [4, 12, 20])])
def test_checkpoints_take_their_share_of_the_time_only(make, monkeypatch, writing_s, saved_at):
    """Evaluations come every 10 s; writing for 1 s may happen every 20 s."""
    clock = Clock()
    monkeypatch.setattr(driver, "time", clock)
    one = make(iterations=20)
    saved = []

    def save(path):
        saved.append(one.run.iteration)
        clock.now += writing_s

    monkeypatch.setattr(one.run, "save", save)
    advance = one.run.advance

    def slow(steps):
        clock.now += 10.0
        return advance(steps)

    monkeypatch.setattr(one.run, "advance", slow)
    drive(one)
    assert saved == saved_at


def test_long_stretches_without_an_evaluation_are_kept_too(make, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(driver, "time", clock)
    one = make(read_every=1)
    saved = []
    monkeypatch.setattr(one.run, "save", lambda path: saved.append(one.run.iteration))
    advance = one.run.advance

    def slow(steps):
        clock.now += 40.0
        return advance(steps)

    monkeypatch.setattr(one.run, "advance", slow)
    for _ in range(3):
        one.step()
    assert saved == [2]  # 80 s, no evaluation before iteration 4


def test_resumed_driver_goes_on_and_repeats_no_reading(make):
    first = make(read_every=2)
    for _ in range(3):
        first.step()
    first.files.append(8, {"score": 0.25, "loss/total": 1.0})  # written just before the kill, behind the checkpoint
    again = make(read_every=2)
    assert again.resume()
    assert again.run.iteration <= 6
    drive(again)
    assert iterations(again) == [2, 4, 6, 8, 10, 12]
    assert again.files.scores()[8] == 0.25  # what the study has heard already


def test_an_evaluation_that_is_due_is_made_although_the_run_stops_there(make, monkeypatch):
    one = make()
    advance = one.run.advance

    def stopped_in_the_last_step(steps):
        metrics = advance(steps)
        one.run.request_stop()
        return metrics

    monkeypatch.setattr(one.run, "advance", stopped_in_the_last_step)
    step = one.step()
    assert (step.iteration, step.score is not None) == (4, True)
    again = make()
    assert again.resume()
    assert again.run.best.iteration == 4
    drive(again)
    assert sorted(again.files.scores()) == [4, 8, 12]


@pytest.mark.parametrize("damage", ["lost", "damaged", "another iteration's"])
def test_test_is_read_with_the_selected_weights_or_not_at_all(make, monkeypatch, damage):
    one = make(keep_best=True)
    drive(one)
    path = one.files.best_checkpoint
    if damage == "lost":
        path.unlink()
    elif damage == "damaged":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        one.run.iteration = one.run.best.iteration + 1
        one.run.save(path)
    monkeypatch.setattr(one.run, "evaluate", lambda split: pytest.fail("test was read"))
    with pytest.raises(CheckpointError, match=r"best\.pt"):
        one.test()


def test_test_is_read_once_with_the_best_weights(make, monkeypatch):
    one = make(keep_best=True)
    drive(one)
    read = []
    evaluate = one.run.evaluate
    monkeypatch.setattr(one.run, "evaluate", lambda split: read.append((split, one.run.iteration)) or evaluate(split))
    table = one.test()
    assert read == [("test", one.run.best.iteration)]
    assert f"iteration {one.run.best.iteration}" in table.caption
    assert one.files.detections.is_file()


def test_published_protocol_takes_its_best_table_and_reads_nothing_more(make, monkeypatch):
    one = make(protocol="paper")
    drive(one)
    monkeypatch.setattr(one.run, "evaluate", lambda split: pytest.fail("test was read again"))
    assert one.test() is one.run.best.table
    assert one.files.detections.is_file()
