"""Ask and tell without Ray: the study is the truth, whatever moment the process dies at."""

import binascii
import math
import shutil

import optuna
import pytest
from optuna.trial import TrialState
from toy import PAPER

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.report.trial_table import read_trials
from dce_ray.search.ledger import run_key
from dce_ray.search.selection import select
from dce_ray.search.space import SearchSpace
from dce_ray.search.study import SAMPLERS, brackets, first_rung, make_sampler, recover_study
from dce_ray.train.run_files import best_of

RELEASED = PAPER | {"delta": 0.85, "theta_rep": 0.8, "beta": 0.3, "gamma": 0.3}


def run_all(ledger, score=lambda params, iteration: params["delta"] * iteration / 27, iterations=9):
    while (folder := ledger.ask()) is not None:
        for iteration in range(1, iterations + 1):
            if ledger.report(folder.key, iteration, score(folder.record().params, iteration)):
                ledger.prune(folder.key)
                break
        else:
            ledger.finish(folder.key)


def test_states_values_and_records_agree_with_the_study(make_ledger, experiment_folder):
    ledger = make_ledger(num_trials=3)
    finished, pruned, failed = ledger.ask(), ledger.ask(), ledger.ask()
    for iteration, score in ((1, 0.2), (2, 0.6), (3, 0.4)):
        ledger.report(finished.key, iteration, score)
        ledger.report(pruned.key, iteration, score / 2)
    ledger.finish(finished.key)
    ledger.prune(pruned.key)
    ledger.fail(failed.key, "NonFiniteError: mcm_feature is not finite")
    trials = ledger.study.trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert trials[0].value == 0.6
    assert trials[1].intermediate_values == {1: 0.1, 2: 0.3, 3: 0.2}
    records = [item.record() for item in experiment_folder.trials()]
    assert [record.state for record in records] == ["finished", "pruned", "failed"]
    assert [(record.value, record.iteration) for record in records] == [(0.6, 2), (0.3, 2), (None, None)]
    assert "mcm_feature" in records[2].error
    assert ledger.study.best_trial.number == 0
    assert ledger.ask() is None
    assert ledger.complete


def test_pruned_trial_is_never_the_best_one(make_ledger):
    ledger = make_ledger(num_trials=2)
    early, full = ledger.ask(), ledger.ask()
    ledger.report(early.key, 1, 0.9)
    ledger.prune(early.key)
    ledger.report(full.key, 27, 0.5)
    ledger.finish(full.key)
    assert ledger.study.best_value == 0.5


def test_scores_that_are_not_finite_never_count(make_ledger):
    ledger = make_ledger(num_trials=2)
    some, none = ledger.ask(), ledger.ask()
    assert not ledger.report(some.key, 1, math.nan)
    ledger.report(some.key, 2, 0.3)
    ledger.finish(some.key)
    ledger.report(none.key, 1, math.nan)
    ledger.finish(none.key)
    assert [(trial.state.name, trial.value) for trial in ledger.study.trials] == [("COMPLETE", 0.3), ("FAIL", None)]


def test_first_points_run_first_once_and_are_not_stopped(make_ledger, experiment_folder):
    ledger = make_ledger(num_trials=12, scheduler="asha")
    points = {"paper": PAPER, "released": RELEASED}
    assert ledger.enqueue(points) == []
    make_ledger(num_trials=12, scheduler="asha").enqueue(points)  # a resumed search queues them again
    run_all(ledger, lambda params, iteration: -1.0 if params in (PAPER, RELEASED) else 1.0)
    records = [item.record() for item in experiment_folder.trials()]
    assert [(record.origin, dict(record.params)) for record in records[:2]] == [
        ("paper", PAPER),
        ("released", RELEASED),
    ]
    assert [record.state for record in records[:2]] == ["finished", "finished"]
    assert {record.origin for record in records[2:]} == {"search"}
    assert len(records) == 12


