"""``python -m dce_ray.report`` on experiment folders: its numbers equal those of the runs, what lacks is said."""

from __future__ import annotations

import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from made_experiments import Script, add_confirmation, made_table, make_experiment

from dce_ray.errors import ConfigError, TrackingError
from dce_ray.experiment.campaign import CampaignFolder
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import read_json, write_json
from dce_ray.report import __main__ as report
from dce_ray.report.page import origin_notes
from dce_ray.search.campaign import write_comparison
from dce_ray.verdict.text import ANEW
from dce_ray.verdict.verdict import Verdict
from dce_ray.words import runnable

BASELINES = ("co2net", "delu", "ddgnet")


def searched(root: Path, data: str, baseline: str, name: str = "run", *, winner: str | None = "top1", shift: int = 0):
    folder = make_experiment(root / data / baseline / name, [Script(scores={50: 0.4})])
    for seed in range(3):
        add_confirmation(folder, "top1", seed, made_table(0.66, shift + 10 + seed), number=seed)
        add_confirmation(folder, "top2", seed, made_table(0.90, shift + 20 + seed), number=3 + seed)
        add_confirmation(folder, "baseline", seed, made_table(0.60, shift + seed), number=6 + seed)
    if winner:
        write_json(folder.confirmation, {"winner": winner})
    return folder


def value_of(folder, component, seed, column):
    table = read_json(folder.confirm(f"{component}-{seed}").table)
    if column.startswith("avg_"):
        return 100 * table["averages"][column.removeprefix("avg_").replace("_", ":")]
    return 100 * table["map"][table["thresholds"].index(float(column.removeprefix("mAP@")))]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    root = tmp_path_factory.mktemp("three") / "results"
    return root, {name: searched(root, "hapt", name, shift=100 * place) for place, name in enumerate(BASELINES)}


