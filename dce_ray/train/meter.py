"""Readings of a run: loss terms, diagnostics and gradient norms, kept on the device until somebody reads them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dce_ray.errors import NonFiniteError
from dce_ray.records import StepResult


class Meter:
    """Collects one row of numbers per step; only :meth:`read` waits for the device.

    Args:
        parameters: names and parameters whose gradients are watched.
    """

    def __init__(self, parameters: Sequence[tuple[str, nn.Parameter]]) -> None:
        self._parameters = list(parameters)
        self._names: list[str] = []
        self._rows: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._watched: list[list[str]] = []
        self._started = time.perf_counter()

    def add(self, result: StepResult, total: Tensor) -> None:
        """Note one step's numbers, after the backward pass and before the optimiser's step."""
        values = {f"loss/{name}": value.detach() for name, value in result.terms.items()}
        values |= {"loss/total": total.detach()} | result.diagnostics
        self._names = list(values)
        self._rows.append(torch.stack([value.to(torch.float32) for value in values.values()]))
        watched = [(name, parameter.grad) for name, parameter in self._parameters if parameter.grad is not None]
        self._watched.append([name for name, _ in watched])
        self._norms.append(torch.stack(torch._foreach_norm([gradient for _, gradient in watched])))

    def read(self, iteration: int) -> dict[str, float]:
        """Means over the steps since the last reading, and ``iterations_per_second``; starts anew.

        Args:
            iteration: number of the last step that was added.

        Raises:
            NonFiniteError: naming the first step and the term or gradient that was not finite in it.
        """
        steps = len(self._rows)
        if not steps:
            return {}
        rows = torch.stack(self._rows).cpu()
        norms = [norm.cpu() for norm in self._norms]
        elapsed_s = time.perf_counter() - self._started
        names, watched = self._names, self._watched
        self.clear()
        for step in range(steps):
            where = iteration - steps + 1 + step
            for name, value in zip(names, rows[step].tolist(), strict=True):
                if not math.isfinite(value):
                    raise NonFiniteError(where, name.removeprefix("loss/"))
            finite = torch.isfinite(norms[step])
            if not bool(finite.all()):
                first = int((~finite).int().argmax())
                raise NonFiniteError(where, f"gradient of {watched[step][first]}")
        means = dict(zip(names, rows.double().mean(dim=0).tolist(), strict=True))
        return means | {"iterations_per_second": steps / elapsed_s}

    def clear(self) -> None:
        """Forget what was not read."""
        self._rows, self._norms, self._watched = [], [], []
        self._started = time.perf_counter()
