"""``python -m dce_ray.ablate study=confounding``: mistakes, and a real study on Ray, killed and gone on with."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import time
from pathlib import Path

import pytest
from ablating import AblateCommand

from dce_ray import ablate, ablation_runs, confounding
from dce_ray.ablation_runs import ablation_folder
from dce_ray.confounding import Digests
from dce_ray.data.levels import LEVELS, LevelDraw
from dce_ray.errors import ConfigError, DceError, SearchError
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.session.nodes import Wanted, look

STUDY = ["study=confounding", "baseline=delu"]
SMALL = ["data=synthetic-tiny", "training.iterations=6", "training.eval_every=3", "sampling.segments=24", "device=cpu"]
ASKED = [*STUDY, *SMALL, "levels=[none,strong]", "draws=2", "ray.num_cpus=1"]
MARK = "DCE_RAY_KILLED_STUDY"
"""Variable of the environment by which a study's processes are found."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=thumos14"], "turns the confounding of generated data"),
        (["data=hapt"], r"data=hapt: .* use data=synthetic or data=synthetic-<size>"),
        (["data=synthetic-smal"], "did you mean small"),
        (["draws=1"], "draws=1: must be a whole number from 2"),
        (["draws=ten"], "draws='ten': must be a whole number from 2"),
        (["draws=2.5"], r"draws=2\.5: must be a whole number"),
        (["seeds=0"], "seeds=0: must be a whole number from 1"),
        (["levels=strong"], "write a list of levels"),
        (["levels=[]"], "write a list of levels"),
        (["levels=[none,stong]"], "did you mean strong"),
        (["values=[0.5]"], "sweeps no number; choose levels="),
        (["protocol=paper"], "reads test once, at the end"),
        (["scs=off"], "scs=: the study's settings"),
        (["method.delta=1.5"], r"delta=1\.5"),
        (["training.iteratoins=5"], "did you mean training.iterations"),
        (["folder=here"], "folder"),
    ],
)
def test_mistakes_are_answered_before_anything_is_made(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DceError, match=message):
        ablate.main([*STUDY, *arguments])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argument", ["draws=4", "levels=[none]"])
def test_other_studies_draw_no_data(argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="only study=confounding draws data"):
        ablate.main(["study=components", "data=synthetic-tiny", argument])


def options(**changes):
    return {key: value for key, value in ablate.OWN_KEYS.items() if key != "study"} | {"seeds": 1} | changes


def build(given=None, **changes):
    return confounding.build({"baseline": "delu", "data": "synthetic-tiny"} | (given or {}), options(**changes))


def test_the_study_has_all_levels_and_ten_draws_that_chose_nothing():
    study = build({"data": "synthetic"})
    assert (study.size, study.levels, study.draws) == ("bench", tuple(LEVELS), tuple(range(100, 110)))
    assert len(study.cells()) == 70
    assert [cell.draw for cell in study.cells()][:8] == [100] * 7 + [101]
    assert [setting.name for setting in study.settings] == ["baseline", "scs", "mcm", "scs+mcm"]
    assert (study.run.protocol, study.run.training.iterations, study.run.sampling.segments) == ("confirm", 200, 64)
    assert (study.run.method.delta, study.run.method.theta_rep, study.run.method.beta) == (0.8, 0.9, 0.5)  # the paper's


def test_levels_keep_the_order_of_the_dial():
    assert build(levels=["strong", "none"]).levels == ("none", "strong")


def test_keys_of_the_run_reach_every_run(tmp_path):
    study = build({"method.delta": 0.7, "training.iterations": 9}, seeds=2, levels=["none", "both"], draws=3)
    folder = ExperimentFolder.create(tmp_path / "a", {}, {})
    runs = [run for cell in study.cells() for run in study.planned(folder, cell, f"digest of {cell.name}")]
    assert len(runs) == 3 * 2 * 2 * 4
    records = [planned.record for *_, planned in runs]
    assert [record.number for record in records] == list(range(48))
    assert len({record.key for record in records}) == 48
    assert {record.config["method"]["delta"] for record in records} == {0.7}
    assert {record.config["training"]["iterations"] for record in records} == {9}
    assert [record.seed for record in records[:8]] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert records[0].setting == "baseline, none, draw 100"
    assert {(record.components, record.origin) for record in records} == {
        ("baseline", "baseline"),
        *((name, "search") for name in ("scs", "mcm", "scs+mcm")),
    }


def test_a_winner_of_a_search_is_departed_from(tmp_path):
    (tmp_path / "best.yaml").write_text("baseline: co2net\nprotocol: holdout\nmethod: {delta: 0.61}\n")
    with pytest.raises(ConfigError, match="protocol=holdout"):
        build({"config": str(tmp_path / "best.yaml")})
    (tmp_path / "best.yaml").write_text("baseline: co2net\nmethod: {delta: 0.61}\n")
    study = confounding.build({"config": str(tmp_path / "best.yaml"), "data": "synthetic-tiny"}, options())
    assert (study.run.baseline, study.run.method.delta) == ("co2net", 0.61)


