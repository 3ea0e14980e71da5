"""The confirmation's second stage: who runs it, how often, and that its size is decided once."""

from __future__ import annotations

import json

import pytest
from test_search_plan import CONFIG, candidate, finish

from dce_ray.commandline import parse
from dce_ray.errors import ConfigError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import read_json, write_json
from dce_ray.report.confirmation import write_confirmation
from dce_ray.report.measured import confirmed_settings
from dce_ray.search.__main__ import request_of
from dce_ray.search.options import ConfirmOptions
from dce_ray.search.plan import PlanLedger, plan_second_stage
from dce_ray.search.seed_stages import confirmation_stages, refuse_other_seeds
from dce_ray.search.set_aside import GoesOn, set_aside_superseded
from dce_ray.search.settings import Experiment, build_experiment
from dce_ray.verdict.asked import begun_looks, confirmed_identity
from dce_ray.verdict.stein import SeedPlan
from dce_ray.verdict.text import ANEW, next_command
from dce_ray.verdict.verdict import UNCONFIRMED, Verdict
from dce_ray.words import runnable

WINNER, SECOND, PLAIN = candidate(), candidate("top2"), candidate("baseline", 7)
ALL = [WINNER, SECOND, PLAIN]
TWO = ConfirmOptions(seeds=2, precision=12.0, max_seeds=9)
"""Scores below differ by 2 and 4 percent: deviation sqrt(2), and (12.706 * sqrt(2) / 12)^2 = 2.24 asks for 3 pairs."""


def run_all(plan, scores=()):
    """Run a stage to its end; scores by key, 0.4 for all others, None fails."""
    ledger, ran = PlanLedger(plan), []
    while ledger.waiting:
        score = dict(scores).get(ledger.waiting[0].record.key, 0.4)
        if score is None:
            folder = ledger.ask()
            ledger.fail(folder.key, "loss is not finite")
        else:
            folder = finish(ledger, score)
        ran.append(folder.key)
    return ran


FIRST = {"top1-1000": 0.42, "top1-1001": 0.44}


def confirm(folder, options=TWO, candidates=ALL, scores=FIRST):
    return [run_all(stage, scores) for stage in confirmation_stages(folder, candidates, options)]


def test_second_stage_goes_on_with_seed_and_number(experiment_folder):
    plan = plan_second_stage(experiment_folder, [WINNER, PLAIN], 2, 2, after=6)
    keys = ["top1-1002", "baseline-1002", "top1-1003", "baseline-1003"]
    assert [item.record.key for item in plan] == keys
    assert [item.record.number for item in plan] == [6, 7, 8, 9]
    assert {item.record.role for item in plan} == {"confirm"}


def test_all_first_and_then_winner_and_plain_alone(experiment_folder):
    first, second = confirm(experiment_folder)
    assert first == [f"{name}-{seed}" for seed in (1000, 1001) for name in ("top1", "top2", "baseline")]
    assert second == ["top1-1002", "baseline-1002"]
    plan = SeedPlan.read(experiment_folder)
    assert (plan.seeds, plan.precision, plan.max_seeds) == (2, 12.0, 9)
    assert (plan.pairs, plan.total, plan.deviation) == (2, 3, pytest.approx(2**0.5))


