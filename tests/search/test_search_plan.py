"""The confirmation's plan: who is confirmed, and what a resumed one does with what it finds."""

import dataclasses
from collections import Counter

import pytest
from made_tables import score_table
from toy import PAPER, toy_config

from dce_ray.errors import SearchError
from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.record import RunRecord
from dce_ray.files import write_json
from dce_ray.report.captions import confirmation_caption
from dce_ray.report.confirmation import confirmation_table, notes, write_confirmation
from dce_ray.search.plan import ChainLedger, PlanLedger, plan_confirmation, plan_plain
from dce_ray.search.selection import select
from dce_ray.search.set_aside import set_aside_superseded

BASE = toy_config(PAPER)
CONFIG = {
    "run": {"baseline": "delu"},
    "data_set": "hapt",
    "confirm": {"seeds": 3},
    "protocol": "holdout",
    "metric": "detection",
}


def candidate(setting="top1", iteration=5, **changes):
    config = BASE | changes
    return Candidate(setting, config, 0.5, iteration, "search", 3)


def finish(ledger, score=0.4):
    folder = ledger.ask()
    folder.append(folder.record().stop_at or 9, {"loss/total": 1.0})
    write_json(folder.table, score_table(score).to_mapping())
    ledger.finish(folder.key)
    return folder


def keys(ledger):
    return [folder.key for folder in iter(ledger.ask, None)]


def test_plan_goes_seed_by_seed(experiment_folder):
    plan = plan_confirmation(experiment_folder, [candidate(), candidate("baseline", 7)], 2)
    assert [item.record.key for item in plan] == ["top1-1000", "baseline-1000", "top1-1001", "baseline-1001"]
    assert [item.record.seed for item in plan] == [1000, 1000, 1001, 1001]
    assert [item.record.stop_at for item in plan] == [5, 7, 5, 7]
    assert {item.record.config["protocol"] for item in plan} == {"confirm"}
    assert [item.record.config["seed"] for item in plan] == [1000, 1000, 1001, 1001]


def test_published_protocol_trains_full_length_and_selects_on_test(experiment_folder):
    (item,) = plan_confirmation(experiment_folder, [candidate(protocol="paper")], 1)
    assert (item.record.config["protocol"], item.record.stop_at) == ("paper", None)


def test_finished_runs_count_once_and_failed_ones_are_tried_again(experiment_folder):
    plan = plan_confirmation(experiment_folder, [candidate()], 3)
    first = PlanLedger(plan)
    done = finish(first)
    record = done.record()
    assert (record.state, record.value, record.iteration) == ("finished", pytest.approx(0.4), 5)
    failed = first.ask()
    first.fail(failed.key, "out of memory")
    assert failed.record().error == "out of memory"
    running = first.ask()  # and then the driver was killed
    second = PlanLedger(plan)
    assert keys(second) == [failed.key, running.key]
    assert failed.record().state == "running"
    assert failed.record().error is None


def test_record_without_its_table_is_not_finished(experiment_folder):
    plan = plan_confirmation(experiment_folder, [candidate()], 1)
    done = finish(PlanLedger(plan))
    done.table.unlink()
    assert keys(PlanLedger(plan)) == ["top1-1000"]


def test_another_winner_takes_the_folder_over(experiment_folder):
    done = finish(PlanLedger(plan_confirmation(experiment_folder, [candidate()], 1)))
    done.checkpoint.write_text("of the former winner")
    other = PlanLedger(plan_confirmation(experiment_folder, [candidate(iteration=6)], 1))
    assert keys(other) == ["top1-1000"]
    assert not done.checkpoint.exists()
    assert not done.table.exists()
    assert done.record().stop_at == 6


