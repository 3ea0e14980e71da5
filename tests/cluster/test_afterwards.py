"""What is said of a job that has ended: how to go on, where its results are, why there are none."""

from types import SimpleNamespace

from dce_ray.cluster.afterwards import ways_on
from dce_ray.cluster.jobs import described, message_of
from dce_ray.cluster.submission import _refusal

ADDRESS = "http://127.0.0.1:8265"
STOPPED_LOG = """experiment folder: /home/me/dce-ray/results/hapt/delu/one
stopped: interrupted
What is done is kept. Go on with: python -m dce_ray.search resume=results/hapt/delu/one search.time_budget=<more>
"""


def ended(status, code, message=""):
    return SimpleNamespace(
        submission_id="one",
        status=SimpleNamespace(value=status, is_terminal=lambda: True) if message else status,
        driver_exit_code=code,
        message=message,
        start_time=None,
        end_time=None,
        metadata=None,
        entrypoint="python",
    )


def test_of_a_stopped_search_it_says_how_to_go_on_through_the_cluster():
    way, results, _ = ways_on(ADDRESS, ended("STOPPED", 130), STOPPED_LOG)
    assert way.endswith(
        f"-m dce_ray.cluster submit address={ADDRESS} -- resume=results/hapt/delu/one search.time_budget=<more>"
    )
    assert results.endswith(f"-m dce_ray.cluster fetch address={ADDRESS} job=one")


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
