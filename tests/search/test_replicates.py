"""Points on folds and seeds in one study: every run counts once, whatever moment the process dies at."""

import math
from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState
from toy import PAPER

from dce_ray.experiment.run_folder import RunFolder
from dce_ray.experiment.study import POINTS_STUDY, open_journal, read_study
from dce_ray.files import write_json
from dce_ray.points import standing as standing_module
from dce_ray.points.model import fit
from dce_ray.points.runs import Replicate, read_runs
from dce_ray.points.scores import fair_scores
from dce_ray.points.standing import read_standing
from dce_ray.report.point_table import read_points
from dce_ray.report.trial_table import read_trials
from dce_ray.search.points_study import write_points_study
from dce_ray.search.selection import select


def score(record, iteration):
    """Rising to iteration 2 and falling behind it, with an effect of fold and seed that all points share."""
    quality = 0.3 + 0.2 * (1 - abs(record.params.get("delta", 0.2) - 0.7))
    return quality - 0.05 * abs(iteration - 2) + 0.02 * (record.fold or 0) + 0.01 * record.seed


def step(ledger, score=score, iterations=3):
    """One run from its start to its end; None where there is none."""
    folder = ledger.ask()
    if folder is None:
        return None
    for iteration in range(1, iterations + 1):
        value = score(folder.record(), iteration)
        folder.append(iteration, {"score": value})
        ledger.report(folder.key, iteration, value)
    ledger.finish(folder.key)
    return folder


def run_all(ledger, score=score):
    while step(ledger, score) is not None:
        pass
    ledger.settle()


def identity(record):
    return (record.number, record.point, record.fold, record.seed, tuple(record.params.values()), record.value)


def history(ledger):
    return [identity(run.record()) for run in sorted(ledger.folder.trials(), key=lambda run: run.record().number)]


def test_the_budget_is_in_runs_and_plain_meets_every_replicate(make_replicates):
    ledger = make_replicates(num_runs=14)
    run_all(ledger)
    records = [run.record() for run in ledger.folder.trials()]
    assert len(records) == len(ledger.study.trials) == 14
    assert {record.state for record in records} == {"finished"}
    plain = {(record.fold, record.seed) for record in records if record.role == "plain"}
    points = {(record.fold, record.seed) for record in records if record.role == "trial"}
    assert points <= plain
    assert {fold for fold, _ in plain} == {0, 1, 2}
    first = {record.point: record.fold for record in reversed(records) if record.role == "trial"}
    assert all(first[point] == point % 3 for point in first)  # each point begins on a fold of its own
    for point in first:
        replicates = [(record.fold, record.seed) for record in records if record.point == point]
        assert len(set(replicates)) == len(replicates)
    (paper,) = {record.point for record in records if record.origin == "paper"}
    assert paper == 0
    assert next(record for record in records if record.point == 0).params == PAPER


def test_a_run_is_configured_by_its_replicate(make_replicates):
    ledger = make_replicates(num_runs=12)
    run_all(ledger)
    for run in ledger.folder.trials():
        record = run.record()
        assert record.config["sampling"]["fold"] == record.fold
        assert record.config["seed"] == record.seed
        assert (record.config["scs"], record.config["mcm"]) == ((record.role == "trial",) * 2)


def test_a_told_value_is_fair_and_never_changes(make_replicates):
    """The last iteration is the best one of the run that is looked at, and another one of all others."""
    ledger = make_replicates(num_runs=6)
    told = {}
    for number in range(6):
        lucky = (lambda record, iteration: 0.9 if iteration == 3 else 0.1) if number == 5 else score
        folder = step(ledger, lucky)
        told[number] = folder.record().value
        assert folder.record().value == fair_scores(ledger.runs)[number].value
    assert told[5] == 0.1  # read where the others are best, not where it is
    assert [trial.value for trial in ledger.study.trials] == list(told.values())


@pytest.mark.parametrize("moment", ["asked", "reported", "written", "told"])
def test_killed_and_resumed_search_proposes_what_the_unbroken_one_does(make_replicates, moment):
    unbroken = make_replicates(name="unbroken")
    run_all(unbroken)
    expected = history(unbroken)
    ledger = make_replicates(name="broken")
    for number in range(14):
        if moment == "told":
            step(ledger)
        else:
            folder = ledger.ask()
            if moment in ("reported", "written"):
                value = score(folder.record(), 1)
                folder.append(1, {"score": value})
                if moment == "reported":
                    ledger.report(folder.key, 1, value)
            if number % 3 == 0:
                ledger = make_replicates(name="broken")  # the process died and was resumed
                folder = ledger.ask()
            known = folder.scores()
            for iteration in (1, 2, 3):
                value = score(folder.record(), iteration)
                if iteration not in known:
                    folder.append(iteration, {"score": value})
                ledger.report(folder.key, iteration, value)
            ledger.finish(folder.key)
        if moment == "told" and number % 3 == 0:
            ledger = make_replicates(name="broken")
    assert history(ledger) == expected
    assert len(ledger.study.trials) == 14