def test_chain_asks_one_after_the_other_and_passes_on(experiment_folder, make_ledger):
    plain = PlanLedger([plan_plain(experiment_folder, BASE, "digest")])
    study = make_ledger(num_trials=2)
    chain = ChainLedger([plain, study])
    first, second = chain.ask(), chain.ask()
    assert first.record().origin == "baseline"
    assert not first.record().config["scs"]
    first.append(3, {"score": 0.3})
    chain.finish(first.key)
    chain.report(second.key, 1, 0.2)
    chain.prune(second.key)
    third = chain.ask()
    chain.report(third.key, 1, 0.2)
    chain.finish(third.key)
    assert chain.ask() is None
    assert Counter(trial.state.name for trial in study.study.trials) == {"PRUNED": 1, "COMPLETE": 1}
    assert (first.record().state, first.record().value, first.record().iteration) == ("finished", 0.3, 3)


def test_selection_takes_full_length_trials_first_points_and_the_baseline(experiment_folder, make_ledger):
    plain = plan_plain(experiment_folder, BASE, "digest")
    plain.folder.write(plain.record.replace(state="finished", value=0.1, iteration=4))
    ledger = make_ledger(num_trials=5)
    ledger.enqueue({"paper": PAPER})
    for score in (0.2, 0.9, 0.5, 0.5, 0.7):
        folder = ledger.ask()
        ledger.report(folder.key, 2, score)
        ledger.report(folder.key, 9, score / 2)
        if score == 0.9:
            ledger.prune(folder.key)  # the highest, but it never ran to its full length
        else:
            ledger.finish(folder.key)
    chosen = select(experiment_folder, 2)
    assert [(one.setting, one.point, one.value, one.iteration) for one in chosen] == [
        ("top1", 4, 0.7, 2),
        ("top2", 2, 0.5, 2),  # the earlier one of equals
        ("paper", 0, 0.2, 2),
        ("baseline", None, 0.1, 4),
    ]


def test_every_caption_says_what_selected():
    config = CONFIG
    assert confirmation_caption(config, "mine", [3]).startswith("delu on mine, test mAP")
    assert "selected on holdout" in confirmation_caption(config, "mine", [3])
    assert "selected on the test set" in confirmation_caption(config | {"protocol": "paper"}, "mine", [3])
    assert "percent, 1 seed," in confirmation_caption(config, "mine", [1, 1])
    assert "percent, 3 to 9 seeds," in confirmation_caption(config, "mine", [9, 3, 9])
    assert any("temporal labels" in line for line in notes(config, [candidate()]))
    assert any("weakly" in line for line in notes(config | {"metric": "classification"}, [candidate()]))
    assert any("no difference" in line for line in notes(config, [candidate()]))
    assert any("not on test" in line for line in notes(config, [candidate()]))
    assert not any("not on test" in line for line in notes(config | {"protocol": "paper"}, [candidate()]))


def test_a_plain_baseline_that_scored_higher_is_named():
    low, high = (dataclasses.replace(candidate("baseline"), value=value) for value in (0.4, 0.6))
    assert not any("scored higher" in line for line in notes(CONFIG, [candidate(), low]))
    assert any(
        "leads there: it scored higher (60.00) than top1 (50.00)" in line for line in notes(CONFIG, [candidate(), high])
    )


def test_records_say_who_a_run_is(experiment_folder, make_ledger):
    plain = plan_plain(experiment_folder, BASE, "digest").record
    assert (plain.role, plain.setting, plain.fold, plain.seed, plain.params) == ("plain", "baseline", 0, 0, {})
    trial = make_ledger(num_trials=1).ask().record()
    assert (trial.role, trial.setting, trial.fold, trial.number) == ("trial", "trial 0", 0, 0)
    assert trial.params == trial.config["method"]
    (_, confirm) = (item.record for item in plan_confirmation(experiment_folder, [candidate("top1")], 2))
    assert (confirm.role, confirm.setting, confirm.fold, confirm.seed) == ("confirm", "top1", None, 1001)
    for record in (plain, trial, confirm):
        assert RunRecord.from_mapping(record.to_mapping()) == record