def test_no_number_of_the_confirmation_changes_once_a_run_of_it_has_ended(experiment_folder):
    """Who could give fewer or more seeds after each look would claim a difference where there is none far too often."""
    asked = ConfirmOptions(seeds=4, precision=None, max_seeds=9)
    stages = confirmation_stages(experiment_folder, ALL, asked)
    ledger = PlanLedger(next(stages))
    others = [asked.replace(**one) for one in ({"seeds": 3}, {"seeds": 5}, {"precision": 2.0}, {"max_seeds": 8})]
    ledger.ask()  # begun, and nothing of it is seen
    for options in (asked, *others):
        refuse_other_seeds(experiment_folder, options)
    finish(ledger)
    for options in (asked, asked.replace(seeds=0), asked.replace(top=9)):
        refuse_other_seeds(experiment_folder, options)
    for options in others:
        with pytest.raises(ConfigError, match=r"has read test with confirm\.seeds=4, confirm\.precision=null, .*"):
            refuse_other_seeds(experiment_folder, options)
    with pytest.raises(ConfigError, match=r"confirm\.seeds=3: .* as many as you like, once this one has ended: .*=4$"):
        refuse_other_seeds(experiment_folder, asked.replace(seeds=3))
    begun = ExperimentFolder(experiment_folder.look(2))
    identity = confirmed_identity(experiment_folder)
    write_json(begun.path / "config.json", {"kind": ANEW, "identity": identity, "confirm": {"seeds": 6}})
    with pytest.raises(
        ConfigError, match=rf"search={experiment_folder.path} seeds=6$"
    ):  # with the seeds of what goes on
        refuse_other_seeds(experiment_folder, asked.replace(seeds=3))


def test_the_numbers_may_change_before_anything_was_seen_and_not_after_zero_seeds_in_between(experiment_folder):
    first, other = ConfirmOptions(seeds=3, precision=None), ConfirmOptions(seeds=2, precision=None)
    next(confirmation_stages(experiment_folder, ALL, first))
    ledger = PlanLedger(next(confirmation_stages(experiment_folder, ALL, other)))
    finish(ledger)
    assert list(confirmation_stages(experiment_folder, ALL, ConfirmOptions(seeds=0))) == []
    refuse_other_seeds(experiment_folder, other)
    with pytest.raises(ConfigError, match=r"confirm\.seeds=3: .* has read test with confirm\.seeds=2"):
        refuse_other_seeds(experiment_folder, first)


def test_numbers_that_were_noted_before_winners_were_told_apart_are_no_other_look(experiment_folder):
    asked = ConfirmOptions(seeds=3, precision=None)
    finish(PlanLedger(next(confirmation_stages(experiment_folder, ALL, asked))))
    file = experiment_folder.path / "seeds_asked.json"
    whole = json.loads(file.read_text())
    write_json(file, {name: whole[name] for name in ("seeds", "precision", "max_seeds")})
    next(confirmation_stages(experiment_folder, ALL, asked))
    assert begun_looks(experiment_folder) == 1
    assert json.loads(file.read_text()) == whole
    next(confirmation_stages(experiment_folder, [candidate("top1", iteration=6), SECOND, PLAIN], asked))
    assert begun_looks(experiment_folder) == 2


def test_a_plan_of_before_tells_winners_apart_where_nothing_else_does(experiment_folder):
    asked = ConfirmOptions(seeds=2, precision=12.0, max_seeds=9)
    confirm(experiment_folder)
    file = experiment_folder.path / "seeds_asked.json"
    write_json(
        file,
        {
            name: value
            for name, value in json.loads(file.read_text()).items()
            if name in {"seeds", "precision", "max_seeds"}
        },
    )
    next(confirmation_stages(experiment_folder, [candidate("top1", iteration=6), SECOND, PLAIN], asked))
    assert begun_looks(experiment_folder) == 2


def test_what_was_seen_of_a_former_winner_counts_as_seen(experiment_folder):
    asked = ConfirmOptions(seeds=3, precision=None)
    finish(PlanLedger(next(confirmation_stages(experiment_folder, ALL, asked))))  # a run of top1, which is set aside
    set_aside_superseded(experiment_folder, [candidate("top1", iteration=6), SECOND, PLAIN])
    assert not any(run.table.is_file() for run in experiment_folder.confirmations())
    with pytest.raises(ConfigError, match=r"confirm\.seeds=2: "):
        refuse_other_seeds(experiment_folder, asked.replace(seeds=2))


