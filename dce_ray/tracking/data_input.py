"""The data set of a run as MLflow's input: name, digest, where it lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dce_ray.errors import DceError

LONGEST_DIGEST = 36
"""What MLflow's databases keep of a digest."""


@dataclass(frozen=True, slots=True)
class DataInput:
    """A data set in MLflow's words."""

    name: str
    digest: str
    source: str
    """JSON with the store's folder."""
    profile: str
    """JSON with sizes."""
    source_type: str = "local"


def data_input(config: Mapping[str, Any]) -> DataInput | None:
    """The data set that a run configuration reads; None where its store is gone."""
    return _of_store(str(config["data"])) if config.get("data") else None


@lru_cache(maxsize=16)
def _of_store(path: str) -> DataInput | None:
    if not Path(path).is_dir():
        return None
    from dce_ray.store import open_store  # brings pyarrow, once there is something to read

    try:
        store = open_store(path)
    except DceError:  # the results outlive the data they came from; the writer notes it
        return None
    profile = {
        "videos": len(store.video_names),
        "snippets": int(store.lengths.sum()),
        "feature_size": store.feature_size,
        "classes": len(store.class_names),
    }
    return DataInput(store.name, store.digest[:LONGEST_DIGEST], json.dumps({"uri": path}), json.dumps(profile))
