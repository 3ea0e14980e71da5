"""The recorder of pools: what it plans, that it goes on after a kill, and that its file holds what was recorded."""

from __future__ import annotations

import dataclasses
import fcntl
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_pool import SMALL, made_pool

from benchmarks.pool import __main__ as command
from benchmarks.pool import record as recorder
from benchmarks.pool.plan import BLOCK, PoolRun, PoolSource, Size, planned_runs
from benchmarks.pool.record import record, run_file, train
from benchmarks.pool.table import Grid, Pool, Recorded, gather, read_pool, write_pool
from dce_ray.config import ScalarRange
from dce_ray.errors import ConfigError, DataError
from dce_ray.experiment.candidate import Candidate
from dce_ray.points.runs import Replicate
from dce_ray.presets import run_config_from_mapping
from dce_ray.search.ledger import run_key
from dce_ray.train import Run

TINY = Size(folds=3, points=4, replicates=2, truths=2)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DCE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield PoolSource("delu", "synthetic-tiny", TINY)


class TestPlan:
    def test_every_arm_meets_every_replicate_and_has_every_truth_run_once(self):
        plan = planned_runs(SMALL)
        assert len(plan) == len(set(plan)) == 13 * (4 + 2)
        replicates = {(0, 0), (1, 0), (2, 0), (0, 1)}
        for arm in (None, *range(12)):
            own = [run for run in plan if run.point == arm]
            assert {(run.fold, run.round) for run in own if not run.truth} == replicates
            assert sorted(run.round for run in own if run.truth) == [0, 1]

    def test_a_record_that_was_cut_short_is_a_smaller_pool(self):
        size = Size(folds=5, points=2 * BLOCK, replicates=6, truths=4)
        plan = planned_runs(size)
        block = planned_runs(dataclasses.replace(size, points=BLOCK))
        assert plan[: len(block)] == block
        assert plan[: BLOCK + 1] == [PoolRun(5, arm, 0, 0) for arm in (None, *range(BLOCK))]
        assert plan[BLOCK + 1 : 2 * (BLOCK + 1)] == [PoolRun(None, arm, None, 0) for arm in (None, *range(BLOCK))]
        assert {run.point for run in plan[len(block) :]} == set(range(BLOCK, 2 * BLOCK))

    def test_points_are_the_published_ones_and_a_sample_of_the_ranges_of_the_search(self, source):
        assert source.origins[:2] == ["paper", "released"]
        assert source.points[0] == {
            "delta": 0.8, "theta_rep": 0.9, "theta_pro": 0.6, "beta": 0.5, "gamma": 0.5, "lambda": 1.0
        }  # fmt: skip
        wide = PoolSource("delu", "synthetic-tiny", Size(points=66))
        ranges = wide.experiment.space.searched
        assert wide.points[:4] == source.points, "more points leave the first as they are"
        for name, item in ranges.items():
            places = [item.to_unit(point[name]) for point in wide.points[2:]]
            assert all(sum(k / 8 <= place < (k + 1) / 8 for place in places) == 8 for k in range(8)), name
        assert ranges["beta"].log

    @pytest.mark.parametrize("wrong", [{"folds": 1}, {"points": 1}, {"replicates": 0}, {"truths": -1}])
    def test_a_pool_of_nothing_is_refused(self, wrong):
        name, value = next(iter(wrong.items()))
        with pytest.raises(ConfigError, match=f"{name}={value} must be"):
            Size(**wrong)


class TestConfigurations:
    def test_a_run_is_the_searchs_and_a_truth_run_the_confirmations(self, source):
        config = source.config(PoolRun(3, 1, 2, 1))
        assert config["seed"] == 1
        assert (config["protocol"], config["sampling"]["fold"], config["sampling"]["folds"]) == ("holdout", 2, 3)
        assert {name: config["method"][name] for name in source.points[1]} == source.points[1]
        assert config["scs"]
        assert config["mcm"]
        candidate = Candidate(
            "top1", source.config(PoolRun(3, 1, 0, 0)), 0.5, config["training"]["iterations"], "search"
        )
        confirmed = candidate.configuration(candidate.confirmation_seed(1))
        confirmed["training"] = {**confirmed["training"], "stop_at": None}  # the pool keeps the whole curve
        assert source.config(PoolRun(None, 1, None, 1)) == confirmed
        plain = source.config(PoolRun(3, None, 2, 0))
        assert (plain["scs"], plain["mcm"]) == (False, False)
        assert source.key(PoolRun(3, 1, 2, 1)) == run_key(config, source.digest)

    def test_a_truth_never_shares_a_seed_or_a_key_with_what_policies_see(self, source):
        plan = planned_runs(TINY)
        seeds = {truth: {source.config(run)["seed"] for run in plan if run.truth == truth} for truth in (True, False)}
        assert seeds == {True: {1000, 1001}, False: {0}}
        assert not seeds[True] & seeds[False]
        assert len({source.key(run) for run in plan}) == len(plan)

    def test_policies_see_a_fold_and_the_truth_comes_from_test(self, source):
        seen, truth = (
            Run(run_config_from_mapping(source.config(run))).splits
            for run in (PoolRun(3, 0, 1, 0), PoolRun(None, 0, None, 0))
        )
        assert len(seen.holdout) > 0
        assert set(truth.train) == set(seen.train) | set(seen.holdout)


