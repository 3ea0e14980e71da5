"""Who gets what: worked out by hand."""

import logging
import os
import re

import pytest

from dce_ray.errors import ConfigError, SearchError
from dce_ray.search.settings import Settings
from dce_ray.session.ray_session import logged, ray_session, remedy
from dce_ray.session.resources import CONTEXT_BYTES, PROCESS_BYTES, Demand, Node, Resources, choose_resources

GIB = 2**30
SMALL = Demand(network=GIB // 8, activations=GIB // 8, features=GIB)
NEED = PROCESS_BYTES + GIB // 4
"""Of one run on the CPU."""


def choose(cpus_there, gpus_there=0, runs=32, host=64 * GIB, device=80 * GIB, **wish):
    """On one node."""
    return shares([Node(cpus_there, gpus_there, host, gpu_bytes=device)], runs, **wish)


def shares(nodes, runs=32, **wish):
    """CPUs and GPUs of a run, and those on nodes without a GPU; all ask for the memory that they need."""
    chosen = choose_resources(nodes, SMALL, runs=runs, **wish)
    assert {kind.memory for kind in chosen.kinds} == {int(min(NEED / 0.8, max(node.memory for node in nodes)))}
    return [(kind.cpus, kind.gpus) for kind in chosen.kinds]


def test_cpu_only():
    assert choose(2) == [(1.0, 0.0)]
    assert choose(16, runs=4) == [(4.0, 0.0)]
    assert choose(16, host=2.5 * NEED / 0.8) == [(8.0, 0.0)]  # memory for two
    assert choose(16, host=1.0) == [(16.0, 0.0)]  # memory for none: one at a time is tried


def test_gpus_are_shared_as_far_as_memory_allows():
    need = CONTEXT_BYTES + GIB // 4 + GIB
    assert choose(16, 1) == [(4.0, 0.25)]
    assert choose(16, 1, device=2.2 * need / 0.8) == [(8.0, 0.5)]
    assert choose(16, 1, device=need / 2) == [(16.0, 1.0)]
    assert choose(16, 1, device=None) == [(16.0, 1.0)]
    assert choose(16, 2) == [(2.0, 0.25)]  # eight at once
    assert Resources(2.0, 0.25).slots([Node(16, 2)]) == 8


def test_a_run_lies_on_one_node():
    two = [Node(2), Node(2)]
    assert shares(two, runs=1) == [(2.0, 0.0)]  # four CPUs, but on no node
    assert shares(two, runs=2) == [(2.0, 0.0)]
    assert shares(two, runs=3) == [(1.0, 0.0)]
    assert Resources(2.0, 0.0).slots([Node(3), Node(3)]) == 2
    assert Resources(1.0, 0.0, 3 * GIB).slots([Node(8, memory=10 * GIB), Node(8, memory=2 * GIB)]) == 3
    assert shares([Node(16), Node(2)], runs=4) == [(4.0, 0.0)]  # the small node cannot help, and does not hold back
    with pytest.raises(SearchError, match=r"needs 3 CPUs, .* of one node, and there is big with 2 CPUs; small with 1"):
        choose_resources([Node(2, host="big"), Node(1, host="small")], SMALL, runs=9, cpus=3)


def test_nodes_without_a_gpu_get_runs_of_their_own():
    mixed = [Node(8, 2, gpu_bytes=80 * GIB), Node(6), Node(2)]
    assert shares(mixed, runs=32) == [(1.0, 0.25), (1.0, 0.0)]  # 8 on GPUs, 8 on CPUs
    assert choose_resources(mixed, SMALL, runs=32).slots(mixed) == 16
    assert shares(mixed, runs=10) == [(1.0, 0.25), (3.0, 0.0)]  # two are left, and the small node is not needed
    assert shares(mixed, runs=8) == [(1.0, 0.25)]  # the GPUs hold them all
    assert shares(mixed, runs=32, unequal=False) == [(1.0, 0.25)]  # device=cuda
    assert shares(mixed, runs=32, gpus=0.5) == [(2.0, 0.5)]
    assert shares(mixed, runs=32, gpus=0.0) == [(1.0, 0.0)]
    smaller = [Node(8, 2, gpu_bytes=80 * GIB), Node(8, 1, gpu_bytes=2 * GIB)]
    assert shares(smaller) == [(4.0, 1.0)]  # what fits the smallest of the GPUs
    on_cpu = choose_resources(mixed, SMALL, runs=32).elsewhere
    assert [on_cpu.slots_on(node) for node in mixed] == [0, 6, 2]


def test_wishes_win_and_impossible_ones_are_told():
    assert choose(16, 1, cpus=3, gpus=0.5) == [(3.0, 0.5)]
    assert Resources(3.0, 0.5).slots([Node(16, 1)]) == 2
    assert Resources(1.0, 0.4).slots([Node(16, 2)]) == 4  # no trial on two halves of different GPUs
    assert Resources(1.0, 2.0).slots([Node(16, 5)]) == 2
    for wish in ({"cpus": 3}, {"gpus": 1.0}, {"cpus": 0.0}):
        with pytest.raises(SearchError, match="no run fits"):
            choose(2, **wish)


def test_shares_and_addresses_that_cannot_work_are_refused_at_once():
    with pytest.raises(SearchError, match=r"gpus_per_trial=1.5: must be at most 1 or a whole number"):
        choose(16, 4, gpus=1.5)
    with pytest.raises(ConfigError, match=r"search.gpus_per_trial=1.5: must be at most 1"):
        Settings.from_mapping({"search": {"gpus_per_trial": 1.5}})
    with pytest.raises(ConfigError, match=r"ray.address=ray://head:10001: .*ray job submit"):
        Settings.from_mapping({"ray": {"address": "ray://head:10001"}})


def test_ray_client_in_the_environment_is_refused(tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(SearchError, match=r"ray://head:10001: .*ray job submit"), ray_session(None, tmp_path / "log"):
        pass


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("AuthenticationError: InvalidAuthToken", "RAY_AUTH_MODE=token"),
        ("The object store is using /tmp instead of /dev/shm because /dev/shm has only 1 bytes", "--shm-size"),
        ("Attempting to cap object store memory usage at 1 bytes, but the minimum allowed is 78643200", "end other"),
        ("OSError: [Errno 98] Address already in use", "end the program that listens there"),
        ("OSError: [Errno 28] No space left on device", "RAY_TMPDIR"),
        ("Could not find any running Ray instance", "ray status"),
        ("something never seen", "logs"),
    ],
)
def test_every_fault_of_the_environment_has_its_remedy(message, advice):
    assert advice in remedy("local" if "running" not in message else "auto", RuntimeError(message))


