"""Numbers of training and sampling beside the six scalars: what may be searched, what a run gets, what is refused."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from toy import PAPER

from dce_ray.commandline import parse
from dce_ray.config import SCALARS, ScalarRange
from dce_ray.datasets import ImportOptions
from dce_ray.errors import ConfigError, DceError, SearchSpaceError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.presets import run_config
from dce_ray.search.__main__ import main, request_of
from dce_ray.search.advice import schedule_command, schedule_note
from dce_ray.search.ledger import run_key
from dce_ray.search.options import SearchOptions
from dce_ray.search.searching import SingleSearching
from dce_ray.search.settings import Request, Settings, build_experiment
from dce_ray.search.space import SearchSpace
from dce_ray.search.space_checks import at_equal_shares
from dce_ray.search.space_file import load_space

RATE_KEY = "training.learning_rate"
RATE = {RATE_KEY: {"low": 1e-5, "high": 1e-3, "log": True}}
RATE_WORD = "space.training.learning_rate={low: 1e-5, high: 1e-3, log: true}"
ROOT = Path(__file__).resolve().parent.parent.parent


def experiment_of(*words, data_set="default"):
    return build_experiment(request_of(parse(words)), "store", data_set)


def test_command_line_and_python_ask_for_the_same_range():
    by_word = experiment_of(RATE_WORD, "space.sampling.segments.low=100", "space.sampling.segments.high=400")
    nested = {"training": {"learning_rate": RATE["training.learning_rate"]}, "sampling": {"segments": {"low": 100}}}
    dotted = {**RATE, "sampling.segments": {"low": 100, "high": 400}}
    nested["sampling"]["segments"]["high"] = 400
    for space in (nested, dotted):
        assert build_experiment(Request(space=space), "store", "default").space == by_word.space
    assert by_word.space.further == {
        "training.learning_rate": ScalarRange(1e-5, 1e-3, log=True),
        "sampling.segments": ScalarRange(100, 400, step=1),
    }
    assert list(by_word.space.searched)[:6] == list(SCALARS)
    assert SearchSpace.from_mapping(by_word.space.to_mapping()) == by_word.space


def test_the_six_stay_the_default_and_nothing_else_is_searched():
    space = experiment_of().space
    assert tuple(space.searched) == SCALARS
    assert space.further == {}
    assert "step" not in space.to_mapping()["delta"]


def test_whole_numbers_stay_whole_and_points_that_round_alike_are_one_run():
    experiment = experiment_of("space.sampling.batch={low: 8, high: 12}", "space.training.learning_rate.low=1e-5",
                               "space.training.learning_rate.high=1e-3")  # fmt: skip
    item = experiment.space.further["sampling.batch"]
    assert [item.from_unit(place) for place in (0.0, 0.12, 0.13, 0.5, 0.62, 1.0)] == [8, 8, 9, 10, 10, 12]
    assert [item.from_unit(item.to_unit(value)) for value in range(8, 13)] == list(range(8, 13))
    points = [PAPER | {"training.learning_rate": 1e-4, "sampling.batch": item.from_unit(place)} for place in (0.4, 0.6)]
    configs = [experiment.configure(experiment.space.complete(point)) for point in points]
    assert configs[0]["sampling"]["batch"] == 10
    assert type(configs[0]["sampling"]["batch"]) is int
    assert configs[0]["training"]["learning_rate"] == 1e-4
    assert run_key(configs[0], "digest") == run_key(configs[1], "digest")


def test_steps_by_hand():
    logarithmic = ScalarRange(100, 10_000, log=True, step=100)
    assert logarithmic.from_unit(0.5) == 1000
    assert logarithmic.from_unit(0.25) == 300  # 316.2
    assert logarithmic.from_unit(1.0) == 10_000
    space = load_space("delu", "default", {"sampling.batch": {"low": 8, "high": 32, "step": 8}})
    assert [space.searched["sampling.batch"].from_unit(place) for place in (0, 0.3, 0.6, 1)] == [8, 16, 24, 32]


def test_a_searched_length_is_evaluated_at_equal_shares():
    """THUMOS14: 5000 iterations, evaluated 100 times."""
    asked = experiment_of("space.training.iterations={low: 1000, high: 10000}", data_set="thumos14")
    space = at_equal_shares(asked.space, asked.run)
    assert space.further["training.iterations"].step == 100
    config = asked.configure(space.complete(PAPER | {"training.iterations": 1300.0}))
    assert (config["training"]["iterations"], config["training"]["eval_every"]) == (1300, 13)
    coarser = experiment_of("training.eval_every=500", "space.training.iterations={low: 1000, high: 10000, step: 50}")
    assert at_equal_shares(coarser.space, coarser.run).further["training.iterations"].step == 50


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training.iterations={low: 1010, high: 9000}"], "iterations.low=1010: must be a multiple of 100.*take 1000"),
        (["training.iterations={low: 0, high: 900}"], r"the range \[0, 900\] must lie in \[1, 1e\+09\]"),
        (["training.iterations={low: 120, high: 480, step: 60}"], "step=60: must be a multiple of 100"),
    ],
)
def test_lengths_that_cannot_be_compared_are_refused(words, message):
    def ask():
        experiment = experiment_of(*(f"space.{word}" for word in words), data_set="thumos14")
        at_equal_shares(experiment.space, experiment.run)

    with pytest.raises(SearchSpaceError, match=message):
        ask()


def test_a_length_whose_evaluations_do_not_divide_it_is_refused():
    asked = experiment_of("training.eval_every=400", "space.training.iterations={low: 1300, high: 2600}")
    with pytest.raises(SearchSpaceError, match=r"eval_every=400: must divide training\.iterations=5000"):
        at_equal_shares(asked.space, asked.run)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["space.seed={low: 0, high: 9}"], "space.seed: cannot be searched: the replicates of a point differ in it"),
        (
            ["space.training.stop_at={low: 5, high: 9}"],
            "space.training.stop_at: cannot be .*search training.iterations",
        ),
        (["space.sampling.folds={low: 2, high: 5}"], "say search.folds=<how many>"),
        (["space.sampling.fold={low: 0, high: 4}"], "say search.folds=<how many>"),
        (["space.sampling.fold_seed.low=1"], "space.sampling.fold_seed: cannot be searched: all points meet"),
        (["space.sampling.min_snippets={low: 1, high: 9}"], "decides which videos are measured"),
        (["space.training.eval_every={low: 1, high: 9}"], "decides when a run is looked at"),
        (["space.evaluation.nms_parameter={low: 0.1, high: 0.5}"], "would tune how runs are measured"),
        (["space.training.precision=bf16"], "only numbers of training and sampling"),
        (["space.training.compile=true"], "only numbers of training and sampling"),
        (["space.network.dropout={low: 0.1, high: 0.5}"], "only numbers of training and sampling"),
        (["space.objective.norm={low: 0.1, high: 0.5}"], "only numbers of training and sampling"),
        (["space.protocol=paper"], "only numbers of training and sampling"),
        (["space.training.learning_rat={low: 1, high: 2}"], "did you mean space.training.learning_rate"),
        (["space.training.learning_rate=0.001"], "a fixed value is written without space."),
        (["space.training.learning_rate=beta"], "it cannot be tied"),
        (["space.training.learning_rate={low: 0.1, high: 20}"], r"the range \[0.1, 20\] must lie in \[1e-12, 10\]"),
        (["space.training.learning_rate={low: 0, high: 1, log: true}"], "log needs low > 0"),
        (["space.training.learning_rate={low: 0.1, high: 0.1}"], "holds nothing to search"),
        (["space.training.learning_rate={low: 0.1, high: 0.2, step: 1}"], "give {low, high} or {low, high, log}"),
        (["space.training.learning_rate.low=0.1"], "give {low, high}"),
        (["space.sampling.batch={low: 8.5, high: 12}"], "low=8.5 must be a whole number; take 8 or 9"),
        (["space.sampling.batch={low: 8, high: 12, step: 3}"], "low=8 must be a multiple of step=3; take 6 or 9"),
        (["space.sampling.batch={low: 8, high: 12, step: 0}"], "step=0 must be a whole number from 1"),
        (["space.sampling.batch={low: 1, high: 12}"], r"must lie in \[2, 10000\]"),
        (["space.sampling.batch={low: 4, high: 12}"], "at sampling.batch=4 there is no valid run.*pairs=3"),
        (["space.sampling.pairs={low: 1, high: 9}"], "18 videos do not fit into batch=10.*narrow the ranges"),
        ([RATE_WORD, "training.learning_rate=1e-4"], "training.learning_rate=0.0001: space.training.* not both"),
        (["space.training.iterations={low: 100, high: 900}", "training.stop_at=50"], "leave training.stop_at out"),
        ([RATE_WORD, "policy=single"], "use policy=replicates"),
        ([RATE_WORD, "search.num_runs=9"], "gets half of the runs, so 5 folds and 2 first points take 10 at least"),
        (["space.first_points=[nowhere/best.yaml]"], "nowhere/best.yaml: cannot be read"),
        (["space.first_points=[bestyaml]"], "unknown first point 'bestyaml'.*paths of a best.yaml"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_starts(words, message, tmp_path):
    with pytest.raises(DceError, match=message):
        main(["data=synthetic-tiny", f"results={tmp_path}", *words])
    assert list(tmp_path.iterdir()) == []


def test_the_plain_baseline_counts_the_keys_that_it_reads():
    assert experiment_of(RATE_WORD).two_arms
    assert not experiment_of().two_arms
    alone = experiment_of(RATE_WORD, "scs=off", "mcm=off")
    assert not alone.two_arms  # the points are the plain baseline's then
    assert alone.first_points == {}
    assert alone.plain_runs == 5


def test_published_points_have_the_presets_schedule_and_what_is_moved_is_told():
    points, notes = experiment_of("space.training.learning_rate={low: 1e-4, high: 1e-3}").queued()
    assert [origin for origin, _ in points] == ["paper-altered", "released-altered"]
    assert points[0][1]["training.learning_rate"] == 1e-4
    assert notes[0] == "first point paper: training.learning_rate=0.0001 in place of 5e-05"
    points, notes = experiment_of(RATE_WORD).queued()
    assert ([origin for origin, _ in points], notes) == (["paper", "released"], [])
    assert points[0][1] == PAPER | {"training.learning_rate": 5e-5}
    assert experiment_of(RATE_WORD).plain_values == {"training.learning_rate": 5e-5}


@pytest.fixture
def best(tmp_path):
    """The ``best.yaml`` of an earlier search."""
    changes = {"method": {"delta": 0.99, "beta": 0.25}, "training": {"learning_rate": 3e-4}}
    path = tmp_path / "delu" / "earlier" / "best.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(run_config("delu", "store", data_set="default", overrides=changes).to_mapping()))
    return path


def test_a_first_point_of_an_earlier_search_is_named_after_it_and_moved_into_the_space(best):
    experiment = experiment_of(f"space.first_points=[paper,{best}]", RATE_WORD)
    (paper, _), (origin, found) = experiment.queued()[0]
    assert (paper, origin) == ("paper", "best-of-earlier-altered")
    assert (found["delta"], found["beta"], found["training.learning_rate"]) == (0.98, 0.25, 3e-4)
    assert experiment.queued()[1] == ["first point best-of-earlier: delta=0.98 in place of 0.99"]
    wide = experiment_of(f"space.first_points=[{best}]", "space.delta.high=1.0", RATE_WORD)
    assert [name for name, _ in wide.queued()[0]] == ["best-of-earlier"]


def test_what_an_earlier_search_chose_and_this_one_holds_fixed_is_told(best):
    experiment = experiment_of(f"space.first_points=[{best}]", "space.delta.high=1.0")
    ((origin, found),), notes = experiment.queued()
    assert origin == "best-of-earlier-altered"
    assert "training.learning_rate" not in found
    assert notes == ["first point best-of-earlier: training.learning_rate=5e-05 in place of 0.0003"]


def test_two_earlier_searches_of_one_name_are_told_apart(best, tmp_path):
    other = tmp_path / "ddgnet" / "earlier" / "best.yaml"
    other.parent.mkdir(parents=True)
    other.write_text(best.read_text().replace("beta: 0.25", "beta: 0.75"))
    experiment = experiment_of(f"space.first_points=[{best},{other}]", "space.delta.high=1.0", RATE_WORD)
    assert [name for name, _ in experiment.queued()[0]] == ["best-of-earlier", "best-of-earlier-2"]
    numbered = tmp_path / "co2net" / "earlier-2" / "best.yaml"  # a search of that very name
    numbered.parent.mkdir(parents=True)
    numbered.write_text(best.read_text().replace("beta: 0.25", "beta: 0.35"))
    experiment = experiment_of(f"space.first_points=[{best},{numbered},{other}]", "space.delta.high=1.0", RATE_WORD)
    found = {name: values["beta"] for name, values in experiment.queued()[0]}
    assert found == {"best-of-earlier": 0.25, "best-of-earlier-2": 0.35, "best-of-earlier-3": 0.75}


@pytest.mark.parametrize(
    ("key", "seen", "here", "what"),
    [
        ("protocol", "paper", "holdout", "test"),
        ("metric", "detection", "classification", "temporal labels"),
    ],
)
def test_a_point_that_was_chosen_by_what_this_search_must_not_see_is_refused(best, key, seen, here, what):
    best.write_text(yaml.safe_dump(yaml.safe_load(best.read_text()) | {key: seen}))
    message = f"{re.escape(str(best))}: {key}={seen}: it was chosen by {what}, which a search with {key}={here}"
    with pytest.raises(SearchSpaceError, match=message):
        experiment_of(f"space.first_points=[{best}]", f"{key}={here}")
    assert experiment_of(f"space.first_points=[{best}]", f"{key}={seen}").queued()[0]


def test_a_single_search_queues_the_same_first_points(best, tmp_path, capsys):
    """Also moved into the space and told, as with replicates."""
    experiment = experiment_of(f"space.first_points=[paper,{best}]", "policy=single", "search.num_runs=3")
    folder = ExperimentFolder.create(tmp_path / "single", experiment.to_mapping(), {})
    ledger = SingleSearching(experiment, folder).ledger.parts[1]
    waiting = [trial.params for trial in ledger.study.get_trials() if trial.state.name == "WAITING"]
    fixed = [trial.system_attrs.get("fixed_params", {}) for trial in ledger.study.get_trials()]
    points, notes = experiment.queued()
    assert [name for name, _ in points] == ["paper", "best-of-earlier-altered"]
    assert [found["delta"] for found in (fixed if any(fixed) else waiting)] == [0.8, 0.98]
    seen = capsys.readouterr().out
    assert all(f"note: {note}" in seen for note in notes)
    assert "delta=0.98 in place of 0.99" in seen


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nothing: [", "not YAML"),
        ("12", "holds no configuration"),
        ("baseline: delu", "lacks delta"),
    ],
)
def test_a_file_that_is_no_best_yaml_is_refused(best, content, message):
    best.write_text(content)
    with pytest.raises(SearchSpaceError, match=f"{re.escape(str(best))}: {message}.*give the best.yaml"):
        experiment_of(f"space.first_points=[{best}]")


def test_a_value_out_of_range_in_a_file_is_refused(best):
    best.write_text(best.read_text().replace("delta: 0.99", "delta: 9.0"))
    with pytest.raises(SearchSpaceError, match=r"method\.delta=9\.0: must lie between 0 and 1"):
        experiment_of(f"space.first_points=[{best}]")


def test_the_run_that_takes_most_memory_is_the_largest():
    experiment = experiment_of(
        "space.sampling.segments={low: 100, high: 900}", "space.sampling.batch={low: 8, high: 12}"
    )
    assert (experiment.largest.sampling.segments, experiment.largest.sampling.batch) == (900, 12)
    assert experiment_of(RATE_WORD).largest == experiment_of(RATE_WORD).run
    # The smallest batch holds only the fewest pairs, and the largest batch with them is a run as well.
    both = experiment_of("space.sampling.batch={low: 6, high: 12}", "space.sampling.pairs={low: 1, high: 3}")
    assert (both.largest.sampling.batch, both.largest.sampling.pairs) == (12, 1)


def test_data_that_no_preset_knows_is_told_and_the_offered_line_is_a_search():
    request = Request(data="my data", settings=Settings(search=SearchOptions(num_runs=40)))
    experiment = build_experiment(request, "store", "default")
    note = schedule_note(request, experiment)
    assert "its schedule is THUMOS14's (training.learning_rate=5e-05, training.iterations=5000)" in note
    line = schedule_command(request, experiment)
    assert line in note
    program, *words = shlex.split(line.partition(" -m ")[2])
    assert program == "dce_ray.search"
    offered = request_of(parse([word for word in words if not word.startswith("data=")]))
    assert "data=my data" in words
    found = build_experiment(offered, "store", "default")
    space = at_equal_shares(found.space, found.run)
    assert space.searched == {
        "training.learning_rate": ScalarRange(1e-5, 1e-3, log=True),
        "training.iterations": ScalarRange(1000, 10_000, log=True, step=100),
    }
    assert (found.run.scs, found.run.mcm, found.settings.confirm.seeds) == (False, False, 0)


def test_the_offered_line_keeps_all_that_was_asked_for():
    words = ["data=own", "preset=paper", "metric=classification", "evaluation.nms_parameter=0.3", "search.folds=3",
             "training.precision=bf16", "training.iterations=700", "training.eval_every=50", "annotations=own.json",
             "fps=25", "stride_frames=8", "train_subset=a", "test_subset='b c'"]  # fmt: skip
    request = request_of(parse(words))
    experiment = build_experiment(request, "store", "default")
    *_, line = (word for word in [schedule_command(request, experiment)])
    _, *offered = shlex.split(line.partition(" -m ")[2])
    again = request_of(parse(offered))
    found = build_experiment(again, "store", "default")
    space = at_equal_shares(found.space, found.run)
    assert again.importing == request.importing == ImportOptions("own.json", 25.0, 8, "a", "b c")
    assert (again.data, again.preset, found.settings.search.folds) == ("own", "paper", 3)
    assert (found.run.metric, found.run.evaluation.nms_parameter) == ("classification", 0.3)
    assert found.run.training.precision == "bf16"
    # Around the length that was asked for, evaluated as often as the line's own preset evaluates.
    length = space.searched["training.iterations"]
    assert length.low < 700 < length.high
    assert found.run.training.eval_every == build_experiment(Request(), "store", "default").run.training.eval_every


@pytest.mark.parametrize("baseline", ["delu", "co2net"])
@pytest.mark.parametrize("iterations", [1, 20, 60, 100, 5000, 10**9])
def test_the_offered_line_is_accepted_at_any_length(baseline, iterations):
    request = request_of(parse([f"baseline={baseline}", "data=own", f"training.iterations={iterations}"]))
    experiment = build_experiment(request, "store", "default")
    note = schedule_note(request, experiment)
    assert "training.learning_rate=5e-05 is THUMOS14's." in note
    assert "schedule is THUMOS14's" not in note  # the length is the user's
    _, *offered = shlex.split(schedule_command(request, experiment).partition(" -m ")[2])
    found = build_experiment(request_of(parse(offered)), "store", "default")
    length = at_equal_shares(found.space, found.run).searched["training.iterations"]
    assert length.low <= iterations <= length.high
    assert length.low <= max(1, iterations / 4)


def test_a_rate_near_the_end_of_what_a_run_takes_is_offered_up_to_there():
    request = request_of(parse(["data=own", "training.learning_rate=2"]))
    experiment = build_experiment(request, "store", "default")
    assert "training.iterations=5000 is THUMOS14's." in schedule_note(request, experiment)
    _, *offered = shlex.split(schedule_command(request, experiment).partition(" -m ")[2])
    found = build_experiment(request_of(parse(offered)), "store", "default")
    assert found.space.searched["training.learning_rate"] == ScalarRange(0.4, 10.0, log=True)


def test_data_that_a_preset_knows_and_a_schedule_of_ones_own_are_told_nothing():
    assert schedule_note(Request(), build_experiment(Request(), "store", "thumos14")) is None
    own = Request(run={"training": {"learning_rate": 1e-3, "iterations": 300}})
    assert schedule_note(own, build_experiment(own, "store", "default")) is None
    half = Request(run={"training": {"learning_rate": 1e-3}})
    assert schedule_note(half, build_experiment(half, "store", "default")) is not None


def test_a_key_of_the_space_is_checked_as_one_of_a_run():
    with pytest.raises(ConfigError, match=r"space\.training\.learning_rate\.low=.*is given as well"):
        request_of(parse([RATE_WORD, "space.training.learning_rate.low=1e-4"]))


def test_the_readmes_short_first_search_is_one():
    words = re.search(r"^make search ARGS='(.*)'$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)[1].split()
    experiment = experiment_of("baseline=delu", *words, data_set="synthetic")
    asked = experiment.settings
    assert (asked.search.num_runs, asked.confirm.top, asked.confirm.further_seeds) == (9, 1, 0)
    assert asked.name == "first"


def test_the_readmes_lines_are_searches(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text()
    block = re.search(r"## More than the six.*?```\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for line in block[1].replace("\\\n", " ").splitlines() if line]
    assert len(lines) == 2
    monkeypatch.chdir(tmp_path)
    found = Path("results/synthetic-tiny/delu/rate/best.yaml")  # what the first line leaves
    found.parent.mkdir(parents=True)
    built = []
    for line in lines:
        program, *words = shlex.split(line.partition(" -m ")[2])
        assert program == "dce_ray.search"
        built.append(build_experiment(request_of(parse(words)), "store", "synthetic"))
        found.write_text(yaml.safe_dump(built[0].configure(built[0].space.complete(PAPER | {RATE_KEY: 0.004}))))
    assert built[0].two_arms
    points, notes = built[1].queued()
    assert [origin for origin, _ in points] == ["paper", "best-of-rate"]
    assert points[1][1][RATE_KEY] == 0.004
    assert notes == [], "the found rate is what the example is for: nothing of the point is taken back"
