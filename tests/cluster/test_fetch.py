"""What a fetch packs on the cluster and unpacks here: an experiment folder like any other, also of a running search."""

from __future__ import annotations

import os
import resource
import tarfile
from pathlib import Path

import optuna
import pytest

from dce_ray.cluster import pack
from dce_ray.cluster.fetch import _check_targets, mark_fetched, unpack
from dce_ray.errors import ClusterError, OutputError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.run_folder import RECORD
from dce_ray.experiment.study import STUDY, open_journal, read_study


@pytest.fixture
def folder(tmp_path: Path) -> ExperimentFolder:
    """A search whose one run has begun."""
    path = tmp_path / "results" / "synthetic" / "delu" / "one"
    folder = ExperimentFolder.create(path, {"digest": "d", "policy": "replicates"}, {})
    optuna.create_study(storage=open_journal(folder.study), study_name=STUDY)
    begin(folder, "a")
    return folder


def begin(folder: ExperimentFolder, key: str) -> None:
    """As the driver does: the study knows of a run first, its folder comes then."""
    study = optuna.load_study(study_name=STUDY, storage=open_journal(folder.study))
    study.ask().set_user_attr("key", key)
    folder.trial(key).write(RunRecord(key, "trial", "trial 0", 0, "running", {}, 0))
    folder.trial(key).append(2, {"score": 0.1})


def fetched(folder: ExperimentFolder, way: Path) -> ExperimentFolder:
    way.mkdir()
    told = pack.pack([str(folder.path)], way / "archive.tar.gz")
    assert told.startswith("packed archive.tar.gz ")
    return ExperimentFolder.open(unpack(way / "archive.tar.gz", [str(folder.path)])[0])


def names(folder: ExperimentFolder) -> set[str]:
    return {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if not path.is_dir()}


def test_the_names_are_those_of_the_folder(folder):
    assert (folder.study.name, RECORD) == (pack.STUDY, pack.RECORD)
    assert (folder.trial("a").path.parent.name, folder.confirm("a").path.parent.name) == pack.RUNS
    assert folder.trial("a").attempts.root.name == pack.STATE


def test_neither_locks_nor_links_nor_what_is_just_being_written_is_packed(folder, tmp_path):
    """Optuna's lock is a link with an absolute target, and a kill leaves it."""
    (folder.path / "study.journal.lock").symlink_to(folder.study)
    (folder.path / "elsewhere").symlink_to(tmp_path)
    (folder.path / "other.lock").write_text("held")
    (folder.path / ".report.html.1234").write_text("half")
    folder.trial("a").attempts.of(1).append(2, {"score": 0.2})
    with folder.lock():
        pass
    run = {"trials/a/record.json", "trials/a/progress.jsonl"}
    assert names(fetched(folder, tmp_path / "way")) == {"config.json", "environment.json", "study.journal"} | run


def test_of_a_running_search_the_study_and_the_runs_agree(folder, tmp_path, monkeypatch):
    """Runs that begin while it is packed are in neither, or the one that goes on would never hear of them."""
    first, add = folder.study.read_bytes(), pack.add

    def slow(archive, home, name, number):
        found = add(archive, home, name, number)
        if name == pack.STUDY:
            begin(folder, "b")
        elif name == "trials/b/record.json":
            begin(folder, "c")
        return found

    monkeypatch.setattr(pack, "add", slow)
    here = fetched(folder, tmp_path / "way")
    assert {run.key for run in folder.trials()} == {"a", "b", "c"}
    assert here.study.read_bytes() == first
    known = {trial.user_attrs["key"] for trial in read_study(here.study).trials}
    assert {path.name for path in (here.path / "trials").iterdir()} == known == {"a"}


