"""The loopback cluster is what it says: walled nodes that can be killed and added, and nothing of it stays."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

LOOK = """
import json, os, sys, time, ray
ray.init(log_to_driver=False)
path, count = sys.argv[1], int(sys.argv[2])
while sum(node["Alive"] for node in ray.nodes()) != count:  # a node that is killed is missed some seconds later
    time.sleep(0.2)
@ray.remote(num_cpus=0.1, scheduling_strategy="SPREAD")
def look():
    time.sleep(0.2)
    sees = [os.path.exists(path), os.environ["DCE_CACHE"], os.listdir(os.path.dirname(os.path.dirname(path)))]
    return os.uname().nodename, sees
print(json.dumps([ray.cluster_resources(), dict(ray.get([look.remote() for _ in range(20)]))]))
"""


def look(cluster, path, count):
    """Resources of the cluster when it has so many nodes, and what each node that computes sees, by host name."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path), str(count)],
        env=cluster.driver_environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_nodes_are_walled_and_repaired(loopback):
    mine = loopback.driver / "file.txt"
    mine.write_text("the driver's")
    living = {node.name: node for node, _ in loopback._wishes if node.pids()}
    resources, seen = look(loopback, mine, 3)
    assert resources["CPU"] == 2.0
    assert seen.keys() == living.keys()
    for name, node in living.items():
        assert seen[name] == [False, str(node.cache), [name]]
    first, second = living.values()
    first.kill()
    assert not first.pids()
    late = loopback.add(num_gpus=2, memory=2**30)
    resources, seen = look(loopback, mine, 3)
    assert seen.keys() == {second.name, late.name}
    assert (resources["CPU"], resources["GPU"]) == (2.0, 2.0)
    loopback.restore()
    assert second.pids()
    assert not late.pids()
    assert sum(bool(node.pids()) for node, _ in loopback._wishes) == 2


def test_a_token_is_asked_for(loopback):
    question = urllib.request.Request(f"{loopback.dashboard_url}/api/jobs/")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(question, timeout=60)
    question.add_header("Authorization", f"Bearer {loopback.secret}")
    with urllib.request.urlopen(question, timeout=60) as answer:
        assert answer.status == 200
