"""Who gets what: worked out by hand."""

import logging
import re

import pytest

from dce_ray.errors import SearchError
from dce_ray.session.ray_session import logged, ray_session, remedy
from dce_ray.session.resources import CONTEXT_BYTES, PROCESS_BYTES, Demand, Resources, choose_resources

GIB = 2**30
SMALL = Demand(network=GIB // 8, activations=GIB // 8, features=GIB)


def choose(cpus_there, gpus_there=0, runs=32, host=64 * GIB, device=80 * GIB, **wish):
    return choose_resources(
        {"CPU": cpus_there, "GPU": gpus_there}, SMALL, runs=runs, host_bytes=host, device_bytes=device, **wish
    )


def test_cpu_only():
    assert choose(2) == Resources(1.0, 0.0)
    assert choose(16, runs=4) == Resources(4.0, 0.0)
    need = PROCESS_BYTES + GIB // 4
    assert choose(16, host=2.5 * need / 0.8) == Resources(8.0, 0.0)  # memory for two
    assert choose(16, host=1.0) == Resources(16.0, 0.0)  # memory for none: one at a time is tried


def test_gpus_are_shared_as_far_as_memory_allows():
    need = CONTEXT_BYTES + GIB // 4 + GIB
    assert choose(16, 1).gpus == 0.25
    assert choose(16, 1, device=2.2 * need / 0.8).gpus == 0.5
    assert choose(16, 1, device=need / 2).gpus == 1.0
    assert choose(16, 1, device=None).gpus == 1.0
    assert choose(16, 2) == Resources(2.0, 0.25)  # eight at once
    assert choose(16, 2).slots({"CPU": 16, "GPU": 2}) == 8


def test_wishes_win_and_impossible_ones_are_told():
    assert choose(16, 1, cpus=3, gpus=0.5) == Resources(3.0, 0.5)
    assert Resources(3.0, 0.5).slots({"CPU": 16, "GPU": 1}) == 2
    assert Resources(1.0, 0.4).slots({"CPU": 16, "GPU": 2}) == 4  # no trial on two halves of different GPUs
    assert Resources(1.0, 2.0).slots({"CPU": 16, "GPU": 5}) == 2
    for wish in ({"cpus": 3}, {"gpus": 1.0}, {"cpus": 0.0}):
        with pytest.raises(SearchError, match="no run fits"):
            choose(2, **wish)


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("AuthenticationError: InvalidAuthToken", "RAY_AUTH_MODE=token"),
        ("The object store is using /tmp instead of /dev/shm because /dev/shm has only 1 bytes", "--shm-size"),
        ("Attempting to cap object store memory usage at 1 bytes, but the minimum allowed is 78643200", "end other"),
        ("OSError: [Errno 98] Address already in use", "ray stop"),
        ("OSError: [Errno 28] No space left on device", "RAY_TMPDIR"),
        ("Could not find any running Ray instance", "ray status"),
        ("something never seen", "logs"),
    ],
)
def test_every_fault_of_the_environment_has_its_remedy(message, advice):
    assert advice in remedy("local" if "running" not in message else "auto", RuntimeError(message))


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
