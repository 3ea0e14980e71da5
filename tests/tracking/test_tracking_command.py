"""``python -m dce_ray.tracking`` on one experiment and on a folder above several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mirrored import client_of, outdated, runs_of

from dce_ray.errors import SearchError, TrackingError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.tracking import __main__ as tracking
from dce_ray.tracking.sync_report import SyncReport

Make = Callable[..., ExperimentFolder]


def test_a_folder_of_an_older_format_is_refused_with_one_message(make_experiment: Make):
    folder = outdated(make_experiment())
    with pytest.raises(SearchError) as refusal:
        tracking.main(["sync", str(folder.path)])
    assert str(refusal.value).startswith(f"{folder.path}: written in format 1, this version reads format 3; ")
    assert not (folder.path / "tracking").exists()


@pytest.mark.parametrize("action", ["sync", "ui"])
def test_one_old_folder_does_not_hide_the_others(make_experiment: Make, capsys: pytest.CaptureFixture, action: str):
    folders = [make_experiment(name) for name in ("a", "b", "c")]
    if action == "ui":
        assert tracking.main(["sync", str(folders[0].root)]) == 0
        capsys.readouterr()
    outdated(folders[1])
    with pytest.raises(TrackingError) as refusal:
        tracking.main([action, str(folders[0].root)])
    text = str(refusal.value)
    assert f"1 of 3 experiments below {folders[0].root}" in text
    assert f"{folders[1].path}: written in format 1" in text
    printed = capsys.readouterr().out
    if action == "sync":
        assert printed.count("6 of 6 runs are up to date") == 2
        assert len(runs_of(client_of(folders[0]), "c")) == 6
    else:
        assert printed.count("mlflow ui") == 1


def test_several_of_one_database_are_opened_by_one_command(make_experiment: Make, capsys: pytest.CaptureFixture):
    folders = [make_experiment(name) for name in ("a", "b")]
    assert tracking.main(["sync", str(folders[0].root)]) == 0
    capsys.readouterr()
    assert tracking.main(["ui", str(folders[0].root)]) == 0
    assert capsys.readouterr().out.count("mlflow ui") == 1


def test_what_was_never_sent_is_not_opened(make_experiment: Make, capsys: pytest.CaptureFixture):
    folder = make_experiment()
    with pytest.raises(
        TrackingError, match=r"no note of having been sent to MLflow .*; send it, .*: .*sync"
    ) as refusal:
        tracking.main(["ui", str(folder.path)])
    assert str(folder.path) in str(refusal.value)
    assert capsys.readouterr().out == ""


def test_a_folder_without_experiments_is_named(tmp_path: Path):
    with pytest.raises(SearchError, match="no experiment folder"):
        tracking.main(["sync", str(tmp_path)])


def test_a_report_of_nothing_that_was_sent_counts_no_runs_up_to_date():
    report = SyncReport("http://here", "one")
    report.faults.append("nobody listens there")
    assert str(report).splitlines() == [
        "MLflow http://here, experiment one: nothing was sent",
        "  not sent: nobody listens there",
    ]
