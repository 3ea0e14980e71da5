"""A training step as a CUDA graph: recorded once, then replayed without Python and without a launch per kernel.

A graph reads and writes fixed memory. So inputs and progress are copied to places of their own before each replay,
gradients and the row of numbers stay where the recorded step put them, and all else of the step is the eager code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from dce_ray.train.meter import Row

WARM_UP = 3
"""Steps that are taken eagerly first, so that libraries choose kernels and the optimiser makes its state."""

Learn = Callable[[tuple[Tensor, ...], int, Tensor], Row]
"""A whole step: inputs of a batch, the stage's iteration, progress (0-dimensional); answers with its numbers."""


class CapturedStep:
    """Takes training steps: ``WARM_UP`` eager ones, then replays; anew where the stage changes.

    Args:
        forget_gradients: drops the gradients, so that the recorded step makes its own.
        device: a CUDA device.
    """

    def __init__(self, forget_gradients: Callable[[], None], device: torch.device) -> None:
        self._forget_gradients, self._device = forget_gradients, device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.reset()

    def reset(self) -> None:
        """Record anew: the weights' or the optimiser's tensors are others than before."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()
        self._row: Row | None = None
        self._stage, self._warm = -1, 0

    def __call__(self, learn: Learn, inputs: tuple[Tensor, ...], stage: int, progress: Tensor) -> Row:
        """One step.

        Args:
            learn: the step, the same for all calls; what it reads besides its arguments lies at fixed places. It is
                not kept: a run that is dropped gives its device memory back at once.
            inputs: of the batch, on the device; the same shapes every time.
            stage: what of the iteration is part of the recording.
            progress: 0-dimensional, on the device; one tensor for all calls.
        """
        if stage != self._stage:
            self.reset()
            self._stage = stage
        if self._warm < WARM_UP:
            self._warm += 1
            return self._eagerly(learn, inputs, progress)
        if self._graph is None:
            self._capture(learn, inputs, progress)
        assert self._graph is not None
        assert self._row is not None
        for place, tensor in zip(self._inputs, inputs, strict=True):
            place.copy_(tensor)
        self._graph.replay()
        return replace(self._row, values=self._row.values.clone())

    def _eagerly(self, learn: Learn, inputs: tuple[Tensor, ...], progress: Tensor) -> Row:
        """On the stream of the recording, where autograd's accumulation then belongs to."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            row = learn(inputs, self._stage, progress)
        current.wait_stream(self._stream)
        return row

    def _capture(self, learn: Learn, inputs: tuple[Tensor, ...], progress: Tensor) -> None:
        """Record the step; nothing is computed yet. A loader thread may go on with its own copies meanwhile."""
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        self._forget_gradients()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._row = learn(self._inputs, self._stage, progress)
