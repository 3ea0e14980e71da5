"""Does the device compute what the CPU computes? Golden numbers, then short trainings without dropout."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.measure import make_run
from benchmarks.gpu.rows import Row
from dce_ray.config import TrainingConfig
from dce_ray.errors import DceError
from dce_ray.train.arithmetic import arithmetic

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "parity"
LOSS, GRADIENT = 1e-4, 1e-3
"""Largest relative error of a loss term and of a gradient's norm against the published numbers. Outputs: five times
what the CPU is held to (attentions and features 2e-5, logits 1e-4, absolute)."""
OUTPUTS = 5.0
STEPS = 12
TRAJECTORY = {"device": 1e-3, "graphs": 1e-4, "host": 0.0, "prefetch": 0.0, "tf32": 2e-2, "bf16": 5e-2}
"""Largest relative error of the total loss over ``STEPS`` steps: of the device against the CPU, of the others against
the device; 0 means the same bits."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One comparison."""

    name: str
    error: float
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance

    def __str__(self) -> str:
        verdict = "ok    " if self.passed else "FAILED"
        return f"{verdict} {self.name:52}{self.error:10.1e}  tolerance {self.tolerance:.0e}  {self.note}".rstrip()


def golden_checks(device: str, configurations: int | None = None) -> list[Check]:
    """Outputs, loss terms and gradients on the device against the published implementations' numbers.

    Args:
        device: where it is computed.
        configurations: how many of the golden ones; None takes all.
    """
    sys.path.insert(0, str(GOLDEN))
    from golden_case import COMPACT, COMPACT_CONFIGURATIONS, load_case
    from parity_checks import output_errors, term_tolerances

    checks = []
    for name in COMPACT_CONFIGURATIONS[:configurations]:
        case = load_case(COMPACT, name)
        network, batch, objective = case.network().to(device), case.batch(), case.objective()
        batch = dataclasses.replace(batch, features=batch.features.to(device), labels=batch.labels.to(device))
        with arithmetic(torch.device(device), TrainingConfig()):
            outputs = network(batch.features)
            iteration = case.iterations[1]
            terms = objective(outputs, batch, case.progress(iteration))
            torch.stack([objective.weights[key] * value for key, value in terms.items()]).sum().backward()
        here = dataclasses.replace(
            outputs, **{key.name: getattr(outputs, key.name).detach().cpu() for key in dataclasses.fields(outputs)}
        )
        checks.append(
            Check(f"{name}: outputs, in units of the CPU's", max(output_errors(case, here).values()), OUTPUTS)
        )
        wanted = case.terms(case.numbers["losses"][str(iteration)]["f64"])
        tolerances = term_tolerances(case, here, LOSS, intervened=False)
        shares = {key: abs(terms[key].item() / wanted[key] - 1) / tolerances[key] for key in wanted}
        worst = max(shares, key=lambda key: shares[key])
        checks.append(Check(f"{name}: loss terms", shares[worst] * tolerances[worst], tolerances[worst], worst))
        checks.append(Check(f"{name}: norms of gradients", gradient_error(case, network, iteration), GRADIENT))
    return checks


def gradient_error(case: Any, network: torch.nn.Module, iteration: int) -> float:
    published = case.numbers["grad"][str(iteration)]
    found = {name: parameter.grad for name, parameter in network.named_parameters()}
    return max(
        abs(float(torch.linalg.vector_norm(gradient.double())) / published[name]["l2_f64"] - 1)
        for name, gradient in found.items()
        if gradient is not None
    )


def trajectory(row: Row, device: str, **training: Any) -> list[float]:
    """Total loss of ``STEPS`` steps without dropout."""
    asked = dataclasses.replace(row, device=device, training={"learning_rate": 1e-4, **training})
    run = make_run(asked)
    run.network.eval()
    run.network.train = lambda mode=True: run.network  # type: ignore[method-assign]
    return [run.advance(1)["loss/total"] for _ in range(STEPS)]


def wait_check(row: Row) -> Check:
    """PyTorch's own watch over what waits for the device, set to refuse it, over a few whole iterations."""
    run, fault = make_run(row), ""
    run.advance(STEPS)
    watched = row.device != "cpu"
    with run.random.active(), arithmetic(run.device, run.config.training):
        try:
            if watched:
                torch.cuda.set_sync_debug_mode("error")
            for _ in range(STEPS):
                run._step(progress=0.5)
        except RuntimeError as refused:
            fault = str(refused).splitlines()[0]
        finally:
            if watched:
                torch.cuda.set_sync_debug_mode("default")
    note = fault or ("" if watched else "not watched: there is no device")
    return Check(f"{row.baseline}: {STEPS} iterations without a wait", float("inf") if fault else 0.0, 0.0, note)


def training_checks(row: Row) -> list[Check]:
    """Short trainings: the device against the CPU, each variant against the device's plain one."""
    plain = trajectory(row, row.device, resident="device")
    pairs = {
        "device": (plain, lambda: trajectory(row, "cpu")),
        "graphs": (plain, lambda: trajectory(row, row.device, resident="device", graphs=True)),
        "host": (plain, lambda: trajectory(row, row.device, resident="host")),
        "prefetch": (plain, lambda: trajectory(row, row.device, resident="host", prefetch=True)),
        "tf32": (plain, lambda: trajectory(row, row.device, resident="device", precision="tf32")),
        "bf16": (plain, lambda: trajectory(row, row.device, resident="device", precision="bf16")),
    }
    checks = [wait_check(row)]
    for name, (losses, other) in pairs.items():
        what, note = f"{row.baseline}, {STEPS} steps: {name}", ""
        try:
            error = max(abs(a / b - 1) for a, b in zip(losses, other(), strict=True))
        except (DceError, RuntimeError) as fault:  # of CUDA, of a kernel, of our own rules: this variant has failed
            error, note = float("inf"), str(fault).splitlines()[0]
        checks.append(Check(what, error, TRAJECTORY[name], note))
    return checks