@pytest.mark.parametrize(("seeds", "refused"), [(3, True), (0, False)])
def test_a_confirmation_of_before_the_numbers_were_noted_holds_to_its_configuration(experiment_folder, seeds, refused):
    stages = confirmation_stages(experiment_folder, ALL, ConfirmOptions(seeds=3))
    finish(PlanLedger(next(stages)))
    (experiment_folder.path / "seeds_asked.json").unlink()
    write_config(experiment_folder, {"seeds": seeds, "precision": 1.0, "max_seeds": 20})
    refuse_other_seeds(experiment_folder, ConfirmOptions(seeds=3))
    if not refused:  # nobody can tell any more with how many it began
        refuse_other_seeds(experiment_folder, ConfirmOptions(seeds=2))
        return
    with pytest.raises(ConfigError, match=r"confirm\.seeds=2: "):
        refuse_other_seeds(experiment_folder, ConfirmOptions(seeds=2))


def test_runs_that_a_later_plan_does_not_name_are_set_aside_and_come_back(experiment_folder):
    """Before anything was fixed, a search may go on with fewer settings: only those count."""
    write_json(experiment_folder.path / "config.json", {"format": 3, **CONFIG})
    options = ConfirmOptions(seeds=2, precision=None)
    stages = confirmation_stages(experiment_folder, ALL, options)
    run_all(next(stages), FIRST)
    first = next(confirmation_stages(experiment_folder, [WINNER, PLAIN], options))
    left = {"top1-1000", "top1-1001", "baseline-1000", "baseline-1001"}
    assert {item.folder.key for item in first} == left
    assert all(item.finished for item in first)
    assert {run.key for run in experiment_folder.confirmations()} == left
    assert [one.name for one in confirmed_settings(experiment_folder)] == ["top1", "baseline"]
    again = next(confirmation_stages(experiment_folder, ALL, options))
    assert all(item.finished for item in again)
    assert len(experiment_folder.confirmations()) == 6


def test_a_setting_that_changes_its_rank_keeps_its_runs(experiment_folder):
    """The second of before is the winner now: none of its runs is trained again, and the former winner's are kept."""
    first, second = candidate("top1", iteration=5), candidate("top2", iteration=6)
    confirm(experiment_folder, candidates=[first, second, PLAIN], scores=FIRST | {"top2-1000": 0.5, "top2-1001": 0.52})
    tables = {run.key: run.table.read_bytes() for run in experiment_folder.confirmations()}
    now = [candidate("top1", iteration=6), candidate("top2", iteration=7), PLAIN]
    for _ in range(2):  # given again, nothing moves
        set_aside_superseded(experiment_folder, now)
        plan = next(confirmation_stages(experiment_folder, now, TWO))
        done = {item.record.key for item in plan if item.finished}
        assert done == {"top1-1000", "top1-1001", "baseline-1000", "baseline-1001"}
    for seed in (1000, 1001):
        run = experiment_folder.confirm(f"top1-{seed}")
        record = run.record()
        assert run.table.read_bytes() == tables[f"top2-{seed}"]
        assert (record.key, record.setting, record.value) == (f"top1-{seed}", "top1", 0.5 if seed == 1000 else 0.52)
        assert record.number == next(item.record.number for item in plan if item.record.key == record.key)
    aside = {run.path.name: run.table.read_bytes() for run in experiment_folder.set_aside_runs()}
    assert aside == {key: tables[key] for key in ("top1-1000", "top1-1001", "top1-1002", "baseline-1002")}
    back = next(confirmation_stages(experiment_folder, [first, second, PLAIN], TWO))  # and the former ones come back
    assert all(item.finished for item in back)
    assert {run.key: run.table.read_bytes() for run in experiment_folder.confirmations()} == tables


def test_what_has_the_same_name_twice_is_kept_twice(experiment_folder):
    for iteration in (5, 6, 7):
        one = [candidate("top1", iteration=iteration), PLAIN]
        set_aside_superseded(experiment_folder, one)
        run_all(next(confirmation_stages(experiment_folder, one, ConfirmOptions(seeds=1))))
    names = {run.path.name: run.record().config["training"]["stop_at"] for run in experiment_folder.set_aside_runs()}
    assert names == {"top1-1000": 5, "top1-1000.2": 6}


