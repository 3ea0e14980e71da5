"""The whole command on tiny synthetic data: from one line to the confirmation, and every way to get it wrong."""

import csv
import errno
import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from dce_ray.commandline import parse
from dce_ray.errors import (
    ConfigError,
    DataError,
    EvaluationError,
    OutputError,
    SearchError,
    SearchSpaceError,
    StoreError,
)
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import decisive
from dce_ray.experiment.study import read_study
from dce_ray.files import not_written, write_json
from dce_ray.points.standing import read_standing
from dce_ray.report import page
from dce_ray.report.page import write_outputs
from dce_ray.search import api
from dce_ray.search.__main__ import main, request_of
from dce_ray.search.opening import create
from dce_ray.search.searching import searching
from dce_ray.search.selection import select
from dce_ray.search.stages import Search
from dce_ray.verdict.text import advised_seeds
from dce_ray.verdict.verdict import Verdict
from dce_ray.words import command_line

pytestmark = pytest.mark.ray
SHORT = ["training.iterations=6", "training.eval_every=2", "training.log_every=2", "sampling.segments=24"]
SHORT += ["evaluation.proposal_thresholds=5", "search.folds=2", "tracking=off", "confirm.precision=null"]
SINGLE = ["policy=single", "search.min_iterations=2"]
ONCE = ["confirm.top=1", "confirm.seeds=1"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A tiny synthetic store of our own."""
    from dce_ray.data.synthetic import generate_synthetic

    return generate_synthetic(tmp_path_factory.mktemp("data") / "tiny", size="tiny", seed=0)


def arguments(tiny, results, *more, baseline="delu"):
    words = [f"baseline={baseline}", f"data={tiny}", f"results={results}", "name=one", *SHORT, *more]
    return list({word.partition("=")[0]: word for word in words}.values())  # of a key given twice the last


def opened(results, baseline="delu"):
    (path,) = Path(results).glob(f"*/{baseline}/one")
    return ExperimentFolder.open(path)


def study_states(folder):
    return Counter(trial.state.name for trial in read_study(folder.study).trials)


@pytest.fixture(scope="session")
def finished(cluster, tiny, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    more = ["search.num_runs=12", "confirm.top=2", "confirm.seeds=2", "confirm.precision=0.01", "confirm.max_seeds=3"]
    assert main(arguments(tiny, results, *more)) == 0
    return opened(results)


@pytest.fixture(scope="session")
def finished_single(cluster, tiny, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    more = [*SINGLE, "search.num_runs=6", "confirm.top=2", "confirm.seeds=2", "scheduler=asha"]
    assert main(arguments(tiny, results, *more)) == 0
    return opened(results)


@pytest.mark.parametrize(("policy", "runs"), [("finished", 12), ("finished_single", 5)])
def test_trials_table_agrees_with_the_study(policy, runs, request):
    folder = request.getfixturevalue(policy)
    trials = read_study(folder.study).trials
    with (folder.path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(trials) == runs
    for row, trial in zip(rows, trials, strict=True):
        assert row["key"] == trial.user_attrs["key"]
        assert row["state"] == {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}[trial.state.name]
        assert row["delta"] == (str(trial.params["delta"]) if trial.params else "")


def test_first_points_are_the_published_values(finished):
    records = [item.record() for item in finished.trials() if item.record().role == "trial"]
    assert [(record.point, record.fold) for record in records[:2]] == [(0, 0), (1, 1)]
    assert [(record.origin, record.params["delta"], record.state) for record in records[:2]] == [
        ("paper", 0.8, "finished"),
        ("released", 0.85, "finished"),
    ]


def test_the_winner_is_the_best_by_the_model_and_of_single_runs_the_best_one(finished, finished_single):
    result = json.loads(finished.confirmation.read_text())
    best = read_standing(finished).ranked[0]
    assert result["configurations"][0]["point"] == best.point
    assert result["configurations"][0]["value"] == best.mean
    result = json.loads(finished_single.confirmation.read_text())
    trial = read_study(finished_single.study).best_trial
    assert result["configurations"][0]["point"] == trial.number
    assert result["configurations"][0]["value"] == trial.value


def test_every_seed_is_confirmed_and_none_was_searched_with(finished):
    result = json.loads(finished.confirmation.read_text())
    assert {run.record().seed for run in finished.trials()}.isdisjoint({1000, 1001})
    assert result["winner"] == "top1"
    names = [entry["name"] for entry in result["configurations"]]
    assert names[:2] == ["top1", "top2"]
    assert names[-1] == "baseline"
    for entry in result["configurations"]:
        seeds = (1000, 1001, 1002) if entry["name"] in ("top1", "baseline") else (1000, 1001)
        assert sorted(entry["scores"]) == [str(seed) for seed in seeds]
        for seed in seeds:
            run = finished.confirm(f"{entry['name']}-{seed}")
            record = run.record()
            assert (record.seed, record.state, record.iteration) == (seed, "finished", entry["iteration"])
            assert record.config["protocol"] == "confirm"
            assert run.table.is_file()
            assert run.detections.is_file()
            assert max(line.iteration for line in run.readings()) == entry["iteration"]
    origins = {entry["origin"] for entry in result["configurations"]}
    assert {"paper", "released", "baseline"} <= origins
    plain = finished.confirm("baseline-1000").record()
    assert not plain.config["scs"]
    assert not plain.config["mcm"]


def test_differences_are_paired_by_seed(finished):
    result = json.loads(finished.confirmation.read_text())
    by_name = {entry["name"]: entry for entry in result["configurations"]}
    column = "avg_0.1_0.7"
    gains = [
        100 * (by_name["top1"]["scores"][str(seed)][column] - by_name["baseline"]["scores"][str(seed)][column])
        for seed in (1000, 1001, 1002)
    ]
    cell = by_name["top1"]["difference_percent"][column]
    assert cell["mean"] == pytest.approx(sum(gains) / 3)
    assert cell["half_width"] is None
    verdict = result["verdict"]
    assert verdict["gain"] == pytest.approx(sum(gains) / 3)
    half = 12.7062 * abs(gains[0] - gains[1]) / 2**0.5 / 3**0.5  # the spread of the first stage's two pairs
    assert verdict["interval"] == pytest.approx([verdict["gain"] - half, verdict["gain"] + half], rel=1e-4, abs=1e-9)
    assert verdict["test_videos"]["low"] <= verdict["test_videos"]["high"]
    assert verdict["test_videos"]["note"].startswith("1000 resamples of")
    assert verdict["sentence"] in (finished.path / "report.html").read_text().replace("&#x27;", "'")


def test_every_output_is_there_and_says_which_labels_selected(finished):
    for name in ("confirmation.md", "confirmation.csv", "confirmation.tex", "trials.parquet", "report.html"):
        assert (finished.path / name).stat().st_size > 0
    for name in ("confirmation.md", "report.html"):
        assert "temporal labels" in (finished.path / name).read_text()
    assert {"commit", "processor", "torch", "ray", "optuna"} <= finished.environment.keys()


def test_best_yaml_is_a_configuration_of_train(finished):
    from dce_ray.train.configure import configure

    config, _ = configure({"baseline": "delu", "config": str(finished.best)})
    best = select(finished, 1)[0]
    assert config.method.delta == best.params["delta"]
    assert config.training.stop_at == best.iteration
    assert config.protocol == "confirm"
    assert yaml.safe_load(finished.best.read_text())["method"]["lambda"] == best.params["lambda"]
    first = finished.confirm("top1-1000").record()
    assert config.seed == first.seed == 1000  # what train does with it is the confirmation's first run
    assert decisive(config.to_mapping()) == decisive(first.config)
    assert "# seed: 1000 is that of the confirmation's first run" in finished.best.read_text()


def test_resume_of_a_finished_search_runs_nothing_and_can_be_extended(finished, capsys):
    before = finished.confirm("top1-1000").table.stat().st_mtime_ns
    assert main([f"resume={finished.path}", "tracking=off"]) == 0
    seen = capsys.readouterr().out
    assert "] point 0" not in seen  # no run ended in this session
    assert "12 finished of 12, all in earlier sessions" in seen
    assert "0 finished" not in seen
    verdict = Verdict.read(finished)
    before_it, _, behind = seen.partition(verdict.text)
    assert "\n" in before_it
    assert "resume=" in behind  # nothing follows but the commands that may come next
    assert "verdict" not in behind
    assert verdict.command == f"python -m dce_ray.confirm search={finished.path} seeds={advised_seeds(verdict)}"
    assert finished.confirm("top1-1000").table.stat().st_mtime_ns == before
    assert finished.former_looks == []
    tables = [run.table.read_bytes() for run in finished.confirmations()]
    assert main([f"resume={finished.path}", "search.num_trials=13", "confirm.seeds=0"]) == 0
    assert "\nsearch.num_runs: 12 before, 13 now\nconfirm.seeds: 2 before, 0 now\n" in capsys.readouterr().out
    assert study_states(finished) == {"COMPLETE": 13}
    assert finished.config["search"]["num_runs"] == 13  # what is resumed next goes on from there
    assert finished.config["confirm"]["seeds"] == 0
    assert [one.sentence for one in Verdict.former(finished)] == [verdict.sentence]
    assert (
        f"<li>With 12 runs of the search: {html.escape(verdict.sentence)}"
        in (finished.path / "report.html").read_text()
    )
    kept = [*finished.confirmations(), *finished.set_aside_runs()]
    assert {run.table.read_bytes() for run in kept} >= set(tables)  # whoever is best now
    with pytest.raises(ConfigError, match=r"has read test with .*confirm\.max_seeds=3"):
        main([f"resume={finished.path}", "confirm.seeds=7", "confirm.max_seeds=9"])
    with pytest.raises(ConfigError, match="cannot be changed"):
        main([f"resume={finished.path}", "sampler=random"])
    with pytest.raises(ConfigError, match=r"num_runs=12: .* has begun 13 runs already, and none is taken back"):
        main([f"resume={finished.path}", "search.num_runs=12"])
    with pytest.raises(SearchError, match=rf"below it lie:\n  {finished.path}"):
        main([f"resume={finished.path.parent}"])


def test_paper_protocol_and_classification_say_so(cluster, tiny, tmp_path):
    more = ["search.num_runs=4", *ONCE, "protocol=paper", "metric=classification"]
    more += ["scs=off", "training.iterations=4"]
    assert main(arguments(tiny, tmp_path, *more)) == 0
    folder = opened(tmp_path)
    for suffix in (".md", ".tex", ".json"):
        assert "selected on the test set" in folder.confirmation.with_suffix(suffix).read_text()
    assert "test videos" in (folder.path / "report.html").read_text()
    record = folder.confirm("top1-1000").record()
    assert (record.components, record.config["protocol"], record.stop_at) == ("mcm", "paper", None)
    assert folder.confirm("top1-1000").detections.is_file()
    assert set(read_study(folder.study).trials[1].params) == {"theta_rep", "theta_pro", "beta", "gamma"}
    searched = [run.record() for run in folder.trials()]
    assert (searched[0].role, searched[0].fold, searched[0].seed) == ("plain", None, 0)
    assert {one.fold for one in searched} == {None}
    table = json.loads(folder.confirm("top1-1000").table.read_text())
    assert record.value == table["averages"]["0.1:0.7"] != table["classification_map"]  # as all tables of test
    text = folder.confirmation.with_suffix(".md").read_text()
    assert "| selecting split, classification mAP |" in text
    assert "| test mean, detection mAP |" in text


@pytest.mark.parametrize("baseline", ["co2net", "ddgnet"])
def test_other_baselines_run_to_the_end(cluster, tiny, tmp_path, baseline):
    more = ["search.num_runs=5", *ONCE, "training.iterations=2", "space.gamma=beta"]
    assert main(arguments(tiny, tmp_path, *more, baseline=baseline)) == 0
    for item in opened(tmp_path, baseline).trials():
        params = item.record().params
        assert params.get("gamma") == params.get("beta")


def test_search_never_reads_a_test_video(cluster, tiny, tmp_path):
    from guarded import GuardedStore, GuardedTrainable

    guarded = GuardedStore.open(tiny)
    with pytest.raises(RuntimeError, match="test videos"):
        guarded.labels([guarded.subsets.index("test")])
    values = parse(arguments(tiny, tmp_path, "search.num_runs=6", "confirm.seeds=0"))
    assert Search(*create(request_of(values)), GuardedTrainable).run() is None
    folder = opened(tmp_path)
    assert study_states(folder) == {"COMPLETE": 6}
    write_outputs(folder)
    page = (folder.path / "report.html").read_text()
    assert "Test was not read: confirm.seeds=0." in page
    assert "Test was read" not in page
    assert "Test was read" not in folder.best.read_text()
    assert "verdict: unconfirmed: top1" in page
    assert "Test was read" not in folder.confirmation.read_text()
    assert f"{100 * read_standing(folder).posterior.plain.mean:.2f}" in page  # beside the best point's


def test_by_class_a_search_needs_no_temporal_label_of_a_train_video(cluster, tiny, tmp_path):
    """The train videos have none, and reading them raises; test, which the confirmation reads, has its own."""
    from guarded import WeakTrainable
    from unread import write_weak_store

    weak = write_weak_store(tiny, tmp_path / "weak")
    values = parse(arguments(weak, tmp_path / "results", "search.num_runs=5", *ONCE, "metric=classification"))
    assert Search(*create(request_of(values)), WeakTrainable).run() is None
    folder = opened(tmp_path / "results")
    assert study_states(folder) == {"COMPLETE": 5}
    write_outputs(folder)
    readings = [reading.metrics for run in folder.trials() for reading in run.readings()]
    named = {name for metrics in readings for name in metrics if name.startswith("mAP/")}
    assert named == {"mAP/classification"}
    assert all(metrics["score"] == metrics["mAP/classification"] for metrics in readings if "score" in metrics)
    page = (folder.path / "report.html").read_text()
    assert "classification mAP on holdout" in page
    assert "no temporal label was used" in page
    confirmed = {run.record().state for run in folder.confirmations()}
    assert confirmed == {"finished"}
    assert Verdict.read(folder).pairs == 1


def test_a_second_search_in_a_folder_that_has_just_begun_leaves_it_alone(tiny, tmp_path):
    folder = create(request_of(parse(arguments(tiny, tmp_path, "search.num_runs=5"))))[1]
    with folder.lock(), pytest.raises(SearchError, match="is in use by another search"):
        main([f"resume={folder.path}"])
    assert (folder.path / "config.json").is_file()


def test_store_that_vanishes_stops_the_search_and_comes_back(cluster, tiny, tmp_path):
    from guarded import VanishingTrainable

    store = tmp_path / "store"
    shutil.copytree(tiny, store)
    # One slot: a second process would have the store open already, and would train on with what it has mapped.
    values = parse(
        arguments(store, tmp_path / "results", "search.num_runs=5", "confirm.seeds=0", "search.cpus_per_trial=2")
    )
    experiment, folder = create(request_of(values))
    stop = Search(experiment, folder, VanishingTrainable).run()
    assert stop.failure
    assert "StoreError" in stop.reason
    assert study_states(folder)["FAIL"] == 0
    with pytest.raises(StoreError):
        main([f"resume={folder.path}"])
    shutil.copytree(tiny, store)
    assert main([f"resume={folder.path}", "tracking=off"]) == 0
    assert study_states(folder) == {"COMPLETE": 5}


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (["baselin=delu"], ConfigError, "did you mean baseline"),
        (["search.num_run=3"], ConfigError, "did you mean search.num_runs"),
        (["search.num_runs=0"], ConfigError, "num_runs"),
        (["search.num_trials=0"], ConfigError, "num_runs"),
        (["search.num_trials=9", "search.num_runs=9"], ConfigError, "is another name of search.num_runs"),
        (["search.num_runs=3"], ConfigError, "the plain baseline on 5 folds and 2 published points alone are 7 runs"),
        (["search.folds=1"], ConfigError, "search.folds=1: must lie between 2 and 20"),
        (["search.folds=50"], ConfigError, "search.folds=50: must lie between 2 and 20"),
        (["search.num_runs=10000000"], ConfigError, "must lie between 2 and 1000000"),
        (
            ["confirm.precision=0"],
            ConfigError,
            "confirm.precision=0.0: must lie between 0.01 and 100, or be null for no more seeds than confirm.seeds",
        ),
        (["confirm.precision=fine"], ConfigError, "confirm.precision='fine': must be a number or null"),
        (["search.time_budget=90"], ConfigError, "search.time_budget=90: write a duration with units"),
        (["seeds=3"], ConfigError, "did you mean confirm.seeds"),
        (
            ["seed=2147483647"],
            ConfigError,
            "seed=2147483647: runs of this search train with seeds up to seed + 1019 (the confirmation's begin at "
            "seed + 1000), and no seed may exceed 2147483647; give seed=2147482628 or less",
        ),
        (["serch.num_runs=9"], ConfigError, "are known: python -m dce_ray.search keys lists"),
        (["search.folds=13"], DataError, "folds"),
        (["sampling.folds=3"], ConfigError, "say search.folds=<how many>"),
        (["sampling.fold=1"], ConfigError, "say search.folds=<how many>"),
        (["sampling.holdout_share=0.3"], ConfigError, "search.folds=5 holds out a fifth"),
        (["policy=replicate"], ConfigError, "did you mean replicates"),
        (["scheduler=asha"], ConfigError, "or use policy=single"),
        (["search.min_iterations=50"], ConfigError, "or use policy=single"),
        (["search.time_budget=soon"], ConfigError, "90m"),
        (["sampler=tpee"], ConfigError, "did you mean tpe"),
        (["space.detla.high=0.9"], SearchSpaceError, "did you mean space.delta.high"),
        (["space.delta.low=0.99"], SearchSpaceError, "low must be below"),
        (["space.delta=0.5", "scs=off"], SearchSpaceError, "switched off"),
        (["method.detla=0.5"], ConfigError, "did you mean method.delta"),
        (["sampling.holdout_seed=1"], ConfigError, "sampling.holdout_seed: sampling.fold_seed takes its place"),
        (["protocol=confirm"], ConfigError, "selects on holdout"),
        (["baseline=delux"], ConfigError, "did you mean delu"),
        (["scs=off", "mcm=off"], SearchSpaceError, "nothing is left to search"),
        (["resume=/nowhere"], SearchError, "/nowhere does not exist"),
        (["resume="], ConfigError, "names no folder"),
        (["space.delta=0.6", "method.delta=0.5"], ConfigError, "delta: given as method.<name> and as space.<name>"),
        (["device=cuda:7"], ConfigError, "use device=cpu"),
        (["name=../../elsewhere"], ConfigError, "must be a name and no path"),
        (["name=.."], ConfigError, "must be a name and no path"),
        (["evaluation.skip_videos=[nobody]"], EvaluationError, "nobody"),
        (["training.precision=tf32", "device=cpu"], ConfigError, "device cpu has no TF32"),
        (["training.graphs=on", "device=cpu"], ConfigError, "device cpu has no graphs"),
        (["tracking.uri=https://me:word@host"], ConfigError, "tracking.uri=https://me:***@host: holds a password"),
    ],
)
def test_wrong_key_starts_nothing(tiny, tmp_path, wrong, error, words, monkeypatch):
    monkeypatch.setattr("dce_ray.session.ray_session._start", lambda *_: pytest.fail("Ray was started"))
    with pytest.raises(error, match=re.escape(words)):
        main([f"data={tiny}", f"results={tmp_path}", *wrong])
    assert list(tmp_path.iterdir()) == []


def launch(tiny, results, *more):
    command = [sys.executable, "-m", "dce_ray.search", *arguments(tiny, results, *more)]
    log = (results / "out.txt").open("w")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": ""}
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def wait_for(condition, process, limit_s=150):
    began = time.monotonic()
    while not condition():
        assert process.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() - began < limit_s
        time.sleep(0.05)


def ended_trials(results):
    paths = list(Path(results).glob("*/delu/one/trials/*/record.json"))
    return [path for path in paths if json.loads(path.read_text())["state"] != "running"]


def test_two_searches_at_once_and_one_driver_killed_then_resumed(cluster, tiny, tmp_path):
    """Own local Rays side by side; one driver dies by SIGKILL in the middle of a trial, twice; nothing counts twice."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    more = [*SINGLE, "search.num_runs=7", *ONCE, "scheduler=none", "training.iterations=40"]
    killed = launch(tiny, tmp_path / "a", *more)
    beside = launch(tiny, tmp_path / "b", "search.num_runs=5", "confirm.seeds=0")
    wait_for(lambda: len(ended_trials(tmp_path / "a")) >= 2, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    folder = opened(tmp_path / "a")
    finished_before = {
        trial.number: (trial.user_attrs["key"], trial.value)
        for trial in read_study(folder.study).trials
        if trial.state.name == "COMPLETE"
    }
    assert main([f"resume={folder.path}"]) == 0
    trials = read_study(folder.study).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    assert len({trial.user_attrs["key"] for trial in trials}) == 6
    for number, (key, value) in finished_before.items():
        assert (trials[number].user_attrs["key"], trials[number].value) == (key, value)
    for trial in trials:
        record = folder.trial(trial.user_attrs["key"]).record()
        assert (record.state, record.value) == ("finished", trial.value)
        assert sorted(trial.intermediate_values) == list(range(2, 41, 2))
    assert beside.wait(timeout=150) == 0, (tmp_path / "b" / "out.txt").read_text()
    assert sum(study_states(opened(tmp_path / "b")).values()) == 5


def test_store_of_other_content_is_refused(tiny, tmp_path):

    experiment, folder = create(request_of(parse(arguments(tiny, tmp_path))))
    config = folder.config
    assert config["digest"] == experiment.digest
    write_json(folder.path / "config.json", config | {"digest": "another"})
    with pytest.raises(SearchError, match="holds other data"):
        main([f"resume={folder.path}"])


def test_folder_in_use_is_left_alone(finished):
    page = finished.path / "report.html"
    before = page.stat().st_mtime_ns
    with finished.lock(), pytest.raises(SearchError, match="in use"):
        main([f"resume={finished.path}", "search.num_runs=17"])
    assert page.stat().st_mtime_ns == before


def test_time_budget_that_ends_before_any_trial(cluster, tiny, tmp_path):
    short = ["search.num_runs=3", "search.time_budget=0.01s", *ONCE, *SINGLE]
    with pytest.raises(SearchError, match=r"was trained to its end.*time budget.*search\.time_budget=<more>"):
        main(arguments(tiny, tmp_path, *short))
    folder = opened(tmp_path)
    assert "Test was not read yet." in (folder.path / "report.html").read_text()
    assert study_states(folder) == {"WAITING": 2}  # the first points
    (plain,) = [item.record() for item in folder.trials()]  # it is needed for any comparison
    assert plain.role == "plain"
    assert (plain.origin, plain.state, plain.components) == ("baseline", "finished", "baseline")
    assert not folder.confirmations()


def test_time_that_ends_before_the_first_run_keeps_the_folder_and_what_is_printed_goes_on(
    cluster, tiny, tmp_path, monkeypatch
):
    few = ["search.num_runs=4", "confirm.seeds=0", "training.iterations=4", f"storage={tmp_path / 'storage'}"]
    with pytest.raises(SearchError, match=r"to go on: .*") as refused:
        main(arguments(tiny, tmp_path, "search.time_budget=0.01s", *few))
    folder = opened(tmp_path)
    assert not folder.trials()
    assert tmp_path.joinpath("storage", *folder.path.parts[-3:], "config.json").is_file()
    *_, resume, more = shlex.split(str(refused.value))
    assert more == "search.time_budget=<more>"
    monkeypatch.setenv("DCE_RAY_COMMIT", "bbbbbbb")
    assert main([resume, "search.time_budget=1h"]) == 0
    assert [run.record().state for run in folder.trials()] == ["finished"] * 4
    assert [session["commit"] for session in folder.sessions] == [folder.environment["commit"], "bbbbbbb"]
    provenance = (folder.path / "report.html").read_text().partition('id="provenance"')[2]
    assert 0 < provenance.index(folder.environment["commit"]) < provenance.index("<dd>bbbbbbb</dd>")


@pytest.mark.parametrize(("state", "runs"), [("failed", 0), ("running", 1), ("finished", 0)])
def test_a_plain_baseline_that_just_failed_is_not_trained_again(tiny, tmp_path, state, runs):
    """Only one that the time budget cut off is: a run that ended in NaN would end so again."""

    runs_of_search = searching(*create(request_of(parse(arguments(tiny, tmp_path, *SINGLE)))))
    (plain,) = runs_of_search.plain.plan
    plain.folder.write(plain.record.replace(state=state))
    again = searching(runs_of_search.experiment, runs_of_search.folder)
    unfinished = again.unfinished_plain()
    assert (unfinished is not None) == bool(runs)


def test_time_that_ends_in_the_first_stage_leaves_it_unconfirmed_and_the_command_goes_on(
    cluster, tiny, tmp_path, capsys
):
    more = ["search.num_runs=3", "confirm.seeds=0", "confirm.top=1", "training.iterations=4", *SINGLE]
    assert main(arguments(tiny, tmp_path, *more)) == 0
    folder = opened(tmp_path)
    assert main([f"resume={folder.path}", "confirm.seeds=2", "search.time_budget=0.01s"]) == 0
    seen = capsys.readouterr().out
    verdict = Verdict.read(folder)
    assert (verdict.outcome, verdict.planned_pairs, verdict.gain) == ("unconfirmed", 2, None)
    assert "the time budget ended its confirmation, with 0 of 2 pairs of seeds done" in verdict.sentence
    assert seen.rstrip().endswith(f"{verdict.text}")
    assert "stopped: the time budget is used up" in seen
    assert verdict.sentence in (folder.path / "report.html").read_text()
    python, dash, module, *words = shlex.split(verdict.command)
    assert (python, dash, module) == ("python", "-m", "dce_ray.search")
    assert main([*words, "tracking=off"]) == 0
    verdict = Verdict.read(folder)
    assert (verdict.outcome in ("better", "undecided", "worse"), verdict.pairs) == (True, 2)


def test_ctrl_c_between_two_stages_says_how_to_go_on(tiny, tmp_path, capsys, monkeypatch):
    """Where no run trains there is nothing to be stopped tidily; the folder is kept all the same."""

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(arguments(tiny, tmp_path))
    assert f" -m dce_ray.search resume={opened(tmp_path).path}" in capsys.readouterr().out


@pytest.mark.parametrize(("fault", "told"), [(KeyError("forgotten"), False), (KeyboardInterrupt(), True)])
def test_a_report_that_fails_after_ctrl_c_is_not_said_to_be_interrupted(tmp_path, monkeypatch, capsys, fault, told):
    folder = ExperimentFolder(tmp_path)
    folder.study.touch()

    def fail(_, *, live):
        raise fault

    monkeypatch.setattr(page, "write_outputs", fail)

    def after_ctrl_c():
        try:
            raise KeyboardInterrupt
        finally:
            api._write_outputs(folder)

    with pytest.raises(type(fault)):
        after_ctrl_c()
    assert ("report.html was not written, for it was interrupted" in capsys.readouterr().out) is told


def test_who_runs_out_of_disk_is_told_the_command_that_goes_on(tmp_path):
    """The one that was given is refused when it is given again: its folder exists."""
    folder = ExperimentFolder.create(tmp_path / "one", {}, {})
    full = not_written(folder.figures / "history.svg", OSError(errno.ENOSPC, "No space left on device"))
    with (
        pytest.raises(OutputError, match=rf"free space .* then go on with: .* resume={folder.path}\Z"),
        api._resumable(folder),
    ):
        raise full
    shutil.rmtree(folder.path)
    with pytest.raises(OutputError, match=r"then give the command again\Z"), api._resumable(folder):
        raise full


@pytest.mark.parametrize("before", [False, True])
def test_who_ends_what_comes_behind_the_runs_is_told_the_command_that_goes_on_once(tmp_path, capsys, before):
    """A second signal may come while MLflow is waited for, or the report is drawn."""
    folder = ExperimentFolder.create(tmp_path / "one", {}, {})

    def ended() -> None:
        with api._resumable(folder) as told:
            if before:
                told.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ended()
    go_on = f"Go on with: {command_line('dce_ray.search', resume=folder.path)}"
    assert (go_on in capsys.readouterr().out) is not before
