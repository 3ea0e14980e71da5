"""``python -m dce_ray.ablate``: mistakes, and real runs on Ray from the command line, stopped and gone on with."""

from __future__ import annotations

import json
import shutil
import signal
import statistics

import pytest
from ablating import AblateCommand
from mlflow import MlflowClient

from dce_ray import ablate
from dce_ray.ablation_runs import ablation_folder
from dce_ray.config import RunConfig
from dce_ray.errors import ConfigError, SearchError, TrackingError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import write_json
from dce_ray.search.in_flight import INTERRUPTED
from dce_ray.search.tune_run import Stop

pytestmark = pytest.mark.timeout(1500)  # of a busy machine
SMALL = ["baseline=delu", "data=synthetic-tiny", "training.iterations=6", "training.eval_every=3", "ray.num_cpus=2"]
SMALL += ["sampling.segments=24", "device=cpu"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "study= is missing"),
        (["study=component"], "did you mean components"),
        (["study=psi", "sedes=3"], "did you mean seeds"),
        (["study=psi", "method.detla=0.5"], "did you mean method.delta"),
        (["study=psi", "name=../elsewhere"], "must be a name and no path"),
        (["study=psi", "seeds=0"], "whole number from 1"),
        (["study=psi", "seeds=on"], "whole number from 1"),
        (["study=psi", "scs=off", "seed=4"], "scs=, seed=: the study's settings"),
        (["study=psi", "protocol=holdout"], "use confirm or paper"),
        (["study=psi", "values=[0.5]"], "sweeps no number"),
        (["study=lambda", "values=0.5"], "write a list of numbers"),
        (["study=psi", "baseline=dleu"], "did you mean delu"),
    ],
)
def test_mistakes_are_answered_before_any_data_is_touched(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=message):
        ablate.main([*arguments, "data=synthetic-tiny"])
    assert list(tmp_path.iterdir()) == []


def test_values_out_of_range_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=r"lambda=1\.5: must lie between 0 and 1"):
        ablate.main(["study=lambda", "values=[0.5,1.5]", *SMALL])
    assert not (tmp_path / "results").exists()


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> AblateCommand:
    folder = tmp_path_factory.mktemp("ablate")
    return AblateCommand(folder, [*SMALL, "tracking=off"], {"DCE_CACHE": str(folder / "cache")})


@pytest.mark.ray
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(command):
    process = command.start("study=components", "seeds=2")
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith("[1/8]"):
            process.send_signal(signal.SIGINT)
            break
    seen += process.communicate(timeout=400)[0]
    assert process.returncode == 130, seen
    assert "seeds finished." in seen
    before = {record.key: record.ended for record in command.records() if record.state == "finished"}
    assert 1 <= len(before) < 8
    output = command.run("study=components", "seeds=2")
    assert f"8 runs, {len(before)} of them finished before" in output
    after = {record.key: record.ended for record in command.records()}
    assert len(after) == 8
    assert all(after[key] == ended for key, ended in before.items())
    assert {record.state for record in command.records()} == {"finished"}


@pytest.mark.ray
def test_the_table_equals_the_runs(command):
    command.run("study=components", "seeds=2")
    written = json.loads((command.results / "components.json").read_text())
    page = (command.results / "components.html").read_text()
    assert page.startswith("<!DOCTYPE html>"), "a page with the table and its figure, not a piece of one"
    assert page.count("<table>") == page.count("<svg role=") == 1
    assert "figure 5 of the paper" in page
    scores: dict[str, dict[int, float]] = {}
    for run in ExperimentFolder.open(command.results).confirmations():
        record = run.record()
        name = {(False, False): "baseline", (True, False): "scs", (False, True): "mcm", (True, True): "scs+mcm"}[
            record.config["scs"], record.config["mcm"]
        ]
        table = json.loads(run.table.read_text())
        scores.setdefault(name, {})[record.seed] = table["averages"]["0.1:0.7"]
        assert record.config["protocol"] == "confirm"
        assert record.iteration == 6
    assert {name: len(found) for name, found in scores.items()} == dict.fromkeys(written["settings"], 2)
    for name, found in scores.items():
        assert {seed: score["avg_0.1_0.7"] for seed, score in written["scores"][name].items()} == {
            str(seed): value for seed, value in found.items()
        }
    row = next(
        line
        for line in (command.results / "components.csv").read_text().splitlines()
        if line.startswith("components_synthetic-tiny_delu,scs+mcm,difference to baseline,measured,2,avg_0.1_0.7,")
    )
    expected = statistics.mean(100 * (scores["scs+mcm"][seed] - scores["baseline"][seed]) for seed in (0, 1))
    assert float(row.split(",")[6]) == pytest.approx(expected)


@pytest.mark.ray
def test_studies_share_their_runs(command):
    # psi's baseline and ratio are components' baseline and scs+mcm.
    output = command.run("study=psi", "seeds=2")
    assert "10 runs, 4 of them finished before" in output
    assert len(command.records()) == 8 + 6
    for suffix in ("md", "csv", "tex", "html", "json"):
        assert (command.results / f"psi.{suffix}").stat().st_size > 100
    for name in ("components", "psi"):
        for suffix in ("svg", "png"):
            assert (command.results / "figures" / f"{name}.{suffix}").is_file()


