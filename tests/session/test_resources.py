"""Who gets what: worked out by hand."""

import logging
import re
from collections import Counter
from io import StringIO

import pytest

from dce_ray.errors import ConfigError, SearchError
from dce_ray.experiment.folder import TrialRecord
from dce_ray.search.display import Display
from dce_ray.search.settings import SearchOptions, seconds
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
        with pytest.raises(SearchError, match="no trial fits"):
            choose(2, **wish)


@pytest.mark.parametrize(
    ("text", "expected"), [("45s", 45), ("90m", 5400), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800)]
)
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["90", "m", "1h 30m", "-5m", "", "1y"])
def test_wrong_durations(text):
    with pytest.raises(ConfigError, match="90m"):
        seconds(text)
    with pytest.raises(ConfigError, match="90m"):
        SearchOptions(time_budget=text)


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


def ended(number, state, value=None, **changes):
    return TrialRecord(f"k{number}", number, "trial", state, {"delta": 0.5}, {}, 0, value=value, iteration=9, **changes)


def test_plain_lines_one_per_event():
    stream = StringIO()
    display = Display("search", 4, 27, Counter(finished=1), stream)
    with display.shown():
        display.started(ended(0, "running"))
        display.scored(ended(0, "running"), 9, 0.2)
        display.ended(ended(0, "finished", 0.25, origin="paper"))
        display.ended(ended(1, "pruned", 0.1))
        display.ended(ended(2, "failed", error="NonFiniteError: too bad"))
    lines = stream.getvalue().splitlines()
    assert lines == [
        "[2/4] trial 0 (paper) finished: 25.00 at iteration 9, best so far  delta=0.5",
        "[3/4] trial 1 pruned: best 10.00 at iteration 9  delta=0.5",
        "[4/4] trial 2 failed: NonFiniteError: too bad  delta=0.5",
    ]


def test_live_table_names_what_runs_and_the_best():
    from rich.console import Console

    display = Display("search", 4, 27, Counter(), StringIO())
    display.ended(ended(0, "finished", 0.25))
    display.started(ended(1, "running"))
    display.scored(ended(1, "running"), 9, 0.1)
    stream = StringIO()
    Console(file=stream, width=120).print(display.table())
    text = stream.getvalue()
    for word in ("1 running", "1 finished", "9/27", "best: trial 0", "25.00", "per minute"):
        assert word in text
