"""Tune, compare and believe weakly-supervised temporal action localization.

From Python: :func:`run_search` is the main job, :class:`Run` one run without Ray, :func:`open_store` the data,
:func:`evaluate_checkpoint` a trained network's table. Each is imported when it is first asked for, so that a bare GPU
box needs neither Ray nor Optuna.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dce_ray.version import VERSION as __version__

if TYPE_CHECKING:
    from dce_ray.evaluate import evaluate_checkpoint
    from dce_ray.search.api import SearchResult, resume_search, run_search
    from dce_ray.store import open_store
    from dce_ray.train import Run

HERE = Path(__file__).resolve().parent
if not (HERE / "trainables").is_dir():  # a working copy: ``trainables`` and ``search_spaces`` lie at its top
    __path__.append(str(HERE.parent))

HOMES = {
    "Run": "dce_ray.train",
    "SearchResult": "dce_ray.search.api",
    "evaluate_checkpoint": "dce_ray.evaluate",
    "open_store": "dce_ray.store",
    "resume_search": "dce_ray.search.api",
    "run_search": "dce_ray.search.api",
}
"""Where the public names live."""
__all__ = ["Run", "SearchResult", "__version__", "evaluate_checkpoint", "open_store", "resume_search", "run_search"]


def __getattr__(name: str) -> Any:
    """A public name, imported now."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(HOMES[name]), name)
