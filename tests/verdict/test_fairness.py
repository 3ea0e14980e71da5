"""What the plain baseline was given is said in the verdict, and the verdict compares with the better of the two."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confirmed import add_runs, candidate, make_folder

from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import OWN_VALUES, WINNERS_VALUES, RunRecord
from dce_ray.files import read_json
from dce_ray.presets import merge
from dce_ray.report.confirmation import write_confirmation
from dce_ray.verdict.fairness import BOTH, OWN, WINNERS, Fairness, fairness_of
from dce_ray.verdict.judge import judge
from dce_ray.verdict.text import ANEW
from dce_ray.verdict.verdict import Verdict

RATE = "training.learning_rate"


def at_rate(setting, rate, value, **changes):
    one = candidate("baseline", value=value, searched=(RATE,), **changes)
    return replace(one, setting=setting, config=merge(one.config, {"training": {"learning_rate": rate}}))


WINNER = replace(candidate(), searched=(RATE,))


def searched_folder(path):
    """Two runs of the plain baseline's own search, three of the points'."""
    folder = make_folder(path)
    for number in range(5):
        role = "plain" if number % 2 else "trial"
        folder.trial(f"run{number}").write(
            RunRecord(f"run{number}", role, "any", number, "finished", WINNER.config, 0, point=number)
        )
    return folder


@pytest.mark.parametrize(
    ("plains", "compared", "against"),
    [
        ([at_rate(WINNERS_VALUES, 5e-5, 0.47), at_rate("baseline", 3e-4, 0.49)], OWN, 47.0),
        ([at_rate(OWN_VALUES, 3e-4, 0.48), at_rate("baseline", 5e-5, 0.49)], WINNERS, 48.0),
        ([at_rate("baseline", 3e-4, 0.49)], BOTH, None),
    ],
)
def test_which_plain_baseline_is_compared_with(tmp_path, plains, compared, against):
    fairness = fairness_of(searched_folder(tmp_path), [WINNER, *plains])
    assert (fairness.compared, fairness.other_expected_percent) == (compared, against)
    assert (fairness.plain_runs, fairness.points_runs, fairness.searched) == (2, 3, (RATE,))
    assert fairness.params == plains[-1].params
    assert fairness.expected_percent == 49.0


def test_the_sentence_by_hand():
    fairness = Fairness((RATE,), 16, 16, OWN, {RATE: 3e-4}, 33.0, 31.25)
    assert fairness.text == (
        "The plain baseline had its own search of training.learning_rate (16 runs; the points had 16) and is compared "
        "at its own best values (training.learning_rate=0.0003), where the selecting split let expect more of it than "
        "at the winner's values (33.00 against 31.25)."
    )
    assert replace(fairness, compared=BOTH, other_expected_percent=None).text.endswith(
        "at its own best values, which are the winner's too (training.learning_rate=0.0003)."
    )


def test_the_verdict_is_against_the_chosen_one_and_survives_its_file(tmp_path):
    """The one that is not compared with scored higher on test: it was not chosen there."""
    folder = searched_folder(tmp_path)
    other, plain = at_rate(WINNERS_VALUES, 5e-5, 0.47), at_rate("baseline", 3e-4, 0.49)
    for one, scores in ((WINNER, [43, 44, 48]), (other, [60, 60, 60]), (plain, [40, 42, 44])):
        add_runs(folder, one, scores)
    verdict = judge(folder, [WINNER, other, plain])
    assert (verdict.outcome, verdict.gain) == ("better", pytest.approx(3.0))
    assert verdict.fairness.text in verdict.details
    write_confirmation(folder, [WINNER, other, plain])
    known = Verdict.read(folder)
    assert known.fairness.text == verdict.fairness.text
    assert known.sentence == verdict.sentence
    # Settings that are read back know what was searched, and a confirmation anew says what the search said.
    entries = read_json(folder.confirmation)["configurations"]
    candidates = [Candidate.from_mapping(entry) for entry in entries]
    assert [one.params for one in candidates] == [one.params for one in (WINNER, other, plain)]
    config = {**folder.config, "kind": ANEW, "look": 2, "search_folder": str(folder.path)}
    anew = ExperimentFolder.create(tmp_path / "anew", config, {})
    for one, scores in ((WINNER, [43, 44, 48]), (plain, [40, 42, 44])):
        add_runs(anew, one, scores)
    assert judge(anew, [candidates[0], candidates[-1]]).fairness == known.fairness


def test_no_gain_is_expected_of_arms_on_other_folds(tmp_path):
    folder = make_folder(tmp_path)
    for number, fold in enumerate((0, 1, 1, 0)):
        record = RunRecord(f"run{number}", "plain" if number % 2 else "trial", "any", number, "finished",
                           WINNER.config, 0, point=number, fold=fold)  # fmt: skip
        folder.trial(record.key).write(record)
    plain = at_rate("baseline", 3e-4, 0.49)
    assert judge(folder, [WINNER, plain]).expected_gain == pytest.approx(100 * (WINNER.value - 0.49))
    folder.trial("run3").write(record.replace(state="failed"))
    verdict = judge(folder, [WINNER, plain])
    assert verdict.expected_gain is None
    assert verdict.fairness.text.endswith("lie on other folds than the points', so no gain was expected.")


def test_a_plain_baseline_of_one_setting_is_told_nothing_of(tmp_path):
    folder = make_folder(tmp_path)
    folder.trial("run0").write(RunRecord("run0", "plain", "baseline", 0, "finished", WINNER.config, 0))
    assert fairness_of(folder, [WINNER, candidate("baseline")]) is None
    assert "own search" not in judge(folder, [WINNER, candidate("baseline")]).sentence
