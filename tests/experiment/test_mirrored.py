"""The copy of an experiment folder at its storage: what it holds when, who works on it, how it comes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import optuna
import pytest

from dce_ray.errors import SearchError, StorageError
from dce_ray.experiment import brought, claim, mirrored
from dce_ray.experiment.brought import fetch_experiment, is_mirror
from dce_ray.experiment.claim import SESSION, Claim, place_of, refuse_taken
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.mirrored import Mirror, TakenUpError, at_storage
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.study import STUDY, open_journal
from dce_ray.places import Place
from dce_ray.verdict.text import ANEW

NAMES = ("synthetic", "delu", "one")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else takes these up: a claim settles at once."""
    monkeypatch.setattr(claim, "SETTLES_S", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> ExperimentFolder:
    folder = ExperimentFolder.create(tmp_path.joinpath("results", *NAMES), {"digest": "d", "policy": "single"}, {})
    study = optuna.create_study(storage=open_journal(folder.study), study_name=STUDY)
    study.ask().set_user_attr("key", "a")
    return folder


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "storage") if request.param == "folder" else request.getfixturevalue("bucket")


def add_run(folder: ExperimentFolder, key: str, state: str = "running") -> None:
    folder.trial(key).write(RunRecord(key, "trial", "trial 0", 0, state, {}, 0))
    folder.trial(key).append(2, {"score": 0.1})


def there(folder: ExperimentFolder, storage: str) -> set[str]:
    return set(place_of(folder, storage).files())


def test_at_the_end_all_is_there_and_comes_back_on_another_machine(folder, storage, tmp_path):
    with at_storage(folder, storage, "d") as working:
        assert working.common.place == place_of(folder, storage)
        assert working.common.digest == "d"
        add_run(folder, "a", "finished")
        attempt = folder.trial("b").attempts.of(1)
        attempt.append(2, {"score": 0.2})
        (folder.path / "tracking").mkdir()
        (folder.path / "tracking" / "state.json").write_text("{}")
        (folder.path / "tracking" / "identity.json").write_text('{"search": "one"}')
    address = place_of(folder, storage).address
    assert is_mirror(address)
    assert not is_mirror(str(folder.path))
    found, known = fetch_experiment(address, str(tmp_path / "elsewhere"))
    assert found == tmp_path.joinpath("elsewhere", *NAMES)
    assert known == storage
    files = {str(path.relative_to(found)) for path in found.rglob("*") if path.is_file()}
    run = {"trials/a/record.json", "trials/a/progress.jsonl"}
    own = {
        "config.json",
        "environment.json",
        "study.journal",
        "tracking/identity.json",
        ".sessions.json",
        ".fetched.json",
    }
    assert files == own | run
    assert (found / "study.journal").read_bytes() == folder.study.read_bytes()
    assert ExperimentFolder.open(found).trial("a").readings() == folder.trial("a").readings()


def test_who_went_on_elsewhere_is_known_where_it_comes_back(folder, storage, tmp_path):
    with at_storage(folder, storage, "d"):
        add_run(folder, "a", "finished")
        folder.note_session({"commit": "second", "started": "2026-01-02T00:00:00Z"})
    found, _ = fetch_experiment(place_of(folder, storage).address, str(tmp_path / "elsewhere"))
    with at_storage(ExperimentFolder.open(found), storage, "d") as third:
        third.note_session({"commit": "third", "started": "2026-01-03T00:00:00Z"})
    back, _ = fetch_experiment(place_of(folder, storage).address, str(tmp_path / "back"))
    assert [session.get("commit") for session in ExperimentFolder.open(back).sessions][-2:] == ["second", "third"]


def test_what_is_removed_here_is_removed_there(folder, storage):
    add_run(folder, "a", "finished")
    with at_storage(folder, storage, "d"):
        pass
    assert "trials/a/record.json" in there(folder, storage)
    folder.trial("a").clear()
    with at_storage(folder, storage, "d") as again:
        assert again.common.session == 1
    assert "trials/a/record.json" not in there(folder, storage)


