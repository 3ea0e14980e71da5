"""``python -m benchmarks.gpu [quick=on] [dry=on] [data=synthetic-thumos14] [out=gpu-benchmark.json]``.

For a machine with a CUDA device, torch, numpy and pyarrow. Checks first that the device computes what the CPU computes
(parity.py says how closely), then measures, each row in a process of its own: iterations per second of three networks
at THUMOS14 size, with and without graphs, in TF32 and bf16, with features on the device and on the host, against a loop
of the released kind (benchmarks/train.py); 1, 2, 4 and 8 runs at once, as processes and taking turns in one; an
evaluation; a whole run. ``quick=on`` measures most variants for one network alone and a tenth of a run, and trains one
network for parity. The JSON has every number, hardware and commit. A row that fails says why and the others go on.

``dry=on`` goes through all of it in tiny sizes on the CPU, to test this command; its numbers mean nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.measure import measured
from benchmarks.gpu.parity import GOLDEN, Check, golden_checks, training_checks
from benchmarks.gpu.rows import Row, plan
from benchmarks.gpu.table import line, shown, surroundings
from dce_ray.data.synthetic import generate_synthetic
from dce_ray.datasets import resolve_data

OPTIONS = {"quick": "off", "dry": "off", "data": "synthetic-thumos14", "out": "gpu-benchmark.json"}
NO_DEVICE = (
    "benchmarks.gpu measures a CUDA device, and PyTorch sees none here; run it where there is one, "
    "or dry=on to go through it in tiny sizes on the CPU"
)
ROW_TIMEOUT_S = 900


def main(arguments: list[str]) -> int:
    """Check, measure, print, write; 1 where the device failed a parity check."""
    options = read_options(arguments)
    dry, quick = options["dry"] == "on", options["quick"] == "on"
    if not dry and not torch.cuda.is_available():
        raise SystemExit(NO_DEVICE)
    if dry:  # in tiny sizes threads wait for each other
        torch.set_num_threads(1)
        os.environ["OMP_NUM_THREADS"] = "1"
    device = "cpu" if dry else "cuda"
    with tempfile.TemporaryDirectory() as folder:
        store = str(generate_synthetic(Path(folder) / "tiny", size="tiny") if dry else resolve_data(options["data"]))
        rows = plan(store, device, quick=quick, dry=dry)
        about, skipped = surroundings(device), skips(dry)
        print("\n".join([*(f"{name}: {value}" for name, value in about.items()), *skipped, ""]), flush=True)
        checks = check(rows, quick=quick, dry=dry)
        print("\n".join(map(str, checks)) + "\n", flush=True)
        results = [measure(row, apart=not dry) for row in rows]
    print(
        "\nratios are to one run of the released kind of loop over the same network; of several runs, all together\n"
        + shown(results)
    )
    failed = [item.name for item in checks if not item.passed]
    report = {
        "about": about,
        "skipped": skipped,
        "dry": dry,
        "parity": [vars(item) | {"passed": item.passed} for item in checks],
        "rows": results,
    }
    Path(options["out"]).write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nwritten to {options['out']}; parity: {len(checks) - len(failed)} of {len(checks)} checks passed")
    return 1 if failed and not dry else 0


def read_options(arguments: list[str]) -> dict[str, str]:
    malformed = [argument for argument in arguments if "=" not in argument]
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    unknown = [*malformed, *sorted(given.keys() - OPTIONS.keys())]
    wrong = [f"{name}={given[name]}" for name in ("quick", "dry") if given.get(name, "off") not in {"on", "off"}]
    if unknown or wrong:
        known = " ".join(f"{name}={value}" for name, value in OPTIONS.items())
        raise SystemExit(f"not understood: {', '.join(unknown + wrong)}; known, with defaults: {known}")
    return OPTIONS | given


def skips(dry: bool) -> list[str]:
    """What is not measured here, and why."""
    lines = []
    if dry:
        lines.append("skipped: everything on CUDA (dry=on); the numbers below mean nothing")
    if not GOLDEN.is_dir():
        lines.append(f"skipped: golden data ({GOLDEN} is not here; run from a clone of the repository)")
    if find_spec("triton") is None:
        lines.append("skipped by failing, likely: the compiled rows (torch.compile needs triton on CUDA, absent here)")
    return lines


def check(rows: list[Row], *, quick: bool, dry: bool) -> list[Check]:
    """Parity on the golden data, of one network where dry, and in short trainings, of one where quick or dry."""
    checks = golden_checks(rows[0].device, 1 if dry else None) if GOLDEN.is_dir() else []
    trained = rows[:1] if quick or dry else first_of_each(rows)
    return checks + [item for row in trained for item in training_checks(row)]


def first_of_each(rows: list[Row]) -> list[Row]:
    return list({row.baseline: row for row in reversed(rows)}.values())


def measure(row: Row, *, apart: bool) -> dict[str, Any]:
    """The row with its numbers, or with the reason why there are none; said at once.

    Args:
        apart: in a process of its own, so that memory is the row's and a device that breaks breaks one row.
    """
    result = row.to_mapping() | (measured_apart(row) if apart else measured(row))
    print(line(result, None), flush=True)
    return result


def measured_apart(row: Row) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu.measure", json.dumps(row.to_mapping())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ROW_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {ROW_TIMEOUT_S} s"}
    lines = [text for text in done.stdout.splitlines() if text.startswith("{")]
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"failed": f"the process ended with {done.returncode}: {last}"}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
