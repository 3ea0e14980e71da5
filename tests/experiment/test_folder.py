"""The experiment folder survives torn writes, and its readers need no lock."""

import json
import math
import time
from pathlib import Path

import pytest

from dce_ray.errors import OutputError, SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.sessions import sessions_of, told
from dce_ray.files import cut_torn_line, write_json
from dce_ray.train.run_files import RunFiles


@pytest.fixture
def folder(tmp_path):
    return ExperimentFolder.create(tmp_path / "experiment", {"run": {}}, {"commit": "abc"})


def record(key="a", number=0, **changes):
    values = {"role": "trial", "setting": f"trial {number}", "state": "running", "config": {}, "seed": 0}
    return RunRecord(key, number=number, **values | changes)


def test_create_refuses_what_exists_and_open_what_does_not(folder, tmp_path):
    with pytest.raises(SearchError, match="resume="):
        ExperimentFolder.create(folder.path, {}, {})
    with pytest.raises(SearchError, match="no experiment folder"):
        ExperimentFolder.open(tmp_path)
    with pytest.raises(SearchError, match=r"no does not exist; below .* lie:\n  .*/experiment\Z"):
        ExperimentFolder.open(tmp_path / "no")
    with pytest.raises(SearchError, match=r"does not exist; did you mean .*/experiment\?\Z"):
        ExperimentFolder.open(tmp_path / "experimnet")
    deep = ExperimentFolder.create(tmp_path / "results" / "hapt" / "delu" / "one", {}, {})
    for missing in ("nosuch", "nosuch/delu/one"):
        with pytest.raises(SearchError, match=rf"does not exist; below {tmp_path}/results lie:\n  {deep.path}\Z"):
            ExperimentFolder.open(tmp_path / "results" / missing)
    with pytest.raises(SearchError, match=r"/nowhere does not exist; give the folder of an experiment"):
        ExperimentFolder.open("/nowhere")
    assert ExperimentFolder.open(folder.path).config == {"format": 3, "run": {}}


def test_what_lies_beside_is_not_told_where_it_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(f"os.{name}", refuse)
    with pytest.raises(SearchError, match=r"no does not exist, and no experiment lies below"):
        ExperimentFolder.open(tmp_path / "no")


@pytest.mark.parametrize(
    ("written", "found"), [({"run": {}}, "format 1"), ({"format": 2}, "format 2"), ({"format": 4}, "format 4")]
)
def test_a_folder_of_another_version_is_refused_and_untouched(tmp_path, written, found):
    path = tmp_path / "old" / "config.json"
    write_json(path, written)
    with pytest.raises(SearchError, match=f"{found}, this version reads format 3"):
        ExperimentFolder.open(path.parent)
    assert [item.name for item in path.parent.iterdir()] == ["config.json"]
    assert json.loads(path.read_text()) == written


def test_a_single_run_is_no_experiment(tmp_path):
    write_json(tmp_path / "config.json", {"baseline": "delu", "training": {}})
    with pytest.raises(SearchError, match=r"a single run of dce_ray\.train"):
        ExperimentFolder.open(tmp_path)


def test_folders_of_the_same_second_get_names_of_their_own(tmp_path):
    made = [ExperimentFolder.create_by_time(tmp_path / "results", {}, {}).path.name for _ in range(3)]
    assert len(set(made)) == 3
    assert sorted(item.name for item in (tmp_path / "results").iterdir()) == sorted(made)


def test_what_an_earlier_plan_left_is_removed_whatever_it_is(folder):
    """A process that was thought dead writes its attempt once more, into a folder that is being cleared."""
    run = folder.trial("a")
    run.write(record("a"))
    late = run.path / "state" / "3"
    late.mkdir(parents=True)
    (late / "progress.jsonl").write_text("{}")
    (run.path / "left").mkdir()
    (run.path / "left" / "over").touch()
    run.clear()
    assert list(run.path.iterdir()) == []


def test_plain_run_comes_before_the_trials(folder):
    folder.trial("a").write(record("a", 0))
    folder.trial("b").write(record("b", 0, role="plain", setting="baseline"))
    assert [run.key for run in folder.trials()] == ["b", "a"]


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


def test_torn_line_is_no_reading_and_the_first_of_an_iteration_counts(tmp_path):
    files = RunFiles(tmp_path)
    files.append(2, {"mAP/0.5": 0.1}, 1.0)
    files.append(4, {"mAP/0.5": math.inf}, 2.0)
    with files.progress.open("ab") as file:
        file.write(b'{"iteration": 6, "ti')
    assert [reading.iteration for reading in files.readings()] == [2, 4]
    files.append(4, {"mAP/0.5": 0.3}, 3.0)  # repeated after a kill
    files.append(6, {"mAP/0.5": 0.4}, 4.0)
    assert [(reading.iteration, reading.time, reading.metrics["mAP/0.5"]) for reading in files.readings()] == [
        (2, 1.0, 0.1),
        (4, 2.0, None),
        (6, 4.0, 0.4),
    ]
    assert files.last("mAP/0.5") == 0.4
    for line in files.progress.read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"iteration": 4, "time": null, "metrics": {}}', "[1, 2]"])
def test_damaged_line_is_named_with_its_remedy(tmp_path, line):
    files = RunFiles(tmp_path)
    files.append(2, {"score": 0.1})
    with files.progress.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(OutputError, match=r"progress\.jsonl, line 2: no reading .* remove this line"):
        files.readings()