def test_equal_first_points_are_one(make_ledger):
    ledger = make_ledger(num_trials=4)
    ledger.enqueue({"paper": PAPER, "released": PAPER})
    run_all(ledger)
    assert [trial.params == {**PAPER} for trial in ledger.study.trials] == [True, False, False, False]


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_schedulers_stop_bad_trials_and_keep_good_ones(make_ledger, scheduler):
    ledger = make_ledger(num_trials=20, scheduler=scheduler, sampler="random")
    run_all(ledger)
    states = [trial.state for trial in ledger.study.trials]
    assert states.count(TrialState.PRUNED) >= 4
    assert states.count(TrialState.COMPLETE) >= 2
    best = max(trial.params["delta"] for trial in ledger.study.trials)
    assert ledger.study.best_trial.params["delta"] >= 0.9 * best


def test_interrupted_trial_goes_on_as_itself(make_ledger, experiment_folder):
    first = make_ledger(num_trials=3)
    done, left = first.ask(), first.ask()
    first.report(done.key, 27, 0.5)
    first.finish(done.key)
    first.report(left.key, 1, 0.1)
    left.append(2, {"score": 0.2})  # the worker wrote it, the driver died before it could report
    second = make_ledger(num_trials=3)
    assert second.started == 2
    again = second.ask()
    assert again.key == left.key
    assert second.study.trials[1].intermediate_values == {1: 0.1, 2: 0.2}
    second.report(again.key, 2, 0.7)  # repeated from the checkpoint: the first report stays
    second.finish(again.key)
    run_all(second)
    trials = second.study.trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert trials[1].value == 0.2
    assert len({trial.user_attrs["key"] for trial in trials}) == len(experiment_folder.trials()) == 3


def test_kill_between_ask_and_record(make_ledger, experiment_folder):
    ledger = make_ledger(num_trials=2)
    ledger.study.ask()  # RUNNING in the study, no parameter yet, no folder
    run_all(make_ledger(num_trials=2))
    trials = recover_study(experiment_folder.study).trials
    assert [(trial.state, len(trial.params)) for trial in trials] == [(TrialState.COMPLETE, 6)] * 2


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_kill_between_two_values_of_a_point_changes_neither(make_ledger, experiment_folder, sampler):
    """At every line of the journal, from before the trial to behind its last value."""
    ledger = make_ledger(num_trials=14, sampler=sampler)
    for _ in range(12):  # from the 11th trial on TPE and the Gaussian process suggest, and no more at random
        folder = ledger.ask()
        ledger.report(folder.key, 27, folder.record().params["delta"])
        ledger.finish(folder.key)
    in_flight = ledger.ask().key
    before = experiment_folder.path.with_name("before")
    shutil.copytree(experiment_folder.path, before)
    point = ledger.ask().record().params
    lines = experiment_folder.study.read_bytes().splitlines(keepends=True)
    begun = len((before / "study.journal").read_bytes().splitlines())
    assert len(lines) - begun >= len(point)
    for cut in range(begun, len(lines) + 1):
        left = ExperimentFolder(shutil.copytree(before, before.with_name(f"cut-{cut}")))
        left.study.write_bytes(b"".join(lines[:cut]))
        again = make_ledger(num_trials=14, sampler=sampler, folder=left)
        assert again.ask().key == in_flight
        assert again.ask().record().params == point, f"cut behind line {cut - begun} of the trial"
        assert len(again.trials()) == 14


def test_kill_between_tell_and_record(make_ledger, experiment_folder):
    ledger = make_ledger(num_trials=1)
    folder = ledger.ask()
    ledger.report(folder.key, 5, 0.4)
    ledger.study.tell(0, 0.4)  # and then the process died
    assert folder.record().state == "running"
    make_ledger(num_trials=1)
    record = folder.record()
    assert (record.state, record.value, record.iteration) == ("finished", 0.4, 5)


def test_torn_journal_line_and_stale_lock_do_not_matter(make_ledger, experiment_folder):
    run_all(make_ledger(num_trials=2))
    with experiment_folder.study.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    lock = experiment_folder.study.with_name("study.journal.lock")
    lock.symlink_to(experiment_folder.study)
    run_all(make_ledger(num_trials=4))
    assert len(recover_study(experiment_folder.study).trials) == 4
    assert all(trial.state == TrialState.COMPLETE for trial in recover_study(experiment_folder.study).trials)


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "gp"])
def test_killed_and_resumed_search_suggests_what_the_unbroken_one_does(tmp_path, make_ledger, sampler, monkeypatch):
    run_all(make_ledger(num_trials=8, sampler=sampler))
    unbroken = [trial.params for trial in make_ledger(num_trials=8).study.trials]
    other = ExperimentFolder.create(tmp_path / "other", {}, {})
    for upto in (3, 5, 8):  # a new process each time
        run_all(make_ledger(num_trials=upto, sampler=sampler, folder=other))
    assert [trial.params for trial in recover_study(other.study).trials] == unbroken
    assert len({tuple(params.values()) for params in unbroken}) == 8