def test_only_what_changed_is_brought_and_ended_runs_are_not_looked_at_again(folder, storage, monkeypatch):
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    add_run(folder, "a", "finished")
    add_run(folder, "b")
    mirror.bring()
    sent = []
    monkeypatch.setattr(Mirror, "_send", lambda self, name, mark: sent.append(name))
    folder.trial("b").append(4, {"score": 0.2})
    mirror.bring()
    assert sent == ["trials/b/progress.jsonl"]
    assert "trials/a" in mirror._settled
    assert not any(name.startswith("trials/a") for name in mirror._files())


def test_the_study_there_knows_of_no_run_that_is_not_there(folder, storage, monkeypatch):
    """Runs that end while files are being brought are not in the study that follows."""
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    send = Mirror._send

    def slow(self, name, mark):
        with folder.study.open("a") as file:
            file.write("later\ntorn")
        send(self, name, mark)

    monkeypatch.setattr(Mirror, "_send", slow)
    first = folder.study.read_bytes()
    mirror.bring()
    assert place.read("study.journal") == first
    mirror.bring()
    assert place.read("study.journal").startswith(first + b"later\n")
    assert place.read("study.journal").endswith(b"\n")


def test_a_record_there_says_of_no_file_that_it_is_there_before_it_is(folder, storage, monkeypatch):
    """A run that ends while files are being brought has not ended there: its table comes the next time."""
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    add_run(folder, "a")
    send = Mirror._send

    def slow(self, name, mark):
        folder.trial("a").table.write_text("{}")
        folder.trial("a").update(state="finished")
        send(self, name, mark)

    monkeypatch.setattr(Mirror, "_send", slow)
    mirror.bring()
    assert b'"running"' in place.read("trials/a/record.json")
    assert place.read("trials/a/table.json") is None
    mirror.bring()
    assert b'"finished"' in place.read("trials/a/record.json")
    assert place.read("trials/a/table.json") == b"{}"


def test_what_the_study_gains_while_it_is_read_is_brought_the_next_time(folder, storage, monkeypatch):
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    read = mirrored.whole_lines

    def grows(path):
        lines = read(path)
        with path.open("a") as file:
            file.write("later\n")
        return lines

    monkeypatch.setattr(mirrored, "whole_lines", grows)
    mirror.bring()
    monkeypatch.setattr(mirrored, "whole_lines", read)
    mirror.bring()
    assert place.read("study.journal") == folder.study.read_bytes()


def test_runs_that_the_study_there_does_not_know_are_left_out(folder, storage, tmp_path):
    with at_storage(folder, storage, "d"):
        add_run(folder, "a", "finished")
        add_run(folder, "asked later", "finished")
        folder.trial("p").write(RunRecord("p", "plain", "plain", 0, "finished", {}, 0))
    found, _ = fetch_experiment(place_of(folder, storage).address, str(tmp_path / "elsewhere"))
    assert {run.key for run in ExperimentFolder.open(found).trials()} == {"a", "p"}


def test_what_a_queued_run_would_find_is_left_out_and_readings_without_a_record_too(folder, storage, tmp_path):
    """The copy was cut off before the study said that the run had begun: the study never hears of what it finds."""
    study = optuna.load_study(storage=open_journal(folder.study), study_name=STUDY)
    study.enqueue_trial({}, user_attrs={"key": "b"})
    for key in ("a", "b", "c"):
        add_run(folder, key, "finished")
    (folder.trial("c").path / "record.json").unlink()
    with at_storage(folder, storage, "d"):
        pass
    found, _ = fetch_experiment(place_of(folder, storage).address, str(tmp_path / "elsewhere"))
    assert sorted(path.name for path in (found / "trials").iterdir()) == ["a"]