def test_a_proposal_that_was_queued_before_the_kill_is_taken_up(make_replicates):
    ledger = make_replicates()
    step(ledger)
    (waiting,) = [trial for trial in ledger.study.trials if trial.state == TrialState.WAITING]
    again = make_replicates()
    folder = again.ask()
    assert folder.record().number == waiting.number
    assert len([t for t in again.study.trials if t.state == TrialState.WAITING]) == 0


def test_two_slots_never_run_the_same_thing(make_replicates):
    ledger = make_replicates(num_runs=20)
    live = [ledger.ask(), ledger.ask()]
    while live:
        folder = live.pop(0)
        for iteration in (1, 2, 3):
            ledger.report(folder.key, iteration, score(folder.record(), iteration))
        ledger.finish(folder.key)
        following = ledger.ask()
        if following is not None:
            live.append(following)
    records = [run.record() for run in ledger.folder.trials()]
    assert len(records) == 20
    keys = Counter((record.point, record.fold, record.seed) for record in records)
    assert set(keys.values()) == {1}
    assert sorted(record.number for record in records) == list(range(20))


def test_where_plain_only_fails_nothing_more_is_started_and_a_resume_tries_it_again(make_replicates):
    ledger = make_replicates(num_runs=12)
    started = []
    while (folder := ledger.ask()) is not None:
        started.append(folder.record())
        if folder.record().role == "plain":
            ledger.fail(folder.key, "out of memory")
        else:
            ledger.report(folder.key, 1, 0.3)
            ledger.finish(folder.key)
    assert [record.role for record in started].count("plain") == 2
    assert len(started) < 6
    assert "out of memory" in ledger.hopeless
    assert "nothing can be compared" in ledger.hopeless
    again = make_replicates(num_runs=12)
    assert again.hopeless is None
    run_all(again)
    records = [run.record() for run in again.folder.trials()]
    assert {record.state for record in records if record.role == "plain"} == {"finished"}
    assert again.complete
    once_more = make_replicates(num_runs=12)  # the failed trials of old must not undo what their successors did
    assert history(once_more) == history(again)


def fail_first_of_plain(ledger, *, lost):
    """The search to its end, where the plain baseline's first run fails."""
    folder = ledger.ask()
    assert folder.record().role == "plain"
    ledger.fail(folder.key, "its process was killed", lost=lost)
    run_all(ledger)
    return folder


def states_of_plain(ledger):
    records = [run.record() for run in ledger.folder.trials()]
    return {(record.fold, record.seed): record.state for record in records if record.role == "plain"}


@pytest.mark.parametrize("cut", [False, True])
def test_a_lost_run_of_plain_is_tried_again_by_a_resume_and_counts_once(make_replicates, cut):
    ledger = make_replicates(num_runs=12)
    lost = fail_first_of_plain(ledger, lost=True)
    points = [identity(run.record()) for run in ledger.folder.trials() if run.record().role == "trial"]
    assert states_of_plain(ledger)[0, 0] == "failed"
    again = make_replicates(num_runs=12)
    folder = again.ask()
    assert (folder.key, folder.record().number, folder.record().state) == (lost.key, 12, "running")
    if cut:
        again = make_replicates(num_runs=12)
        assert again.ask().key == lost.key
    for iteration in (1, 2, 3):
        again.report(lost.key, iteration, score(folder.record(), iteration))
    again.finish(lost.key)
    run_all(again)
    assert set(states_of_plain(again).values()) == {"finished"}
    assert again.complete
    assert again.started == len(again.folder.trials()) == 12
    now = [identity(run.record()) for run in again.folder.trials() if run.record().role == "trial"]
    assert now == points  # no other run takes its place, and no value that was told changes
    once_more = make_replicates(num_runs=12)
    assert once_more.ask() is None
    assert history(once_more) == history(again)


