"""A search from Python: typed arguments ask for what the command line's do, and wrong ones start nothing."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

import dce_ray
from dce_ray.commandline import parse
from dce_ray.errors import ConfigError, SearchError, SearchSpaceError
from dce_ray.interrupts import stop_on_signal
from dce_ray.search import api
from dce_ray.search.__main__ import main, request_of
from dce_ray.search.api import conduct
from dce_ray.search.opening import create
from dce_ray.search.options import TrackingOptions
from dce_ray.search.settings import Request, Settings, build_experiment
from dce_ray.search.stages import Search

pytestmark = pytest.mark.ray


@pytest.fixture
def asked(monkeypatch):
    """Requests that would have been carried out."""
    requests: list[Request] = []

    def stop_here(request):
        requests.append(request)
        raise SearchError("stop here")

    monkeypatch.setattr(api, "create", stop_here)
    return requests


def test_arguments_and_command_line_ask_for_the_same(asked):
    with pytest.raises(SearchError, match="stop here"):
        dce_ray.run_search(
            "ddgnet",
            "synthetic-tiny",
            num_runs=70,
            folds=3,
            time_budget="90m",
            policy="single",
            sampler="random",
            scheduler="median",
            seed=3,
            space={"delta": {"high": 0.9}, "lambda": 1.0, "gamma": "beta"},
            run={"protocol": "paper", "training": {"iterations": 9}, "method": {"theta_rep": 0.8}},
            preset="released",
            confirm_top=2,
            confirm_seeds=1,
            name="one",
            results="elsewhere",
            tracking=False,
            tracking_uri="sqlite:///x.db",
            ray_address="auto",
            num_cpus=2,
            cpus_per_trial=1.0,
            gpus_per_trial=0.5,
        )
    (from_python,) = asked
    line = (
        "baseline=ddgnet data=synthetic-tiny search.num_trials=70 search.time_budget=90m policy=single "
        "sampler=random search.folds=3 scheduler=median search.seed=3 "
        "space.delta.high=0.9 space.lambda=1.0 space.gamma=beta protocol=paper "
        "training.iterations=9 method.theta_rep=0.8 preset=released confirm.top=2 confirm.seeds=1 name=one "
        "results=elsewhere tracking=off tracking.uri='sqlite:///x.db' ray.address=auto ray.num_cpus=2 "
        "search.cpus_per_trial=1 search.gpus_per_trial=0.5"
    )
    from_command = request_of(parse(line.split()))
    assert from_python.settings == from_command.settings
    built = [build_experiment(request, "store", "default") for request in (from_python, from_command)]
    assert built[0] == built[1]
    assert built[0].space.dimensions["theta_rep"] == 0.8
    assert built[0].run.training.iterations == 9


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"baseline": "dleu"}, ConfigError, "did you mean delu"),
        ({"num_runs": 0}, ConfigError, "num_runs=0"),
        ({"num_runs": 4}, ConfigError, "alone are 7 runs"),
        ({"folds": 1}, ConfigError, "folds=1"),
        ({"num_runs": "many"}, ConfigError, "must be a whole number"),
        ({"time_budget": "soon"}, ConfigError, "90m"),
        ({"sampler": "tpee"}, ConfigError, "did you mean tpe"),
        ({"space": {"detla": {"high": 0.9}}}, SearchSpaceError, "did you mean space.delta"),
        ({"space": {"delta": {"low": 0.99}}}, SearchSpaceError, "low must be below"),
        ({"run": {"training": {"iteration": 5}}}, ConfigError, "did you mean training.iterations"),
        ({"run": {"sampling": {"holdout_share": 0.1}}}, ConfigError, "sampling.holdout_share: folds take its place"),
        ({"run": {"data": "elsewhere"}}, ConfigError, "data is the search's own argument"),
        ({"run": {"protocol": "confirm"}}, ConfigError, "selects on holdout"),
        ({"data": "nowhere"}, ValueError, "no such folder"),
    ],
)
def test_wrong_argument_starts_nothing(arguments, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dce_ray.session.ray_session._start", lambda *_: pytest.fail("Ray was started"))
    with pytest.raises(error, match=re.escape(words)):
        dce_ray.run_search(**{"data": "synthetic-tiny"} | arguments)
    assert not (tmp_path / "results").exists()


def test_a_scalar_given_whole_and_by_its_bounds_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"space\.delta\.high=0\.9: space\.delta=0\.5 is given as well"):
        main(["data=synthetic-tiny", f"results={tmp_path}", "space.delta=0.5", "space.delta.high=0.9"])
    assert list(tmp_path.iterdir()) == []


def test_result_holds_winner_trials_tables_and_folder_and_goes_on(cluster, tiny_store, tmp_path):
    short = {"training": {"iterations": 4, "eval_every": 2}, "sampling": {"segments": 24}}
    result = dce_ray.run_search(
        *("delu", tiny_store),
        num_runs=7,
        folds=2,
        confirm_top=1,
        confirm_seeds=1,
        run=short,
        results=tmp_path,
        tracking=False,
    )
    assert result.stopped is None
    assert (result.verdict.outcome, result.verdict.pairs) == ("undecided", 1)
    assert result.folder.parent.parent.parent == tmp_path
    assert result.winner.setting == "top1"
    assert result.winner.point == result.standing.ranked[0].point
    assert result.winner.value == result.standing.ranked[0].mean
    lines = {(row.group, row.label) for row in result.tables["confirmation"].rows}
    assert {("top1", "mAP"), ("top1", "difference to baseline"), ("baseline", "mAP")} <= lines
    again = dce_ray.resume_search(result.folder, {"search.num_trials": 8})
    assert len(again.trials.rows) == 8
    with pytest.raises(ConfigError, match="sampler cannot be changed"):
        dce_ray.resume_search(result.folder, {"sampler": "random"})


@pytest.mark.parametrize("first", [False, True])
def test_the_second_ctrl_c_does_not_wait_for_the_report(tmp_path, monkeypatch, capsys, first):
    written = []

    def run(self):
        with stop_on_signal(lambda: True):
            if first:  # has ended the runs
                os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr(Search, "run", run)
    monkeypatch.setattr(api, "_write_outputs", written.append)
    settings = Settings(results=str(tmp_path), name="one", tracking=TrackingOptions(enabled=False))
    prepared = create(Request(data="synthetic-tiny", settings=settings))
    with pytest.raises(KeyboardInterrupt):
        conduct(*prepared)
    assert "What is done is kept. Go on with: " in capsys.readouterr().out
    assert bool(written) is not first


def test_that_an_earlier_search_was_stopped_does_not_make_a_first_ctrl_c_the_second(tmp_path, monkeypatch):
    """From Python, several searches are one process; the next one is stopped while its Ray starts."""

    def run(self):
        raise KeyboardInterrupt

    written = []
    monkeypatch.setattr(Search, "run", run)
    monkeypatch.setattr(api, "_write_outputs", written.append)
    with stop_on_signal(lambda: True):
        os.kill(os.getpid(), signal.SIGINT)
    settings = Settings(results=str(tmp_path), name="one", tracking=TrackingOptions(enabled=False))
    with pytest.raises(KeyboardInterrupt):
        conduct(*create(Request(data="synthetic-tiny", settings=settings)))
    assert written