def test_a_kill_between_moving_a_run_and_calling_it_anew_is_mended(experiment_folder):
    second = candidate("top2", iteration=6)
    run_all(next(confirmation_stages(experiment_folder, [WINNER, second, PLAIN], ConfirmOptions(seeds=1))))
    experiment_folder.confirm("top1-1000").clear()
    experiment_folder.confirm("top1-1000").path.rmdir()
    experiment_folder.confirm("top2-1000").path.rename(experiment_folder.confirm("top1-1000").path)
    (run, _) = next(
        confirmation_stages(experiment_folder, [candidate("top1", iteration=6), PLAIN], ConfirmOptions(seeds=1))
    )
    assert run.finished
    assert (run.now.key, run.now.setting) == ("top1-1000", "top1")


def test_the_result_is_set_aside_once_the_search_goes_on(experiment_folder):
    """Nobody takes it for the verdict of more runs; the page says what it was."""
    write_json(experiment_folder.path / "config.json", {"format": 3, **CONFIG})
    confirm(experiment_folder)
    write_confirmation(experiment_folder, ALL)
    sentence = Verdict.read(experiment_folder).sentence
    goes_on = GoesOn(experiment_folder)
    for _ in range(2):
        goes_on.started(WINNER)
    assert Verdict.read(experiment_folder) is None
    assert [one.sentence for one in Verdict.former(experiment_folder)] == [sentence]
    place = experiment_folder.path / "set-aside" / "look-1"
    assert {file.name for file in place.iterdir()} == {f"confirmation.{kind}" for kind in ("json", "md", "csv", "tex")}
    write_confirmation(experiment_folder, ALL)
    goes_on.started(WINNER)
    assert len(experiment_folder.former_looks) == 2
    assert experiment_folder.set_aside_runs() == []


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        (ConfirmOptions(seeds=2, precision=None), 2),
        (ConfirmOptions(seeds=2, precision=100.0), 2),
        (ConfirmOptions(seeds=2, precision=1.0, max_seeds=5), 5),
        (ConfirmOptions(seeds=1, precision=1.0), 1),
    ],
)
def test_how_many_pairs_there_are(experiment_folder, options, pairs):
    confirm(experiment_folder, options)
    seeds = {run.record().seed for run in experiment_folder.confirmations() if run.record().setting == "top1"}
    assert seeds == set(range(1000, 1000 + pairs))
    plan = SeedPlan.read(experiment_folder)
    assert plan is None if pairs == 1 else plan.total == pairs  # one pair has no spread, so nothing is fixed by it


def test_nothing_runs_without_seeds(experiment_folder):
    assert confirm(experiment_folder, ConfirmOptions(seeds=0)) == []
    assert not experiment_folder.seed_plan.exists()


def test_nothing_is_fixed_without_a_plain_baseline(experiment_folder):
    assert len(confirm(experiment_folder, candidates=[WINNER])) == 1
    assert not experiment_folder.seed_plan.exists()


def test_the_plan_is_written_before_the_second_stage_and_not_before_the_first_has_ended(experiment_folder):
    stages = confirmation_stages(experiment_folder, ALL, TWO)
    first = next(stages)
    assert not experiment_folder.seed_plan.exists()
    run_all(first, FIRST)
    assert not experiment_folder.seed_plan.exists()
    second = next(stages)
    assert SeedPlan.read(experiment_folder).total == 3
    assert not any(item.folder.exists() for item in second)


