"""What is said of a job that has ended: how to go on, where its results are, why there are none."""

import json
import shlex
from types import SimpleNamespace

import pytest

from dce_ray.cluster.afterwards import OPTIONS, ways_on
from dce_ray.cluster.jobs import described, message_of
from dce_ray.cluster.submission import SubmitOptions, _refusal, again, check_search
from dce_ray.commandline import compose

ADDRESS = "http://127.0.0.1:8265"
STOPPED_LOG = """experiment folder: /home/me/dce-ray/results/hapt/delu/one
stopped: interrupted
What is done is kept. Go on with: python -m dce_ray.search resume=results/hapt/delu/one search.time_budget=<more>
"""


CAMPAIGN_LOG = """folder on the cluster: /home/me/dce-ray on head
campaign: /home/me/dce-ray/results/campaigns/all
campaign: 3 of 3 searches to do, one after the other, each on all slots

== hapt/co2net ==
experiment folder: /home/me/dce-ray/results/hapt/co2net/all
stopped: 3 runs in a row ended by a fault of their surroundings
What is done is kept. Go on with: python -m dce_ray.search resume=results/hapt/co2net/all
failed: 3 runs in a row ended by a fault of their surroundings

== hapt/delu ==
experiment folder: /home/me/dce-ray/results/hapt/delu/all
stopped: 3 runs in a row ended by a fault of their surroundings
What is done is kept. Go on with: python -m dce_ray.search resume=results/hapt/delu/all
failed: 3 runs in a row ended by a fault of their surroundings
"""
CAMPAIGN_END = (
    "SearchError: 2 of 3 searches failed: hapt/co2net, hapt/delu; to go on with them: python -m dce_ray.search "
)
CAMPAIGN_END += "resume=results/campaigns/all\n"


def ended(status, code, message="", options=None):
    return SimpleNamespace(
        submission_id="one",
        status=SimpleNamespace(value=status, is_terminal=lambda: True) if message else status,
        driver_exit_code=code,
        message=message,
        start_time=None,
        end_time=None,
        metadata=None if options is None else {OPTIONS: json.dumps(again(options))},
        entrypoint="python",
    )


def test_of_a_stopped_search_it_says_how_to_go_on_through_the_cluster():
    way, results, _ = ways_on(ADDRESS, ended("STOPPED", 130), STOPPED_LOG)
    assert way.endswith(
        f"-m dce_ray.cluster submit address={ADDRESS} -- resume=results/hapt/delu/one search.time_budget=<more>"
    )
    assert results.endswith(f"-m dce_ray.cluster fetch address={ADDRESS} job=one")


def submitted_again(line):
    """What a printed command gives to ``submit``: its options, and the arguments of the search."""
    words = shlex.split(line.partition(" submit ")[2])
    options, search = words[: words.index("--")], words[words.index("--") + 1 :]
    return SubmitOptions.from_mapping(compose(SubmitOptions().to_mapping(), options)), search


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        (SubmitOptions(), "~/dce-ray"),
        (SubmitOptions(folder="/data/my searches", python="/opt/env/bin/python", runtime_env="none"), None),
        (SubmitOptions(folder="~/other", code="none", versions="any"), None),
    ],
)
def test_it_is_submitted_to_where_it_was(tmp_path, monkeypatch, options, folder):
    place = tmp_path / "my searches"
    monkeypatch.chdir(tmp_path)  # a path of the head does not count from here, though it is the same
    log = f"folder on the cluster: {place} on head\n{STOPPED_LOG}".replace(" search.time_budget=<more>", "")
    way, *_ = ways_on(ADDRESS, ended("STOPPED", 130, options=options), log)
    found, search = submitted_again(way)
    assert found == options.replace(address=ADDRESS, folder=folder or str(place))
    assert search == ["resume=results/hapt/delu/one"]
    check_search(search)


