"""Drivers of searches on a loopback cluster, as processes on machines of their own, and what their runs came to."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from cluster.loopback import LoopbackCluster

from dce_ray.experiment.run_folder import RunFolder
from dce_ray.presets import run_config_from_mapping
from dce_ray.train import Run
from dce_ray.train.driver import Driver
from dce_ray.train.run_files import RunFiles


def start(cluster: LoopbackCluster, home: Path, *words: str) -> subprocess.Popen[bytes]:
    """A driver on a machine of its own: its folder, its cache."""
    home.mkdir(parents=True, exist_ok=True)
    environment = cluster.driver_environment(DCE_CACHE=str(home / "cache"))
    with (home / "out.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dce_ray.search", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=home,
            start_new_session=True,
        )


def said(home: Path) -> str:
    return (home / "out.txt").read_text()


def until(what, driver: subprocess.Popen[bytes], home: Path, seconds: float = 600.0):
    """The first true value of ``what()`` while the driver lives."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert driver.poll() is None, said(home)
        assert time.monotonic() < end, said(home)
        time.sleep(0.05)
    return found


def done_alone(run: RunFolder, folder: Path) -> list:
    """Scores of a run that is trained here, undisturbed, from its record."""
    driver = Driver(Run(run_config_from_mapping(run.record().config)), RunFiles(folder), keep_last=False)
    while not driver.step().finished:
        pass
    return [[reading.iteration, reading.metrics["score"]] for reading in RunFiles(folder).readings()]


def scores(run: RunFolder) -> list:
    return [[reading.iteration, reading.metrics["score"]] for reading in run.readings()]
