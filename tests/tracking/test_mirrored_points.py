"""A search of points and replicates in MLflow: one run per point with its runs below, sent once whatever happens."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_points import made_points, new_points, noisy, replicate_ledger, step
from mirrored import add_confirmation, client_of, curve, runs_of
from test_sync import rows

from dce_ray.config import SCALARS
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.files import write_json
from dce_ray.points.standing import Standing, read_standing
from dce_ray.report import __main__ as report
from dce_ray.tracking import start_mirror, sync
from dce_ray.tracking.address import address_of
from dce_ray.tracking.points import PointReader
from dce_ray.tracking.upload import Uploads
from dce_ray.tracking.writer import Writer

RUNS = 15
FAILING = (5,)


def with_database(results: Path, database: Path) -> Path:
    results.mkdir(parents=True)
    shutil.copy(database, results / "mlflow.db")
    return results


def confirm(folder: ExperimentFolder) -> None:
    """A confirmation without models: that has its own test."""
    for number, (name, seed) in enumerate([("top1", 1000), ("baseline", 1000), ("top1", 1001), ("baseline", 1001)]):
        add_confirmation(folder, name, seed, number).checkpoint.unlink()
    write_json(folder.confirmation, {"winner": "top1"})


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> ExperimentFolder:
    """A search that has ended; nobody but copies of it is sent."""
    results = with_database(tmp_path_factory.mktemp("searched") / "results", empty_database)
    folder = made_points(results / "hapt" / "delu" / "points", RUNS, failing=FAILING)
    confirm(folder)
    return folder


@pytest.fixture(scope="module")
def standing(searched: ExperimentFolder) -> Standing:
    found = read_standing(searched)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def sent(searched: ExperimentFolder) -> ExperimentFolder:
    """The search, sent; only looked at."""
    report = sync(searched)
    assert report.complete, report
    return searched


@pytest.fixture
def copied(searched: ExperimentFolder, tmp_path: Path, empty_database: Path) -> ExperimentFolder:
    """The search in another results folder, never sent."""
    results = with_database(tmp_path / "results", empty_database)
    shutil.copytree(searched.path, results / "hapt" / "delu" / "points")
    shutil.rmtree(results / "hapt" / "delu" / "points" / "tracking", ignore_errors=True)
    return ExperimentFolder.open(results / "hapt" / "delu" / "points")


def test_runs_lie_below_their_point_and_points_below_the_search(sent: ExperimentFolder):
    runs = runs_of(client_of(sent), "points")
    names = {run.info.run_id: name for name, run in runs.items()}
    parents = {name: names.get(run.data.tags.get("mlflow.parentRunId", "")) for name, run in runs.items()}
    records = [run.record() for run in sent.trials()]
    assert len(records) == RUNS
    for record in records:
        arm = "plain baseline" if record.point is None else f"point {record.point:03d}"
        name = f"points run {record.number:03d} of {arm}"
        assert parents.pop(name) == f"points {arm}"
        tags = runs[name].data.tags
        assert (tags["kind"], tags["fold"], tags["seed"]) == (record.role, str(record.fold), str(record.seed))
        assert tags.get("point") == (None if record.point is None else str(record.point))
    points = {record.point for record in records if record.point is not None}
    below = {f"points point {point:03d}" for point in points} | {"points plain baseline"}
    below |= {f"points confirm {name}, seed {seed}" for name in ("top1", "baseline") for seed in (1000, 1001)}
    assert parents == dict.fromkeys(below, "points") | {"points": None}
    assert runs["points"].data.tags["points"] == str(len(points))


def test_a_point_says_what_the_model_says(sent: ExperimentFolder, standing: Standing):
    runs = runs_of(client_of(sent), "points")
    for one in standing.posterior.points:
        run = runs[f"points point {one.point:03d}"]
        record = standing.record_of(one.point)
        assert {name: float(run.data.params[name]) for name in SCALARS} == record.params
        assert set(run.data.params) == set(SCALARS)
        expected = {"model_mean": one.mean, "model_deviation": one.deviation, "p_better": one.better}
        expected |= {"model_low": one.mean - 1.96 * one.deviation, "model_high": one.mean + 1.96 * one.deviation}
        expected |= {"p_best": one.best, "runs": one.runs}
        assert {key: run.data.metrics[key] for key in expected} == pytest.approx(expected, abs=1e-4)
        tags = {"kind": "point", "setting": f"point {one.point}", "origin": record.origin, "status": "finished"}
        tags |= {"components": "scs+mcm", "runs": str(one.runs), "point": str(one.point)}
        assert {key: run.data.tags[key] for key in tags} == tags
        assert run.info.status == "FINISHED"
    plain = runs["points plain baseline"]
    assert not plain.data.params
    assert plain.data.metrics["model_mean"] == pytest.approx(standing.posterior.plain.mean, abs=1e-4)
    assert not {"p_better", "p_best"} & set(plain.data.metrics)
    assert (plain.data.tags["kind"], plain.data.tags["components"]) == ("point", "baseline")


def test_the_mean_map_is_that_of_its_runs_at_their_fair_iterations(sent: ExperimentFolder, standing: Standing):
    client = client_of(sent)
    runs = runs_of(client, "points")
    point = max(standing.posterior.points, key=lambda one: one.runs)
    assert point.runs > 1
    members = [run for run in standing.runs_of(point.point) if run.usable]
    by_hand = statistics.fmean(1.2 * run.curve[standing.scores[run.number].iteration] for run in members)
    shown = runs[f"points point {point.point:03d}"]
    assert shown.data.metrics["mean/mAP/0.5"] == pytest.approx(by_hand, abs=1e-4)
    number = client.get_experiment_by_name("hapt/delu").experiment_id
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
        table = client.load_table(number, "tables/map.json", [shown.info.run_id])
        replicates = client.load_table(number, "tables/runs.json", [shown.info.run_id])
    assert table[f"mean mAP of {point.runs} runs"].tolist()[0] == pytest.approx(by_hand)
    assert replicates["run"].tolist() == [run.number for run in members]
    fair = [standing.scores[run.number].value for run in members]
    assert replicates["score"].tolist() == pytest.approx(fair)


def test_a_replicate_keeps_its_curve_and_its_fair_score(sent: ExperimentFolder):
    client = client_of(sent)
    runs = runs_of(client, "points")
    record = next(run.record() for run in sent.trials() if run.record().point == 0)
    run = runs[f"points run {record.number:03d} of point 000"]
    assert run.data.metrics["fair_score"] == record.value
    assert "best_score" not in run.data.metrics, "it is no best one"
    assert [step for step, _ in curve(client, run, "mAP/0.5")] == [100, 200, 300]
    failed = next(run.record() for run in sent.trials() if run.record().state == "failed")
    lost = runs[f"points point {failed.point:03d}" if failed.point is not None else "points plain baseline"]
    assert lost.data.tags["runs.failed"] == "1"


def test_sending_twice_changes_nothing(copied: ExperimentFolder):
    assert sync(copied).complete
    before = rows(copied)
    again = sync(copied)
    assert (again.created, again.values, again.complete) == (0, 0, True)
    assert rows(copied) == before
    with sqlite3.connect(copied.root / "mlflow.db") as database:  # the store forgets what was sent
        database.execute("delete from tags where key = 'dce.sent'")
    assert sync(copied).created == 0
    assert rows(copied) == before, "the same values a second time made new rows"


def test_points_follow_the_model_and_end_with_the_search(tmp_path: Path, empty_database: Path):
    results = with_database(tmp_path / "results", empty_database)
    folder = new_points(results / "hapt" / "delu" / "live")
    ledger = replicate_ledger(folder, 10)
    writer, means = Writer(folder, address_of(folder)), []
    for number in range(10):
        step(ledger, noisy)
        if number in (3, 9):
            assert writer.send(live=True).complete
            run = runs_of(client_of(folder), "live")["live point 000"]
            assert run.info.status == "RUNNING"
            standing = read_standing(folder)
            assert standing is not None
            means.append((number + 1, standing.posterior.points[0].mean))
        if number == 5:  # the mirror was killed, and another one begins
            writer = Writer(folder, address_of(folder))
            ledger.settle()
            ledger = replicate_ledger(folder, 10)
    ledger.settle()
    client = client_of(folder)
    told = curve(client, runs_of(client, "live")["live point 000"], "model_mean")
    assert told == [(known, pytest.approx(mean, abs=1e-4)) for known, mean in means]
    assert writer.send(live=False).complete
    confirm(folder)
    assert writer.send(live=False).complete
    runs = runs_of(client, "live")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    ids = {name: run.info.run_id for name, run in runs.items()}
    ledger = replicate_ledger(folder, 12)  # resumed with more runs
    step(ledger, noisy)
    with folder.lock():
        assert sync(folder).complete
    runs = runs_of(client, "live")
    assert {name: runs[name].info.run_id for name in ids} == ids
    assert runs["live point 000"].info.status == "RUNNING"
    ledger.settle()


def test_a_search_without_any_end_yet_has_points_without_numbers(tmp_path: Path, empty_database: Path):
    results = with_database(tmp_path / "results", empty_database)
    folder = new_points(results / "hapt" / "delu" / "begun")
    ledger = replicate_ledger(folder, 6)
    ledger.ask()
    ledger.ask()
    assert sync(folder).complete
    runs = runs_of(client_of(folder), "begun")
    assert runs["begun point 000"].data.metrics == {}
    assert runs["begun point 000"].data.tags["status"] == "interrupted"
    ledger.settle()


def test_a_report_reads_the_search_from_folder_and_store_alike(sent: ExperimentFolder, capsys: pytest.CaptureFixture):
    report.main([f"folders={sent.root}", "format=csv"])
    expected = capsys.readouterr().out
    assert expected.count("measured") > 0
    report.main([f"mlflow=sqlite:///{sent.root / 'mlflow.db'}", "format=csv"])
    assert capsys.readouterr().out == expected


def test_a_search_of_single_runs_is_sent_without_the_model(finished: ExperimentFolder):
    code = (
        "import sys; from dce_ray.tracking import sync; report = sync(sys.argv[1]); assert report.complete, report;"
        "assert 'dce_ray.points.model' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(finished.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_that_starts_while_the_folder_is_read_waits_for_its_point(copied: ExperimentFolder):
    """The mirror reads while the search writes: a run without its point in the same pass has nothing to lie below."""

    class Late(PointReader):
        def read(self, runs, *, live):
            known = list(super().read(runs, live=live))
            record = self.folder.trials()[-1].record()
            self.folder.trial("new").write(record.replace(key="new", number=99, point=99, state="running"))
            return iter(known)

    found = list(Uploads(copied, "search", Late(copied)).read(live=True))
    known = {upload.content.identity for upload in found} | {None}
    assert {upload.content.parent for upload in found} <= known
    again = list(Uploads(copied, "search").read(live=True))
    assert "point/99" in {upload.content.parent for upload in again}
    assert {upload.content.parent for upload in again} <= {upload.content.identity for upload in again} | {None}


@pytest.mark.parametrize("moment", ["first runs", "first values"])
def test_a_mirror_killed_while_it_writes_points_is_mended_by_sync(
    copied: ExperimentFolder, sent: ExperimentFolder, moment: str
):
    """A real process, and SIGKILL in the middle of its first pass; nothing is there twice afterwards."""
    watched = "runs" if moment == "first runs" else "metrics"
    with start_mirror(copied) as mirror, sqlite3.connect(copied.root / "mlflow.db") as database:
        assert mirror.process is not None
        while not database.execute(f"select count(*) from {watched}").fetchone()[0]:
            assert mirror.process.poll() is None, copied.log.read_text()
            time.sleep(0.002)
        mirror.process.kill()
        assert mirror.process.wait() == -signal.SIGKILL
        done = database.execute("select count(*) from tags where key = 'dce.sent'").fetchone()[0]
    assert done < len(runs_of(client_of(sent), "points")), "it had sent everything before it was killed"
    assert "warning: the mirror into MLflow died (signal 9;" in mirror.message
    assert sync(copied).complete
    expected, found = (runs_of(client_of(folder), "points") for folder in (sent, copied))
    assert found.keys() == expected.keys()
    for name, run in expected.items():
        assert found[name].data.metrics == run.data.metrics
        assert found[name].info.status == run.info.status
    before = rows(copied)
    assert sync(copied).created == 0
    assert rows(copied) == before