def test_a_wheel_is_named_as_it_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "dce_ray-1-py3-none-any.whl").touch()
    monkeypatch.chdir(tmp_path)
    assert again(SubmitOptions(code="dce_ray-1-py3-none-any.whl"))["code"] == f"{tmp_path}/dce_ray-1-py3-none-any.whl"


def test_of_a_job_whose_options_nobody_kept_the_folder_is_known():
    log = f"folder on the cluster: /data/searches on head-1\n{STOPPED_LOG}"
    assert submitted_again(ways_on(ADDRESS, ended("STOPPED", 130), log)[0])[0].folder == "/data/searches"


@pytest.mark.parametrize("log", [CAMPAIGN_LOG + CAMPAIGN_END, CAMPAIGN_LOG], ids=["failed", "killed"])
def test_of_a_campaign_the_whole_is_gone_on_with(log):
    way, *_ = ways_on(ADDRESS, ended("FAILED", 2, options=SubmitOptions()), log)
    options, search = submitted_again(way)
    assert search == ["resume=/home/me/dce-ray/results/campaigns/all"]
    assert options.folder == "~/dce-ray"


def test_of_one_that_came_to_its_end_it_does_not():
    log = STOPPED_LOG.replace("stopped: interrupted\n", "")
    assert not [line for line in ways_on(ADDRESS, ended("SUCCEEDED", 0), log) if "To go on" in line]


def test_results_that_there_are_not_are_not_offered():
    (line,) = ways_on(ADDRESS, ended("FAILED", 2), "DataError: data=/no/such: no such folder\n")
    assert line.startswith("No search began. What data=, storage= and results= name must be there on the head")
    assert ways_on(ADDRESS, ended("FAILED", 1), "Traceback\n") == []


def test_rays_message_does_not_repeat_the_log():
    message = (
        "Job entrypoint command failed with exit code 2, last available logs (truncated to 20,000 chars): DataError"
    )
    details = ended("FAILED", 2, message)
    assert message_of(details) == "Job entrypoint command failed with exit code 2"
    assert "DataError" not in described(details)


def test_an_agent_whose_port_is_taken_is_told_with_its_remedy():
    told = _refusal(
        ADDRESS, "one", RuntimeError("status code 500: No available agent to submit job, please try again.")
    )
    assert "start the head and its nodes with --dashboard-agent-listen-port=<a free port>" in told
    assert _refusal(ADDRESS, "one", RuntimeError("odd.")).endswith("does not take the job: odd")


FOLDER = "experiment folder: /home/me/dce-ray/results/hapt/delu/one\n"
DISK_FULL = (
    f"{FOLDER}OutputError: /data/results: cannot be written (No space left on device); free some space, then "
    "go on with: /env/bin/python -m dce_ray.search resume=results/hapt/delu/one\n"
)
NOTHING_TO_CONFIRM = (
    f"{FOLDER}SearchError: no run ended well; to go on: python -m dce_ray.search resume=results/hapt/delu/one "
    "search.num_runs=<more>\n"
)


@pytest.mark.parametrize(
    ("log", "code", "arguments"),
    [
        (DISK_FULL, 2, "resume=results/hapt/delu/one"),
        (NOTHING_TO_CONFIRM, 2, "resume=results/hapt/delu/one search.num_runs=<more>"),
        (f"{FOLDER}[3/32] point 1 finished\n", -9, "resume=/home/me/dce-ray/results/hapt/delu/one"),
    ],
    ids=["disk full", "nothing to confirm", "killed"],
)
def test_whatever_ended_a_search_it_says_how_to_go_on(log, code, arguments):
    way, *_ = ways_on(ADDRESS, ended("FAILED", code), log)
    assert way.endswith(f" submit address={ADDRESS} -- {arguments}")


def test_a_search_that_was_refused_is_not_gone_on_with():
    assert not [line for line in ways_on(ADDRESS, ended("FAILED", 2), FOLDER) if "To go on" in line]
