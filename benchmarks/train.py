"""Training with SCS and MCM against a loop of the released kind: iterations per second and peak memory.

``python -m benchmarks.train [data=synthetic-small] [baseline=delu] [iterations=40] [rounds=5] [threads=2]
[device=cpu]``

The reference does what the released loops do, written anew from their description: videos are resampled one snippet
at a time on the host, the whole network runs with its graph in the E step, the mask is made in NumPy, MCM loops over
videos and proposals, dropout and Adam are PyTorch's own as they come, and the loss is read every iteration. Both train
the same kind of network on the same store, in turns of ``iterations`` steps; the medians over ``rounds`` turns are
compared. Peak memory is that of a fresh process.
"""

from __future__ import annotations

import itertools
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.provenance import provenance
from benchmarks.released import released_optimiser, released_twin
from benchmarks.step import looped_mcm
from dce_ray.datasets import resolve_data
from dce_ray.presets import data_set_of, run_config
from dce_ray.records import Batch, StepResult
from dce_ray.store import open_store
from dce_ray.train import Run

OPTIONS = {
    "data": "synthetic-small",
    "baseline": "delu",
    "iterations": "40",
    "rounds": "5",
    "threads": "2",
    "device": "cpu",
}


class ReleasedLoop:
    """A training loop of the released kind, over the parts of a :class:`Run`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.network = released_twin(run.network)
        self.optimiser = released_optimiser(self.network, run.optimiser)
        self.rows = [int(row) for row in run.splits.train]
        self.features = [np.array(run.store.features(row), dtype=np.float32) for row in self.rows]
        self.labels = run.store.labels(run.splits.train)
        by_class = [np.flatnonzero(column) for column in self.labels.T]
        self.classes = [videos for videos in by_class if len(videos) > 1]
        self.random = random.Random(0)

    def batch(self) -> Batch:
        """Pairs of one class each, then any videos; every video resampled in a Python loop."""
        sampling = self.run.config.sampling
        chosen: list[int] = []
        for _ in range(sampling.pairs):
            chosen += self.random.sample(list(self.random.choice(self.classes)), 2)
        chosen += [self.random.randrange(len(self.rows)) for _ in range(sampling.batch - len(chosen))]
        videos = np.stack([self.resampled(self.features[video], sampling.segments) for video in chosen])
        features, labels = torch.from_numpy(videos), torch.from_numpy(self.labels[chosen])
        return Batch(features.to(self.run.device), labels.to(self.run.device), pairs=sampling.pairs)

    def resampled(self, features: np.ndarray, segments: int) -> np.ndarray:
        """One random snippet out of each of ``segments`` stretches."""
        length = len(features)
        bounds = [position * length / segments for position in range(segments + 1)]
        picks = [
            min(self.random.randint(int(low), max(int(low), int(high))), length - 1)
            for low, high in itertools.pairwise(bounds)
        ]
        return features[picks]

    def advance(self, iterations: int) -> None:
        """So many steps."""
        run, method = self.run, self.run.config.method
        self.network.train()
        for _ in range(iterations):
            batch = self.batch()
            outputs = self.network(batch.features)
            rgb = outputs.rgb_attention.detach().cpu().numpy()
            flow = outputs.flow_attention.detach().cpu().numpy()
            mask = np.abs(rgb - flow) / (rgb + flow + method.epsilon) > method.delta
            factor = torch.from_numpy(1 - method.lambda_ * mask.astype(np.float32)).to(run.device)
            outputs = self.network(batch.features * factor[:, :, None])
            terms = run.objective(outputs, batch, 0.1)
            terms["mcm_feature"], terms["mcm_label"] = looped_mcm(outputs, method)
            weights = {**run.objective.weights, "mcm_feature": method.beta, "mcm_label": method.gamma}
            total = StepResult(terms, weights).total
            self.optimiser.zero_grad()
            total.backward()
            self.optimiser.step()
            assert np.isfinite(total.item())


def make(options: dict[str, str]) -> Run:
    torch.set_num_threads(int(options["threads"]))
    store = resolve_data(options["data"])
    data_set = data_set_of(open_store(store).name)
    more = {"device": options["device"], "training": {"iterations": 10**6}}
    return Run(run_config(options["baseline"], store, data_set=data_set, preset="released", overrides=more))


def kinds(options: dict[str, str]) -> dict[str, Callable[[int], object]]:
    return {"ours": make(options).advance, "released": ReleasedLoop(make(options)).advance}


def peak_mib(options: dict[str, str], kind: str) -> float:
    """Peak resident memory of a fresh process that trains with one kind of loop."""
    arguments = [f"{key}={value}" for key, value in options.items()]
    command = [sys.executable, "-m", "benchmarks.train", *arguments, f"peak={kind}"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main(arguments: list[str]) -> None:
    given = dict(argument.split("=", 1) for argument in arguments)
    only = given.pop("peak", None)
    if unknown := given.keys() - OPTIONS.keys():
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(OPTIONS)}")
    options = OPTIONS | given
    iterations, rounds = int(options["iterations"]), int(options["rounds"])
    if only:
        run = make(options)
        (run if only == "ours" else ReleasedLoop(run)).advance(iterations)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    print(provenance())
    print(f"python -m benchmarks.train {' '.join(f'{key}={value}' for key, value in options.items())}")
    peaks = {kind: peak_mib(options, kind) for kind in ("ours", "released")}
    loops = kinds(options)
    times: dict[str, list[float]] = {kind: [] for kind in loops}
    for turn in range(rounds + 1):
        for kind in sorted(loops, reverse=turn % 2 == 1):
            start = time.perf_counter()
            loops[kind](iterations)
            if turn:
                times[kind].append(time.perf_counter() - start)
    rates = {kind: iterations / statistics.median(values) for kind, values in times.items()}
    print(f"medians of {rounds} turns of {iterations} iterations; load average {os.getloadavg()[0]:.1f}\n")
    print(f"{'':28}{'ours':>10}{'released kind':>16}{'ratio':>9}")
    print(f"{'iterations per second':28}{rates['ours']:10.1f}{rates['released']:16.1f}", end="")
    print(f"{rates['ours'] / rates['released']:8.2f}x")
    print(f"{'peak memory [MiB]':28}{peaks['ours']:10.0f}{peaks['released']:16.0f}", end="")
    print(f"{peaks['released'] / peaks['ours']:8.2f}x")


if __name__ == "__main__":
    main(sys.argv[1:])