def test_a_confirmation_anew_comes_back_without_a_study_of_its_own(storage, tmp_path):
    """It has none there, and with one it would be taken for a search."""
    path = tmp_path.joinpath("results", *NAMES[:2], "one-confirm-2")
    look = ExperimentFolder.create(path, {"kind": ANEW, "digest": "d"}, {})
    look.confirm("top1-0").write(RunRecord("top1-0", "confirm", "top1", 0, "finished", {}, 0))
    with at_storage(look, storage, "d"):
        pass
    found, _ = fetch_experiment(place_of(look, storage).address, str(tmp_path / "elsewhere"))
    assert [run.key for run in ExperimentFolder.open(found).confirmations()] == ["top1-0"]
    assert not (found / "study.journal").exists()


def test_a_confirmation_anew_that_is_behind_is_told_the_command_that_brings_it(storage, tmp_path, monkeypatch):
    """resume= would ask for a search; confirm brings what lies there once the folder is away."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path.joinpath("results", *NAMES[:2], "one-confirm-3")
    asked = {"kind": ANEW, "look": 3, "search_folder": "/gone/one", "confirm": {"seeds": 8}, "digest": "d"}
    look = ExperimentFolder.create(path, asked, {})
    with at_storage(look, storage, "d"):
        pass
    (path / ".sessions.json").write_text("[]")  # as if it had been taken up elsewhere since
    with pytest.raises(SearchError) as fault, at_storage(look, storage, "d"):
        pass
    told, _, command = str(fault.value).partition(f"remove {path}, then give the same command again, which brings")
    assert "is behind it" in told
    assert command.endswith("-m dce_ray.confirm search=results/synthetic/delu/one seeds=8 look=3")
    assert "resume=" not in str(fault.value)


def test_an_older_copy_of_the_folder_is_refused(folder, storage, tmp_path):
    with at_storage(folder, storage, "d"):
        copy = tmp_path.joinpath("copy", *NAMES)
        shutil.copytree(folder.path, copy)
        optuna.load_study(storage=open_journal(folder.study), study_name=STUDY).ask()
        add_run(folder, "a", "finished")
    before = there(folder, storage)
    with pytest.raises(SearchError, match="holds a later state of this search than"):
        Claim.taken(ExperimentFolder.open(copy), place_of(folder, storage))
    assert there(folder, storage) == before
    assert Claim.taken(folder, place_of(folder, storage)).session == 1


def test_a_search_that_could_not_begin_leaves_nothing_there(folder, storage):
    with pytest.raises(SearchError), at_storage(folder, storage, "d"):
        raise SearchError("no node can run it")
    assert there(folder, storage) == set()
    refuse_taken(storage, NAMES)


def test_what_another_search_of_that_name_has_there_is_left_alone(folder, storage):
    """Two searches of one name begin at once: the one that lost it removes nothing of the other."""
    place = place_of(folder, storage)

    def begins():
        place.write(SESSION, json.dumps({"token": "another", "session": 0, "host": "b", "since": 0}).encode())
        place.write("config.json", b"{}")
        raise SearchError("no node can run it")

    with pytest.raises(SearchError, match="no node"), at_storage(folder, storage, "d"):
        begins()
    assert there(folder, storage) == {SESSION, "config.json"}


def test_of_two_that_take_it_up_at_once_one_goes_on(folder, storage, monkeypatch):
    place = place_of(folder, storage)

    def meanwhile(seconds):
        place.write(SESSION, json.dumps({"token": "another", "session": 0, "host": "b", "since": 0}).encode())

    monkeypatch.setattr(claim.time, "sleep", meanwhile)
    with pytest.raises(SearchError, match="was taken up elsewhere at the same moment"):
        Claim.taken(folder, place)


def test_a_run_anew_under_the_name_of_one_that_had_ended_is_brought(folder, storage):
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    run = folder.confirm("top1-10")
    run.write(RunRecord("top1-10", "confirm", "top1", 0, "finished", {}, 10))
    run.table.write_text("{}")
    mirror.bring()
    assert place.read("confirm/top1-10/table.json") == b"{}"
    run.clear()
    run.write(RunRecord("top1-10", "confirm", "top1", 0, "running", {}, 10))
    mirror.bring()
    assert b'"running"' in place.read("confirm/top1-10/record.json")
    assert place.read("confirm/top1-10/table.json") is None  # the former run's
    run.clear()
    run.path.rmdir()
    mirror.bring()
    assert not [name for name in place.files() if name.startswith("confirm/")]


def test_the_study_is_not_written_over_that_of_who_has_taken_it_up_meanwhile(folder, storage, monkeypatch):
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    mirror.bring()
    first = place.read("study.journal")
    add_run(folder, "a", "finished")
    with folder.study.open("a") as file:
        file.write("later\n")
    send = Mirror._send

    def taken_up(self, name, mark):
        send(self, name, mark)
        place.write(SESSION, json.dumps({"token": "another", "session": 1, "host": "b", "since": 0}).encode())

    monkeypatch.setattr(Mirror, "_send", taken_up)
    with pytest.raises(TakenUpError):
        mirror.bring()
    assert place.read("study.journal") == first


def test_a_session_that_goes_on_sends_nothing_again_of_runs_that_had_ended(folder, storage, tmp_path, monkeypatch):
    with at_storage(folder, storage, "d"):
        add_run(folder, "a", "finished")
    elsewhere = ExperimentFolder.open(fetch_experiment(place_of(folder, storage).address, str(tmp_path / "b"))[0])
    sent = []
    send, write = Place.send, Place.write
    monkeypatch.setattr(Place, "send", lambda self, path, name: (sent.append(name), send(self, path, name))[1])
    monkeypatch.setattr(Place, "write", lambda self, name, content: (sent.append(name), write(self, name, content))[1])
    with at_storage(elsewhere, storage, "d"):
        add_run(elsewhere, "b", "finished")
    assert "trials/b/record.json" in sent
    assert not [name for name in sent if name.startswith("trials/a/")]
    assert "trials/a/record.json" in there(folder, storage)


def test_a_run_that_lies_there_otherwise_is_sent_again(folder, storage, tmp_path):
    with at_storage(folder, storage, "d"):
        add_run(folder, "a", "finished")
    place = place_of(folder, storage)
    record = place.read("trials/a/record.json")
    place.write("trials/a/record.json", b"0" * len(record))
    with at_storage(folder, storage, "d"):
        pass
    assert place.read("trials/a/record.json") == record


def test_what_whoever_was_cut_off_wrote_afterwards_is_written_over_at_the_end(folder, storage):
    add_run(folder, "a")
    with at_storage(folder, storage, "d"):
        pass
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    mirror.start()
    mirror.bring()
    place.write("trials/a/progress.jsonl", b"stale")
    mirror.finish()
    assert place.read("trials/a/progress.jsonl") == folder.trial("a").progress.read_bytes()


def test_what_is_written_while_it_is_fetched_is_fetched_in_order(folder, storage, tmp_path, monkeypatch):
    """The study that is fetched knows of no run whose record was not, though a run ends after each file."""
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    study = optuna.load_study(storage=open_journal(folder.study), study_name=STUDY)
    mirror.bring()
    fetch, began = Place.fetch, []

    def meanwhile(self, name, path):
        fetch(self, name, path)
        kind = name.rpartition("/")[2]
        if kind not in began:
            began.append(kind)
            study.ask().set_user_attr("key", began[-1])
            add_run(folder, began[-1], "finished")
            mirror.bring()

    monkeypatch.setattr(brought, "AT_ONCE", 1)
    monkeypatch.setattr(Place, "fetch", meanwhile)
    found = ExperimentFolder.open(fetch_experiment(place.address, str(tmp_path / "elsewhere"))[0])
    known = {trial.user_attrs["key"] for trial in brought._trials_in(found.study)}
    assert known - {"a"}
    assert {run.key for run in found.trials()} == known - {"a"}  # a never began to write
    assert all(found.trial(key).readings() for key in known - {"a"})


def test_a_file_that_changes_while_it_is_fetched_is_fetched_again(folder, storage, tmp_path, monkeypatch):
    with at_storage(folder, storage, "d"):
        add_run(folder, "a", "finished")
    place, fetch, changed = place_of(folder, storage), Place.fetch, []

    def meanwhile(self, name, path):
        fetch(self, name, path)
        if name == "environment.json" and not changed:
            changed.append(name)
            self.write(name, b'{"commit": "later"}')

    monkeypatch.setattr(Place, "fetch", meanwhile)
    found, _ = fetch_experiment(place.address, str(tmp_path / "elsewhere"))
    assert json.loads((found / "environment.json").read_text()) == {"commit": "later"}


def test_what_the_former_driver_did_since_the_fetch_is_caught_up_with(folder, storage, tmp_path):
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    mirror.bring()
    elsewhere = ExperimentFolder.open(fetch_experiment(place.address, str(tmp_path / "elsewhere"))[0])
    elsewhere.keep_config({"digest": "d", "policy": "single", "asked": "here"})
    add_run(folder, "a", "finished")
    mirror.bring()
    folder.keep_config({"digest": "d", "policy": "single", "asked": "there"})
    optuna.load_study(storage=open_journal(folder.study), study_name=STUDY).ask().set_user_attr("key", "b")
    add_run(folder, "b", "finished")
    mirror.bring()
    with at_storage(elsewhere, storage, "d"):
        assert {run.key for run in elsewhere.trials()} == {"a", "b"}
        assert elsewhere.study.read_bytes() == folder.study.read_bytes()
        assert elsewhere.config["asked"] == "here"
        with pytest.raises(TakenUpError):
            mirror.bring()
    assert not (elsewhere.path / ".fetched.json").exists()


def test_where_ctrl_c_is_ignored_a_search_that_was_taken_up_elsewhere_ends_too(folder, storage, monkeypatch):
    ended = []
    monkeypatch.setattr(os, "kill", lambda process, what: ended.append(what))
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        mirror._lose()
    finally:
        signal.signal(signal.SIGINT, before)
    mirror._lose()
    assert ended == [signal.SIGTERM, signal.SIGINT]


def test_in_the_background_files_are_brought_while_the_search_goes_on(folder, storage, monkeypatch):
    monkeypatch.setattr(mirrored, "EVERY_S", 0.1)
    with at_storage(folder, storage, "d"):
        add_run(folder, "a")
        for _ in range(300):
            if "trials/a/progress.jsonl" in there(folder, storage):
                break
            mirrored.time.sleep(0.1)
        else:
            pytest.fail("nothing was brought")


def test_who_takes_it_up_anew_ends_whoever_worked_on_it(folder, storage, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mirrored, "EVERY_S", 0.1)
    ended = []
    monkeypatch.setattr(os, "kill", lambda process, what: ended.append((process, what)))

    def work():
        first = place_of(folder, storage)
        while "config.json" not in first.files():
            mirrored.time.sleep(0.1)
        elsewhere = ExperimentFolder.open(fetch_experiment(first.address, str(tmp_path / "elsewhere"))[0])
        with at_storage(elsewhere, storage, "d") as second:
            assert second.common.session == 1
            for _ in range(300):
                if ended:
                    break
                mirrored.time.sleep(0.1)
        add_run(folder, "stale", "finished")

    with pytest.raises(TakenUpError, match="go on there, or bring it here: resume="), at_storage(folder, storage, "d"):
        work()
    assert ended == [(os.getpid(), signal.SIGINT)]
    assert "was taken up elsewhere" in capsys.readouterr().out
    assert "trials/stale/record.json" not in there(folder, storage)
    with pytest.raises(SearchError, match=r"was taken up on .* since, and .* is behind it; go on with resume="):
        Claim.taken(folder, place_of(folder, storage))


def test_a_name_whose_driver_was_lost_before_it_brought_anything_is_free_again(folder, storage, tmp_path, monkeypatch):
    place = place_of(folder, storage)
    Claim.taken(folder, place)
    again = ExperimentFolder.create(tmp_path.joinpath("again", *NAMES), {"digest": "d"}, {})
    with pytest.raises(SearchError, match=r"a search of this name began \d s ago on .*; give another name=, or"):
        Claim.taken(again, place)
    monkeypatch.setattr(claim, "BEGINS_S", 0.0)
    assert Claim.taken(again, place).session == 1


def test_what_ended_runs_went_on_from_is_gone_at_the_end(folder, storage):
    """It could not be removed when they ended: the place was away."""
    place = place_of(folder, storage)
    with at_storage(folder, storage, "d"):
        for key, state in (("a", "finished"), ("b", "running")):
            add_run(folder, key, state)
            place.write(f"trials/{key}/state/1/checkpoint.pt", b"weights")
    assert [name for name in sorted(place.files()) if "/state/" in name] == ["trials/b/state/1/checkpoint.pt"]


def test_what_another_has_brought_since_is_not_removed_at_the_end(folder, storage, monkeypatch):
    place = place_of(folder, storage)
    mirror = Mirror(folder, place, Claim.taken(folder, place))
    mirror.start()
    files = Place.files

    def taken_up_meanwhile(self):
        self.write(SESSION, json.dumps({"token": "another", "session": 1, "host": "b", "since": 0}).encode())
        self.write("trials/theirs/record.json", b"{}")
        return files(self)

    monkeypatch.setattr(Place, "files", taken_up_meanwhile)
    assert mirror.finish() == f"storage: {place} belongs to another session now"
    monkeypatch.setattr(Place, "files", files)
    assert place.read("trials/theirs/record.json") == b"{}"


def test_a_kill_between_the_two_notes_of_a_session_takes_nothing_away(folder, storage, monkeypatch):
    place = place_of(folder, storage)
    Claim.taken(folder, place)
    own = folder.path / ".sessions.json"
    own.write_text(json.dumps([*json.loads(own.read_text()), "noted here and killed"]))
    assert Claim.taken(folder, place).session == 1


def test_a_name_that_is_taken_there_is_refused(folder, storage):
    refuse_taken(storage, NAMES)
    with at_storage(folder, storage, "d"):
        pass
    with pytest.raises(SearchError, match=r"one exists; give another name=, or go on with it: resume=.*one"):
        refuse_taken(storage, NAMES)


def test_what_is_no_experiment_is_refused_with_those_below(folder, storage, tmp_path):
    with at_storage(folder, storage, "d"):
        pass
    address = place_of(folder, storage).address
    above = address.removesuffix("/delu/one")
    with pytest.raises(SearchError, match=rf"resume={above}: no experiment lies there .* below it lie:\n  {address}"):
        fetch_experiment(above, str(tmp_path / "elsewhere"))
    with pytest.raises(SearchError, match=r"exists here already; go on with it: resume=.*, or give another results="):
        fetch_experiment(address, str(tmp_path / "results"))


def test_a_bucket_that_does_not_exist_is_told(bucket, tmp_path):
    with pytest.raises(StorageError, match="resume=s3://no-such-bucket/a/b/c: the bucket does not exist"):
        fetch_experiment("s3://no-such-bucket/a/b/c", str(tmp_path))


def test_results_that_cannot_be_brought_at_the_end_are_kept_and_told(folder, bucket, s3, capsys):
    try:
        with at_storage(folder, bucket, "d"):
            s3.tell("key", only="another")
    finally:
        s3.tell("key")
    said = capsys.readouterr().out
    assert "storage: not all results are there: " in said
    assert f"They are kept in {folder.path}; resume= brings them." in said