def test_one_table_with_three_baselines(three, capsys):
    root, _ = three
    assert report.main([f"folders={root}"]) == 0
    text = capsys.readouterr().out
    labels = [[cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines() if line.startswith("| ")]
    assert labels[2:] == [
        [name, label]
        for name in ("CO2-Net", "DELU", "DDG-Net")
        for label in ("plain baseline", "+ SCS + MCM, searched", "absolute improvement")
    ]


def test_numbers_equal_the_runs(three, capsys):
    root, folders = three
    report.main([f"folders={root}", "format=csv"])
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(lines) == 3 * 3 * 10
    names = dict(zip(("CO2-Net", "DELU", "DDG-Net"), BASELINES, strict=True))
    for line in lines:
        folder, column = folders[names[line["group"]]], line["column"]
        plain, ours = (
            [value_of(folder, component, seed, column) for seed in range(3)] for component in ("baseline", "top1")
        )
        values = {
            "plain baseline": plain,
            "+ SCS + MCM, searched": ours,
            "absolute improvement": [ours[seed] - plain[seed] for seed in range(3)],
        }[line["label"]]
        assert float(line["mean"]) == pytest.approx(statistics.mean(values))
        assert float(line["deviation"]) == pytest.approx(statistics.stdev(values))
        assert line["low"] == line["high"] == ""
        assert (line["seeds"], line["source"]) == ("3", "measured")


def test_the_winner_is_the_one_of_holdout_whatever_test_says(three):
    # top2 is far better on test; the winner was chosen before test was read.
    root, _ = three
    found = report.find_experiments([root])
    assert [one.comparison.ours.name for one in found] == ["top1"] * 3


def test_searches_on_other_data_of_the_same_name_are_told_apart(tmp_path, capsys):
    folders = [searched(tmp_path, "synthetic", "delu", name) for name in ("tiny", "bench", "again")]
    for folder, digest in zip(folders, ("a" * 64, "b" * 64, "a" * 64), strict=True):
        write_json(folder.path / "config.json", folder.config | {"digest": digest})
    assert report.main([f"folders={tmp_path}"]) == 0
    told = capsys.readouterr().out
    assert (
        "Not all of these are on the same data, and numbers of different data cannot be compared: "
        f"delu/again, delu/tiny (digest {'a' * 12}); delu/bench (digest {'b' * 12})."
    ) in told
    assert report.main([f"folders={folders[0].path}"]) == 0
    assert "Not all of these" not in capsys.readouterr().out


def test_unfinished_experiments_are_named_and_left_out(tmp_path, capsys):
    root = tmp_path / "results"
    searched(root, "hapt", "delu", "done")
    searched(root, "hapt", "delu", "open", winner=None)
    make_experiment(root / "hapt" / "delu" / "fresh", [])
    report.main([f"folders={root}"])
    text = capsys.readouterr().out
    assert text.count("| plain baseline") == 1
    go_on = f"to go on: {runnable(f'python -m dce_ray.search resume={root.resolve()}/hapt/delu')}"
    assert f"Left out: hapt/delu/fresh, its confirmation has not begun; {go_on}/fresh\n" in text
    assert f"Left out: hapt/delu/open, its confirmation names no winner yet; {go_on}/open\n" in text


def test_data_with_nothing_finished_has_a_line_and_no_empty_table(tmp_path, capsys):
    searched(tmp_path / "results", "hapt", "delu", "open", winner=None)
    report.main([f"folders={tmp_path / 'results'}"])
    text = capsys.readouterr().out
    assert text.startswith("HAPT: no search has finished, so there is no table.\n- Left out: hapt/delu/open, ")
    assert "|" not in text


def test_a_note_calls_a_trial_of_policy_single_a_trial(tmp_path):
    folder = searched(tmp_path / "results", "hapt", "delu", "a")
    write_json(folder.confirmation, {"configurations": [{"name": "top1", "point": 3, "origin": "search"}]})
    assert origin_notes(folder) == ["top1 is trial 3, found by the search."]


def test_a_confirmation_anew_is_no_search_even_where_a_study_lies_in_it(tmp_path):
    """As versions left one that fetched it from a storage."""
    folder = searched(tmp_path, "hapt", "delu", "done")
    shutil.copytree(folder.path, folder.look(2))
    config = read_json(folder.path / "config.json")
    write_json(folder.look(2) / "config.json", config | {"kind": ANEW, "look": 2, "search_folder": str(folder.path)})
    assert (folder.look(2) / "study.journal").is_file()
    assert [one.comparison.name for one in report.find_experiments([tmp_path])] == ["done"]


def test_a_failed_seed_shortens_the_count(tmp_path, capsys):
    root = tmp_path / "results"
    folder = searched(root, "hapt", "delu")
    folder.confirm("top1-1").update(state="failed", error="not finite")
    report.main([f"folders={root}", "format=csv"])
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {line["seeds"] for line in lines if line["label"] == "+ SCS + MCM, searched"} == {"2"}
    assert {line["seeds"] for line in lines if line["label"] == "absolute improvement"} == {"2"}


def test_target_holds_every_format_and_figures(three, tmp_path):
    root, _ = three
    report.main([f"folders={root}", f"target={tmp_path / 'out'}"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"comparison_hapt.{suffix}" for suffix in ("csv", "md", "png", "svg", "tex")),
        "report.html",
    ]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<table>") == page.count("<caption>") == page.count("<svg role=") == 1


def test_the_page_of_a_campaign_names_it_and_leads_to_its_searches(tmp_path):
    """It promises no labels where all is measured: its tables have none then."""
    root = tmp_path / "results"
    folders = [searched(root, "hapt", name, "all") for name in ("delu", "co2net")]
    (folders[0].path / "report.html").write_text("of the search")
    campaign = CampaignFolder.create(
        root / "campaigns" / "all", [("hapt", one.path.parent.name, one.path) for one in folders]
    )
    write_comparison(campaign)
    page = (campaign.path / "report.html").read_text()
    assert "<h1>Campaign all</h1>" in page
    assert '<li><a href="../../hapt/delu/all/report.html">hapt/delu</a>: ' in page
    assert "<li>hapt/co2net: " in page, "a search without a page has no link"
    assert (campaign.path / "../../hapt/delu/all/report.html").is_file()
    assert "all numbers were measured here" in page
    assert "each line labelled" not in page
    assert "Lines marked" not in page
    report.main([f"folders={root}", "data=thumos14", f"target={tmp_path / 'printed'}"])
    printed = (tmp_path / "printed" / "report.html").read_text()
    assert "nothing was measured yet" in printed
    assert "Lines marked measured" in printed


def test_paper_numbers_show_without_any_experiment(tmp_path, capsys):
    (tmp_path / "results").mkdir()
    report.main([f"folders={tmp_path / 'results'}", "data=thumos14"])
    text = capsys.readouterr().out
    assert "73.1" in text
    assert "Nothing was measured yet" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["format=markdwn"], "did you mean markdown"),
        (["folder=x"], "did you mean folders"),
        (["folders=nowhere"], "does not exist"),
        (["data=thumos"], "did you mean thumos14"),
        ([], "no experiment found"),
    ],
)
def test_mistakes_are_answered(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    with pytest.raises(ConfigError, match=message):
        report.main(arguments)


@pytest.fixture(scope="module")
def mirrored(three, tmp_path_factory):
    """The three experiments in a local MLflow database, the folders gone from the report's sight."""
    from dce_ray.tracking import sync

    _, folders = three
    database = tmp_path_factory.mktemp("mirrored") / "mlflow.db"
    for folder in folders.values():
        sync(folder, f"sqlite:///{database}")
    return database


def test_mlflow_gives_the_same_table_as_the_folders(three, mirrored, capsys, tmp_path):
    root, _ = three
    report.main([f"folders={root}", "format=csv"])
    expected = capsys.readouterr().out
    report.main([f"mlflow=sqlite:///{mirrored}", "format=csv", f"folders={tmp_path / 'nowhere'}"])
    assert capsys.readouterr().out == expected


def test_the_newest_run_of_a_name_counts_in_mlflow(mirrored, three, capsys, tmp_path):
    """A confirmation that was planned anew leaves its older runs in MLflow."""
    from dce_ray.tracking import sync

    _, folders = three
    uri = f"sqlite:///{shutil.copy(mirrored, tmp_path)}"
    copied = tmp_path / "again" / "hapt" / "delu" / "run"
    shutil.copytree(folders["delu"].path, copied)
    folder = ExperimentFolder.open(copied)
    for seed in range(3):
        place = folder.confirm(f"top1-{seed}")
        record = place.record()
        place.write(record.replace(config={**record.config, "anew": True}, started=2e9, ended=2e9 + 1))
        write_json(place.table, made_table(0.99, seed).to_mapping())
    sync(folder, uri)
    report.main([f"folders={tmp_path / 'again'}", "format=csv"])
    expected = [line for line in capsys.readouterr().out.splitlines() if "DELU,+ SCS" in line]
    report.main([f"mlflow={uri}", "format=csv"])
    assert [line for line in capsys.readouterr().out.splitlines() if "DELU,+ SCS" in line] == expected


def test_a_silent_mlflow_is_named(tmp_path):
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        report.main(["mlflow='http://127.0.0.1:9'"])


def test_the_command_itself(three):
    root, _ = three
    environment = os.environ | {"PYTHONPATH": str(Path(report.__file__).resolve().parent.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "dce_ray.report", f"folders={root}", "format=latex"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(r"\begin{table*}")


def test_a_folder_of_another_format_is_left_out_by_name(three, tmp_path, caplog, capsys):
    root, folders = three
    report.main([f"folders={root}", "format=csv"])
    expected = capsys.readouterr().out
    copied = tmp_path / "results"
    shutil.copytree(root, copied)
    old = copied / folders["delu"].path.relative_to(root).parent / "old"
    shutil.copytree(folders["delu"].path, old)
    config = json.loads((old / "config.json").read_text())
    write_json(old / "config.json", {key: value for key, value in config.items() if key != "format"})
    report.main([f"folders={copied}", "format=csv"])
    assert capsys.readouterr().out == expected
    assert "left out" in caplog.text
    assert f"{old.resolve()}: written in format 1" in caplog.text


def verdict_of(folder, outcome="undecided"):
    verdict = Verdict(outcome, f"verdict: {outcome}: {folder.path.name}.", ("One.", "Two:"), "python -m x")
    write_json(folder.confirmation, read_json(folder.confirmation) | {"verdict": verdict.to_mapping()})
    return verdict


def test_a_folder_alone_prints_its_table_and_the_whole_verdict(tmp_path, capsys):
    root = tmp_path / "my results"
    folder = searched(root, "hapt", "delu", "one")
    verdict = verdict_of(folder)
    assert report.main([str(folder.path)]) == 0
    text = capsys.readouterr().out
    assert "| plain baseline" in text
    assert text.rstrip().endswith("\n".join([verdict.sentence, "One.", "Two:", runnable("python -m x")]))
    other = verdict_of(searched(root, "hapt", "delu", "two"))
    copy = root / "mlartifacts" / "1" / "abc" / "artifacts"  # where MLflow keeps copies of a search's files
    copy.mkdir(parents=True)
    for name in ("config.json", "confirmation.json"):
        shutil.copy(folder.path / name, copy)
    report.main([f"folders='{root}'"])
    assert capsys.readouterr().out.rstrip().splitlines()[-2:] == [
        f"hapt/delu/one: {verdict.sentence}",
        f"hapt/delu/two: {other.sentence}",
    ]
    report.main([f"folders='{root}'", "format=csv"])
    assert "verdict" not in capsys.readouterr().out


def test_a_confirmation_that_was_cut_off_is_left_out_of_the_tables(tmp_path, capsys):
    verdict_of(searched(tmp_path / "results", "hapt", "delu", "one"), "unconfirmed")
    report.main([f"folders={tmp_path / 'results'}"])
    text = capsys.readouterr().out
    command = runnable(f"python -m dce_ray.search resume={(tmp_path / 'results').resolve()}/hapt/delu/one")
    assert f"hapt/delu/one, its confirmation was cut off by the time budget; to go on: {command}" in text


def test_a_search_without_a_confirmation_is_told_how_to_make_one(tmp_path, capsys):
    folder = make_experiment(tmp_path / "results" / "hapt" / "delu" / "one", [])
    folder.keep_config(folder.config | {"confirm": {"seeds": 0, "max_seeds": 5}})
    write_json(folder.confirmation, {"configurations": []})
    verdict_of(folder, "unconfirmed")
    report.main([f"folders={tmp_path / 'results'}"])
    text = capsys.readouterr().out
    assert "Left out: hapt/delu/one, its confirmation has not begun; to go on: " in text
    assert "confirm.seeds=5\n" in text
