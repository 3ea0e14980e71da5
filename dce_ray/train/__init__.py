"""One run without Ray: from a configuration to a trained network and its tables.

Read ``run`` (what a run is), then ``driver`` (the one loop, and what it leaves in a folder); ``__main__`` is the
command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dce_ray.train.run import Best, Run

__all__ = ["Best", "Run"]


def __getattr__(name: str) -> Any:
    """``Run`` and ``Best``, imported with PyTorch only when somebody asks: a reader of progress needs neither."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dce_ray.train import run

    return getattr(run, name)
