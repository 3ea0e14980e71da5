"""The dispatch mode fails on what makes a device wait, and on nothing else."""

from __future__ import annotations

import pytest
import torch
from no_sync import NoSync, Waits

VALUES = torch.tensor([0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    "read",
    [
        VALUES[1].item,
        lambda: float(VALUES[1]),
        lambda: bool(VALUES.any()),
        VALUES.nonzero,
        lambda: VALUES[VALUES > 0.5],
        lambda: VALUES.masked_select(VALUES > 0.5),
        lambda: VALUES.clone().index_put_((VALUES > 0.5,), torch.tensor(1.0)),
        VALUES.unique,
        lambda: torch.repeat_interleave(VALUES, torch.tensor([1, 2, 0])),
    ],
)
def test_reading_values_raises(read: object) -> None:
    assert callable(read)
    with NoSync(), pytest.raises(Waits):
        read()


def test_whole_tensor_operations_pass() -> None:
    with NoSync():
        chosen = VALUES[torch.tensor([2, 0])] + torch.where(VALUES > 0.5, VALUES, -VALUES).topk(2).values
    assert chosen.tolist() == [4.0, 1.0]