def test_no_record_says_that_a_file_is_there_that_is_not(folder, tmp_path, monkeypatch):
    """A run on test that ends while it is packed has not ended in the copy, or its table is there."""
    folder.confirm("top1-0").write(RunRecord("top1-0", "confirm", "top1", 0, "running", {}, 0))
    add = pack.add

    def slow(archive, home, name, number):
        found = add(archive, home, name, number)
        if name == "config.json":  # after the records, in the midst of the rest
            folder.confirm("top1-0").table.write_text("{}")
            folder.confirm("top1-0").update(state="finished")
            folder.confirm("top1-1").append(2, {"score": 0.1})
        return found

    monkeypatch.setattr(pack, "add", slow)
    here = fetched(folder, tmp_path / "way")
    assert [(run.key, run.record().state) for run in here.confirmations()] == [("top1-0", "running")]
    assert not here.confirm("top1-1").path.exists()


def test_a_line_that_is_just_being_written_stays_behind(folder, tmp_path):
    first = folder.study.read_bytes()
    for path in (folder.study, folder.trial("a").path / "progress.jsonl"):
        with path.open("ab") as file:
            file.write(b'{"torn')
    here = fetched(folder, tmp_path / "way")
    assert here.study.read_bytes() == first
    assert (here.trial("a").path / "progress.jsonl").read_bytes().endswith(b"}\n")


def test_a_file_that_vanishes_while_it_is_packed_is_passed_over(folder, tmp_path, monkeypatch):
    (folder.path / "figures").mkdir()
    (folder.path / "figures" / "one.svg").write_text("<svg/>")
    (folder.path / "report.html").write_text("<html/>")
    add = pack.add

    def slow(archive, home, name, number):
        if name == "config.json":
            (folder.path / "figures" / "one.svg").unlink()
            (folder.path / "figures").rmdir()
        if name == "report.html":
            (folder.path / "report.html").unlink()
        return add(archive, home, name, number)

    monkeypatch.setattr(pack, "add", slow)
    assert not {"figures/one.svg", "report.html"} & names(fetched(folder, tmp_path / "way"))


def test_a_copy_from_a_cluster_whose_clock_is_ahead_can_be_fetched_again(folder, tmp_path):
    """Its study seems to be younger than the copy, and was not gone on with here all the same."""
    os.utime(folder.study, (2**32, 2**32))
    here = fetched(folder, tmp_path / "way")
    mark_fetched(here.path, {"job": "one"})
    _check_targets([here.path])
    os.utime(here.study, (2**32 + 1, 2**32 + 1))
    with pytest.raises(ClusterError, match="was fetched and then gone on with here"):
        _check_targets([here.path])


def test_a_disk_that_is_full_here_is_told_as_such(folder, tmp_path):
    """With a limit of the system on the size of files, as a quota has it."""
    folder.confirm("top1-0").write(RunRecord("top1-0", "confirm", "top1", 0, "running", {}, 0))
    folder.confirm("top1-0").checkpoint.write_bytes(bytes(200_000))
    pack.pack([str(folder.path)], tmp_path / "archive.tar.gz")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot be written \(File too large\); free space or mend"):
            unpack(tmp_path / "archive.tar.gz", [str(folder.path)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_is_no_such_file_is_told_in_one_message(folder, tmp_path):
    archive = tmp_path / "archive.tar.gz"
    with tarfile.open(archive, "w:gz") as content:
        link = tarfile.TarInfo("0/study.journal.lock")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        content.addfile(link)
    with pytest.raises(ClusterError, match=r"^/r/a/delu/one: what was packed there cannot be unpacked here"):
        unpack(archive, ["/r/a/delu/one"])
    pack.pack([str(folder.path)], archive)
    os.truncate(archive, archive.stat().st_size // 2)
    with pytest.raises(ClusterError, match="cannot be unpacked here"):
        unpack(archive, ["/r/a/delu/one"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "way").mkdir()
    pack.pack([str(tmp_path / "empty")], tmp_path / "way" / archive.name)
    with pytest.raises(ClusterError, match="/r/campaigns/all: holds no file yet"):
        unpack(tmp_path / "way" / archive.name, ["/r/campaigns/all"])
