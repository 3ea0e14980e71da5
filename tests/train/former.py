"""Files as version 2 of the checkpoints wrote them: before there were folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch


def former_configuration(config: dict[str, Any]) -> None:
    """Turn the mapping of a configuration into one of before, in place."""
    for key in ("folds", "fold", "fold_seed"):
        del config["sampling"][key]
    config["sampling"] |= {"holdout_share": 0.2, "holdout_seed": 0}


def write_former_checkpoint(source: Path, target: Path) -> None:
    """A checkpoint of today as version 2 would have written it."""
    payload = torch.load(source, weights_only=True)
    config = json.loads(payload["config"])
    former_configuration(config)
    torch.save(payload | {"version": 2, "config": json.dumps(config)}, target)
