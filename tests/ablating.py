"""``python -m dce_ray.ablate`` as a process of its own, and what it wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from laid_over import laid_over

from dce_ray import ablate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord


class AblateCommand:
    """The command in a folder of its own.

    Args:
        folder: the working folder.
        asked: arguments that each call begins with; later ones of the same key take their place.
        environment: further variables.
    """

    def __init__(self, folder: Path, asked: Sequence[str], environment: Mapping[str, str]) -> None:
        self.folder, self.asked = folder, tuple(asked)
        root = Path(ablate.__file__).resolve().parent.parent
        self.environment = os.environ | {"PYTHONPATH": str(root), **environment}
        self.results = folder / "results" / "synthetic-tiny" / "delu" / "ablation"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "dce_ray.ablate", *laid_over(self.asked, *arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=700)
        assert process.returncode == 0, output
        return output

    def records(self) -> list[RunRecord]:
        return [run.record() for run in ExperimentFolder.open(self.results).confirmations()]
