"""Where more than the method is searched the plain baseline has its own search: turns, model, choice, and any kill."""

from dataclasses import replace

import numpy as np
import pytest
from toy import PAPER, toy_config

from dce_ray.commandline import parse
from dce_ray.config import ScalarRange
from dce_ray.errors import SearchError
from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import OWN_VALUES, PLAIN, WINNERS_VALUES
from dce_ray.points.arms import against_plain, plain_runs, read_plain_arm
from dce_ray.points.runs import PointRun, Replicate, read_runs
from dce_ray.points.scores import fair_scores
from dce_ray.points.standing import read_standing
from dce_ray.presets import merge
from dce_ray.search import stages
from dce_ray.search.__main__ import request_of
from dce_ray.search.arms import TwoArms
from dce_ray.search.policy import Policy
from dce_ray.search.replicates import ReplicateLedger
from dce_ray.search.selection import plain_candidates, select
from dce_ray.search.settings import build_experiment
from dce_ray.search.space_file import load_space
from dce_ray.search.stages import Search
from dce_ray.search.study import recover_study
from dce_ray.search.suggestion import _reachable
from dce_ray.searchable import changes_of
from dce_ray.session.resources import Resources
from dce_ray.verdict.fairness import fairness_of

RATES = {"training.learning_rate": ScalarRange(1e-5, 1e-3, log=True)}
BOTH = RATES | {"delta": ScalarRange(0.3, 0.98)}
RATE = "training.learning_rate"


def arms(folds=3, startup=3, sampler="gp"):
    common = (folds, 0, sampler)
    points = Policy(BOTH, [("paper", {"delta": 0.8, RATE: 5e-5})], *common, startup=startup, with_plain=False)
    return TwoArms(points, Policy(RATES, [(PLAIN, {RATE: 5e-5})], *common, startup=startup, with_plain=False))


def ended(number, proposal, score=None):
    value = score if score is not None else 0.3 + 0.01 * (number % 5)
    return PointRun(
        *(number, proposal.point, dict(proposal.scalars), proposal.replicate, "finished", {10: value}),
        own_search=proposal.own_search,
    )


def searched(count, policy=None):
    policy, runs = policy or arms(), []
    for number in range(count):
        runs.append(ended(number, policy.propose(runs)))
    return runs


def test_the_arms_take_turns_and_each_begins_on_its_folds():
    runs = searched(12)
    assert [run.own_search for run in runs] == [True, False] * 6
    assert [run.point for run in runs[:6]] == [0, 1, 2, 3, 4, 5]
    assert [run.replicate.fold for run in runs[:6]] == [0, 0, 1, 1, 2, 2]
    assert all(set(run.scalars) == {RATE} for run in runs if run.own_search)
    assert all(set(run.scalars) == {RATE, "delta"} for run in runs if not run.own_search)
    assert runs[0].scalars == {RATE: 5e-5}  # the plain baseline's own values first
    for point in {run.point for run in runs}:
        assert len({(run.own_search, tuple(run.scalars.items())) for run in runs if run.point == point}) == 1
        replicates = [run.replicate for run in runs if run.point == point]
        assert len(set(replicates)) == len(replicates)


def test_an_arm_that_lags_catches_up():
    runs = [run for run in searched(10) if not run.own_search]
    assert [arms().propose(runs).own_search, len(runs)] == [True, 5]


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_the_next_run_is_a_function_of_the_runs_alone(sampler):
    runs = searched(13, arms(sampler=sampler))
    assert arms(sampler=sampler).propose(runs) == arms(sampler=sampler).propose(runs[::-1])


def test_a_space_of_few_whole_numbers_is_replicated_when_it_is_full():
    policy = Policy({"sampling.batch": ScalarRange(8, 10, step=1)}, [], 3, 0, "gp", with_plain=False)
    runs = searched(12, policy)
    values = [run.scalars["sampling.batch"] for run in runs]
    assert sorted(values[:3]) == [8, 9, 10]
    assert sorted(values) == sorted([8, 9, 10] * 4)
    assert len({(run.point, run.replicate) for run in runs}) == 12


def plain_run(number, point, rate, score, fold=0):
    return PointRun(number, point, {RATE: rate}, Replicate(fold, 0), "finished", {10: score}, own_search=True)