def test_a_setting_with_a_dash_and_a_number_keeps_its_name(experiment_folder):
    plan = plan_confirmation(experiment_folder, [candidate("my-point-2")], 2)
    assert [item.record.setting for item in plan] == ["my-point-2", "my-point-2"]
    for item in plan:
        item.folder.write(item.record)
    assert {run.record().setting for run in experiment_folder.confirmations()} == {"my-point-2"}


def test_a_run_without_a_score_is_no_candidate():
    with pytest.raises(SearchError, match="has a score"):
        Candidate("top1", BASE, 0.5, 3, "search", runs=0)


def test_another_way_to_compute_keeps_what_is_finished(experiment_folder):
    done = finish(PlanLedger(plan_confirmation(experiment_folder, [candidate()], 2)))
    elsewhere = candidate(device="cuda:1")
    again = PlanLedger(plan_confirmation(experiment_folder, [elsewhere], 2))
    assert done.table.is_file()
    (other,) = iter(again.ask, None)
    assert other.key == "top1-1001"
    assert other.record().config["device"] == "cuda:1"  # computed as it is asked for now


def test_runs_of_a_former_winner_do_not_count_for_the_new_one(experiment_folder):
    write_json(experiment_folder.path / "config.json", {"format": 3, **CONFIG})
    old, plain = candidate(iteration=5), candidate("baseline", 7)
    ledger = PlanLedger(plan_confirmation(experiment_folder, [old, plain], 1))
    kept = [finish(ledger), finish(ledger)]
    write_confirmation(experiment_folder, [old, plain])
    new = candidate(iteration=6)
    lines = {row.group for row in confirmation_table(experiment_folder, [new, plain]).rows if row.cells}
    assert lines == {"baseline"}  # although a run of the name top1 lies there
    set_aside_superseded(experiment_folder, [new, plain])
    assert not kept[0].path.exists()
    assert [run.key for run in experiment_folder.set_aside_runs()] == ["top1-1000"]
    assert kept[1].table.is_file()
    assert not experiment_folder.confirmation.exists()


def test_the_same_choice_drops_nothing(experiment_folder):
    write_json(experiment_folder.path / "config.json", {"format": 3, **CONFIG})
    done = finish(PlanLedger(plan_confirmation(experiment_folder, [candidate()], 1)))
    write_confirmation(experiment_folder, [candidate()])
    set_aside_superseded(experiment_folder, [candidate()])
    assert done.table.is_file()
    assert experiment_folder.confirmation.is_file()


def test_a_finished_plain_run_keeps_no_state(experiment_folder):
    ledger = PlanLedger([plan_plain(experiment_folder, BASE, "digest")])
    folder = ledger.ask()
    folder.append(3, {"score": 0.3})
    leave(folder.attempts.of(1), "state")
    ledger.finish(folder.key)
    assert not folder.attempts.root.exists()
    assert not folder.checkpoint.exists()


def test_a_finished_run_on_test_keeps_what_its_last_attempt_left(experiment_folder):
    plan = plan_confirmation(experiment_folder, [candidate()], 1)
    ledger = PlanLedger(plan)
    folder = ledger.ask()
    ledger.again(folder.key)  # its process was lost
    assert ledger.ask() == folder
    assert folder.record().attempt == 2
    leave(folder.attempts.of(1), "lost")
    leave(folder.attempts.of(2), "kept")
    write_json(folder.table, score_table(0.5).to_mapping())
    ledger.finish(folder.key)
    assert folder.checkpoint.read_text() == folder.detections.read_text() == "kept"
    assert not folder.attempts.root.exists()


def test_state_that_a_killed_driver_left_goes_with_the_next_one(experiment_folder):
    plan = plan_confirmation(experiment_folder, [candidate()], 1)
    done = finish(PlanLedger(plan))
    leave(done.attempts.of(1), "state")
    assert keys(PlanLedger(plan)) == []
    assert not done.attempts.root.exists()


def leave(attempt, text):
    attempt.path.mkdir(parents=True)
    attempt.checkpoint.write_text(text)
    attempt.detections.write_text(text)
