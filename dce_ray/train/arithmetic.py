"""How a run computes: precision and determinism, switched for the block and put back behind it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dce_ray.config import TrainingConfig
from dce_ray.errors import ConfigError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")
"""Values of the environment variable with which cuBLAS gives the same bits every time; the first one is faster."""


def check_training(training: TrainingConfig, device: torch.device) -> None:
    """Refuse keys that cannot do on ``device`` what they say; before any data is touched.

    ``deterministic`` on CUDA needs ``CUBLAS_WORKSPACE_CONFIG`` from before CUDA is first used: it is set here while
    that is still to come.

    Raises:
        ConfigError: naming all of them.
    """
    faults = []
    if training.graphs and device.type != "cuda":
        faults.append(f"training.graphs=True: device {device} has no graphs; use device=cuda or training.graphs=off")
    if training.precision == "tf32" and device.type == "cpu":
        faults.append(
            f"training.precision=tf32: device {device} has no TF32; use device=cuda, or training.precision=bf16 or "
            f"float32"
        )
    if training.deterministic and device.type == "cuda":
        if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            os.environ.setdefault(WORKSPACE, WORKSPACES[0])
        found = os.environ.get(WORKSPACE)
        if found not in WORKSPACES:
            faults.append(
                f"training.deterministic=True: {WORKSPACE}={found!r} lets cuBLAS choose other bits; "
                f"start the process with {WORKSPACE}={WORKSPACES[0]} or use training.deterministic=off"
            )
    if faults:
        raise ConfigError("\n".join(faults))


@contextmanager
def arithmetic(device: torch.device, training: TrainingConfig) -> Iterator[None]:
    """The configured precision, and on CUDA determinism too: the CPU computes repeatably anyway.

    On CUDA ``float32`` switches TF32 off in cuBLAS and cuDNN (PyTorch's own default leaves it on in cuDNN), ``tf32`` on
    in both. ``bf16`` is autocast over whole float32. Its cache of converted weights is off: it lives as long as the
    block, and behind an optimiser's step it would hold the weights of before.
    """
    with contextlib.ExitStack() as switched:
        if device.type == "cuda":
            switched.enter_context(_tf32(training.precision == "tf32"))
            switched.enter_context(_deterministic(training.deterministic))
        if training.precision == "bf16":
            switched.enter_context(torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False))
        yield


@contextmanager
def _tf32(on: bool) -> Iterator[None]:
    # The older of PyTorch's two interfaces: every supported version has it, and the newer one may not be mixed in.
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = on
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def _deterministic(on: bool) -> Iterator[None]:
    """PyTorch refuses kernels without a repeatable form, cuDNN takes one such and times none against another."""
    if not on:
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    mode = torch.get_deterministic_debug_mode()
    cudnn.deterministic, cudnn.benchmark = True, False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        cudnn.deterministic, cudnn.benchmark = before
