"""The shipped manifests, as far as this machine can tell: schemas, shells, and a Slurm job with stand-ins for Slurm."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cluster.loopback import MARK, kill_marked, marked

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
SLURM = MANIFESTS / "slurm" / "search.sbatch"
KUBERNETES = "1.36"


def ray_version() -> str:
    text = (ROOT / "dce_ray" / "cluster" / "requirements.txt").read_text()
    return re.search(r"^ray==(.+)$", text, re.MULTILINE).group(1)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["on-premise", "aws"])
def test_ray_up_accepts_the_cluster(name, monkeypatch, tmp_path):
    from ray.autoscaler._private.util import prepare_config, validate_config

    monkeypatch.setenv("HOME", str(tmp_path))  # whatever it notes of a cluster
    config = prepare_config(yaml.safe_load((MANIFESTS / "ray-up" / f"{name}.yaml").read_text()))
    validate_config(config)
    with pytest.raises(Exception, match="unexpected"):
        validate_config({**config, "max_wokers": 2})
    for local in config["file_mounts"].values():
        assert local.startswith("~") or (ROOT / local).is_file()
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        start = commands[-1]
        assert "RAY_AUTH_MODE=token" in start
        assert subprocess.run(["bash", "-n", "-c", start], check=False).returncode == 0


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MANIFESTS / "kuberay" / "rayjob.yaml").read_text()))


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]} for group in groups]


def test_the_rayjobs_pods_are_pods():
    claim, job = documents()
    kubernetes_validate.validate(claim, KUBERNETES, strict=True)
    assert len(pods(job)) == 2
    for pod in pods(job):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        names = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for each in pod["spec"]["containers"] for mount in each["volumeMounts"]} <= names
    broken = pods(job)[0]
    broken["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_the_rayjob_runs_a_search_that_would_be_accepted():
    from dce_ray.cluster.submission import check_search

    _, job = documents()
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray_version()
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    python, module, name, *arguments = job["spec"]["entrypoint"].split()
    assert [python, module, name] == ["python", "-m", "dce_ray.search"]
    check_search(arguments)
    mounts = [mount["mountPath"] for pod in pods(job)[:1] for mount in pod["spec"]["containers"][0]["volumeMounts"]]
    assert any(word == f"results={mounts[0]}" for word in arguments)
    assert yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]


def test_the_image_is_made_of_what_is_there():
    text = (MANIFESTS / "kuberay" / "Dockerfile").read_text()
    assert f"rayproject/ray:{ray_version()}-py311" in text
    sources = [word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert len(sources) > 5
    assert [source for source in sources if not (ROOT / source).exists()] == []
    needed = {"pyproject.toml", "README.md", "LICENSE", "dce_ray", "trainables", "search_spaces"}
    assert needed <= set(sources)


def test_the_slurm_script_is_sound_shell():
    assert subprocess.run(["bash", "-n", SLURM], check=False).returncode == 0
    checker = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([checker, SLURM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


SRUN = """#!/usr/bin/env bash
# Runs the step here, as if on the node that is named; each node has a folder for Ray's files.
for word in "$@"; do case "$word" in --nodelist=*) node="${word#*=}";; esac; done
while [[ "$1" == --* ]]; do shift; done
mkdir -p "$STAND_IN/$node"
export RAY_TMPDIR="$STAND_IN/$node"
echo "$node: $*" >> "$STAND_IN/steps"
[[ "$1" == hostname ]] && { echo 127.0.0.1; exit; }
more=()
[[ "$1 $2" == "ray start" ]] && more=(--object-store-memory=80000000 --temp-dir="$STAND_IN/$node" --disable-usage-stats)
exec "$@" "${more[@]}"
"""
SCONTROL = """#!/usr/bin/env bash
[[ "$1 $2 $3" == "show hostnames node[1-2]" ]] && printf 'node1\\nnode2\\n'
"""
PROBE = """
import ray, sys, time
print("arguments", sys.argv[1:], flush=True)
ray.init(log_to_driver=False)
deadline = time.monotonic() + 200
while ray.cluster_resources().get("CPU") != 2 and time.monotonic() < deadline:
    time.sleep(0.5)
print("cpus", ray.cluster_resources().get("CPU"), flush=True)
sys.exit(3)
"""


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_slurm_script_starts_and_ends_a_cluster(tmp_path, tmp_path_factory):
    """Real Ray nodes, with stand-ins for srun and scontrol, and for the search a probe that counts CPUs and fails."""
    bin_folder, steps = tmp_path / "bin", tmp_path_factory.mktemp("s")
    packages = tmp_path / "code" / "dce_ray" / "search"
    packages.mkdir(parents=True)
    (packages.parent / "__init__.py").write_text("")
    (packages / "__init__.py").write_text("")
    (packages / "__main__.py").write_text(PROBE)
    bin_folder.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(stat.S_IRWXU)
    short = Path("/tmp") / f"dce-slurm-{os.getpid()}"  # Ray's sockets need short paths
    slurm = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": str(os.getpid()), "SLURM_CPUS_PER_TASK": "1"}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        **slurm,
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "DCE_RAY_ENV": str(Path(sys.executable).parent.parent),
        "PYTHONPATH": str(packages.parents[1]),
        "STAND_IN": str(short),
        MARK: f"{steps}/",
    }
    short.mkdir()
    try:
        done = subprocess.run(
            ["bash", SLURM, "baseline=delu", "name=a b"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 3, done.stdout + done.stderr  # the search's own
        assert "arguments ['baseline=delu', 'name=a b']" in done.stdout
        assert "cpus 2.0" in done.stdout
        began = (short / "steps").read_text().splitlines()
        assert [line.split()[0] for line in began] == ["node1:", "node1:", "node2:"]
        assert not [pid for pid in marked(f"{steps}/") if b"raylet" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    finally:
        kill_marked(f"{steps}/")
        subprocess.run(["rm", "-rf", short], check=True)