def test_a_kill_between_the_stages_keeps_the_number_of_pairs(experiment_folder):
    """A failed run that succeeds on resume would give another deviation, and so another n."""
    options = ConfirmOptions(seeds=3, precision=12.0, max_seeds=9)
    stages = confirmation_stages(experiment_folder, ALL, options)
    run_all(next(stages), FIRST | {"top1-1002": None})
    assert run_all(next(stages), {"top1-1002": None}) == ["top1-1002"]  # tried once more, and failed again
    next(stages)  # killed here: the plan is written, no run of the second stage has begun
    before = experiment_folder.seed_plan.read_bytes()
    assert SeedPlan.read(experiment_folder).more == 1
    resumed = confirmation_stages(experiment_folder, ALL, options)
    assert run_all(next(resumed), {"top1-1002": 0.99}) == ["top1-1002"]  # tried again, and far off this time
    assert run_all(next(resumed)) == ["top1-1003", "baseline-1003"]
    assert next(resumed, None) is None
    assert experiment_folder.seed_plan.read_bytes() == before


def test_pairs_that_failed_once_are_in_the_first_stage_after_all(experiment_folder):
    stages = confirmation_stages(experiment_folder, ALL, ConfirmOptions(seeds=3, precision=None))
    run_all(next(stages), FIRST | {"top1-1001": None, "baseline-1002": None})
    assert run_all(next(stages)) == ["top1-1001", "baseline-1002"]
    assert next(stages, None) is None
    assert SeedPlan.read(experiment_folder).pairs == 3


def test_a_first_stage_that_failed_altogether_fixes_nothing(experiment_folder):
    """Once its fault is mended, a resumed search has its pairs, its interval and its second stage."""
    failing = {f"baseline-{seed}": None for seed in (1000, 1001)}
    stages = confirmation_stages(experiment_folder, ALL, TWO)
    run_all(next(stages), FIRST | failing)
    run_all(next(stages), failing)
    assert next(stages, None) is None
    assert not experiment_folder.seed_plan.exists()
    _, second = confirm(experiment_folder)
    assert second == ["top1-1002", "baseline-1002"]
    assert SeedPlan.read(experiment_folder).looks == 1


def test_every_other_winner_is_another_look_at_test(experiment_folder):
    confirm(experiment_folder)
    assert SeedPlan.read(experiment_folder).looks == 1
    confirm(experiment_folder)  # resumed without a change
    assert SeedPlan.read(experiment_folder).looks == 1
    confirm(experiment_folder, candidates=[candidate(iteration=6), SECOND, PLAIN])
    assert SeedPlan.read(experiment_folder).looks == 2


def test_a_second_stage_that_was_cut_off_goes_on(experiment_folder):
    stages = confirmation_stages(experiment_folder, ALL, ConfirmOptions(seeds=2, precision=1.0, max_seeds=4))
    run_all(next(stages), FIRST)
    finish(PlanLedger(next(stages)), 0.7)
    again = confirmation_stages(experiment_folder, ALL, ConfirmOptions(seeds=2, precision=1.0, max_seeds=4))
    assert run_all(next(again)) == []
    assert run_all(next(again)) == ["baseline-1002", "top1-1003", "baseline-1003"]


def test_another_winner_gets_a_plan_of_its_own(experiment_folder):
    confirm(experiment_folder)
    other = [candidate(iteration=6), SECOND, PLAIN]
    stages = confirmation_stages(experiment_folder, other, TWO)
    run_all(next(stages), {"top1-1000": 0.5, "top1-1001": 0.9})
    assert len(next(stages)) == 14  # nine pairs in all
    assert SeedPlan.read(experiment_folder).total == 9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": 0.5}, r"confirm\.precision=0\.5: .*confirm\.precision=12\.0.*3 pairs"),
        (
            {"seeds": 4},
            r"confirm\.seeds=4: .* fresh seeds, .* -m dce_ray\.confirm search=.*/experiment seeds=4$",
        ),
        ({"max_seeds": 20}, r"confirm\.max_seeds=20: "),
        ({"precision": None}, r"confirm\.precision=null: "),
    ],
)
def test_other_numbers_after_the_look_are_refused(experiment_folder, changes, words):
    options = TWO.replace(**changes)
    refuse_other_seeds(experiment_folder, options)  # nothing was looked at yet
    confirm(experiment_folder)
    with pytest.raises(ConfigError, match=words):
        refuse_other_seeds(experiment_folder, options)
    refuse_other_seeds(experiment_folder, TWO.replace(top=9))
    refuse_other_seeds(experiment_folder, TWO.replace(seeds=0))


