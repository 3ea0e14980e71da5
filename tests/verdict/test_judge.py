"""Verdicts on confirmations whose numbers are known: every outcome, what failed, and the sentence for it."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil

import pytest
from confirmed import RUN, add_runs, candidate, make_folder
from made_points import made_points

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import write_json
from dce_ray.presets import merge
from dce_ray.report.confirmation import write_confirmation
from dce_ray.search.selection import select
from dce_ray.verdict.caveats import caveats
from dce_ray.verdict.judge import differences_of, judge, paired_runs
from dce_ray.verdict.stein import identity_of, plan_seeds
from dce_ray.verdict.text import ANEW, LONGEST
from dce_ray.verdict.verdict import UNCONFIRMED, Verdict
from dce_ray.words import runnable

WINNER, PLAIN = candidate(), candidate("baseline", value=0.49)
PAPER, RELEASED = candidate("paper", "paper"), candidate("released", "released")
T_2 = 4.302652730


def judged(tmp_path, ours, theirs, *others, config=None, candidates=None, **confirm):
    """The verdict of winner and plain baseline with these scores in percent; ``others`` are (candidate, scores)."""
    folder = make_folder(tmp_path, **(config or {}), **confirm)
    add_runs(folder, WINNER, ours)
    add_runs(folder, PLAIN, theirs)
    for one, percents in others:
        add_runs(folder, one, percents)
    return judge(folder, candidates or [WINNER, *(one for one, _ in others), PLAIN])


def test_better_by_hand(tmp_path):
    # Differences 3, 2, 4: mean 3, deviation 1, half width 4.3027 / sqrt(3).
    verdict = judged(tmp_path, [43, 44, 48], [40, 42, 44])
    assert verdict.outcome == "better"
    assert (verdict.gain, verdict.pairs, verdict.first_pairs) == (pytest.approx(3.0), 3, 3)
    assert verdict.deviation == pytest.approx(1.0)
    assert verdict.low == pytest.approx(3 - T_2 / math.sqrt(3))
    assert verdict.high == pytest.approx(3 + T_2 / math.sqrt(3))
    assert verdict.seeds_for_power == 10
    assert verdict.expected_gain == pytest.approx(1.0)
    assert verdict.confirmation_runs == 6
    assert verdict.published.outcome == "not tested"
    assert verdict.published.reason == "no published setting was confirmed"
    assert verdict.sentence.startswith(
        "verdict: better: top1 (point 7) beats the plain baseline on test, +3.00 mAP, "
        "95 % interval [+0.52, +5.48] (3 pairs of seeds)"
    )
    assert "The search's model expected +1.00 mAP on holdout." in verdict.details
    assert "optimistic" not in verdict.text
    assert verdict.command == ""


def test_worse(tmp_path):
    verdict = judged(tmp_path, [40, 42, 44], [43, 44, 48])
    assert (verdict.outcome, verdict.gain) == ("worse", pytest.approx(-3.0))
    assert "is worse than the plain baseline on test, -3.00 mAP" in verdict.sentence


def test_undecided_says_what_it_would_take_and_tests_nothing_else(tmp_path):
    verdict = judged(tmp_path, [43, 40, 44], [40, 42, 44], (PAPER, [10, 11, 12]))
    assert (verdict.outcome, verdict.published.outcome) == ("undecided", "not tested")
    assert verdict.published.reason == "the first comparison is undecided"
    assert verdict.published.gain is None
    assert verdict.seeds_for_power == 52
    power = "A true difference of 1 mAP would take 52 seeds to be found in 80 % of cases"
    assert f"{power}; 20 seeds find one of 1.66 mAP as often." in verdict.details
    assert "is not shown to differ from the plain baseline" in verdict.sentence
    assert verdict.details[-1] == "To confirm the same setting anew, with fresh seeds (40 runs):"
    search = tmp_path / "experiment"
    assert verdict.command == f"python -m dce_ray.confirm search={search} seeds=20"
    assert verdict.text.splitlines() == [verdict.sentence, *verdict.details, runnable(verdict.command)]
    second = search.with_name("experiment-confirm-2")
    second.mkdir()  # made already: the next one is another
    again = judge(ExperimentFolder(search), [WINNER, PAPER, PLAIN])
    assert again.command == f"{verdict.command} look=3"
    identity = identity_of(WINNER, PLAIN)
    write_json(search / "seeds_asked.json", {"identity": identity, "looks": 1})
    write_json(second / "config.json", {"kind": ANEW, "identity": identity, "confirm": {"seeds": 7}})
    begun = judge(ExperimentFolder(search), [WINNER, PAPER, PLAIN])  # begun and not ended: it goes on, with its seeds
    assert begun.command == f"python -m dce_ray.confirm search={search} seeds=7"
    assert begun.details[-1] == "To confirm the same setting anew, with fresh seeds (14 runs):"
    write_json(second / "config.json", {"kind": ANEW, "identity": "another winner's", "confirm": {"seeds": 7}})
    assert judge(ExperimentFolder(search), [WINNER, PAPER, PLAIN]).command == f"{verdict.command} look=3"
    write_json(search / "seeds_asked.json", {"looks": 1})  # as it was before winners were told apart
    plan_seeds([3.0], seeds=3, precision=None, max_seeds=3, identity=identity).write(ExperimentFolder(search))
    assert judge(ExperimentFolder(search), [WINNER, PAPER, PLAIN]).command.endswith(" look=3")


@pytest.mark.parametrize(("ours", "seeds"), [([43, 42.4, 43.1], 5), ([43, 42, 43.5], 6), ([50, 30, 60], 20)])
def test_the_advised_seeds_are_those_that_are_worth_it_and_say_what_they_cost(ours, seeds, tmp_path):
    verdict = judged(tmp_path, ours, [42.8, 42.6, 42.8], seeds=3)
    assert verdict.outcome == "undecided"
    assert verdict.command.endswith(f" seeds={seeds}")
    folder = ExperimentFolder(tmp_path / "experiment")
    for run in folder.confirmations():
        run.write(dataclasses.replace(run.record(), started=100.0, ended=190.0))
    again = judge(folder, [WINNER, PLAIN])
    assert again.details[-1] == (f"To confirm the same setting anew, with fresh seeds ({2 * seeds} runs):")


def test_no_command_is_offered_that_would_find_nothing_the_interval_leaves_open(tmp_path):
    noise = [4.0, -4.0] * 10  # deviation 4.1, interval +-1.92; 20 seeds find 2.71 in 80 % of cases
    verdict = judged(tmp_path, [40 + one for one in noise], [40] * 20, seeds=20)
    assert verdict.outcome == "undecided"
    assert verdict.high == pytest.approx(1.92, abs=0.01)
    (power,) = [line for line in verdict.details if "in 80 % of cases" in line]
    assert power == (
        "A true difference of 1 mAP would take 135 seeds to be found in 80 % of cases, and the 20 that are affordable "
        "find none below 2.71 mAP as often, more than the interval leaves open: only a setting with a larger effect or "
        "longer training would settle it."
    )
    assert verdict.command == ""
    assert "To confirm" not in verdict.text


def test_a_winner_of_published_values_is_said_to_be_one_where_nothing_is_decided(tmp_path):
    winner = candidate(origin="paper")
    folder = make_folder(tmp_path)
    add_runs(folder, winner, [43, 40, 44])
    add_runs(folder, PLAIN, [40, 42, 44])
    told = judge(folder, [winner, PLAIN]).details
    assert "Against the published values: not tested: the winner has the published values (paper scalars)." in told


def test_runs_that_points_have_and_the_plain_baseline_lacks_are_said(tmp_path):
    folder = made_points(tmp_path / "hapt" / "delu" / "one", 12, failing=(0,))
    (said,) = [line for line in caveats(folder, select(folder, 1)[0]) if "plain baseline" in line]
    assert said.startswith("The plain baseline lacks 1 run beside those of points (fold 0 with seed 0): trials.csv ")
    whole = made_points(tmp_path / "hapt" / "delu" / "whole", 12)
    assert not any("plain baseline" in line for line in caveats(whole, select(whole, 1)[0]))


def test_what_a_reader_wants_to_know_of_the_winner_itself(tmp_path):
    space = {"delta": {"low": 0.3, "high": 0.8}, "theta_rep": {"low": 0.5, "high": 0.95}, "gamma": "beta"}
    space |= {"beta": {"low": 0.5, "high": 5.0, "log": True}, "lambda": {"low": 0.2, "high": 1.0}}
    folder = make_folder(tmp_path)
    write_json(folder.path / "config.json", folder.config | {"space": space, "policy": "replicates"})
    add_runs(folder, WINNER, [43, 40, 44])
    add_runs(folder, PLAIN, [40, 42, 44])
    for run in folder.confirmations():
        for number in (1, 2):
            run.append(number, {"psi_share": 0.1 * number, "mcm_share": 0.0})
    told = judge(folder, [WINNER, PLAIN]).details
    assert any(line.startswith("The winner rests on a single run of the search") for line in told)
    assert any(
        line.startswith("MCM never acted in the winner's 3 runs (mcm_share=0 at every reading)") for line in told
    )
    assert not any("SCS never acted" in line for line in told)
    (ends,) = [line for line in told if line.startswith("At an end of what was searched")]
    assert ends.endswith(
        "delta=0.8 (high), beta=0.5 (low); a new search goes further with space.delta.high=<more> space.beta.low=<less>"
    )
    often = judge(folder, [dataclasses.replace(WINNER, runs=3), PLAIN]).details
    assert not any("single run" in line for line in often)


def test_published_values_come_second_by_the_first_stage_alone(tmp_path):
    verdict = judged(tmp_path, [43, 44, 48], [40, 42, 44], (PAPER, [42.9, 43.8, 47.7]), (RELEASED, [1, 2, 3]))
    # 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, half width 4.3027 * 0.1 / sqrt(3) = 0.248.
    other = verdict.published
    assert (other.setting, other.outcome, other.pairs) == ("paper", "undecided", 3)
    assert (other.gain, other.high) == (pytest.approx(0.2), pytest.approx(0.2 + T_2 * 0.1 / math.sqrt(3)))
    assert (
        "Whether tuning beat the published values is undecided (paper scalars), +0.20 mAP [-0.05, +0.45] (3 pairs)."
        in (verdict.details)
    )


@pytest.mark.parametrize(("paper", "outcome"), [([30, 31, 35.5], "better"), ([60, 61, 65.5], "worse")])
def test_published_values_beaten_and_not(tmp_path, paper, outcome):
    verdict = judged(tmp_path, [43, 44, 48], [40, 42, 44], (PAPER, paper))
    assert verdict.published.outcome == outcome
    assert ("Tuning beat" if outcome == "better" else "Tuning did worse than") in verdict.text


def test_the_released_values_stand_in_where_the_paper_has_none(tmp_path):
    verdict = judged(tmp_path, [43, 44, 48], [40, 42, 44], (RELEASED, [1, 2, 3]))
    assert (verdict.published.setting, verdict.published.outcome) == ("released", "better")


def test_published_values_among_the_best_are_found_by_their_origin(tmp_path):
    second = candidate("top2", "paper")
    verdict = judged(tmp_path, [43, 44, 48], [40, 42, 44], (second, [1, 2, 3.5]))
    assert (verdict.published.setting, verdict.published.outcome) == ("paper", "better")


def test_a_winner_that_is_published_is_compared_once(tmp_path):
    folder = make_folder(tmp_path)
    winner = candidate(origin="paper")
    add_runs(folder, winner, [43, 44, 48])
    add_runs(folder, PLAIN, [40, 42, 44])
    verdict = judge(folder, [winner, PLAIN])
    assert verdict.published.outcome == "not tested"
    assert (
        "Against the published values: not tested: the winner has the published values (paper scalars)."
        in verdict.details
    )


def test_published_runs_that_failed_leave_it_untested(tmp_path):
    verdict = judged(tmp_path, [43, 44, 48], [40, 42, 44], (PAPER, [40, None, None]))
    assert verdict.published.reason == "1 pair of seeds finished"
    assert verdict.published.outcome == "not tested"


def test_a_failed_run_takes_its_pair_with_it(tmp_path):
    verdict = judged(tmp_path, [43, None, 48], [40, 42, 44])
    assert (verdict.pairs, verdict.planned_pairs, verdict.gain) == (2, 3, pytest.approx(3.5))
    assert "(2 pairs of seeds, 1 more failed)" in verdict.sentence


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ([43, None, None], r"\+3\.00 mAP without an interval: 1 pair of seeds finished and an interval needs two"),
        ([None, None, None], "could not be compared with the plain baseline on test: 0 pairs of seeds finished"),
    ],
)
def test_fewer_than_two_pairs_decide_nothing(tmp_path, ours, words):
    verdict = judged(tmp_path, ours, [40, 42, 44])
    assert (verdict.outcome, verdict.low, verdict.seeds_for_power) == ("undecided", None, None)
    assert re.search(words, verdict.sentence)


def test_one_seed_is_undecided(tmp_path):
    verdict = judged(tmp_path, [43], [40], seeds=1)
    assert (verdict.outcome, verdict.gain) == ("undecided", pytest.approx(3.0))
    assert verdict.published.reason == "the first comparison is undecided"
    assert "that interval" not in verdict.sentence


def test_without_a_plain_baseline_there_is_nothing_to_compare_with(tmp_path):
    verdict = judged(tmp_path, [43, 44, 48], [], candidates=[WINNER])
    assert (verdict.outcome, verdict.gain, verdict.expected_gain) == ("undecided", None, None)
    assert "it has no finished run on the selecting split" in verdict.sentence


def test_runs_of_another_choice_do_not_count(tmp_path):
    folder = make_folder(tmp_path)
    add_runs(folder, candidate(iteration=50), [90, 90, 90])  # a former winner's, of the same names
    add_runs(folder, PLAIN, [40, 42, 44])
    assert paired_runs(folder, WINNER, PLAIN, range(3)) == {}


def test_the_interval_of_the_second_stage_has_the_first_one_s_deviation(tmp_path):
    folder = make_folder(tmp_path, precision=2.0)
    add_runs(folder, WINNER, [43, 44, 48])
    add_runs(folder, PLAIN, [40, 42, 44])
    first = differences_of(paired_runs(folder, WINNER, PLAIN, range(3)))
    plan = plan_seeds(first, seeds=3, precision=2.0, max_seeds=20, identity=identity_of(WINNER, PLAIN))
    assert plan.total == 5  # (4.3027 / 2)^2 = 4.63
    plan.write(folder)
    add_runs(folder, WINNER, [50, 60], first=3)
    add_runs(folder, PLAIN, [49, 55], first=3)
    add_runs(folder, WINNER, [99], first=5)  # nobody asked for this one
    add_runs(folder, PLAIN, [1], first=5)
    verdict = judge(folder, [WINNER, PLAIN])
    assert (verdict.pairs, verdict.first_pairs) == (5, 3)
    assert verdict.gain == pytest.approx(3.0)  # 3, 2, 4, 1, 5
    assert verdict.high == pytest.approx(3 + T_2 / math.sqrt(5))


def test_a_plan_of_two_other_settings_is_left_alone(tmp_path):
    folder = make_folder(tmp_path)
    plan_seeds([9.0, 1.0, 5.0], seeds=3, precision=1.0, max_seeds=20, identity="of others").write(folder)
    add_runs(folder, WINNER, [43, 44, 48])
    add_runs(folder, PLAIN, [40, 42, 44])
    assert judge(folder, [WINNER, PLAIN]).deviation == pytest.approx(1.0)


def test_not_confirmed_says_what_to_do(tmp_path):
    folder = make_folder(tmp_path, seeds=0)
    verdict = judge(folder, [WINNER, PLAIN])
    assert (verdict.outcome, verdict.gain, verdict.pairs) == (UNCONFIRMED, None, 0)
    assert verdict.sentence.startswith(
        "verdict: unconfirmed: top1 (point 7) was not measured on test (confirm.seeds=0)"
    )
    assert verdict.command == f"python -m dce_ray.search resume={folder.path} confirm.seeds=5"
    assert "expected +1.00 mAP on holdout" in verdict.text


@pytest.mark.parametrize("seeds", [0, 3])
def test_selection_on_test_is_said(tmp_path, seeds):
    run = merge(RUN, {"protocol": "paper"})
    verdict = judged(tmp_path, [43, 44, 48], [40, 42, 44], config={"run": run}, seeds=seeds)
    assert "optimistic, since selection has seen the test set (protocol=paper)" in verdict.text
    assert "not measured on test" not in verdict.text
    assert ("optimistic" in verdict.sentence) == bool(seeds)


@pytest.mark.parametrize(
    ("value", "said"), [(0.5, "+1.00 classification mAP, which is optimistic."), (0.48, "-1.00 classification mAP.")]
)
def test_what_single_runs_promised_is_called_so(value, said, tmp_path):
    winner = candidate(deviation=None, value=value)
    folder = make_folder(tmp_path, run=merge(RUN, {"metric": "classification"}))
    add_runs(folder, winner, [43, 44, 48])
    add_runs(folder, PLAIN, [40, 42, 44])
    verdict = judge(folder, [winner, PLAIN])
    assert f"Single runs on holdout promised {said}" in verdict.details
    assert "+3.00 detection mAP" in verdict.sentence  # test is measured in something else than the search ranked by


def test_the_uncertainty_that_is_not_covered_is_named(tmp_path):
    verdict = judged(tmp_path, [43, 44, 48], [40, 42, 44])
    assert verdict.test_videos.low is None
    assert "The uncertainty of the test videos is not covered" in verdict.text
    assert "/nowhere/store" in verdict.test_videos.note


def test_a_verdict_comes_back_from_its_file(tmp_path):
    folder = make_folder(tmp_path)
    assert Verdict.read(folder) is None
    add_runs(folder, WINNER, [43, 44, 48])
    add_runs(folder, PLAIN, [40, 42, 44])
    add_runs(folder, PAPER, [30, 31, 35])
    write_confirmation(folder, [WINNER, PAPER, PLAIN])
    verdict = Verdict.read(folder)
    assert verdict == judge(folder, [WINNER, PAPER, PLAIN])
    assert verdict.to_mapping()["interval"] == [verdict.low, verdict.high]


def test_a_copy_of_a_folder_names_itself_in_the_command_that_follows(tmp_path):
    folder = make_folder(tmp_path)
    add_runs(folder, WINNER, [43, 44, 48])
    add_runs(folder, PLAIN, [40, 45, 50])
    write_confirmation(folder, [WINNER, PLAIN])
    assert Verdict.read(folder).command.startswith(f"python -m dce_ray.confirm search={folder.path} seeds=")
    copy = ExperimentFolder(tmp_path / "a copy" / "one")
    shutil.copytree(folder.path, copy.path)
    shutil.rmtree(folder.path)
    assert f"search='{copy.path}'" in Verdict.read(copy).command
    assert str(folder.path) not in Verdict.read(copy).text
    look = copy.look(2)
    ExperimentFolder.create(look, {**copy.config, "kind": ANEW, "look": 2, "search_folder": str(folder.path)}, {})
    assert ExperimentFolder.open(look).searched == copy


@pytest.mark.parametrize("seeds", [0, 1, 3])
def test_every_sentence_is_one_line_with_one_full_stop_at_its_end(tmp_path, seeds):
    sentence = judged(tmp_path, [43, 44, 48], [40, 42, 44], (PAPER, [30, 31, 35]), seeds=seeds).sentence
    assert sentence.startswith("verdict: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert ". " not in sentence
    assert len(sentence.split()) <= LONGEST


def test_the_longest_sentence_is_a_short_one(tmp_path):
    run = merge(RUN, {"metric": "classification"})
    winner = candidate(point=123)
    folder = make_folder(tmp_path, run=run, seeds=9, precision=0.01, max_seeds=20)
    add_runs(folder, winner, [43, 40, 44, 45, 46, 41, None, 41, 42])
    add_runs(folder, PLAIN, [40, 42, 44, 41, 47, 40, 41, 41, 42])
    first = differences_of(paired_runs(folder, winner, PLAIN, range(9)))
    plan_seeds(first, seeds=9, precision=0.01, max_seeds=20, identity=identity_of(winner, PLAIN)).write(folder)
    sentence = judge(folder, [winner, PLAIN]).sentence
    assert "(8 pairs of seeds, 1 more failed, 12 not run), over training seeds, not test videos." in sentence
    assert len(sentence.split()) <= LONGEST


@pytest.mark.parametrize("left", ["absent", "running"])
def test_a_first_stage_that_was_cut_off_is_unconfirmed_and_says_how_to_go_on(tmp_path, left):
    folder = make_folder(tmp_path, precision=1.0)
    add_runs(folder, WINNER, [43, 44])
    add_runs(folder, PLAIN, [40, 42])
    if left == "running":
        add_runs(folder, WINNER, [None], first=2)
        folder.confirm("top1-1002").update(state="running")
        add_runs(folder, PLAIN, [44], first=2)
    verdict = judge(folder, [WINNER, PLAIN])
    assert (verdict.outcome, verdict.gain, verdict.low) == (UNCONFIRMED, pytest.approx(2.5), None)
    assert verdict.sentence == (
        "verdict: unconfirmed: top1 (point 7): the time budget ended its confirmation, with 2 of 3 pairs of seeds "
        "done; so far +2.50 mAP, which decides nothing."
    )
    assert verdict.command == f"python -m dce_ray.search resume={folder.path} search.time_budget=null"


def test_a_single_seed_is_undecided_and_the_command_has_the_usual_number(tmp_path):
    verdict = judged(tmp_path, [43], [40], seeds=1)
    assert verdict.command.endswith("seeds=20")


def test_a_verdict_without_a_plain_baseline_asks_for_no_more_seeds(tmp_path):
    assert judged(tmp_path, [43, 44, 48], [], candidates=[WINNER]).command == ""


def test_the_same_score_with_every_seed_is_said_and_no_seeds_are_asked_for(tmp_path):
    verdict = judged(tmp_path, [41, 42, 44], [41, 42, 44])
    assert (verdict.outcome, verdict.low, verdict.high) == ("undecided", 0.0, 0.0)
    assert "scored the same with every seed" in verdict.text
    assert verdict.command == ""
    assert "in 80 % of cases" not in verdict.text


def test_a_second_look_at_test_is_said(tmp_path):
    """Who resumes until a winner is better has looked often; the interval knows of one look alone."""
    folder = make_folder(tmp_path)
    add_runs(folder, WINNER, [43, 44, 48])
    add_runs(folder, PLAIN, [40, 42, 44])
    plan = plan_seeds([3.0, 2.0, 4.0], seeds=3, precision=None, max_seeds=3, identity=identity_of(WINNER, PLAIN))
    plan.write(folder)
    assert "looked at test" not in judge(folder, [WINNER, PLAIN]).text
    dataclasses.replace(plan, looks=2).write(folder)
    verdict = judge(folder, [WINNER, PLAIN])
    assert verdict.looks == 2
    assert "This search has looked at test 2 times" in verdict.text
