"""What a search will cost, measured before it starts: a few steps and one evaluation of a run, where runs will be."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from dce_ray.config import RunConfig
from dce_ray.errors import DceError
from dce_ray.search.cost import Runs
from dce_ray.search.pace import duration_text
from dce_ray.session.resources import Resources
from dce_ray.words import counted

LONG_ENOUGH_S = 2.0
"""Steps are timed until they took so long."""
PATIENCE_S = 900.0
"""For so long a probe may wait for a slot and run; a cluster that grows on demand takes minutes."""


@dataclass(frozen=True, slots=True)
class RunTime:
    """How long the parts of a run take, in seconds."""

    start_s: float
    """Building the network, opening the data."""
    iteration_s: float
    evaluation_s: float

    def of(self, config: RunConfig) -> float:
        """Of a whole run; one of the confirmation, which ends where the search chose, takes no longer."""
        training = config.training
        evaluations = -(-training.iterations // training.eval_every)
        return self.start_s + training.iterations * self.iteration_s + evaluations * self.evaluation_s


def measure(config: Mapping[str, Any], threads: int) -> RunTime:
    """Time a run's parts in this process.

    Args:
        config: RunConfig as a mapping.
        threads: CPU threads of a run.

    Raises:
        DceError: as the run itself would.
    """
    import torch

    from dce_ray.presets import run_config_from_mapping
    from dce_ray.train import Run

    torch.set_num_threads(threads)
    began = time.perf_counter()
    run = Run(run_config_from_mapping(config, kept=True))
    start_s = time.perf_counter() - began
    run.advance(2)  # the first steps allocate, and compile where something is compiled
    began, first, steps = time.perf_counter(), run.iteration, 1
    while not run.finished and time.perf_counter() - began < LONG_ENOUGH_S:
        run.advance(steps)
        steps *= 2
    done = run.iteration - first
    iteration_s = (time.perf_counter() - began) / done if done else 0.0
    began = time.perf_counter()
    run.select()
    return RunTime(start_s, iteration_s, time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class Planned:
    """One search of several, before it starts."""

    name: str
    runs: Runs
    """What is still to do."""
    config: RunConfig
    """Of its longest run."""
    resources: Resources
    slots: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a search will cost; ``run_s`` is None where that could not be found out, ``why`` then says why."""

    planned: Planned
    run_s: float | None
    why: str = ""

    @property
    def wall_s(self) -> float:
        """Seconds up to the end of the confirmation's first stage; 0 where nothing is known."""
        runs, slots = self.planned.runs, max(self.planned.slots, 1)
        return sum(-(-count // slots) for count in (runs.search, runs.confirmation)) * (self.run_s or 0.0)

    def hours(self, *, further: bool = False, gpu: bool = False) -> float:
        """Core hours, or GPU hours: with all further seeds or without."""
        runs = self.planned.runs
        share = self.planned.resources.gpus if gpu else self.planned.resources.cpus
        count = runs.search + runs.confirmation + (runs.further if further else 0)
        return count * (self.run_s or 0.0) * share / 3600

    def text(self) -> str:
        """A line."""
        runs = self.planned.runs
        told = f"cost: {self.planned.name}: {counted(runs.search, 'run')} of the search"
        told += f", {runs.confirmation} of the confirmation" if runs.confirmation else ""
        told += f" and at most {runs.further} more" if runs.further else ""
        if self.run_s is None:
            return f"{told}; how long they take is not known: {self.why}"
        return f"{told}; about {duration_text(self.run_s)} each, {duration_text(self.wall_s)} in all"


def estimate(planned: Sequence[Planned]) -> list[Estimate]:
    """Measure one run of each search, on the Ray of this process, side by side where there is room."""
    measure_there = ray.remote(max_retries=0)(measure)
    probes = [
        measure_there.options(num_cpus=one.resources.cpus, num_gpus=one.resources.gpus).remote(
            one.config.to_mapping(), one.resources.threads
        )
        for one in planned
    ]
    deadline = time.monotonic() + PATIENCE_S
    return [_estimate(one, probe, deadline) for one, probe in zip(planned, probes, strict=True)]


def _estimate(planned: Planned, probe: Any, deadline: float) -> Estimate:
    """The answer of a probe; whatever is wrong with it, the search itself will say better."""
    try:
        run_s = ray.get(probe, timeout=max(0.0, deadline - time.monotonic())).of(planned.config)
    except (DceError, RayError) as fault:
        ray.cancel(probe, force=True)
        lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
        return Estimate(planned, None, lines[-1] if lines else type(fault).__name__)
    return Estimate(planned, run_s)


def total_text(estimates: Sequence[Estimate]) -> str:
    """What all of it costs, in a line."""
    unknown = [one.planned.name for one in estimates if one.run_s is None]
    hours = []
    for name in ("core", "GPU"):
        known, most = (
            sum(one.hours(further=further, gpu=name == "GPU") for one in estimates) for further in (False, True)
        )
        if most:
            hours.append(f"{known:.2g} {name} hours ({most:.2g} with every further seed)")
    text = f"cost: about {' and '.join(hours) or 'nothing'}"
    text += f", {duration_text(sum(one.wall_s for one in estimates))} on these slots"
    return text + (f"; without {', '.join(unknown)}" if unknown else "")
