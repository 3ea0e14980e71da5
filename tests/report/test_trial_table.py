"""The trials table says what the study says, in Parquet and CSV alike."""

from __future__ import annotations

import csv
import math
import re

import optuna
import pyarrow.parquet as pq
import pytest
from made_experiments import BOTH, Script, make_experiment

from dce_ray.errors import SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.study import read_study
from dce_ray.report.importance import importance_of
from dce_ray.report.page import write_outputs
from dce_ray.report.trial_table import read_trials, write_trials
from dce_ray.search import api

COLUMNS = ["number", "key", "state", "point", "fold", "seed"]
COLUMNS += ["delta", "theta_rep", "theta_pro", "beta", "gamma", "lambda", "value_fraction", "value_iteration"]
COLUMNS += ["iterations", "psi_share", "mcm_share", "origin", "duration_s", "error"]


@pytest.fixture
def mixed(tmp_path) -> ExperimentFolder:
    return make_experiment(
        tmp_path / "hapt" / "delu" / "mixed",
        [
            Script(
                scores={50: 0.30, 100: 0.42, 150: 0.41}, origin="paper", params={"delta": 0.7}, psi_shares=(0.2, 0.3)
            ),
            Script("pruned", scores={50: 0.25, 100: 0.21}),
            Script("failed", scores={50: 0.28}, error="loss/mil is not finite at iteration 60"),
            Script("failed", error="out of memory"),
            Script(scores={50: float("nan"), 100: 0.44}),
            Script("running", scores={50: 0.1}),
        ],
        fixed={"lambda": 1.0},
    )


def test_rows_are_those_of_the_study(mixed):
    rows = read_trials(mixed).rows
    assert [row.state for row in rows] == ["finished", "pruned", "failed", "failed", "finished", "interrupted"]
    assert [row.value for row in rows] == [0.42, 0.25, None, None, 0.44, None]
    assert [row.value_iteration for row in rows] == [100, 50, 50, None, 100, 50]
    assert [row.iterations for row in rows] == [150, 100, 50, None, 100, 50]
    assert [row.origin for row in rows] == ["paper", "search", "search", "search", "search", "search"]
    assert rows[2].error == "loss/mil is not finite at iteration 60"
    assert rows[0].delta == 0.7
    assert {row.lambda_ for row in rows} == {1.0}
    assert [row.point for row in rows] == [row.number for row in rows], "each trial is a point of its own"
    assert (rows[0].psi_share, rows[0].mcm_share) == (0.3, None)


def test_what_no_process_runs_is_interrupted(mixed):
    """The study has it as running until it goes on; a search that stops holds its lock while it writes its page."""
    with mixed.lock():
        assert read_trials(mixed).rows[-1].state == "running"
        write_outputs(mixed)
        assert "1 running" in (mixed.path / "report.html").read_text()
        api._write_outputs(mixed)
        stopped = (mixed.path / "report.html").read_text()
    write_outputs(mixed)
    assert (mixed.path / "report.html").read_text() == stopped
    assert "1 interrupted" in stopped
    assert "running" not in html_to_text(stopped)
    with (mixed.path / "trials.csv").open(newline="") as file:
        assert [line["state"] for line in csv.DictReader(file)][-1] == "interrupted"


def html_to_text(page: str) -> str:
    return re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]*>", " ", page, flags=re.DOTALL)


def test_best_is_the_highest_finished_one(mixed):
    table = read_trials(mixed)
    assert table.best is not None
    assert table.best.number == 4
    assert set(table.ranges) == {"delta", "theta_rep", "theta_pro", "beta", "gamma"}
    assert table.ranges["beta"].log


def test_the_study_wins_over_the_folder(mixed):
    # A record that a killed driver never brought up to date says "running"; the study knows better.
    place = mixed.trial("trial000")
    config = {**BOTH, "method": {**BOTH["method"], "delta": 0.1, "lambda": 0.5}}
    place.write(place.record().replace(state="running", value=0.99, config=config))
    row = read_trials(mixed).rows[0]
    assert (row.state, row.value, row.delta) == ("finished", 0.42, 0.7)


def test_rows_survive_the_loss_of_all_trial_folders(mixed):
    before = read_trials(mixed).rows
    for child in (mixed.path / "trials").iterdir():
        for file in child.iterdir():
            file.unlink()
    after = read_trials(mixed).rows
    assert [(row.number, row.state, row.value, row.lambda_) for row in after] == [
        (row.number, row.state, row.value, row.lambda_) for row in before
    ]
    assert after[0].psi_share is None


