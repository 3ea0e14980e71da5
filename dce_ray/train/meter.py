"""Readings of a run: loss terms, diagnostics and gradient norms, kept on the device until somebody reads them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dce_ray.data.transfer import Download
from dce_ray.errors import NonFiniteError
from dce_ray.records import StepResult


@dataclass(frozen=True, slots=True)
class Row:
    """One step's numbers, on the device."""

    values: Tensor
    """Loss terms, diagnostics, then norms of gradients: one float32 each, in the order of both names."""
    names: tuple[str, ...]
    """Of loss terms (``loss/<term>``) and diagnostics."""
    watched: tuple[str, ...]
    """Parameters of the gradients."""


class Meter:
    """Collects one row of numbers per step; only :meth:`read` waits for the device, once.

    Args:
        parameters: names and parameters whose gradients are watched.
    """

    def __init__(self, parameters: Sequence[tuple[str, nn.Parameter]]) -> None:
        self._parameters = list(parameters)
        self._rows: list[Row] = []
        self._started = time.perf_counter()

    def row(self, result: StepResult, total: Tensor) -> Row:
        """One step's numbers, after the backward pass and before the optimiser's step; not noted yet."""
        values = {f"loss/{name}": value.detach() for name, value in result.terms.items()}
        values |= {"loss/total": total.detach()} | result.diagnostics
        gradients = {name: parameter.grad for name, parameter in self._parameters if parameter.grad is not None}
        norms = torch._foreach_norm(list(gradients.values()))
        numbers = [value.to(torch.float32) for value in (*values.values(), *norms)]
        return Row(torch.stack(numbers), tuple(values), tuple(gradients))

    def note(self, row: Row) -> None:
        """Keep a row until it is read."""
        self._rows.append(row)

    def read(self, iteration: int) -> dict[str, float]:
        """Means over the steps since the last reading, and ``iterations_per_second``; starts anew.

        Args:
            iteration: number of the last step that was noted.

        Raises:
            NonFiniteError: naming the first step and the term or gradient that was not finite in it.
        """
        rows = self._rows
        if not rows:
            return {}
        numbers = torch.from_numpy(Download(torch.cat([row.values for row in rows])).wait())
        elapsed_s = time.perf_counter() - self._started
        self.clear()
        parts = torch.split(numbers, [len(row.values) for row in rows])
        for step, (row, part) in enumerate(zip(rows, parts, strict=True)):
            for name, value in zip((*row.names, *row.watched), part.tolist(), strict=True):
                if not math.isfinite(value):
                    what = name.removeprefix("loss/") if name in row.names else f"gradient of {name}"
                    raise NonFiniteError(iteration - len(rows) + 1 + step, what)
        values = torch.stack([part[: len(row.names)] for row, part in zip(rows, parts, strict=True)])
        means = dict(zip(rows[-1].names, values.double().mean(dim=0).tolist(), strict=True))
        return means | {"iterations_per_second": len(rows) / elapsed_s}

    def clear(self) -> None:
        """Forget what was not read."""
        self._rows = []
        self._started = time.perf_counter()


def weighted_mean(readings: list[tuple[int, dict[str, float]]], steps: int) -> dict[str, float]:
    """Means over readings of different numbers of steps; rates are averaged over time."""
    if not steps:
        return {}
    means = {name: sum(n * values[name] for n, values in readings) / steps for name in readings[0][1]}
    seconds = sum(n / values["iterations_per_second"] for n, values in readings)
    return means | {"iterations_per_second": steps / seconds}
