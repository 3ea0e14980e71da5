"""What tables and pages say of themselves: on which data, selected how, with which supervision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def confirmation_caption(config: Mapping[str, Any]) -> str:
    """What the table is of; with ``protocol=paper`` it says that selection saw the test set."""
    seeds = config["confirm"]["seeds"]
    what = f"{config['run']['baseline']} on {config['data_set']}, test mAP in percent, {seeds} seeds"
    if config["protocol"] == "paper":
        return (
            f"{what}; protocol=paper: settings and iterations were selected on the test set, as published (optimistic)"
        )
    return f"{what}, trained anew on all of train; settings and iterations selected on holdout"


def selection_text(protocol: str, metric: str) -> str:
    """Which supervision the selection used, in a sentence."""
    if protocol == "paper":
        return (
            "protocol=paper: trials were ranked on the test videos, as the published work does; these numbers are "
            "optimistic, since selection has seen what they are measured on."
        )
    if metric == "classification":
        return (
            "Selection ranked by video-level classification mAP on the holdout videos: strictly weakly supervised, "
            "no temporal label was used. Test was read once, after selection."
        )
    return (
        "Selection ranked by detection mAP on the holdout videos and so used their temporal labels. Test was read "
        "once, after selection."
    )


def measure_of(config: Mapping[str, Any]) -> str:
    """What a trial's value is, without its unit."""
    protocol, metric = selection_of(config)
    split = "test" if protocol == "paper" else "holdout"
    if metric == "classification":
        return f"classification mAP on {split}"
    averages = config.get("run", {}).get("evaluation", {}).get("averages") or ["over tIoU"]
    return f"average mAP {averages[-1]} on {split}"


def selection_of(config: Mapping[str, Any]) -> tuple[str, str]:
    """Protocol and metric of a search's configuration."""
    run = config.get("run", {})
    return str(run.get("protocol", "holdout")), str(run.get("metric", "detection"))
