"""A run that trains nothing, in three steps: what is left of a search's time is overhead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dce_ray.trainables.base import RunTrainable

from dce_ray.experiment.record import RunRecord
from dce_ray.files import write_json

STEPS, FOLDS = 3, 5


def quality(params: dict[str, float], iteration: int) -> float:
    """Highest at delta = theta_rep = theta_pro = 0.6, rising with the iteration."""
    distance = sum((params[name] - 0.6) ** 2 for name in ("delta", "theta_rep", "theta_pro"))
    return (1 - distance) * iteration / STEPS


def configure(params: Mapping[str, float]) -> dict[str, Any]:
    """The RunConfig mapping of such a run, as far as a ledger reads it."""
    both = {"scs": True, "mcm": True, "method": dict(params), "sampling": {"fold": 0}}
    return {"seed": 0, "protocol": "holdout", **both}


@dataclass
class TrivialTable:
    score: float

    def metrics(self) -> dict[str, float]:
        return {"mAP/avg_0.1:0.7": self.score}


class TrivialRun:
    selection_split = "holdout"
    stop_requested = False

    def __init__(self, config: Any) -> None:
        self.config, self.iteration = config, 0

    @property
    def finished(self) -> bool:
        return self.iteration >= STEPS

    def advance(self, iterations: int) -> dict[str, float]:
        self.iteration += iterations
        return {}

    def select(self) -> tuple[Any, bool]:
        return SimpleNamespace(table=TrivialTable(quality(self.config.params, self.iteration))), False

    def score(self, table: TrivialTable) -> float:
        return table.score

    def save(self, path: Path) -> None:
        write_json(path, {"iteration": self.iteration})

    def restore(self, path: Path) -> bool:
        return False


class TrivialTrainable(RunTrainable):
    baseline = "trivial"

    def make_run(self, record: RunRecord) -> Any:
        training = SimpleNamespace(iterations=STEPS, eval_every=1)
        return TrivialRun(SimpleNamespace(params=record.config["method"], training=training, protocol="holdout"))