def test_a_ray_that_does_not_start_names_its_own_logs_and_a_busy_machine(tmp_path, monkeypatch):
    """``session_latest`` is of whichever Ray on the machine began last."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    slow = RuntimeError("The current node timed out during startup. This could happen because ...")
    assert "not come so far as to write logs" in remedy("local", slow)
    own = tmp_path / "ray" / f"session_2026-11-29_10-00-00_000000_{os.getpid()}"
    for session in (own, own.with_name("session_2026-11-29_10-00-01_000000_1")):
        session.mkdir(parents=True)
    text = remedy("local", slow)
    assert f"look into its logs in {own / 'logs'}" in text
    assert "give the same command again" in text
    assert "load average" in text
    other = remedy("local", RuntimeError("something never seen"))
    assert f"{own / 'logs'}" in other
    assert "load average" not in other
    assert "session_latest" not in text + other


def test_cluster_that_is_not_there(tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def refuse(**options):
        assert options["address"] == "10.0.0.1:6379"
        raise ConnectionError("Failed to connect to GCS")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with (
        pytest.raises(SearchError, match=re.escape("no Ray cluster can be joined at 10.0.0.1:6379")),
        ray_session(None, tmp_path / "log.txt"),
    ):
        pass


def test_third_party_logs_go_into_the_file(tmp_path, capsys):
    with logged(tmp_path / "log.txt"):
        logging.getLogger("ray.tune").warning("a warning of Ray")
    assert "a warning of Ray" in (tmp_path / "log.txt").read_text()
    assert "a warning of Ray" not in capsys.readouterr().err
