"""Import of published checkpoints: ``state_dict`` files of the released repositories.

Their parameter names are ours. ``feat_encoder``, which the released networks carry and never use, is left out.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dce_ray.errors import CheckpointError

UNUSED = ("feat_encoder.",)
"""Prefixes of parameters that the released forward passes never read."""
LISTED = 8
"""Entries of each kind that a message names; the others are counted."""


def load_published(network: nn.Module, path: str | Path) -> None:
    """Copy the parameters of a released checkpoint into ``network``; all of them or none.

    Args:
        network: a baseline of the checkpoint's kind, feature size and classes; it keeps its device and dtype.
        path: a file written by ``torch.save``: a ``state_dict``, bare, under the key ``state_dict``, or with the prefix
            ``module.`` of ``DataParallel``.

    Raises:
        CheckpointError: the file is absent, damaged, holds more than tensors, or does not fit; the message lists
            missing, unexpected and mis-shaped entries.
    """
    found = _unwrap(_read(Path(path)), Path(path))
    wanted = network.state_dict()
    faults = _misfits(found, wanted)
    if faults:
        raise CheckpointError(
            f"{path} does not fit {type(network).__name__}:\n"
            + "\n".join(f"  {line}" for line in faults)
            + "\nload it into the baseline, feature_size and classes that it was trained with"
        )
    network.load_state_dict({name: found[name] for name in wanted})


def _read(path: Path) -> Any:
    """The content of the file; nothing in it is executed (``weights_only=True``)."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint written by torch.save")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as fault:
        # Foreign objects and damaged pickles end here alike; PyTorch's text advises to switch the protection off.
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors{_foreign(fault)}; it was not executed. Where the network "
            f"was trained, save its tensors alone: torch.save(network.state_dict(), file)"
        ) from fault
    except Exception as fault:  # A damaged archive raises whatever its broken bytes lead to.
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({type(fault).__name__}: {_first_line(fault)}); fetch it again"
        ) from fault


def _foreign(fault: Exception) -> str:
    """What else is in the file, as PyTorch names it; its advice how to load that all the same is left out."""
    found = re.search(r"GLOBAL ([\w.]+)", str(fault))
    return f" ({found.group(1)})" if found else ""


def _first_line(fault: Exception) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:200]


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """Bare parameters by name, without wrappers, prefixes and unused entries."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state_dict of named tensors")
    foreign = [f"{name!r}: {type(value).__name__}" for name, value in content.items() if not _is_entry(name, value)]
    if foreign:
        raise CheckpointError(f"{path} is not a state_dict; not a named tensor: {_some(foreign)}")
    bare = {name.removeprefix("module."): value for name, value in content.items()}
    return {name: value for name, value in bare.items() if not name.startswith(UNUSED)}


def _is_entry(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _misfits(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """One line for each kind of fault."""
    shared = wanted.keys() & found.keys()
    kinds = {
        "missing": wanted.keys() - found.keys(),
        "unexpected": found.keys() - wanted.keys(),
        "mis-shaped": {
            f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in shared
            if found[name].shape != wanted[name].shape
        },
        "not floating point": {f"{name} {found[name].dtype}" for name in shared if not found[name].is_floating_point()},
        "not finite": {name for name in shared if not bool(found[name].isfinite().all())},
    }
    return [f"{kind} ({len(names)}): {_some(sorted(names))}" for kind, names in kinds.items() if names]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    rest = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(listed[:LISTED]) + rest