def test_parquet_and_csv_hold_the_same(mixed, tmp_path):
    table = read_trials(mixed)
    write_trials(table, tmp_path / "t.parquet", tmp_path / "t.csv")
    written = pq.read_table(tmp_path / "t.parquet")
    assert written.column_names == COLUMNS
    assert str(written.schema.field("value_fraction").type) == "double"
    assert str(written.schema.field("number").type) == "int64"
    assert written.column("value_fraction").to_pylist() == [0.42, 0.25, None, None, 0.44, None]
    assert written.column("lambda").to_pylist() == [1.0] * 6
    with (tmp_path / "t.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == COLUMNS
    for name in COLUMNS:
        for text, value in zip([line[name] for line in lines], written.column(name).to_pylist(), strict=True):
            assert text == ("" if value is None else str(value))


def test_columns_keep_their_types_where_everything_is_missing(tmp_path):
    folder = make_experiment(tmp_path / "hapt" / "delu" / "none", [])
    write_trials(read_trials(folder), tmp_path / "t.parquet", tmp_path / "t.csv")
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert [str(schema.field(name).type) for name in ("key", "delta", "value_iteration")] == [
        "string",
        "double",
        "int64",
    ]
    assert (tmp_path / "t.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_a_folder_without_study_is_refused(tmp_path):
    folder = ExperimentFolder.create(tmp_path / "empty", {}, {})
    with pytest.raises(SearchError, match=r"study\.journal does not exist"):
        read_trials(folder)
    assert not folder.study.exists()


def importance(folder):
    study = read_study(folder.study)
    return importance_of(study, read_trials(folder, study))


def test_importance_finds_the_parameter_that_matters(tmp_path):
    places = [0.3 + 0.65 * ((37 * index) % 60) / 59 for index in range(60)]
    scripts = [Script(scores={50: 0.5 - (place - 0.6) ** 2}, params={"delta": place}) for place in places]
    found = importance(make_experiment(tmp_path / "a", scripts, fixed={"lambda": 1.0}))
    assert next(iter(found.shares)) == "delta"
    assert found.shares["delta"] > 0.5
    assert math.isclose(sum(found.shares.values()), 1.0)
    assert "lambda" not in found.shares
    assert "Not searched: lambda" in found.note
    assert "best 6 of 60" in found.note


@pytest.mark.parametrize(
    ("scripts", "reason"),
    [
        ([], "no parameter was searched"),
        ([Script(scores={50: 0.4})], "1 finished trials"),
        ([Script("pruned", scores={50: 0.4})] * 20, "0 finished trials"),
        ([Script(scores={50: 0.4})] * 20, "same value"),
    ],
)
def test_importance_says_why_there_is_none(tmp_path, scripts, reason):
    found = importance(make_experiment(tmp_path / "a", scripts))
    assert not found.shares
    assert reason in found.note


def test_a_constant_parameter_has_no_importance(tmp_path):
    fixed = dict.fromkeys(("delta", "theta_rep", "theta_pro", "beta", "gamma", "lambda"), 0.5)
    scripts = [Script(scores={50: 0.4 + 0.01 * index}) for index in range(12)]
    found = importance(make_experiment(tmp_path / "a", scripts, fixed=fixed))
    assert found.note == "Not defined: no parameter was searched."


def test_few_trials_are_called_rough(tmp_path):
    scripts = [Script(scores={50: 0.4 + 0.01 * index}) for index in range(12)]
    found = importance(make_experiment(tmp_path / "a", scripts))
    assert "best 5 of 12 finished trials; rough" in found.note


def test_two_studies_in_one_journal_are_refused(mixed):
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(mixed.study)))
    optuna.create_study(storage=storage, study_name="other")
    with pytest.raises(SearchError, match=r"holds the studies \['runs', 'other'\]"):
        read_study(mixed.study)


def test_half_a_line_of_a_killed_writer_is_no_obstacle_and_stays(mixed):
    with mixed.study.open("ab") as file:
        file.write(b'{"op_code": 6, "wor')
    before = mixed.study.read_bytes()
    assert len(read_trials(mixed).rows) == 6
    assert mixed.study.read_bytes() == before