def test_a_kill_behind_the_clearing_of_a_lost_runs_folder_keeps_nothing_from_going_on(make_replicates, monkeypatch):
    ledger = make_replicates(num_runs=12)
    lost = fail_first_of_plain(ledger, lost=True)
    clear = RunFolder.clear

    def killed(folder):
        clear(folder)
        raise KeyboardInterrupt

    again = make_replicates(num_runs=12)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "clear", killed)
        with pytest.raises(KeyboardInterrupt):
            again.ask()
    assert not lost.exists()
    after = make_replicates(num_runs=12)
    assert after.ask().key == lost.key
    after = make_replicates(num_runs=12)
    run_all(after)
    assert set(states_of_plain(after).values()) == {"finished"}
    assert after.complete
    assert after.started == len(after.folder.trials()) == 12


def test_a_run_that_was_to_fail_when_the_driver_was_killed_and_finished_has_no_error(make_replicates, monkeypatch):
    ledger = make_replicates(num_runs=12)
    folder = ledger.ask()

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, "_end", killed)
    with pytest.raises(KeyboardInterrupt):
        ledger.fail(folder.key, "its process was killed", lost=True)
    again = make_replicates(num_runs=12)
    run_all(again)
    record = folder.record()
    assert (record.state, record.error) == ("finished", None)
    assert [row.error for row in read_trials(again.folder).rows if row.key == folder.key] == [None]


def test_a_published_points_lost_run_is_tried_again_and_a_found_ones_is_not(make_replicates):
    """The published values are confirmed whoever wins: a lost machine must not take them out of the comparison."""
    ledger, lost = make_replicates(num_runs=12), {}
    while (folder := ledger.ask()) is not None:
        record = folder.record()
        if record.role == "trial" and record.origin not in lost:
            lost[record.origin] = folder.key
            ledger.fail(folder.key, "its process was killed", lost=True)
            continue
        for iteration in (1, 2, 3):
            ledger.report(folder.key, iteration, score(record, iteration))
        ledger.finish(folder.key)
    assert set(lost) == {"paper", "search"}
    again = make_replicates(num_runs=12)
    folder = again.ask()
    record = folder.record()
    assert (folder.key, record.point, record.origin, record.number) == (lost["paper"], 0, "paper", 12)
    for iteration in (1, 2, 3):
        folder.append(iteration, {"score": score(record, iteration)})
        again.report(folder.key, iteration, score(record, iteration))
    again.finish(folder.key)
    run_all(again)
    rows = {row.number: row for row in read_trials(again.folder).rows if row.key == folder.key}
    assert {number: row.iterations for number, row in rows.items()} == {min(rows): None, 12: 3}
    points = {row.point: row for row in read_points(read_trials(again.folder), read_standing(again.folder)).rows}
    assert sum(row.failed_runs for row in points.values()) == 1  # the found one's
    assert points[0].runs >= 1
    assert points[0].failed_runs == 0
    states = {run.key: run.record().state for run in again.folder.trials()}
    assert (states[lost["paper"]], states[lost["search"]]) == ("finished", "failed")
    assert again.started == len(states) == 12
    once_more = make_replicates(num_runs=12)
    assert once_more.ask() is None


def test_plain_is_not_tried_again_where_it_failed_by_itself(make_replicates):
    fail_first_of_plain(make_replicates(num_runs=12), lost=False)
    again = make_replicates(num_runs=12)
    assert again.ask() is None
    assert states_of_plain(again)[0, 0] == "failed"


def test_a_choice_that_test_was_read_with_is_not_made_anew_for_a_lost_run(make_replicates):
    ledger = make_replicates(num_runs=12)
    lost = fail_first_of_plain(ledger, lost=True)
    on_test = ledger.folder.confirm("top1-1000")
    on_test.write(ledger.folder.trials()[-1].record().replace(role="confirm", key="top1-1000"))
    write_json(on_test.table, {})
    assert make_replicates(num_runs=12).ask() is None
    assert make_replicates(num_runs=13).ask().key == lost.key


def test_a_run_of_plain_that_is_lost_again_waits_for_the_next_resume(make_replicates):
    lost = fail_first_of_plain(make_replicates(num_runs=12), lost=True)
    again = make_replicates(num_runs=12)
    again.fail(again.ask().key, "its process was killed", lost=True)
    assert again.ask() is None
    again.settle()
    third = make_replicates(num_runs=12)
    assert third.ask().key == lost.key
    third.fail(lost.key, "it diverged")
    assert make_replicates(num_runs=12).ask() is None


