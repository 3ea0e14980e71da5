"""A cluster whose head is killed, and one with a node whose disk is full: the search ends and goes on."""

from __future__ import annotations

import time

import pytest
from cluster.driving import done_alone, said, scores, start, until
from cluster.loopback import LoopbackCluster

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.study import read_study
from dce_ray.store import open_store
from dce_ray.store.sending import send_store

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]
RUNS = 4
ASKED = [
    *("policy=single", "sampler=random", "scheduler=none", f"search.num_runs={RUNS}", "search.cpus_per_trial=1"),
    *("confirm.seeds=0", "tracking=off", "baseline=delu", "name=one", "results=results"),
    *("training.iterations=60", "training.eval_every=10", "sampling.segments=24", "evaluation.proposal_thresholds=5"),
]
SOON_S = 60.0
"""The promise: a fault of the whole cluster ends the search so soon."""
BUSY = 3.0
"""How much slower a machine with other work may be."""


def test_a_search_whose_head_is_killed_ends_and_goes_on_on_a_cluster_with_a_full_node(
    s3, bucket, tiny_store, tmp_path, monkeypatch
):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    data, home = f"{bucket}/tiny", tmp_path / "home"
    send_store(open_store(tiny_store), data)
    folder = lambda: ExperimentFolder.open(home / "results" / "synthetic" / "delu" / "one")  # noqa: E731
    runs = lambda: folder().trials() if list(home.glob("results/*/*/one/config.json")) else []  # noqa: E731
    ended = lambda: [run for run in runs() if run.record().state == "finished"]  # noqa: E731

    with LoopbackCluster(0, head_cpus=0, token=True, environment=s3.environment) as cluster:
        driver = start(cluster, home, f"data={data}", *ASKED)
        try:
            until(lambda: "note: no node has a CPU yet; one is waited for, for 10 minutes" in said(home), driver, home)
            cluster.add()
            until(lambda: ended() and any(2 <= len(run.readings()) <= 4 for run in runs()), driver, home)
            cluster.head.kill()
            began = time.monotonic()
            assert driver.wait(timeout=BUSY * SOON_S) == 2, said(home)
        finally:
            driver.kill()
        assert time.monotonic() - began < BUSY * SOON_S
    text = said(home)
    assert "has not answered for 20 s: it was killed, or its machine is out of reach" in text
    assert "-m dce_ray.search resume=results/synthetic/delu/one" in text
    assert "Traceback" not in text
    before = {run.key: scores(run) for run in ended()}

    full = {"full": True, "name": "full"}
    with LoopbackCluster([{}, full], head_cpus=0, token=True, environment=s3.environment) as cluster:
        driver = start(cluster, home, "resume=results/synthetic/delu/one")
        try:
            assert driver.wait(timeout=900) == 0, said(home)
        finally:
            driver.kill()
    text = said(home).removeprefix(text)
    assert "no room for a store" in text
    assert "(on full)" in text
    assert "set DCE_CACHE to a larger disk" in text
    trials = read_study(folder().study).trials
    assert len({trial.user_attrs["key"] for trial in trials}) == len(trials) == RUNS - 1  # plain is no proposal
    assert [run.record().state for run in folder().trials()] == ["finished"] * RUNS
    assert "full" not in {run.record().host for run in folder().trials()}
    assert {run.key: scores(run) for run in folder().trials() if run.key in before} == before
    last = next(run for run in folder().trials() if run.key not in before)
    assert scores(last) == done_alone(last, tmp_path / "alone")