def test_another_seed_suggests_otherwise(make_ledger):
    ledger = make_ledger(num_trials=2, seed=1)
    run_all(ledger)
    assert ledger.study.trials[0].params != optuna.create_study().ask().params
    numbers = [trial.params["delta"] for trial in ledger.study.trials]
    assert len(set(numbers)) == 2


def test_key_ignores_where_a_run_computes_and_nothing_else():
    config = {"data": "/a", "device": "cpu", "seed": 0, "training": {"resident": "host", "iterations": 5}}
    key = run_key(config, "d")
    assert key == run_key(config | {"data": "/b", "device": "cuda"}, "d")
    assert key != run_key(config | {"seed": 1}, "d")
    assert key != run_key(config, "e")
    assert key != run_key(config | {"training": {"resident": "host", "iterations": 6}}, "d")


def test_best_of_takes_the_earliest_of_equals():
    assert best_of({3: 0.5, 1: 0.2, 2: 0.5}) == (2, 0.5)


@pytest.mark.parametrize(
    ("iterations", "every", "first"), [(5000, 50, 1700), (800, 200, 400), (300, 50, 100), (27, 1, 9), (10, 50, 50)]
)
def test_first_rung_is_a_multiple_of_the_evaluation_period_and_the_only_one(iterations, every, first):
    assert first_rung(iterations, every) == first
    assert first * 3 >= iterations


def test_dashboard_can_open_the_study(make_ledger, experiment_folder):
    run_all(make_ledger(num_trials=2))
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(experiment_folder.study)))
    assert optuna.load_study(study_name="runs", storage=storage).best_value > 0


@pytest.mark.parametrize("moment", ["written", "reported", "decided"])
def test_a_kill_at_a_rung_takes_the_decision_of_that_rung(make_ledger, moment):
    """The third trial is the worst at the rung and the best behind it: it must stop as in an unbroken search."""
    ledger = make_ledger(num_trials=4, scheduler="asha")
    for score in (0.5, 0.4):
        folder = ledger.ask()
        for iteration in range(1, 10):
            ledger.report(folder.key, iteration, score)
        ledger.finish(folder.key)
    third = ledger.ask()
    if moment == "written":  # by the worker; the driver dies before it can report
        third.append(1, {"score": 0.1})
        third.append(2, {"score": 0.9})
    elif moment == "reported":
        third.append(1, {"score": 0.1})
        ledger.live[third.key].report(0.1, 1)  # and killed before the pruner was asked
    else:
        assert ledger.report(third.key, 1, 0.1)  # and killed before the trial was told
    again = make_ledger(num_trials=4, scheduler="asha")
    fourth = again.ask()
    assert fourth.key != third.key
    trial = again.study.trials[2]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.1}
    assert third.record().state == "pruned"


def test_a_kill_behind_a_rung_lets_a_good_trial_go_on(make_ledger):
    ledger = make_ledger(num_trials=3, scheduler="asha")
    bad = ledger.ask()
    for iteration in range(1, 10):
        ledger.report(bad.key, iteration, 0.4)
    ledger.finish(bad.key)
    good = ledger.ask()
    good.append(1, {"score": 0.6})
    good.append(2, {"score": 0.1})
    again = make_ledger(num_trials=3, scheduler="asha")
    assert again.ask().key == good.key
    assert again.study.trials[1].intermediate_values == {1: 0.6, 2: 0.1}


def test_what_changes_numbers_makes_another_run():
    config = {"training": {"compile": False, "precision": "float32", "prefetch": False}}
    for key, value in (("compile", True), ("precision", "bf16")):
        assert run_key(config, "d") != run_key({"training": config["training"] | {key: value}}, "d")
    assert run_key(config, "d") == run_key({"training": config["training"] | {"prefetch": True}}, "d")