@pytest.mark.ray
def test_a_finished_study_starts_no_ray_and_goes_to_mlflow(command, empty_database):
    shutil.copy(empty_database, command.folder / "results" / "mlflow.db")
    output = command.run("study=psi", "seeds=2", "ray.address=192.0.2.1:6379", "tracking=on")
    assert "10 runs, 10 of them finished before" in output
    assert "Compare in MLflow:" in output
    client = MlflowClient(f"sqlite:///{command.folder / 'results' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("synthetic-tiny/delu").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 1 + len(command.records())
    parent = next(run for run in runs if run.data.tags["kind"] == "ablations")
    tables = {item.path for item in client.list_artifacts(parent.info.run_id, "tables")}
    assert {"tables/components.json", "tables/psi.json"} <= tables


def test_a_mistaken_address_of_mlflow_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match="neither a server"):
        ablate.main(["study=psi", *SMALL, "tracking.uri=ftp://x"])
    assert not (tmp_path / "results").exists()


def test_a_search_folder_is_not_taken_for_an_ablation(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCE_CACHE", str(command.folder / "cache"))
    ExperimentFolder.create(tmp_path / "results" / "synthetic-tiny" / "delu" / "ablation", {"run": {}}, {})
    for study in ("psi", "confounding"):
        with pytest.raises(SearchError, match="holds a search"):
            ablate.main([f"study={study}", *SMALL])


def test_ablations_on_other_data_go_elsewhere(tiny_store, tmp_path):
    """Their tables would replace those of the first, and a figure would show both as if they could be compared."""
    made, store = ablate.build({"study": "psi", "baseline": "delu", "data": str(tiny_store)})
    options = {**made.options, "results": str(tmp_path), "tracking": {"enabled": False, "uri": None}}
    folder = ablation_folder(options, made.run, "mine", store)
    assert ablation_folder(options, made.run, "mine", store) == folder
    folder.keep_config(folder.config | {"digest": "0" * 64})
    with pytest.raises(SearchError, match=r"holds ablations on other data \(digest 000000000000, now .* another name="):
        ablation_folder(options, made.run, "mine", store)


def test_a_figure_shows_other_baselines_of_the_same_data_alone(tiny_store, tmp_path):
    folders = {}
    for baseline in ("delu", "co2net"):
        made, store = ablate.build({"study": "psi", "baseline": baseline, "data": str(tiny_store)})
        options = {**made.options, "results": str(tmp_path), "tracking": {"enabled": False, "uri": None}}
        folders[baseline] = ablation_folder(options, made.run, "mine", store)
        content = {"run": made.run.to_mapping(), "runs": [["psi", "k"]], "scores": {"psi": {"0": {"mAP": 0.3}}}}
        write_json(folders[baseline].path / "psi.json", content)
    assert list(ablate._other_baselines(folders["co2net"], made.context)) == ["delu"]
    folders["delu"].keep_config(folders["delu"].config | {"digest": "0" * 64})
    assert ablate._other_baselines(folders["co2net"], made.context) == {}


def test_a_study_of_which_nothing_is_finished_leaves_the_tables_of_before(tiny_store, tmp_path, monkeypatch, capsys):
    arguments = ["study=psi", "baseline=delu", f"data={tiny_store}", f"results={tmp_path}", "tracking=off"]
    monkeypatch.setattr(ablate, "_run", lambda *_: Stop(INTERRUPTED, failure=False))
    made, store = ablate.build({"study": "psi", "baseline": "delu", "data": str(tiny_store)})
    folder = tmp_path / made.context.data / "delu" / "ablation"
    folder.parent.mkdir(parents=True)
    ablation_folder({**made.options, "results": str(tmp_path)}, made.run, made.context.data, store)
    (folder / "psi.csv").write_text("before")
    assert ablate.main(arguments) == 130
    assert (folder / "psi.csv").read_text() == "before"
    assert f"no run is finished, so {folder}/psi.* is left as it is" in capsys.readouterr().out


def test_settings_differ_from_the_run_in_nothing_else(command, tmp_path, monkeypatch):
    monkeypatch.setenv("DCE_CACHE", str(command.folder / "cache"))
    values = {"study": "lambda", "values": [0.5], "baseline": "delu", "data": "synthetic-tiny", "seeds": 1}
    made, store = ablate.build(values)
    folder = ExperimentFolder.create(tmp_path / "a", {}, {})
    configs = {name: planned.record.config for name, planned in made.planned(folder, store.digest)}
    base = made.run.to_mapping()
    assert isinstance(made.run, RunConfig)
    assert configs["lambda=0.5"] == {**base, "method": {**base["method"], "lambda": 0.5}}
    assert configs["baseline"] == {**base, "scs": False, "mcm": False}


def test_a_search_s_winner_is_departed_from(command, tmp_path, monkeypatch):
    monkeypatch.setenv("DCE_CACHE", str(command.folder / "cache"))
    (tmp_path / "best.yaml").write_text("baseline: co2net\nprotocol: paper\nmethod: {delta: 0.61, lambda: 0.4}\n")
    values = {"study": "components", "data": "synthetic-tiny", "config": str(tmp_path / "best.yaml")}
    made, _ = ablate.build(values)
    assert (made.run.baseline, made.run.method.delta, made.run.method.lambda_) == ("co2net", 0.61, 0.4)
    assert made.run.protocol == "confirm"
