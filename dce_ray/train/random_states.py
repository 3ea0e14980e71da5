"""Generators of a run apart from those of the process it runs in.

PyTorch's are all there are: its CPU generator decides the masks of ``dce_ray.baselines.dropout`` too. Batches are drawn
by the sampler, which keeps its own generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


class RandomStates:
    """PyTorch's generators as one run sees them, so that runs in one process do not disturb each other.

    Args:
        seed: decides initial weights and dropout.
        device: a CUDA device's generator is kept too.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        outside = self._current()
        torch.manual_seed(seed)
        self._inside = self._current()
        self._set(outside)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, the global generators are the run's; outside, they are as before."""
        outside = self._current()
        self._set(self._inside)
        try:
            yield
        finally:
            self._inside = self._current()
            self._set(outside)

    def state(self) -> dict[str, torch.Tensor]:
        """What :meth:`restore` takes."""
        return dict(self._inside)

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a saved state; a CUDA state is taken over where the run is on CUDA."""
        self._inside = {name: state[name] for name in self._inside if name in state}

    def _current(self) -> dict[str, torch.Tensor]:
        states = {"cpu": torch.get_rng_state()}
        return states if self._device is None else states | {"cuda": torch.cuda.get_rng_state(self._device)}

    def _set(self, states: Mapping[str, torch.Tensor]) -> None:
        torch.set_rng_state(states["cpu"])
        if self._device is not None and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self._device)