def write_config(folder, options):
    write_json(folder.path / "config.json", read_json(folder.path / "config.json") | CONFIG | {"confirm": options})


def test_the_verdict_is_of_both_stages(experiment_folder):
    write_config(experiment_folder, TWO.to_mapping())
    confirm(experiment_folder, scores=FIRST | {"top1-1002": 0.43})
    text = write_confirmation(experiment_folder, ALL)
    verdict = Verdict.read(experiment_folder)
    assert (verdict.pairs, verdict.first_pairs, verdict.gain) == (3, 2, pytest.approx(3.0))
    half = 12.706204736 * 2**0.5 / 3**0.5
    assert verdict.high == pytest.approx(3.0 + half)
    assert f"+3.00 [{3 - half:+.2f}, {3 + half:+.2f}]" in text
    assert "verdict" not in text  # it comes last, after the report
    written = experiment_folder.confirmation.with_suffix(".md").read_text()
    assert verdict.sentence in written
    assert written.rstrip().endswith(f"```\n{runnable(verdict.command, anywhere=True)}\n```")
    content = read_json(experiment_folder.confirmation)
    assert content["verdict"]["interval"] == [verdict.low, verdict.high]
    assert "2 to 3 seeds" in content["caption"]
    by_name = {entry["name"]: entry for entry in content["configurations"]}
    cells = [
        cell
        for one in by_name.values()
        for part in ("test_percent", "difference_percent")
        for cell in one[part].values()
    ]
    assert {cell["half_width"] for cell in cells} == {None}  # the one interval is the verdict's


def test_without_a_confirmation_nothing_claims_that_test_was_read(experiment_folder):
    write_config(experiment_folder, {"seeds": 0})
    write_confirmation(experiment_folder, ALL)
    content = read_json(experiment_folder.confirmation)
    assert content["verdict"]["outcome"] == "unconfirmed"
    assert any("Test was not read: confirm.seeds=0." in note for note in content["notes"])
    assert "Test was read" not in experiment_folder.confirmation.read_text()
    assert all(not entry["scores"] and not entry["test_percent"] for entry in content["configurations"])
    assert not experiment_folder.confirmation.with_suffix(".md").exists()


