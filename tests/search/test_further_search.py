"""A search of a learning rate and a length from one line to its verdict, resumed, and from its best.yaml on."""

import csv
import json
from collections import Counter

import pytest
from laid_over import laid_over

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.study import read_study
from dce_ray.points.standing import read_standing
from dce_ray.search.__main__ import main
from dce_ray.search.selection import select

pytestmark = pytest.mark.ray
SHORT = ["training.eval_every=100", "sampling.segments=24", "evaluation.proposal_thresholds=5", "search.folds=2"]
SHORT += ["confirm.precision=null", "confirm.top=1", "confirm.seeds=2", "baseline=delu", "name=one"]
RATE = "space.training.learning_rate={low: 1e-3, high: 1e-2, log: true}"
LENGTH = "space.training.iterations={low: 2, high: 8}"
KEYS = ("training.learning_rate", "training.iterations")


@pytest.fixture(scope="module")
def finished(cluster, tiny_store, tmp_path_factory):
    results = tmp_path_factory.mktemp("further")
    words = [f"data={tiny_store}", f"results={results}", RATE, LENGTH, "search.num_runs=8"]
    assert main([*words, *SHORT, f"tracking.uri=sqlite:///{results}/mlflow.db"]) == 0
    (path,) = results.glob("*/delu/one")
    return ExperimentFolder.open(path)


def test_the_budget_is_shared_and_every_run_is_its_points(finished):
    records = [run.record() for run in finished.trials()]
    assert Counter(record.role for record in records) == {"plain": 4, "trial": 4}
    for run in finished.trials():
        record = run.record()
        training = record.config["training"]
        assert record.state == "finished"
        assert 1e-3 <= training["learning_rate"] <= 1e-2
        assert training["iterations"] in (2, 4, 6, 8)
        assert [line.iteration for line in run.readings() if "score" in line.metrics] == [
            training["iterations"] // 2,
            training["iterations"],
        ]
        assert record.params[KEYS[0]] == training["learning_rate"]


def test_confirmation_says_what_the_plain_baseline_was_given(finished):
    result = json.loads(finished.confirmation.read_text())
    verdict = result["verdict"]
    fairness = verdict["fairness"]
    assert (fairness["plain_runs"], fairness["points_runs"], tuple(fairness["searched"])) == (4, 4, KEYS)
    by_name = {entry["name"]: entry for entry in result["configurations"]}
    plain, top = by_name["baseline"], by_name["top1"]
    assert fairness["params"] == plain["params"] == {key: plain["params"][key] for key in KEYS}
    others = {"baseline-winner-values", "baseline-own-values"} & by_name.keys()
    if fairness["compared"] == "its own best values":
        assert others == {"baseline-winner-values"}
        assert by_name["baseline-winner-values"]["params"] == {key: top["params"][key] for key in KEYS}
        assert plain["value"] >= by_name["baseline-winner-values"]["value"]
    assert (fairness["other_expected_percent"] is None) == (not others)
    column = "avg_0.1_0.7"
    gains = [top["scores"][seed][column] - plain["scores"][seed][column] for seed in ("1000", "1001")]
    assert verdict["gain"] == pytest.approx(50 * sum(gains))
    for words in ("had its own search of training.learning_rate, training.iterations (4 runs", "is compared at"):
        assert words in " ".join(verdict["details"])
    for entry in result["configurations"]:
        run = finished.confirm(f"{entry['name']}-1000")
        assert run.record().config["training"]["iterations"] == entry["params"]["training.iterations"]
        assert run.readings()[-1].iteration == entry["iteration"]


