"""A mode under which everything that would make a CUDA step wait for its device is an error, on any device."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense: "item(), float(), int(), bool() of a tensor",
    aten.item: "item()",
    aten.is_nonzero: "bool() of a tensor",
    aten.equal: "torch.equal",
    aten.allclose: "torch.allclose",
    aten.nonzero: "nonzero, argwhere, where with one argument",
    aten.nonzero_numpy: "nonzero",
    aten.nonzero_static: "nonzero_static",
    aten.masked_select: "masked_select",
    aten._unique: "unique",
    aten._unique2: "unique",
    aten.unique_dim: "unique",
    aten.unique_consecutive: "unique_consecutive",
    aten.bincount: "bincount",
    aten.histc: "histc",
    aten.repeat_interleave: "repeat_interleave with counts in a tensor",
}
"""Operations whose result's value or shape the host must know."""
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
COPIES = {aten._to_copy, aten.copy_, aten.to}
"""``to`` is seen whole in inference mode alone."""


class Waits(AssertionError):
    """An operation that waits for the device."""


class NoSync(TorchDispatchMode):
    """Raises :class:`Waits` at the first such operation, in forward and backward passes.

    Args:
        uploads: whether copies from the host that do not wait are let through; ``uploaded`` holds their shapes.
    """

    def __init__(self, *, uploads: bool = False) -> None:
        super().__init__()
        self._uploads = uploads
        self.uploaded: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        packet = function.overloadpacket
        if packet in WAITING and function is not aten.repeat_interleave.self_int:
            raise Waits(f"{function} waits for the device: {WAITING[packet]}")
        if packet in INDEXING and any(
            isinstance(index, torch.Tensor) and index.dtype in {torch.bool, torch.uint8} for index in arguments[1]
        ):
            raise Waits(f"{function}: indexing with a mask")
        result = function(*arguments, **keywords)
        if packet in COPIES and isinstance(result, torch.Tensor):
            sources = [value for value in arguments if isinstance(value, torch.Tensor)]
            apart = any(source.device != result.device for source in sources)
            if (
                apart
                and self._uploads
                and sources[-1].device.type == "cpu"
                and _asynchronous(function, arguments, keywords)
            ):
                self.uploaded.append(tuple(result.shape))
            elif apart:
                raise Waits(f"{function}: a copy from {sources[-1].device} to {result.device}")
        return result


def _asynchronous(function, arguments, keywords) -> bool:
    names = [argument.name for argument in function._schema.arguments]
    return bool((dict(zip(names, arguments, strict=False)) | keywords).get("non_blocking"))
