"""The data set of a search as MLflow's input: name, digest, where it lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST_DIGEST = 36
"""What MLflow's databases keep of a digest, in characters."""


@dataclass(frozen=True, slots=True)
class DataInput:
    """A data set in MLflow's words."""

    name: str
    digest: str
    source: str
    """JSON with the store's folder."""
    source_type: str = "local"


def data_input(config: Mapping[str, Any], name: str) -> DataInput | None:
    """The data set that a search reads; None where its configuration holds no digest.

    Args:
        config: what ``config.json`` holds; the store itself may be gone.
        name: of the data set.
    """
    digest, path = config.get("digest"), config.get("run", {}).get("data")
    if not digest or not path:
        return None
    return DataInput(name, str(digest)[:LONGEST_DIGEST], json.dumps({"uri": str(path)}))