def test_both_arms_are_taken_apart_and_one_plain_point_is_compared_with():
    runs = [
        plain_run(0, 0, 1e-4, 0.2),
        PointRun(1, 1, {RATE: 1e-4, "delta": 0.5}, Replicate(0, 0), "finished", {10: 0.3}),
    ]
    runs.append(plain_run(2, 2, 1e-5, 0.1))
    assert [(run.point, run.plain, run.own_search) for run in plain_runs(runs)] == [
        (0, False, False),
        (2, False, False),
    ]
    found = against_plain(runs, 2)
    assert [(run.number, run.point, run.plain) for run in found] == [(1, 1, False), (2, None, True)]
    assert [run.number for run in against_plain(runs, None)] == [1]


def make_arm(high):
    """Rates from 1e-5 to 1e-3; the score rises to ``high`` at 1e-4 and falls again."""
    rates = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3]
    scores = [0.1, 0.2, high, 0.2, 0.1]
    runs = [
        plain_run(3 * index + fold, index, rate, score + 0.001 * fold, fold)
        for index, (rate, score) in enumerate(zip(rates, scores, strict=True))
        for fold in range(3)
    ]
    return runs, read_plain_arm(runs, RATES, fair_scores(runs))


def test_the_plain_arm_knows_its_points_and_what_lies_between():
    _, arm = make_arm(0.3)
    assert (arm.best.point, arm.best.better, arm.best.best) == (2, None, None)
    assert arm.known({RATE: 3e-4}).point == 3
    assert arm.known({RATE: 2e-4}) is None
    assert arm.expected({RATE: 3e-4})[0] == arm.known({RATE: 3e-4}).mean
    assert 0.2 < arm.expected({RATE: 1.8e-4})[0] < 0.3
    assert read_plain_arm([], RATES, {}) is None


class FakeStanding:
    """As much of a standing as the choice between two plain baselines reads."""

    def __init__(self, runs):
        self.runs = tuple(runs)

    def record_of(self, point):
        from dce_ray.experiment.record import RunRecord

        rate = next(run.scalars[RATE] for run in self.runs if run.point == point)
        config = merge(toy_config(PAPER), {"scs": False, "mcm": False, "training": {"learning_rate": rate}})
        record = RunRecord("key", "plain", f"{PLAIN} {point}", 0, "finished", config, 0, origin=PLAIN, point=point)
        return record.replace(searched=(RATE,))


def winner_at(rate):
    config = merge(toy_config(PAPER), {"training": {"learning_rate": rate}})
    return Candidate("top1", config, 0.4, 10, "search", 7, 3, 0.01, (RATE,))


def test_the_better_plain_baseline_is_compared_with_and_test_is_not_asked():
    runs, arm = make_arm(0.3)
    other, own = plain_candidates(FakeStanding(runs), arm, winner_at(5e-4))
    assert (other.setting, other.params, other.point, other.runs) == (WINNERS_VALUES, {RATE: 5e-4}, None, 0)
    assert (own.setting, own.params, own.point) == (PLAIN, {RATE: 1e-4}, 2)
    assert own.value > other.value
    assert (other.iteration, other.plain, own.plain) == (10, False, True)
    assert not other.config["scs"]


def test_the_winners_values_are_compared_at_where_more_is_expected_there():
    """Between two good rates the surface is higher than at either of the two that ran."""
    runs, arm = make_arm(0.3)
    better = replace(arm, posterior=Higher(arm.posterior))
    own, chosen = plain_candidates(FakeStanding(runs), better, winner_at(1.5e-4))
    assert (own.setting, own.params) == (OWN_VALUES, {RATE: 1e-4})
    assert (chosen.setting, chosen.params) == (PLAIN, {RATE: 1.5e-4})
    assert chosen.plain
    assert not own.plain


class Higher:
    """A model that expects much where nothing ran."""

    def __init__(self, posterior):
        self.posterior = posterior

    def __getattr__(self, name):
        return getattr(self.posterior, name)

    def predict(self, units):
        mean, deviation = self.posterior.predict(units)
        return mean + 0.2, deviation