def test_a_reading_with_a_score_counts_before_one_without(tmp_path):
    files = RunFiles(tmp_path)
    files.append(4, {"loss/total": 1.0}, 1.0)  # a stop in between; the evaluation came after the resume
    files.append(4, {"loss/total": 1.0, "score": 0.3}, 2.0)
    files.append(4, {"loss/total": 1.0, "score": 0.4}, 3.0)
    assert files.scores() == {4: 0.3}


def test_readings_behind_the_checkpoint_can_be_dropped(tmp_path):
    files = RunFiles(tmp_path)
    for iteration in (2, 4, 6):
        files.append(iteration, {"score": math.nan}, float(iteration))
    files.keep_until(4)
    assert [(reading.iteration, reading.time) for reading in files.readings()] == [(2, 2.0), (4, 4.0)]
    assert files.readings()[0].metrics == {"score": None}


def test_config_is_written_anew_only_where_it_says_otherwise(folder):
    path = folder.path / "config.json"
    before = path.stat().st_mtime_ns
    folder.keep_config({"run": {}})
    assert path.stat().st_mtime_ns == before
    began = time.time()
    folder.keep_config({"run": {}, "values": (1, 2)})
    folder.keep_config({"run": {}, "values": (3,)})
    assert folder.config == {"format": 3, "run": {}, "values": [3]}
    changes = [json.loads(line) for line in (folder.path / "changes.jsonl").read_text().splitlines()]
    assert [change["before"] for change in changes] == [{"values": None}, {"values": [1, 2]}]
    assert all(began <= change["time"] <= time.time() for change in changes)


def test_who_goes_on_is_kept_where_more_than_the_time_is_another(folder):
    first = {"commit": "abc"}
    assert folder.sessions == [first]
    folder.note_session(first | {"started": "2026-01-01T00:00:09Z"})
    assert not (folder.path / "sessions.jsonl").exists()
    second = {"commit": "def", "host": "other", "started": "2026-01-02T00:00:00Z"}
    folder.note_session(second)
    folder.note_session(second | {"started": "2026-01-03T00:00:00Z"})
    with (folder.path / "sessions.jsonl").open("a") as file:
        file.write('{"commit": "to')  # killed
    assert ExperimentFolder.open(folder.path).sessions == [first, second]
    folder.note_session(first | {"started": "2026-01-04T00:00:00Z"})
    assert [session["commit"] for session in folder.sessions] == ["abc", "def", "abc"]
    assert folder.environment == first


@pytest.mark.parametrize(
    ("began", "ended", "commits"),
    [
        (None, None, "a, b, c"),  # planned, and not begun
        (-9.0, -5.0, "a"),
        (-9.0, 86400.0, "a, b"),
        (86400.0, 2 * 86400.0 - 1, "b"),
        (86399.0, 3 * 86400.0, "a, b, c"),
        (3 * 86400.0, None, "c"),
    ],
)
def test_a_run_is_of_the_sessions_that_may_have_trained_it(began, ended, commits):
    sessions = [
        {"commit": name, "started": f"1970-01-0{day}T00:00:00Z"} for day, name in ((1, "a"), (2, "b"), (3, "c"))
    ]
    assert told(sessions_of(record(started=began, ended=ended), sessions), "commit") == commits


def test_scores_leave_out_what_is_not_finite(tmp_path):
    files = RunFiles(tmp_path)
    for iteration, score in ((2, 0.2), (4, math.nan), (6, 0.1)):
        files.append(iteration, {"score": score})
    files.append(7, {"loss/total": 1.0})
    assert files.scores() == {2: 0.2, 6: 0.1}


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


def test_a_lock_that_cannot_be_made_is_told():
    with pytest.raises(OutputError, match="cannot be written"), ExperimentFolder(Path("/proc/self")).lock():
        pass


def test_lock_shows_that_the_folder_is_in_use(folder):
    assert not folder.in_use
    with folder.lock():
        assert folder.in_use
    assert not folder.in_use


def test_a_folder_above_names_the_experiments_below(tmp_path, monkeypatch):
    for number in range(7):
        ExperimentFolder.create(tmp_path / "hapt" / "delu" / f"s{number}", {}, {})
    with pytest.raises(SearchError, match=r"holds no config\.json") as fault:
        ExperimentFolder.open(tmp_path)
    assert str(fault.value).count("/hapt/delu/s") == 5
    assert str(fault.value).endswith("and 2 more")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchError, match=r"below it lie:\n  hapt/delu/s"):
        ExperimentFolder.open("hapt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SearchError, match=r"config\.json\)$"):
        ExperimentFolder.open(tmp_path / "empty")


def test_a_key_that_is_not_in_the_config_is_named_with_its_file(tmp_path):
    folder = ExperimentFolder.create(tmp_path / "one", {"confirm": {"seeds": 3}, "run": {"training": {}}}, {})
    assert folder.config["confirm"]["seeds"] == 3
    assert folder.config.get("policy") is None
    with pytest.raises(SearchError, match=r"one/config\.json: lacks policy; "):
        folder.config["policy"]
    with pytest.raises(SearchError, match=r"lacks run\.training\.stop_at; "):
        folder.config["run"]["training"]["stop_at"]


def test_a_record_that_lacks_a_field_is_named(tmp_path):
    run = ExperimentFolder.create(tmp_path / "one", {}, {}).trial("a")
    write_json(run.path / "record.json", {"key": "a", "role": "trial"})
    with pytest.raises(OutputError, match=r"a/record\.json: missing 5 required positional arguments: 'setting'"):
        run.record()