def test_the_choice_and_its_files_hold_the_further_keys(finished):
    import yaml

    winner = select(finished, 1)[0]
    best = yaml.safe_load(finished.best.read_text())
    assert best["training"]["learning_rate"] == winner.params["training.learning_rate"]
    with (finished.path / "points.csv").open() as file:
        points = list(csv.DictReader(file))
    with (finished.path / "trials.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert all(1e-3 <= float(row["training.learning_rate"]) <= 1e-2 for row in points + runs)
    own = [row for row in points if row["origin"] == "baseline"]
    assert {int(row["point"]) for row in own} == {one.point for one in read_standing(finished).plain_arm.points}
    assert all(row["delta"] == "" and row["probability_better"] == "" for row in own)
    page = (finished.path / "report.html").read_text()
    assert "training.learning_rate" in page
    assert f"The plain baseline (its own search, {len(own)} points), then all {len(points) - len(own)} points" in page
    assert "Here it is left out: the plain baseline has a search of its own" in page, "a column of dashes is explained"
    assert "baseline-winner-values" not in page.replace("config.json", ""), "labels are words"


def test_mlflow_shows_the_further_keys_of_points_of_both_arms(finished):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{finished.path.parents[2]}/mlflow.db")
    (experiment,) = [one for one in client.search_experiments() if one.name.endswith("/delu")]
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'point'")
    records = {record.point: record for run in finished.trials() if (record := run.record())}
    assert len(runs) == len(records)
    for run in runs:
        record = records[int(run.data.tags["point"])]
        assert float(run.data.params["training.learning_rate"]) == record.params["training.learning_rate"]
        assert run.data.params["training.iterations"] == str(record.params["training.iterations"])
        assert ("delta" in run.data.params) == (record.role == "trial")
        name = "plain baseline" if record.role == "plain" else "point"
        assert run.info.run_name == f"one {name} {record.point:03d}"
        assert "model_mean" in run.data.metrics
    (view,) = [
        value for key, value in experiment.tags.items() if key.startswith("mlflow.sharedViewState.dce-ray-points-")
    ]
    for key in KEYS:
        assert f"params.`{key}`" in json.loads(view)["selectedColumns"]


def test_a_resumed_search_keeps_its_space_and_shares_further_runs(finished, capsys):
    before = {trial.number: (trial.user_attrs["key"], trial.value) for trial in read_study(finished.study).trials}
    assert main([f"resume={finished.path}", "search.num_runs=10", "confirm.seeds=0", "tracking=off"]) == 0
    trials = read_study(finished.study).trials
    assert {number: (trials[number].user_attrs["key"], trials[number].value) for number in before} == before
    assert [trial.user_attrs["own_search"] for trial in trials] == [True, False] * 5
    assert "every second of the 10 runs" in capsys.readouterr().out


def test_the_plain_baselines_schedule_alone_and_its_best_yaml_as_a_first_point(cluster, tiny_store, tmp_path, capsys):
    words = [f"data={tiny_store}", f"results={tmp_path}", *SHORT, "tracking=off"]
    alone = ["scs=off", "mcm=off", "search.num_runs=5", "confirm.seeds=0"]
    assert main(laid_over(words, *alone, RATE, LENGTH)) == 0
    (path,) = tmp_path.glob("*/delu/one")
    folder = ExperimentFolder.open(path)
    records = [run.record() for run in folder.trials()]
    assert {record.components for record in records} == {"baseline"}
    assert {record.config["training"]["iterations"] for record in records if record.role == "plain"} == {200}
    assert "verdict: unconfirmed" in capsys.readouterr().out
    more = ["name=two", "confirm.seeds=0", "search.num_runs=6", f"space.first_points=[{folder.best}]"]
    assert main(laid_over(words, *more, RATE, "training.iterations=8")) == 0
    second = ExperimentFolder.open(path.parent / "two")
    origins = {record.origin: record for run in second.trials() if (record := run.record()).role == "trial"}
    (origin,) = [name for name in origins if name.startswith("best-of-one")]
    winner = select(folder, 1)[0]
    assert origins[origin].params["training.learning_rate"] == winner.params["training.learning_rate"]
    expected = "first point best-of-one: training.iterations=8 in place of"
    assert (expected in capsys.readouterr().out) == (winner.params["training.iterations"] != 8)
