"""One row, measured in the process it is given: ``python -m benchmarks.gpu.measure <row as JSON>``.

The last line of its output is JSON: the numbers, or ``failed`` with the reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.rows import Row
from benchmarks.train import ReleasedLoop
from dce_ray.errors import DceError
from dce_ray.presets import run_config
from dce_ray.train import Run
from dce_ray.train.arithmetic import arithmetic

Numbers = dict[str, float]
EVERY = 10
"""Iterations of each run before the next one's turn."""


def make_run(row: Row, iterations: int | None = None, **keys: Any) -> Run:
    """A run with the released values of THUMOS14.

    Args:
        row: data, device, keys of ``training`` and ``sampling``.
        iterations: of the whole run.
        keys: further keys of the configuration.
    """
    training = {"iterations": iterations or 10**6, **row.training}
    method = {"mcm_start_iteration": 0}  # so that MCM acts in all that is measured, as it does in the released kind
    overrides = {"device": row.device, "training": training, "sampling": row.sampling, "method": method, **keys}
    return Run(run_config(row.baseline, row.store, data_set="thumos14", preset="released", overrides=overrides))


def rate(row: Row) -> Numbers:
    """Iterations per second of our loop."""
    run = make_run(row)
    return timed(row, run.advance)


def released(row: Row) -> Numbers:
    """Iterations per second of a loop of the released kind over the same network, in whole float32 as ours."""
    run = make_run(row)
    loop = ReleasedLoop(run)
    with arithmetic(run.device, run.config.training):
        return timed(row, loop.advance)


def timed(row: Row, advance: Callable[[int], object], runs: int = 1) -> Numbers:
    """Rate of ``runs`` runs together, and how often PyTorch asked the device for memory behind the warm-up."""
    advance(row.warm_up)
    synchronise(row)
    before = device_allocations(row)
    start = time.perf_counter()
    advance(row.iterations)
    synchronise(row)
    seconds = time.perf_counter() - start
    rates = {"iterations_per_second": runs * row.iterations / seconds}
    return rates | {"device_allocations": device_allocations(row) - before} | memory(row)


def turns(row: Row) -> Numbers:
    """Iterations per second of all runs together, which take turns in one process and share the features."""
    runs = [make_run(row, seed=seed) for seed in range(row.runs)]

    def advance(iterations: int) -> None:
        for done in range(0, iterations, EVERY):
            for run in runs:
                run.advance(min(EVERY, iterations - done))

    return timed(row, advance, len(runs))


def processes(row: Row) -> Numbers:
    """The same with a process for each run, all of which start measuring at once; memory is the whole device's."""
    command = [sys.executable, "-m", "benchmarks.gpu.measure", json.dumps(row.to_mapping() | {"kind": "on_signal"})]
    free = free_mib(row)
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(row.runs)
    ]
    try:
        answers = [first_line(process) for process in started]
        require("ready", answers)
        start = time.perf_counter()
        for process in started:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [first_line(process) for process in started]
        seconds = time.perf_counter() - start
        taken = {"memory_mib": free - free_mib(row)} if row.device != "cpu" else {}
    finally:
        for process in started:
            process.communicate()
    require("done", answers)
    return {"iterations_per_second": row.runs * row.iterations / seconds} | taken


def first_line(process: subprocess.Popen[str]) -> str:
    """The process's next line that is an answer."""
    assert process.stdout is not None
    return next((line.strip() for line in process.stdout if line.startswith(("ready", "done", "{"))), "")


def require(wanted: str, answers: list[str]) -> None:
    """Raise what the first process says that does not say ``wanted``."""
    for number, answer in enumerate(answers):
        if answer != wanted:
            said = json.loads(answer)["failed"] if answer.startswith("{") else "it ended early"
            raise RuntimeError(f"process {number + 1} of {len(answers)}: {said}")


def on_signal(row: Row) -> Numbers:
    """One of :func:`processes`: warms up, says so, waits for the word, trains, says so."""
    run = make_run(row)
    run.advance(row.warm_up)
    synchronise(row)
    print("ready", flush=True)
    sys.stdin.readline()
    run.advance(row.iterations)
    synchronise(row)
    print("done", flush=True)
    sys.stdin.readline()  # memory is read while all of them live
    return {}


def evaluation(row: Row) -> Numbers:
    """Seconds of one evaluation each, the second of two."""
    run = make_run(row)
    seconds = {}
    for split in ("holdout", "test"):
        run.evaluate(split)
        start = time.perf_counter()
        run.evaluate(split)
        seconds[f"seconds_{split}"] = time.perf_counter() - start
    return seconds | memory(row)


def whole(row: Row) -> Numbers:
    """Seconds of a run from the opened store to its last evaluation, with all evaluations of the published schedule."""
    start = time.perf_counter()
    run = make_run(row, iterations=row.iterations)
    while not run.finished:
        run.advance(run.config.training.eval_every)
        run.select()
    return {"seconds": time.perf_counter() - start, "iterations": run.iteration} | memory(row)


KINDS: dict[str, Callable[[Row], Numbers]] = {
    "rate": rate,
    "released": released,
    "turns": turns,
    "processes": processes,
    "on_signal": on_signal,
    "evaluation": evaluation,
    "whole": whole,
}


def synchronise(row: Row) -> None:
    if row.device != "cpu":
        torch.cuda.synchronize()


def device_allocations(row: Row) -> int:
    return 0 if row.device == "cpu" else int(torch.cuda.memory_stats()["num_device_alloc"])


def memory(row: Row) -> Numbers:
    """Most memory that PyTorch held on the device, MiB; nothing on a CPU."""
    return {} if row.device == "cpu" else {"memory_mib": torch.cuda.max_memory_reserved() / 2**20}


def free_mib(row: Row) -> float:
    return 0.0 if row.device == "cpu" else torch.cuda.mem_get_info()[0] / 2**20


def measured(row: Row) -> dict[str, Any]:
    """The row's numbers, or ``failed``: a row that cannot be measured is part of the table."""
    try:
        return dict(KINDS[row.kind](row))
    except torch.cuda.OutOfMemoryError as fault:
        return {"failed": f"out of memory: {str(fault).splitlines()[0]}"}
    except DceError as fault:
        return {"failed": f"refused: {fault}"}
    except Exception as fault:  # whatever a device or a compiler says: the other rows go on
        return {"failed": f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0]}"}


if __name__ == "__main__":
    print(json.dumps(measured(Row(**json.loads(sys.argv[1])))))
