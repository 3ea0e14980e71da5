"""The table on the screen and the JSON beside it."""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
from typing import Any

import torch

from dce_ray.provenance import commit, cores, processor, versions


def surroundings(device: str) -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    found: dict[str, Any] = {
        "commit": commit(),
        "date": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        "processor": processor(),
        "cores": cores(),
        "python": platform.python_version(),
        **versions(),
        "cuda": torch.version.cuda,
    }
    if device != "cpu":
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "gpus": torch.cuda.device_count(),
            "capability": f"{properties.major}.{properties.minor}",
            "memory_mib": properties.total_memory >> 20,
            "cudnn": torch.backends.cudnn.version(),
            "driver": driver(),
        }
    return found


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return (done.stdout.split() or ["unknown"])[0]


def line(result: dict[str, Any], reference: float | None) -> str:
    """One row as text.

    Args:
        result: the row's mapping with its numbers, or ``failed``.
        reference: iterations per second of the released kind of loop over the same network.
    """
    start = f"{result['baseline']:8}{result['name']:46}"
    if "failed" in result:
        return f"{start}FAILED  {result['failed']}"
    cells = []
    if "iterations_per_second" in result:
        found = result["iterations_per_second"]
        cells.append(f"{found:9.1f} it/s" + (f"{found / reference:8.1f}x" if reference else " " * 9))
    cells += [f"{name.removeprefix('seconds_')} {result[name]:.2f} s" for name in result if name.startswith("seconds")]
    if "memory_mib" in result:
        cells.append(f"{result['memory_mib']:9.0f} MiB")
    if result.get("device_allocations"):
        cells.append(f"{result['device_allocations']} device allocations behind the warm-up")
    return start + "  ".join(cells)


def references(results: list[dict[str, Any]]) -> dict[str, float]:
    """Rate of the released kind of loop, by baseline."""
    found = [result for result in results if result["kind"] == "released" and "failed" not in result]
    return {result["baseline"]: result["iterations_per_second"] for result in found}


def shown(results: list[dict[str, Any]]) -> str:
    """The whole table; ratios are to the released kind of loop over the same network."""
    rates = references(results)
    return "\n".join(line(result, rates.get(result["baseline"])) for result in results)