def test_a_confirmation_that_was_made_stands_when_no_more_is_asked_for(experiment_folder):
    write_config(experiment_folder, TWO.to_mapping())
    confirm(experiment_folder)
    write_confirmation(experiment_folder, ALL)
    before = experiment_folder.confirmation.read_bytes()
    write_config(experiment_folder, {"seeds": 0})
    write_confirmation(experiment_folder, ALL)
    assert experiment_folder.confirmation.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": 5, "max_seeds": 4}, "max_seeds=4: must be at least seeds=5"),
        ({"precision": 0.0}, "precision"),
        ({"precision": -1.0}, "precision"),
        ({"max_seeds": 0}, "max_seeds"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        ConfirmOptions(**options)


def test_most_seeds_count_where_there_is_a_second_stage():
    assert ConfirmOptions(seeds=50, precision=None).max_seeds == 20


@pytest.mark.parametrize(
    ("words", "last"),
    [
        ("", 1019),  # confirm.max_seeds=20 from seed + 1000 on
        ("confirm.max_seeds=100", 1099),
        ("confirm.max_seeds=100 confirm.precision=null", 1004),  # no second stage
        ("confirm.seeds=0", 6),  # 32 runs on 5 folds: a point has 7 rounds at most
        ("confirm.seeds=0 policy=single", 0),
    ],
)
def test_the_largest_seed_leaves_room_for_all_that_come_behind_it(words, last):
    def asked(seed):
        return build_experiment(request_of(parse([*words.split(), f"seed={seed}"])), "store", "default")

    most = 2**31 - 1 - last
    experiment = asked(most)
    Experiment.from_mapping(experiment.to_mapping(), {})
    if last:
        with pytest.raises(ConfigError, match=rf"seed={most + 1}: .* give seed={most} or less"):
            asked(most + 1)
    with pytest.raises(ConfigError, match=r"with resume=: fewer confirm\.seeds"):
        Experiment.from_mapping(experiment.to_mapping(), {"confirm.seeds": 200, "confirm.max_seeds": 200})


@pytest.mark.parametrize("seen", [False, True])
def test_a_confirmation_that_was_given_up_is_advised_with_its_own_numbers(experiment_folder, seen):
    """The command below an unconfirmed verdict is one that the search takes."""
    ledger = PlanLedger(next(confirmation_stages(experiment_folder, ALL, ConfirmOptions(seeds=3, precision=None))))
    finish(ledger) if seen else ledger.ask()
    write_config(experiment_folder, {"seeds": 0, "precision": 1.0, "max_seeds": 20})
    command = next_command(Verdict(UNCONFIRMED), experiment_folder)
    given = dict(word.partition("=")[::2] for word in command.split() if word.startswith("confirm."))
    assert given == ({"confirm.seeds": "3", "confirm.precision": "null"} if seen else {"confirm.seeds": "5"})
    options = {"seeds": int(given["confirm.seeds"]), "precision": None if seen else 1.0, "max_seeds": 20}
    refuse_other_seeds(experiment_folder, ConfirmOptions(**options))


def test_the_numbers_hold_with_zero_seeds_too(experiment_folder):
    """Else they are kept, and the seeds that it was begun with are refused for numbers that nobody gave."""
    confirm(experiment_folder)
    with pytest.raises(ConfigError, match=r"confirm\.precision=0\.5: "):
        refuse_other_seeds(experiment_folder, TWO.replace(seeds=0, precision=0.5))


@pytest.mark.parametrize("over", [False, True])
def test_the_advice_of_a_confirmation_of_one_seed_is_one_that_can_be_taken(experiment_folder, over):
    one = ConfirmOptions(seeds=1, precision=None)
    run_all(next(confirmation_stages(experiment_folder, ALL, one)))
    if over:
        write_json(experiment_folder.confirmation, {})
    with pytest.raises(ConfigError, match=r"-m dce_ray\.confirm search=\S+ seeds=2\Z") as refused:
        refuse_other_seeds(experiment_folder, one.replace(precision=0.5))
    assert ("once this one has ended" in str(refused.value)) is not over


def test_a_first_stage_that_was_cut_off_was_a_look_at_test(experiment_folder):
    finish(PlanLedger(next(confirmation_stages(experiment_folder, ALL, TWO))))
    confirm(experiment_folder)  # the same winner
    assert SeedPlan.read(experiment_folder).looks == 1


@pytest.mark.parametrize("second", ["top2", "top3"])
def test_a_cut_off_first_stage_of_another_winner_was_a_look_at_test(experiment_folder, second):
    """Also where the former winner is the second best now, whose runs come back under its name."""
    finish(PlanLedger(next(confirmation_stages(experiment_folder, ALL, TWO))))
    other = candidate("top2", iteration=5 if second == "top2" else 7)
    confirm(experiment_folder, candidates=[candidate(iteration=6), other, PLAIN])
    assert SeedPlan.read(experiment_folder).looks == 2
    stages = confirmation_stages(experiment_folder, [candidate(iteration=8), other, PLAIN], TWO)
    finish(PlanLedger(next(stages)))
    confirm(experiment_folder, candidates=[candidate(iteration=9), other, PLAIN])
    assert SeedPlan.read(experiment_folder).looks == 4