def test_one_plain_baseline_is_confirmed_where_both_have_the_same_values():
    runs, arm = make_arm(0.3)
    (only,) = plain_candidates(FakeStanding(runs), arm, winner_at(1e-4))
    assert (only.setting, only.params) == (PLAIN, {RATE: 1e-4})
    (without_winner,) = plain_candidates(FakeStanding(runs), arm, None)
    assert without_winner.setting == PLAIN


def test_a_candidate_of_the_method_must_have_run():
    with pytest.raises(SearchError, match="no run has a score"):
        replace(winner_at(1e-4), runs=0)


SPACE = {RATE: {"low": 1e-4, "high": 1e-2, "log": True}, "training.iterations": {"low": 4, "high": 12, "step": 2}}


@pytest.fixture
def make_arms(tmp_path):
    """A ledger of two arms whose runs are evaluated twice; calling it again is what a resumed search does."""
    space = load_space("delu", "default", SPACE)

    def make(name="arms", num_runs=14):
        path = tmp_path / name
        config = {"run": {"seed": 0, "sampling": {"fold": 0}}, "policy": "replicates", "space": space.to_mapping()}
        folder = ExperimentFolder.open(path) if path.exists() else ExperimentFolder.create(path, config, {})

        def configure(values):
            base = merge(toy_config({}), {"training": {"iterations": 8, "eval_every": 4, "learning_rate": 1e-3}})
            return merge(base, changes_of(values, evaluations=2))

        own = {RATE: 1e-3, "training.iterations": 8.0}
        common = (2, 0, "random")
        first = [("paper", space.project(PAPER | own)[0])]
        policy = TwoArms(
            Policy(space.searched, first, *common, startup=3, with_plain=False),
            Policy(space.further, [(PLAIN, own)], *common, startup=3, with_plain=False),
        )
        return ReplicateLedger(folder, recover_study(folder.study), space, configure, "digest", num_runs, policy=policy)

    return make


def score(record, share):
    """Best at half of the schedule, whatever its length; rises with the rate; the method adds 0.05."""
    rate = record.params[RATE]
    return 0.2 + 10 * rate + (0.0 if record.role == "plain" else 0.05) - 0.1 * share + 0.01 * record.fold


def step(ledger):
    folder = ledger.ask()
    if folder is None:
        return None
    record = folder.record()
    length, every = (record.config["training"][key] for key in ("iterations", "eval_every"))
    for iteration in range(every, length + 1, every):
        value = score(record, iteration / length)
        folder.append(iteration, {"score": value})
        ledger.report(folder.key, iteration, value)
    ledger.finish(folder.key)
    return folder


def history(ledger):
    records = sorted((run.record() for run in ledger.folder.trials()), key=lambda record: record.number)
    return [
        (one.number, one.role, one.point, one.fold, one.seed, one.params, one.value, one.iteration) for one in records
    ]


def run_all(ledger):
    while step(ledger) is not None:
        pass
    ledger.settle()
    return ledger


def test_records_say_which_arm_and_what_was_searched(make_arms):
    folder = run_all(make_arms()).folder
    for run in folder.trials():
        record = run.record()
        own = record.role == "plain"
        assert record.searched == (RATE, "training.iterations")
        assert set(record.params) == set(SPACE) | (set() if own else set(PAPER))
        assert type(record.params["training.iterations"]) is int
        assert record.config["training"]["learning_rate"] == record.params[RATE]
        assert record.config["training"]["eval_every"] == record.params["training.iterations"] // 2
        assert record.setting == (f"{PLAIN} {record.point}" if own else f"point {record.point}")
        assert (record.config["scs"], record.config["mcm"]) == (not own, not own)
    roles = [run.record().role for run in folder.trials()]
    assert (roles.count("plain"), roles.count("trial")) == (7, 7)
    assert {run.own_search for run in read_runs(folder)} == {True, False}


def test_runs_of_different_length_are_read_at_the_same_share(make_arms):
    ledger = run_all(make_arms())
    folder = ledger.folder
    scores = fair_scores(read_runs(folder))
    assert [run.length for run in ledger.runs] == [run.length for run in read_runs(folder)]  # what told values go by
    for run in read_runs(folder):
        assert scores[run.number].iteration * 2 == run.length  # half of the schedule, where the others are best
    lengths = {run.length for run in read_runs(folder)}
    assert len(lengths) > 1
    for candidate in select(folder, 2):
        assert candidate.iteration * 2 == candidate.config["training"]["iterations"]


