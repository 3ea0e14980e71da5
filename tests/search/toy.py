"""A run that trains nothing: its score is a function of the six scalars, the seed and the iteration."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from dce_ray.trainables.base import RunTrainable
from made_tables import score_table

from dce_ray.errors import CheckpointError, NonFiniteError, StoreError
from dce_ray.evaluation import MapTable
from dce_ray.files import write_json

PAPER = {"delta": 0.8, "theta_rep": 0.9, "theta_pro": 0.6, "beta": 0.5, "gamma": 0.5, "lambda": 1.0}
"""Published for DELU on THUMOS14."""


@dataclass
class ToyEvaluation:
    table: MapTable

    def export(self, path):
        write_json(path, {"results": {}})


@dataclass
class ToyRun:
    config: SimpleNamespace
    iteration: int = 0
    best: SimpleNamespace | None = None
    behaviour: dict = field(default_factory=dict)
    stop_requested: bool = False
    source: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(shared=None))

    @property
    def finished(self):
        return self.iteration >= min(self.config.stop_at or math.inf, self.config.training.iterations)

    @property
    def selection_split(self):
        return {"holdout": "holdout", "paper": "test", "confirm": None}[self.config.protocol]

    def advance(self, iterations):
        toy = self.config.toy
        if self.finished:
            return {}
        if toy.get("sleep_s"):
            time.sleep(toy["sleep_s"] * iterations)
        self.iteration += iterations
        if self.config.params["beta"] > toy.get("nan_above", math.inf):
            raise NonFiniteError(self.iteration, "mcm_feature")
        if self.iteration >= toy.get("kill_at", math.inf):
            die_once(toy["kill_once"])
        if toy.get("kill_always"):
            os.kill(os.getpid(), signal.SIGKILL)
        if toy.get("raise_message"):
            raise RuntimeError(toy["raise_message"])
        if toy.get("environment") and Path(toy.get("environment_where", "/")).exists():
            raise StoreError(toy["environment"])
        return {"loss/total": 1.0 / self.iteration} | ({"pid": float(os.getpid())} if toy.get("note_pid") else {})

    def evaluate(self, split):
        params = self.config.params
        distance = sum((params[name] - 0.6) ** 2 for name in ("delta", "theta_rep", "theta_pro"))
        quality = math.exp(-distance) * (0.9 if split == "test" else 1.0)
        return ToyEvaluation(score_table(quality * (1 - math.exp(-self.iteration / 5)) + 0.01 * self.config.seed))

    def select(self):
        outcome = self.evaluate(self.selection_split)
        improved = self.best is None or outcome.table.ranking > self.best.score
        if improved:
            self.best = SimpleNamespace(iteration=self.iteration, score=outcome.table.ranking, table=outcome.table)
        return outcome, improved

    def score(self, table):
        return table.ranking

    def save(self, path):
        best = self.best and [self.best.iteration, self.best.score]
        write_json(path, {"iteration": self.iteration, "best": best})

    def restore(self, path):
        if not path.exists():
            return False
        try:
            state = json.loads(path.read_text())
        except ValueError as fault:
            raise CheckpointError(f"{path}: damaged") from fault
        self.iteration = state["iteration"]
        if state["best"]:
            iteration, score = state["best"]
            self.best = SimpleNamespace(iteration=iteration, score=score, table=score_table(score))
        return True


def die_once(flag):
    """Kill this process, if it is the first that comes here."""
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)


class ToyTrainable(RunTrainable):
    baseline = "delu"

    def step(self):
        toy, result = self.record.config.get("toy", {}), super().step()
        if result.get("iteration") == toy.get("kill_behind", -1):
            die_once(toy["kill_once"])  # the evaluation is written, and nobody hears of it
        return result

    def make_run(self, record):
        mapping = record.config
        if record.number == mapping.get("toy", {}).get("kill_begin"):
            die_once(mapping["toy"]["kill_once"])
        config = SimpleNamespace(
            protocol=mapping["protocol"],
            seed=record.seed,
            params=mapping["method"],
            toy=mapping.get("toy", {}),
            training=SimpleNamespace(**mapping["training"]),
            stop_at=record.stop_at,
        )
        return ToyRun(config)


def toy_config(params, **toy):
    return {
        "protocol": "holdout",
        "metric": "detection",
        "seed": 0,
        "scs": True,
        "mcm": True,
        "method": dict(params),
        "training": {"iterations": 27, "eval_every": 1},
        "sampling": {"folds": 3, "fold": 0},
        "toy": toy,
    }


class MeetingTrainable(ToyTrainable):
    """Begins its first run only when another process is about to begin its own."""

    def setup(self, config):
        place = Path(config["record"]["config"]["toy"]["meet"])
        (place / str(os.getpid())).touch()
        deadline = time.monotonic() + 60
        while len(list(place.iterdir())) < 2:
            if time.monotonic() > deadline:
                raise RuntimeError("no other process has begun beside this one")
            time.sleep(0.05)
        super().setup(config)
