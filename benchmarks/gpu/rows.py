"""The rows of the table: what is measured, in which order, for a full, a quick and a dry run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

BASELINES = ("delu", "co2net", "ddgnet")
VARIANTS: dict[str, dict[str, Any]] = {
    "eager": {},
    "graphs": {"graphs": True},
    "TF32": {"precision": "tf32"},
    "TF32, graphs": {"precision": "tf32", "graphs": True},
    "bf16": {"precision": "bf16"},
    "bf16, graphs": {"precision": "bf16", "graphs": True},
    "features on the host": {"resident": "host"},
    "features on the host, prefetch": {"resident": "host", "prefetch": True},
    "compiled": {"compile": True},
    "compiled, graphs": {"compile": True, "graphs": True},
    "deterministic": {"deterministic": True},
}
"""Keys of ``training`` by the row's name; the features are on the device where nothing is said."""
NOT_QUICK = {"TF32, graphs", "compiled", "deterministic"}


@dataclass(frozen=True)
class Row:
    """One measurement, made in a process of its own."""

    name: str
    kind: str
    """A name in ``measure.KINDS``."""
    baseline: str
    store: str
    device: str
    iterations: int
    """Measured ones; as many as ``warm_up`` go in front."""
    warm_up: int
    training: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    runs: int = 1

    def to_mapping(self) -> dict[str, Any]:
        return asdict(self)


def plan(store: str, device: str, *, quick: bool, dry: bool) -> list[Row]:
    """All rows.

    Args:
        store: folder of the features.
        device: ``cuda`` or, dry, ``cpu``.
        quick: variants for the first network alone and not all of them, fewer iterations.
        dry: a handful of iterations of everything that a CPU can do and of one row that it cannot.
    """
    iterations, warm_up = (3, 2) if dry else (100, 20) if quick else (300, 50)
    small = {"segments": 24, "batch": 6, "pairs": 2} if dry else {}

    def row(name: str, kind: str, baseline: str, training: dict[str, Any], *, share: float = 1.0, runs: int = 1) -> Row:
        resident = {"resident": "device"} | training
        steps = max(2, round(iterations * share))
        return Row(name, kind, baseline, store, device, steps, min(warm_up, steps), resident, small, runs)

    rows = []
    for baseline in BASELINES:
        released = {"resident": "host"}  # as released: its memory holds no copy of the features
        rows.append(row("released kind", "released", baseline, released, share=0.1 if quick else 0.2))
        names = [name for name in VARIANTS if not (quick and name in NOT_QUICK)]
        if dry or (quick and baseline != BASELINES[0]):
            names = ["eager", "graphs"]
        rows += [row(name, "rate", baseline, VARIANTS[name]) for name in names]
    first = BASELINES[0]
    for runs in (1, 2) if dry else (1, 2, 4, 8):
        rows.append(row(f"{runs} runs, a process each", "processes", first, {}, share=0.5, runs=runs))
        rows.append(row(f"{runs} runs, taking turns in one process", "turns", first, {}, share=0.5, runs=runs))
    rows.append(row("evaluation of holdout and test", "evaluation", first, {}))
    whole_run = 4 if dry else 500 if quick else 5000
    for name in ("eager",) if dry else ("eager", "graphs"):
        rows.append(
            row(
                f"a run of {whole_run:,} iterations, {name}",
                "whole",
                first,
                VARIANTS[name],
                share=whole_run / iterations,
            )
        )
    return rows