@pytest.mark.parametrize("killed_after", ["ask", "report"])
def test_a_killed_search_goes_on_as_the_unbroken_one(make_arms, killed_after):
    expected = history(run_all(make_arms("unbroken")))
    for _ in range(14):
        ledger = make_arms("broken")
        folder = ledger.ask()
        if killed_after == "report":
            record = folder.record()
            every = record.config["training"]["eval_every"]
            value = score(record, every / record.config["training"]["iterations"])
            folder.append(every, {"score": value})
            ledger.report(folder.key, every, value)
        ledger._thinker.shutdown()
        step(make_arms("broken"))
    assert history(run_all(make_arms("broken"))) == expected


def test_a_point_of_a_session_after_failures_has_a_number_of_its_own(make_arms):
    """Who resumes a search whose plain baseline only failed starts it anew: its failures are not told to the policy."""
    ledger = make_arms(num_runs=8)
    for _ in range(3):  # the points 0 and 2 are the plain baseline's
        folder = ledger.ask()
        if folder.record().role == "plain":
            ledger.fail(folder.key, "loss is not finite")
        else:
            ledger.report(folder.key, 4, 0.3)
            ledger.finish(folder.key)
    ledger.settle()
    folder = run_all(make_arms(num_runs=8)).folder
    found = {}
    for run in folder.trials():
        record = run.record()
        found.setdefault(record.point, set()).add((record.role, tuple(record.params.items())))
    assert len(found) > 3
    assert all(len(settings) == 1 for settings in found.values())


def test_the_standing_knows_both_arms(make_arms):
    folder = run_all(make_arms()).folder
    standing = read_standing(folder)
    runs = read_runs(folder)
    own = {run.point for run in runs if run.own_search}
    assert {one.point for one in standing.plain_arm.points} == own
    assert standing.plain.point == standing.plain_arm.best.point
    assert {one.point for one in standing.posterior.points} == {run.point for run in runs} - own
    assert set(standing.estimates) == {run.point for run in runs}
    assert set(standing.adjusted) == {run.number for run in runs}
    assert standing.plain.runs == len([run for run in runs if run.point == standing.plain.point])
    # Of two models nobody says with what probability a point is better than the best of the other.
    assert standing.posterior.plain is None
    assert all(one.better is None for one in standing.posterior.points)
    assert all(one.best is not None for one in standing.posterior.points)
    assert f"plain baseline (point {standing.plain.point})" in standing.text()


def test_arms_on_other_folds_are_not_compared(make_arms):
    """With one finished run each, plain's on another fold, the difference of the means is that of the folds, too."""
    ledger = make_arms(num_runs=4)
    failed = 0
    while (folder := ledger.ask()) is not None:
        record = folder.record()
        if (record.role == "plain") == (record.fold == 0):
            ledger.fail(folder.key, "loss is not finite")
            failed += 1
            continue
        for iteration, share in ((1, 0.5), (2, 1.0)):
            folder.append(iteration, {"score": score(record, share)})
            ledger.report(folder.key, iteration, score(record, share))
        ledger.finish(folder.key)
    ledger.settle()
    standing = read_standing(ledger.folder)
    assert failed == 2
    assert {(run.own_search, run.replicate.fold) for run in standing.runs if run.usable} == {(True, 1), (False, 0)}
    assert not standing.comparable
    assert not standing.plain_leads
    assert "not comparable before both have runs on the same folds" in standing.text()
    candidates = select(ledger.folder, 1)
    fairness = fairness_of(ledger.folder, candidates)
    assert not fairness.same_folds
    assert fairness.text.endswith("lie on other folds than the points', so no gain was expected.")
    whole = run_all(make_arms("whole"))
    assert read_standing(whole.folder).comparable
    assert fairness_of(whole.folder, select(whole.folder, 1)).same_folds


def test_the_plain_candidates_come_last_and_read_the_further_keys_alone(make_arms):
    candidates = select(run_all(make_arms()).folder, 2)
    assert [one.setting for one in candidates][:2] == ["top1", "top2"]
    assert candidates[-1].setting == PLAIN
    assert set(candidates[-1].params) == set(SPACE)
    assert [one.plain for one in candidates].count(True) == 1


