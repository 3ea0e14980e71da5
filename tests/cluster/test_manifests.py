"""The shipped manifests, as far as this machine can tell: schemas, shells, and a Slurm job with stand-ins for Slurm."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

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