class TestRecord:
    def test_a_killed_record_goes_on_and_trains_nothing_twice(self, source, tmp_path, monkeypatch):
        trained = []

        def fake(_, run):
            if len(trained) == 5:
                raise KeyboardInterrupt
            trained.append(run)
            return {"seed": 0, "curve": {2: 0.5}, "error": None}

        monkeypatch.setattr(recorder, "train", fake)
        plan = planned_runs(TINY)
        with pytest.raises(KeyboardInterrupt):
            record(source, plan, tmp_path)
        assert trained == plan[:5]
        assert len(gather(source, tmp_path)[0]) == 5
        monkeypatch.setattr(
            recorder, "train", lambda _, run: trained.append(run) or {"seed": 0, "curve": {}, "error": "x"}
        )
        assert record(source, plan, tmp_path) == len(plan) - 5
        assert trained == plan
        assert record(source, plan, tmp_path) == 0

    def test_a_run_that_another_process_trains_is_left_to_it(self, source, tmp_path, monkeypatch):
        trained = []
        monkeypatch.setattr(
            recorder, "train", lambda _, run: trained.append(run) or {"seed": 0, "curve": {}, "error": None}
        )
        plan = planned_runs(TINY)
        lock = run_file(tmp_path, source.key(plan[3])).with_suffix(".lock")
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            record(source, plan, tmp_path)
        assert trained == plan[:3] + plan[4:]
        assert record(source, plan, tmp_path) == 1
        assert trained[-1] == plan[3]

    def test_the_time_ends_it(self, source, tmp_path):
        assert record(source, planned_runs(TINY), tmp_path, until=0.0) == 0

    def test_real_runs_give_the_curves_of_their_split(self, source, monkeypatch):
        configured = source.config

        def shorter(run):
            config = configured(run)
            return {**config, "training": {**config["training"], "iterations": 4, "eval_every": 2}, "device": "cpu"}

        monkeypatch.setattr(source, "config", shorter)
        splits = []
        evaluate = recorder.Run.evaluate
        monkeypatch.setattr(recorder.Run, "evaluate", lambda run, split: splits.append(split) or evaluate(run, split))
        seen, truth = train(source, PoolRun(3, 0, 1, 0)), train(source, PoolRun(None, 0, None, 0))
        assert splits == ["holdout", "holdout", "test", "test"]
        assert list(seen["curve"]) == list(truth["curve"]) == [2, 4]
        assert (seen["seed"], truth["seed"], seen["error"]) == (0, 1000, None)
        assert train(source, PoolRun(3, 0, 1, 0))["curve"] == seen["curve"]


