"""The experiment folder survives torn writes, and its readers need no lock."""

import json
import math

import pytest

from dce_ray.errors import SearchError
from dce_ray.experiment.folder import ExperimentFolder, TrialRecord
from dce_ray.files import cut_torn_line, write_json


@pytest.fixture
def folder(tmp_path):
    return ExperimentFolder.create(tmp_path / "experiment", {"run": {}}, {"commit": "abc"})


def record(key="a", number=0, **changes):
    values = {"kind": "trial", "state": "running", "params": {"delta": 0.7}, "config": {}, "seed": 0}
    return TrialRecord(key, number, **values | changes)


def test_create_refuses_what_exists_and_open_what_does_not(folder, tmp_path):
    with pytest.raises(SearchError, match="resume="):
        ExperimentFolder.create(folder.path, {}, {})
    with pytest.raises(SearchError, match="no experiment folder"):
        ExperimentFolder.open(tmp_path)
    assert ExperimentFolder.open(folder.path).config == {"run": {}}


def test_record_round_trip_and_order_by_number(folder):
    folder.trial("zz").write(record("zz", 0, value=math.nan))
    folder.trial("aa").write(record("aa", 1))
    folder.trial("aa").update(state="finished", value=0.5)
    assert [trial.key for trial in folder.trials()] == ["zz", "aa"]
    assert folder.trial("zz").record().value is None
    assert folder.trial("aa").record() == record("aa", 1, state="finished", value=0.5)


def test_unknown_state_is_refused():
    with pytest.raises(SearchError, match="stopped"):
        record(state="stopped")


def test_progress_cuts_torn_line_and_counts_repeated_iterations_once(folder):
    trial = folder.trial("a")
    trial.append(2, {"mAP/0.5": 0.1}, 1.0)
    trial.append(4, {"mAP/0.5": 0.2}, 2.0)
    with (trial.path / "progress.jsonl").open("ab") as file:
        file.write(b'{"iteration": 6, "ti')
    assert [line.iteration for line in trial.progress()] == [2, 4]
    trial.append(4, {"mAP/0.5": math.inf}, 3.0)
    assert [(line.iteration, line.time, line.metrics["mAP/0.5"]) for line in trial.progress()] == [
        (2, 1.0, 0.1),
        (4, 3.0, None),
    ]
    for line in (trial.path / "progress.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize(("content", "left"), [(b"", b""), (b"torn", b""), (b"a\ntorn", b"a\n"), (b"a\n", b"a\n")])
def test_cut_torn_line(tmp_path, content, left):
    path = tmp_path / "file"
    path.write_bytes(content)
    cut_torn_line(path)
    assert path.read_bytes() == left


def test_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [child.name for child in tmp_path.iterdir()] == ["value.json"]


def test_second_lock_is_refused(folder):
    with folder.lock(), pytest.raises(SearchError, match="in use"), folder.lock():
        pass
    with folder.lock():
        pass