@pytest.mark.parametrize(
    ("iterations", "every", "begins"),
    [
        (5000, 50, [100, 300, 900, 2700, 8100]),  # 5000 / 3^4 = 61.7, up to a multiple of 50
        (800, 100, [300, 900]),
        (300, 50, [100, 300]),
        (200, 50, [100, 300]),
        (243, 1, [1, 3, 9, 27, 81, 243]),
        (10, 50, [50]),
    ],
)
def test_hyperband_has_brackets_from_the_first_evaluation_to_one_that_never_stops(iterations, every, begins):
    assert brackets(every, iterations) == begins
    assert begins[-1] >= iterations


def test_hyperbands_brackets_stop_at_their_own_rungs_and_the_last_one_never(make_ledger):
    """Of 9 iterations brackets begin at 1, 3 and 9; the paper gives them 9, 5 and 3 of 17 trials (3/(s+1) 3^s)."""
    ledger = make_ledger(num_trials=34, scheduler="hyperband", sampler="random")
    run_all(ledger, lambda params, iteration: -float(len(ledger.study.trials)))  # every trial is worse than all before
    places = [binascii.crc32(f"runs_{number}".encode()) % 17 for number in range(34)]
    members = [[number for number, place in enumerate(places) if place in shares] for shares in _SHARES]
    trials = ledger.study.trials
    assert min(map(len, members)) >= 3
    for numbers, rung in zip(members, (1, 3), strict=False):
        assert trials[numbers[0]].state == TrialState.COMPLETE  # nothing to compare it with
        assert {(trials[number].state, trials[number].last_step) for number in numbers[1:]} == {
            (TrialState.PRUNED, rung)
        }
    assert {(trials[number].state, trials[number].last_step) for number in members[2]} == {(TrialState.COMPLETE, 9)}


_SHARES = (range(9), range(9, 14), range(14, 17))
CORNER = {"delta": 0.9, "theta_rep": 0.9, "theta_pro": 0.9, "beta": 0.5, "gamma": 0.5, "lambda": 1.0}


@pytest.fixture
def corner(monkeypatch):
    """A sampler that proposes one point for ever, as a Gaussian process does that is sure of a corner."""
    fixed = optuna.samplers.PartialFixedSampler
    monkeypatch.setitem(SAMPLERS, "corner", lambda seed: fixed(CORNER, optuna.samplers.RandomSampler(seed=seed)))
    return "corner"


def test_a_point_in_flight_is_not_started_again(make_ledger, corner):
    ledger = make_ledger(num_trials=3, sampler=corner)
    folders = [ledger.ask() for _ in range(3)]
    assert len({folder.key for folder in folders}) == len(ledger.live) == 3
    assert folders[0].record().params == CORNER
    assert [folder.record().number for folder in folders] == [0, 6, 12]  # five tries, then one at random
    assert ledger.ask() is None
    for folder in folders:
        ledger.report(folder.key, 1, 0.5)
        ledger.finish(folder.key)
    assert ledger.complete
    given_up = [trial for trial in ledger.study.trials if "repeats" in trial.user_attrs]
    assert [(trial.state, trial.user_attrs["repeats"]) for trial in given_up] == [(TrialState.FAIL, 0)] * 10


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("finish", (TrialState.COMPLETE, 0.6, {})),
        ("prune", (TrialState.PRUNED, 0.4, {1: 0.6, 2: 0.4})),
        ("fail", (TrialState.FAIL, None, {})),
    ],
)
def test_a_known_point_is_told_its_result_without_a_run(make_ledger, experiment_folder, corner, end, told):
    ledger = make_ledger(num_trials=2, sampler=corner)
    first = ledger.ask()
    for iteration, score in ((1, 0.6), (2, 0.4)):
        ledger.report(first.key, iteration, score)
    getattr(ledger, end)(first.key, *(["it diverged"] if end == "fail" else []))
    before = first.record()
    second = ledger.ask()
    assert second.key != first.key
    assert first.record() == before
    for trial in ledger.study.trials[1:6]:
        assert (trial.state, trial.value, trial.intermediate_values) == told
        assert trial.params == CORNER
    ledger.report(second.key, 1, 0.3)
    ledger.finish(second.key)
    assert ledger.complete
    assert [row.number for row in read_trials(experiment_folder).rows] == [0, 6]
    ranked = select(experiment_folder, 3)
    assert [one.value for one in ranked] == ([0.6, 0.3] if end == "finish" else [0.3])


