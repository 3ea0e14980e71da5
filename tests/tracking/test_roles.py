"""Which run is which in MLflow, by tags alone: roles, settings, folds, seeds; and what a report reads back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mirrored import RUN, START_S, client_of, outdated, runs_of, table_of

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, WITHOUT_METHOD, RunRecord
from dce_ray.files import write_json
from dce_ray.presets import merge
from dce_ray.report.from_mlflow import fetch_experiments
from dce_ray.tracking import __main__ as tracking
from dce_ray.tracking import sync

Make = Callable[..., ExperimentFolder]


def test_role_setting_fold_and_seed_tell_runs_apart(sent: ExperimentFolder):
    runs = [run for run in runs_of(client_of(sent), "first").values() if run.data.tags["kind"] != "search"]
    named = {tuple(run.data.tags.get(tag) for tag in ("kind", "setting", "fold", "seed")) for run in runs}
    assert named == {("trial", f"trial {number}", "0", "0") for number in range(5)} | {
        ("confirm", setting, None, seed) for setting in ("top1", "baseline") for seed in ("0", "1")
    }


def test_the_plain_baseline_is_no_trial_and_has_no_parameters(make_experiment: Make):
    folder = make_experiment()
    first = folder.trials()[0]
    plain = folder.trial("plain")
    plain.write(
        RunRecord("plain", "plain", PLAIN, 0, "finished", RUN | WITHOUT_METHOD, 0, fold=0, origin=PLAIN, value=0.9)
    )
    plain.append(10, {"mAP/0.5": 0.9}, START_S)
    assert sync(folder).complete
    runs = runs_of(client_of(folder), "first")
    run = runs["first plain baseline"]
    tags = {"kind": "plain", "setting": "baseline", "components": "baseline", "fold": "0", "origin": "baseline"}
    assert {key: run.data.tags[key] for key in tags} == tags
    assert not first.record().params.keys() & run.data.params.keys()
    assert runs["first"].data.tags["trials.finished"] == "2", "it does not count as a trial"


def test_ablations_are_runs_of_one_parent_that_no_report_takes_for_a_search(tmp_path: Path, empty_database: Path):
    results = tmp_path / "results"
    results.mkdir()
    shutil.copy(empty_database, results / "mlflow.db")
    config = {"kind": "ablation", "baseline": "delu", "data_set": "hapt", "digest": "abc", "run": RUN}
    folder = ExperimentFolder.create(results / "hapt" / "delu" / "ablation", config, {"commit": "abc1234"})
    for number, scs in enumerate((True, False)):
        record = RunRecord(f"k{number}", "ablation", "scs" if scs else PLAIN, number, "finished", RUN, 0, started=1.0)
        run = folder.confirm(record.key)
        run.write(record.replace(config=RUN | {"scs": scs, "mcm": False}, value=0.5, ended=2.0))
        write_json(run.table, table_of(0.6).to_mapping())
    drawn = folder.confirm("drawn")  # by a study that draws data of its own
    drawn.write(record.replace(key="drawn", setting="drew", number=2, config=RUN | {"data": "of its own"}, ended=2.0))
    write_json(drawn.table, table_of(0.6).to_mapping())
    for ending, text in (("csv", "setting,seed,value\nscs,0,50.0\n"), ("md", "| scs |\n"), ("json", "{}")):
        (folder.path / f"components.{ending}").write_text(text)
    assert tracking.main(["sync", str(results)]) == 0, "found below, though it has no trials"
    runs = runs_of(client_of(folder), "ablation")
    assert {run.data.tags["kind"] for run in runs.values()} == {"ablations", "ablation"}
    assert runs["ablation"].info.status == "FINISHED"
    listed = client_of(folder).list_artifacts(runs["ablation"].info.run_id)
    assert {"components.csv", "components.md", "components.json"} <= {item.path for item in listed}
    table = (results / "mlartifacts").glob("**/artifacts/tables/components.json")
    assert json.loads(next(table).read_text())["data"] == [["scs", 0.0, 50.0]]
    assert runs["ablation ablation scs, seed 0"].data.metrics["test_score"] == 0.5
    read = {name: [one.dataset.digest for one in run.inputs.dataset_inputs] for name, run in runs.items()}
    assert read["ablation ablation scs, seed 0"] == read["ablation"] == ["abc"]
    assert read["ablation ablation drew, seed 0"] == []
    assert fetch_experiments(f"sqlite:///{results / 'mlflow.db'}", tmp_path / "fetched") == []


def test_a_confirmation_planned_anew_replaces_its_runs(finished: ExperimentFolder):
    sync(finished)
    run = finished.confirmations()[0]
    record = run.record()
    anew = record.replace(config=merge(record.config, {"method": {"delta": 0.9}}))
    client = client_of(finished)
    number = client.get_experiment_by_name("hapt/delu").experiment_id
    for state, delta, created in ((anew, "0.9", 1), (record, "0.7", 0)):  # and back to the first plan
        run.write(state)
        assert sync(finished).created == created
        both = [item for item in client.search_runs([number]) if item.info.run_name == f"first {record.label}"]
        assert sorted(item.data.tags["status"] for item in both) == ["finished", "superseded"]
        current = next(item for item in both if item.data.tags["status"] == "finished")
        assert current.data.params["delta"] == delta
        assert current.info.status == "FINISHED"


def test_a_report_reads_the_runs_of_the_newest_plan(finished: ExperimentFolder, tmp_path: Path):
    run = finished.confirmations()[0]
    sync(finished)
    run.write(run.record().replace(config=merge(run.record().config, {"method": {"delta": 0.9}})))
    sync(finished)
    (path,) = fetch_experiments(f"sqlite:///{finished.root / 'mlflow.db'}", tmp_path / "fetched")
    fetched = [item.record() for item in ExperimentFolder.open(path).confirmations()]
    assert fetched == [item.record() for item in finished.confirmations()]


def test_a_search_of_an_older_format_is_left_out_of_reports_and_named(
    make_experiment: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    old, new = make_experiment("old"), make_experiment("new")
    sync(outdated(old))
    sync(new)
    paths = fetch_experiments(f"sqlite:///{new.root / 'mlflow.db'}", tmp_path / "fetched")
    assert [path.name for path in paths] == ["new"]
    assert "left out old: written in format 1" in caplog.text