class TestTable:
    def test_what_is_written_is_read_back(self, tmp_path):
        pool = made_pool(SMALL, noise=0.01)
        broken = dataclasses.replace(pool.runs[5], curve={10: 0.25}, error="loss is not finite")
        at_once = dataclasses.replace(pool.runs[6], curve={}, error="loss is not finite")
        pool = Pool(pool.points, pool.origins, [*pool.runs[:5], broken, at_once, *pool.runs[7:]], pool.about)
        write_pool(tmp_path / "pool.parquet", pool)
        assert read_pool(tmp_path / "pool.parquet") == pool
        table = pq.read_table(tmp_path / "pool.parquet")
        assert json.loads(table.schema.metadata[b"pool"]) == pool.about
        assert set(table.column("part").to_pylist()) == {"search", "truth"}
        assert set(table.column("arm").to_pylist()) == {"plain", "points"}
        assert pool.curves(3)[broken.run.point, broken.run.replicate] == {}, "half a curve is no score"

    @pytest.mark.parametrize("content", [None, b"no Parquet", "table"])
    def test_what_is_no_pool_is_refused_with_what_makes_one(self, tmp_path, content):
        file = tmp_path / "pool.parquet"
        if content == "table":
            pq.write_table(pa.table({"score": [1.0]}), file)
        elif content:
            file.write_bytes(content)
        with pytest.raises(DataError, match=r"benchmarks\.pool write"):
            read_pool(file)

    def test_the_grid_is_the_largest_whole_part(self):
        pool = made_pool(Size(folds=2, points=4, replicates=3, truths=2))
        zero, one, two = Replicate(0, 0), Replicate(1, 0), Replicate(0, 1)
        assert pool.grid(2) == Grid((0, 1, 2, 3), (zero, one, two), 2)
        assert pool.grid(5) == Grid((), (), 0)

        def without(*runs):
            return Pool(pool.points, pool.origins, [item for item in pool.runs if item.run not in runs], pool.about)

        assert without(PoolRun(2, 3, 0, 1)).grid(2) == Grid((0, 1, 2, 3), (zero, one), 2)  # 4 x 4 runs and not 3 x 5
        gone = [PoolRun(2, 3, 1, 0), PoolRun(2, 3, 0, 1)]
        assert without(*gone).grid(2) == Grid((0, 1, 2), (zero, one, two), 2)  # 3 x 5 runs and not 4 x 3
        assert without(PoolRun(None, None, None, 1)).grid(2) == Grid((0, 1, 2, 3), (zero, one, two), 1)
        seen = without(*(item.run for item in pool.runs if item.run.truth))
        assert seen.grid(2) == Grid((0, 1, 2, 3), (zero, one, two), 0), "nobody asked for a truth"
        assert without(PoolRun(2, None, 1, 0)).grid(2) == Grid((0, 1, 2, 3), (zero,), 2), "plain was not there"

    def test_truth_is_in_percent_by_seed_and_leaves_failed_runs_out(self):
        pool = made_pool(Size(folds=2, points=2, replicates=1, truths=3), level=lambda scalars: 0.1)
        failed = [
            dataclasses.replace(item, error="x") if item.run == PoolRun(None, 1, None, 0) else item
            for item in reversed(pool.runs)
        ]
        truth = Pool(pool.points, pool.origins, failed, pool.about).truth
        assert truth[0] == pytest.approx([60.0, 60.1, 60.2])
        assert truth[1] == pytest.approx([60.1, 60.2])
        assert truth[None] == pytest.approx([50.0, 50.1, 50.2])

    def test_ranges_come_back_as_they_were_searched(self):
        assert made_pool(SMALL).ranges["beta"] == ScalarRange(0.1, 10.0, log=True)


class TestCommand:
    @pytest.fixture(autouse=True)
    def fake_training(self, monkeypatch, tmp_path_factory):
        monkeypatch.setenv("DCE_CACHE", str(tmp_path_factory.mktemp("cache")))
        done = {"core_seconds": 1.0, "load": 0.5, "ended": 7.0}
        monkeypatch.setattr(recorder, "train", lambda *_: {"seed": 3, "curve": {4: 0.25}, "error": None} | done)

    def test_record_and_write(self, tmp_path, capsys):
        size = ["data=synthetic-tiny", "points=3", "replicates=2", "truths=1"]
        command.main(["record", f"work={tmp_path / 'five'}", *size])
        command.main(["record", f"work={tmp_path / 'three'}", *size, "folds=3", "truths=0"])
        assert "12 runs trained here, 12 of 12 recorded" in capsys.readouterr().out
        target = tmp_path / "pool.parquet"
        folders = f"work={tmp_path / 'five'},{tmp_path / 'three'}"
        command.main(["write", folders, f"target={target}", "note=on two machines"])
        assert "K=3: 3 points x 2 replicates with 1 truth runs each" in capsys.readouterr().out
        command.main(["write", f"work={tmp_path / 'three'}", f"target={tmp_path / 'unconfirmed.parquet'}"])
        told = capsys.readouterr().out
        assert "K=3: 3 points x 2 replicates with 0 truth runs each" in told
        assert "held out: mean 25.00 mAP, deviation between points 0.00" in told
        pool = read_pool(target)
        assert pool.about["note"] == "on two machines"
        assert len(pool.runs) == 12 + 8
        assert pool.runs[0] == Recorded(PoolRun(5, None, 0, 0), 3, {4: 0.25})
        assert {one.run.folds for one in pool.runs} == {3, 5, None}
        assert (pool.about["core_seconds"], pool.about["first"], pool.about["load"]) == (1.0, 7.0, 0.5)
        assert pool.about["command"].count("benchmarks.pool record") == 2
        assert pool.about["config"]["data"] == "synthetic-tiny", "no path of a machine"
        with pytest.raises(SystemExit, match=r"holds the runs of .* record into another folder"):
            command.main(["record", f"work={tmp_path / 'five'}", *size, "baseline=co2net"])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "say record or write"),
            (["recrod"], "recrod: say record or write"),
            (["record"], "give work="),
            (["record", "work=x", "point=3"], "unknown: point; known: work, "),
            (["write", "work=x"], "give target="),
        ],
    )
    def test_wrong_arguments_are_named(self, arguments, message):
        with pytest.raises(SystemExit, match=message):
            command.main(arguments)