def test_a_kill_before_a_known_point_was_told_makes_no_run(make_ledger, corner):
    ledger = make_ledger(num_trials=2, sampler=corner)
    first = ledger.ask()
    ledger.report(first.key, 1, 0.6)
    ledger.finish(first.key)
    ledger.study.sampler = make_sampler(corner, 0, 1)
    ledger.study.ask()  # and killed before it was told
    again = make_ledger(num_trials=2, sampler=corner)
    second = again.ask()
    assert second.key != first.key
    assert (again.study.trials[1].state, again.study.trials[1].value) == (TrialState.COMPLETE, 0.6)
    assert second.record().number == 6
    assert again.ask() is None


def test_known_points_are_the_same_after_a_kill(tmp_path, make_ledger, corner):
    run_all(make_ledger(num_trials=4, sampler=corner))
    unbroken = [(trial.params, trial.state) for trial in make_ledger(num_trials=4).study.trials]
    other = ExperimentFolder.create(tmp_path / "other", {}, {})
    for upto in (1, 2, 4):
        run_all(make_ledger(num_trials=upto, sampler=corner, folder=other))
    assert [(trial.params, trial.state) for trial in recover_study(other.study).trials] == unbroken
    assert len(other.trials()) == 4


def test_a_space_without_another_point_ends_the_search(make_ledger):
    dimensions = {**CORNER, "delta": {"low": 0.5, "high": math.nextafter(0.5, 1.0)}}
    space = SearchSpace.from_mapping(dimensions | {"first_points": []}, "here")
    ledger = make_ledger(num_trials=8, sampler="random", space=space)
    run_all(ledger)
    runs = len(ledger.folder.trials())
    assert runs == ledger.started <= 2
    assert ledger.complete
    assert ledger.spent.startswith(f"the search ends after {runs} trial")
    assert "of 8: the last 50 points that were proposed" in ledger.spent
    trials = len(ledger.study.trials)
    assert make_ledger(num_trials=8, sampler="random", space=space).ask() is None  # nor does a resumed one go on
    assert len(ledger.study.trials) == trials <= 2 * 50 + 2


def test_a_rung_at_the_very_end_stops_nothing(make_ledger):
    ledger = make_ledger(num_trials=2, scheduler="asha")
    for score in (0.5, 0.1):
        folder = ledger.ask()
        assert not ledger.report(folder.key, 9, score)
        ledger.finish(folder.key)


@pytest.mark.parametrize("cut", [False, True])
def test_a_published_point_whose_process_was_lost_is_tried_again_by_a_resume_and_counts_once(make_ledger, cut):
    ledger = make_ledger(num_trials=4)
    ledger.enqueue({"paper": PAPER, "released": RELEASED})
    lost, broken = ledger.ask(), ledger.ask()
    ledger.fail(lost.key, "its process was killed", lost=True)
    ledger.fail(broken.key, "the loss is not finite")
    run_all(ledger)
    again = make_ledger(num_trials=4)
    again.enqueue({"paper": PAPER, "released": RELEASED})
    folder = again.ask()
    assert (folder.key, folder.record().number, folder.record().origin) == (lost.key, 4, "paper")
    if cut:
        again = make_ledger(num_trials=4)
        assert again.ask().key == lost.key
    again.report(lost.key, 9, 0.5)
    again.finish(lost.key)
    run_all(again)
    assert again.started == len(again.folder.trials()) == 4
    assert again.complete
    assert {run.record().key: run.record().state for run in again.folder.trials()}[lost.key] == "finished"
    once_more = make_ledger(num_trials=4)
    once_more.enqueue({"paper": PAPER, "released": RELEASED})
    assert once_more.ask() is None
    assert len(once_more.trials()) == 5
