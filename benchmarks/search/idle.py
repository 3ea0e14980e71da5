"""How long slots wait for a proposal: sleeping runs go through the ledger of ``policy=replicates``, without Ray."""

from __future__ import annotations

import heapq
import os
import tempfile
import time
from pathlib import Path

from benchmarks.provenance import provenance
from benchmarks.trivial import FOLDS, STEPS, configure, quality
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.search.policy import Policy
from dce_ray.search.replicates import ReplicateLedger
from dce_ray.search.space_file import load_space
from dce_ray.search.study import recover_study


def idle(runs: int, slots: int, run_s: float) -> None:
    """A table: the share of their time that slots wait, by how many runs had ended."""
    print(provenance("optuna", "scipy"))
    print(f"{runs} runs of {run_s:g} s in {slots} slots; load average before: {os.getloadavg()[0]:.1f}\n")
    print(f"{'runs ended':>10} {'waiting':>8} {'longest wait':>13} {'driver CPU':>11}")

    with tempfile.TemporaryDirectory() as place:
        folder = ExperimentFolder.create(Path(place) / "experiment", {}, {})
        space = load_space("delu", "default", {})
        policy = Policy(space.searched, [], FOLDS, 0)
        ledger = ReplicateLedger(folder, recover_study(folder.study), space, configure, "", runs, policy=policy)
        began, free = time.monotonic(), slots
        ends: list[tuple[float, str, RunFolder]] = []
        since, waits, ended, cpu = [began] * slots, [], 0, time.process_time()
        while ended < runs:
            while free and (run := ledger.ask()) is not None:
                now = time.monotonic()
                waits.append(now - since.pop())
                heapq.heappush(ends, (now + run_s, run.key, run))
                free -= 1
            due, _, run = heapq.heappop(ends)
            time.sleep(max(0.0, due - time.monotonic()))
            record = run.record()
            noise = hash((record.seed, record.fold, record.number)) % 997 / 997 - 0.5
            score = (quality(record.params, STEPS) if record.params else 0.5) + noise
            ledger.report(run.key, STEPS, score)
            ledger.finish(run.key)
            since.append(due)
            free, ended = free + 1, ended + 1
            if ended in (runs // 10, runs // 4, runs // 2, runs):
                share = sum(waits) / (sum(waits) + run_s * len(waits))
                print(f"{ended:10} {share:8.1%} {max(waits):11.2f} s {time.process_time() - cpu:9.1f} s", flush=True)
                waits, cpu = [], time.process_time()