def test_a_further_node_looks_at_the_draws_own_data(tmp_path, monkeypatch):
    """Not at ``data=synthetic``, which no node can open; and the remedy is no other data=, which the study refuses."""
    study, seen = build(levels=["none"], draws=2), []

    def ask(mark, data, digest, *, keys):
        seen.append(look(Wanted(str(mark), mark.read_text(), data, digest, keys=keys)))
        seen.append(look(Wanted(str(mark), "", f"{data}-not-there", digest, keys=keys)))
        raise SearchError("enough")

    monkeypatch.setattr(ablation_runs, "check_nodes", ask)
    monkeypatch.setattr(ablation_runs, "ray_session", lambda *_: contextlib.nullcontext([]))
    folder = ExperimentFolder.create(tmp_path / "study", {"kind": "ablation"}, {})
    with folder.lock(), pytest.raises(SearchError, match="enough"):
        confounding.run_draws(study, folder, Digests(folder))
    there, lacking = seen
    assert (there.folder, there.fault) == (True, None)
    assert "share the disk that it lies on" in lacking.fault
    assert "data=s3://" not in lacking.fault


def test_data_that_come_out_otherwise_than_before_are_refused(tmp_path):
    folder = ExperimentFolder.create(tmp_path / "a", {}, {})
    Digests(folder).keep("store", "0123456789abcdef")
    again = Digests(folder)
    again.keep("store", "0123456789abcdef")
    with pytest.raises(SearchError, match="generated with other content than before"):
        again.keep("store", "fedcba9876543210")


class Command(AblateCommand):
    """The study in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ASKED, {"RAY_ADDRESS": "", MARK: str(folder)})
        self.data = self.results / "confounding.data"

    def ended(self) -> dict[str, float]:
        return {record.key: record.ended for record in self.records() if record.state == "finished"}

    def end_rest(self) -> None:
        """End what is left of a killed driver's Ray: by the environment that its processes inherit."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            rest = []
            for entry in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if f"{MARK}={self.folder}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                        rest.append(int(entry.name))
            if not rest:
                return
            for process in rest:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.1)


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> Command:
    return Command(tmp_path_factory.mktemp("confounding"))


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_killed_study_goes_on_and_counts_every_run_once(command):
    process = command.start()
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "draw 101" in line and line.startswith("[2/8]"):
            process.kill()
            break
    process.communicate(timeout=60)
    command.end_rest()
    before = command.ended()
    assert 10 <= len(before) < 16, seen
    digests = json.loads((command.results / "confounding.digests.json").read_text())
    output = command.run()
    assert "16 runs on 2 draws, 1 of them done" in output
    assert "[1/8]" not in output  # of the second draw only what was left
    after = command.ended()
    assert len(after) == len(command.records()) == 16
    assert {key: after[key] for key in before} == before
    assert json.loads((command.results / "confounding.digests.json").read_text()) == digests
    assert list(command.data.iterdir()) == []


@pytest.mark.ray
def test_table_and_answer_equal_the_runs(command):
    command.run()
    scores: dict[tuple[str, str, str], float] = {}
    for run in ExperimentFolder.open(command.results).confirmations():
        arm, level, draw = run.record().setting.split(", ")
        scores[arm, level, draw] = 100 * json.loads(run.table.read_text())["averages"]["0.1:0.7"]
    gains = {
        level: [scores["scs+mcm", level, draw] - scores["baseline", level, draw] for draw in ("draw 100", "draw 101")]
        for level in ("none", "strong")
    }
    more = statistics.mean(gains["strong"]) - statistics.mean(gains["none"])
    expected = {"gain of + SCS + MCM": statistics.mean(gains["strong"]), "+ SCS + MCM: more than at none": more}
    lines = (command.results / "confounding.csv").read_text().splitlines()
    for label, value in expected.items():
        start = f"confounding_delu,strong,{label},measured,2,avg_0.1_0.7,"
        row = next(line for line in lines if line.startswith(start))
        assert float(row.split(",")[6]) == pytest.approx(value)
    written = json.loads((command.results / "confounding.json").read_text())
    assert f"by {expected['gain of + SCS + MCM']:+.1f} [" in written["result"]
    assert written["draws"] == [100, 101]
    assert "What Psi marked of the snippets" in (command.results / "confounding.md").read_text()
    assert {level: len(shares) for level, shares in written["psi_share"].items()} == {"none": 2, "strong": 2}
    assert written["environment"]["commit"]
    for suffix in ("svg", "png"):
        assert (command.results / "figures" / f"confounding.{suffix}").stat().st_size > 1000
    for suffix in ("md", "tex", "html"):
        assert (command.results / f"confounding.{suffix}").stat().st_size > 1000


@pytest.mark.ray
def test_a_finished_study_needs_neither_ray_nor_data(command):
    left = command.data / LevelDraw("tiny", "strong", 101).name  # by a kill between the last run and its removal
    left.mkdir()
    output = command.run("ray.address=192.0.2.1:6379")
    assert list(command.data.iterdir()) == []
    assert "16 runs on 2 draws, 2 of them done" in output
    assert "confounding: with strong context" in output


@pytest.mark.ray
def test_more_draws_only_add_runs(command):
    before = command.ended()
    output = command.run("draws=3", "levels=[strong]")
    assert "12 runs on 3 draws, 2 of them done" in output
    after = command.ended()
    assert len(after) == 20
    assert {key: after[key] for key in before} == before


def test_other_studies_share_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    study = build()
    first = ablation_folder(options(results=tmp_path), study.run, study.data, None)
    given = {"study": "components", "baseline": "delu", "data": "synthetic-tiny"}
    made, store = ablate.build(given)
    second = ablation_folder(options(results=tmp_path), made.run, made.context.data, store)
    assert first == second
    assert first.config["kind"] == "ablation"
    assert (first.config["digest"], first.config["run"]["data"]) == (store.digest, str(store.path))
    assert first.path.parts[-3] == "synthetic-tiny"
    assert build({"data": "synthetic"}).data == build({"data": "synthetic-bench"}).data == "synthetic"
