"""A dispatch mode under which every operation that would make a CUDA device wait raises."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

FORBIDDEN = frozenset(
    {
        "_local_scalar_dense",  # .item(), float(t), bool(t), int(t): a tensor decides in Python
        "nonzero",
        "nonzero_static",
        "masked_select",
        "unique",
        "_unique",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "bincount",
        "histc",
        "is_nonzero",
        "equal",
        "repeat_interleave",
    }
)


class HostWaitError(AssertionError):
    """An operation has a shape or a Python value that depends on the data."""


class NoHostSync(TorchDispatchMode):
    """Raises at the first operation that reads values on the host, or copies to another device."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in FORBIDDEN:
            raise HostWaitError(f"{function} waits for the device")
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
            if masks:
                raise HostWaitError(f"{function} with a mask has a shape that depends on the data")
        if name == "_to_copy" and (kwargs or {}).get("device") is not None:
            source = args[0].device
            if torch.device(kwargs["device"]).type != source.type:
                raise HostWaitError(f"{function} copies from {source} to {kwargs['device']}")
        return function(*args, **(kwargs or {}))