def test_plain_that_only_fails_stops_the_search_after_every_fold(make_arms):
    ledger = make_arms()
    for _ in range(3):  # plain, a point, plain: one of the plain baseline's on each of the two folds
        folder = ledger.ask()
        if folder.record().role == "plain":
            ledger.fail(folder.key, "loss is not finite")
        else:
            ledger.report(folder.key, 2, 0.3)
            ledger.finish(folder.key)
    assert "2 runs of the plain baseline failed and none ended" in ledger.hopeless
    assert ledger.ask() is None


@pytest.mark.parametrize("sampler", ["gp", "tpe", "cmaes", "random"])
def test_every_sampler_suggests_values_on_their_steps(sampler):
    ranges = {"training.iterations": ScalarRange(100, 1000, log=True, step=100), "delta": ScalarRange(0.3, 0.9)}
    policy = Policy(ranges, [], 3, 0, sampler, startup=3, with_plain=False)
    values = [run.scalars["training.iterations"] for run in searched(10, policy)]
    assert all(100 <= value <= 1000 and value % 100 == 0 for value in values)
    assert len(set(values)) > 2


def test_candidates_of_the_gaussian_process_lie_on_the_steps():
    ranges = {"sampling.batch": ScalarRange(8, 12, step=1), "delta": ScalarRange(0.0, 1.0)}
    assert _reachable(ranges, np.array([[0.3, 0.33], [0.9, 0.9]])).tolist() == [[0.25, 0.33], [1.0, 0.9]]


def test_a_run_gets_the_memory_of_the_largest_and_both_plain_baselines_are_counted(tmp_path, monkeypatch):
    words = ["space.sampling.segments={low: 100, high: 900}", "confirm.top=3", "confirm.seeds=5"]
    experiment = build_experiment(request_of(parse(words)), "store", "default")
    search = Search(experiment, ExperimentFolder.create(tmp_path / "one", experiment.to_mapping(), {}))
    asked = []
    monkeypatch.setattr(stages, "open_store", lambda path: path)
    monkeypatch.setattr(stages, "resources_for", lambda config, *_, **__: asked.append(config) or Resources(1.0, 0.0))
    resources = search.resources({"CPU": 2.0})
    assert [config.sampling.segments for config in asked] == [900]
    # The best three, paper, released (THUMOS14's 320 segments are inside), and two plain baselines.
    assert search.cost(2, resources).confirmation_runs == (3 + 2 + 2) * 5


def test_without_the_method_points_and_the_plain_baseline_never_share_a_folder(tmp_path):
    """Both components off: a point may be the very run that the plain baseline is."""
    space = load_space("delu", "default", SPACE, dict.fromkeys(PAPER, 0.5))
    config = {"run": {"seed": 0, "sampling": {"fold": 0}}, "policy": "replicates", "space": space.to_mapping()}
    folder = ExperimentFolder.create(tmp_path / "plain", config, {})

    def configure(values):
        base = merge(toy_config({}), {"training": {"iterations": 8, "eval_every": 4, "learning_rate": 1e-3}})
        return merge(merge(base, changes_of(values, evaluations=2)), {"scs": False, "mcm": False})

    same = ("same", {RATE: 1e-3, "training.iterations": 8.0})
    policy = Policy(space.searched, [same], 2, 0, "random", startup=2)
    ledger = ReplicateLedger(folder, recover_study(folder.study), space, configure, "digest", 6, policy=policy)
    plain, point = step_plain(ledger), step_plain(ledger)
    assert (plain.role, point.role) == ("plain", "trial")
    assert plain.config == point.config
    assert plain.key != point.key
    assert (plain.params, point.params) == ({}, {RATE: 1e-3, "training.iterations": 8})
    assert len(folder.trials()) == 2


def step_plain(ledger):
    folder = ledger.ask()
    for iteration in (4, 8):
        folder.append(iteration, {"score": 0.1 * iteration / 8})
        ledger.report(folder.key, iteration, 0.1 * iteration / 8)
    ledger.finish(folder.key)
    return folder.record()
