"""Tune, compare and believe weakly-supervised temporal action localization.

From Python: :func:`run_search` is the main job, :func:`load_winner` the network it ends with, :class:`Run` one run
without Ray, :func:`open_store` and :func:`write_store` the data, :func:`evaluate_checkpoint` a trained network's table,
:func:`predict_detections` what it finds in videos that nobody annotated. Each is imported when it is first asked for,
so that a bare GPU box needs neither Ray nor Optuna.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dce_ray.interrupts import end_quietly_while_importing
from dce_ray.version import VERSION as __version__

if TYPE_CHECKING:
    from dce_ray.evaluate import evaluate_checkpoint
    from dce_ray.predict import predict_detections
    from dce_ray.search.api import SearchResult, resume_search, run_search
    from dce_ray.store import Description, VideoAnnotation, import_per_video, open_store, write_store
    from dce_ray.train import Run
    from dce_ray.winner import load_winner

end_quietly_while_importing()
HERE = Path(__file__).resolve().parent
if not (HERE / "trainables").is_dir():  # a working copy: ``trainables`` and ``search_spaces`` lie at its top
    __path__.append(str(HERE.parent))

HOMES = {
    "Description": "dce_ray.store",
    "Run": "dce_ray.train",
    "SearchResult": "dce_ray.search.api",
    "VideoAnnotation": "dce_ray.store",
    "evaluate_checkpoint": "dce_ray.evaluate",
    "import_per_video": "dce_ray.store",
    "load_winner": "dce_ray.winner",
    "open_store": "dce_ray.store",
    "predict_detections": "dce_ray.predict",
    "resume_search": "dce_ray.search.api",
    "run_search": "dce_ray.search.api",
    "write_store": "dce_ray.store",
}
"""Where the public names live."""
__all__ = [
    "Description",
    "Run",
    "SearchResult",
    "VideoAnnotation",
    "__version__",
    "evaluate_checkpoint",
    "import_per_video",
    "load_winner",
    "open_store",
    "predict_detections",
    "resume_search",
    "run_search",
    "write_store",
]


def __getattr__(name: str) -> Any:
    """A public name, imported now."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(HOMES[name]), name)
