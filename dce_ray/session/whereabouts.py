"""On which node the process of a run is, told by the process itself before it does anything that may end it.

A process that is killed, or that fails while it starts, tells nothing with a result. Ray's store of the cluster keeps
what it noted.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

NAMESPACE = b"dce-ray"


def attempt_name(config: Mapping[str, Any]) -> str:
    """What no other attempt of any run on the cluster is called.

    Args:
        config: what ``RunFolder.for_worker`` gives.
    """
    return f"{config.get('mark')}:{config['state']}:{config['record']['attempt']}"


def note_here(run: str) -> None:
    """Note that the process of a run is on this node; nothing without Ray.

    Args:
        run: what no other attempt of any run is called.
    """
    if ray.is_initialized():
        here = [ray.get_runtime_context().get_node_id(), socket.gethostname()]
        _internal_kv_put(run.encode(), json.dumps(here).encode(), overwrite=True, namespace=NAMESPACE)


def noted(run: str) -> tuple[str, str] | None:
    """Ray's id of the node on which the process of a run was, and its host; None where it did not come so far."""
    found = _internal_kv_get(run.encode(), namespace=NAMESPACE) if ray.is_initialized() else None
    if found is None:
        return None
    node, host = json.loads(found)
    return node, host


def forget(run: str) -> None:
    """Remove the note."""
    if ray.is_initialized():
        _internal_kv_del(run.encode(), namespace=NAMESPACE)