def test_a_point_whose_replicates_partly_failed_counts_by_the_others(make_replicates):
    ledger = make_replicates(num_runs=16)
    failed = 0
    while (folder := ledger.ask()) is not None:
        record = folder.record()
        if record.point == 0 and failed < 1:
            failed += 1
            ledger.fail(folder.key, "lost")
            continue
        for iteration in (1, 2, 3):
            folder.append(iteration, {"score": score(record, iteration)})
            ledger.report(folder.key, iteration, score(record, iteration))
        ledger.finish(folder.key)
    ledger.settle()
    standing = read_standing(ledger.folder)
    assert standing.runs_of(0)[0].state == "failed"
    usable = {estimate.point: estimate.runs for estimate in standing.posterior.points}
    assert usable.get(0, 0) == len(standing.runs_of(0)) - 1


def test_scores_that_are_not_finite_never_count(make_replicates):
    ledger = make_replicates(num_runs=4)
    folder = ledger.ask()
    ledger.report(folder.key, 1, math.nan)
    ledger.finish(folder.key)
    assert folder.record().state == "failed"
    assert "finite" in folder.record().error
    assert [run.state for run in ledger.runs] == ["failed"]


def test_folders_and_study_say_the_same(make_replicates):
    ledger = make_replicates(num_runs=9)
    run_all(ledger)
    assert read_runs(ledger.folder) == ledger.runs
    assert ledger.runs[0].replicate == Replicate(0, 0)


def test_the_points_study_shows_the_model_and_not_the_luckiest_run(make_replicates):
    ledger = make_replicates(num_runs=16)
    run_all(ledger)
    for _ in range(2):  # made anew, not twice
        write_points_study(ledger.folder)
    studies = {study.study_name for study in open_journal(ledger.folder.study).get_all_studies()}
    assert studies == {"runs", POINTS_STUDY}
    points = optuna.load_study(study_name=POINTS_STUDY, storage=open_journal(ledger.folder.study))
    standing = read_standing(ledger.folder)
    assert {t.user_attrs["point"]: t.value for t in points.trials} == {
        estimate.point: estimate.mean for estimate in standing.posterior.points
    }
    assert points.best_trial.user_attrs["point"] == standing.ranked[0].point
    assert points.best_trial.user_attrs["low"] < points.best_value < points.best_trial.user_attrs["high"]
    assert len(read_study(ledger.folder.study).trials) == 16
    resumed = make_replicates(num_runs=17)
    run_all(resumed)
    assert len(read_study(ledger.folder.study).trials) == 17


def test_the_winner_is_the_best_by_the_model_and_brings_its_iteration(make_replicates):
    ledger = make_replicates(num_runs=20)
    run_all(ledger)
    standing = read_standing(ledger.folder)
    chosen = select(ledger.folder, 2)
    assert [one.setting for one in chosen[:2]] == ["top1", "top2"]
    assert chosen[-1].setting == "baseline"
    assert [one.point for one in chosen[:2]] == [one.point for one in standing.ranked[:2]]
    assert chosen[0].value == standing.ranked[0].mean
    assert {one.iteration for one in chosen} == {2}
    assert chosen[0].runs == len(standing.runs_of(chosen[0].point))
    assert "paper" in {one.origin for one in chosen}


def test_a_search_that_has_ended_is_fitted_once_whoever_asks(make_replicates, monkeypatch):
    fitted = []
    monkeypatch.setattr(standing_module, "fit", lambda *given, **more: fitted.append(1) or fit(*given, **more))
    ledger = make_replicates(num_runs=14)
    run_all(ledger)
    for ask in (read_standing, write_points_study, lambda folder: select(folder, 2), read_standing):
        ask(ledger.folder)
    assert len(fitted) == 1
    before = read_standing(ledger.folder)
    resumed = make_replicates(num_runs=15)
    run_all(resumed)
    after = read_standing(resumed.folder)
    assert len(fitted) == 2
    assert sum(one.runs for one in after.posterior.points) == sum(one.runs for one in before.posterior.points) + 1
    first = ledger.folder.trials()[0]
    first.write(first.record().replace(iteration=1))
    assert read_standing(ledger.folder).records[0].iteration == 1  # what else the folder says is read each time


def test_all_candidates_are_confirmed_with_the_same_seeds_whatever_run_came_first(make_replicates):
    """The plain baseline's first run that is left may be one of a later round: its seed is not the search's."""
    ledger = make_replicates(num_runs=12, folds=1)
    run_all(ledger)
    first = next(run for run in ledger.folder.trials() if run.record().role == "plain")
    record = first.record()
    first.write(record.replace(config={**record.config, "seed": 4}, seed=4))
    chosen = select(ledger.folder, 1)
    assert {one.confirmation_seed(0) for one in chosen} == {1000}
