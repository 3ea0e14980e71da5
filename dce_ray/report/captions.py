"""What tables and pages say of themselves: on which data, selected how, with which supervision.

``config`` is that of a search, as its ``config.json`` holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dce_ray.experiment.record import PUBLISHED, origin_label
from dce_ray.words import counted


def seeds_text(counts: Sequence[int]) -> str:
    """How many seeds several settings have.

    >>> seeds_text([1]), seeds_text([9, 5, 9]), seeds_text([])
    ('1 seed', '5 to 9 seeds', 'no seeds')
    """
    numbers = sorted(set(counts))
    if not numbers:
        return "no seeds"
    text = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return f"{text} seed{'' if numbers == [1] else 's'}"


def confirmation_caption(config: Mapping[str, Any], data: str, counts: Sequence[int]) -> str:
    """What a confirmation's table is of; with ``protocol=paper`` it says that selection saw the test set.

    Args:
        config: of the search.
        data: name of the data set.
        counts: planned seeds of each setting.
    """
    what = f"{config['run']['baseline']} on {data}, test mAP in percent, {seeds_text(counts)}"
    if config["protocol"] == "paper":
        return (
            f"{what}; protocol=paper: settings and iterations were selected on the test set, as published (optimistic)"
        )
    return f"{what}, trained anew on all of train; settings and iterations selected on holdout"


def selection_text(protocol: str, metric: str) -> str:
    """Which supervision the selection used, in a sentence.

    >>> selection_text("holdout", "classification").split(":")[0]
    'Selection ranked by video-level classification mAP on the holdout videos'
    """
    if protocol == "paper":
        return (
            "protocol=paper: trials were ranked on the test videos, as the published work does; these numbers are "
            "optimistic, since selection has seen what they are measured on."
        )
    if metric == "classification":
        return (
            "Selection ranked by video-level classification mAP on the holdout videos: strictly weakly supervised, "
            "no temporal label was used."
        )
    return "Selection ranked by detection mAP on the holdout videos and so used their temporal labels."


FEW_VIDEOS = 10
"""A fold that holds out fewer is told of."""


def holdout_note(config: Mapping[str, Any]) -> str | None:
    """What it means that folds hold out very few videos; None where they do not, or none are held out.

    >>> holdout_note({"holdout_videos": [12, 11]}) is None, holdout_note({}) is None
    (True, True)
    >>> print(holdout_note({"holdout_videos": [4, 3], "policy": "replicates"}).split(":")[0])
    each fold holds out only 3 to 4 videos
    """
    sizes = sorted(set(config.get("holdout_videos", ())))
    if not sizes or sizes[0] >= FEW_VIDEOS:
        return None
    videos = f"{sizes[0]} to {sizes[-1]} videos" if len(sizes) > 1 else counted(sizes[0], "video")
    which = "the holdout has only" if config["policy"] == "single" else "each fold holds out only"
    return (
        f"{which} {videos}: a score on so few is mostly chance, and a choice by it too; fewer folds (search.folds=) "
        f"hold out more videos each, more runs average more of the chance, and only the confirmation on test says what "
        f"is true"
    )


def test_text(config: Mapping[str, Any], *, confirmed: bool) -> str:
    """Whether test was read, in a sentence; empty with ``protocol=paper``, where selection itself reads it.

    Args:
        config: of the search.
        confirmed: whether a confirmation run has ended.
    """
    if config["protocol"] == "paper":
        return ""
    if confirmed:
        return "Test was read only after the selection, once by each run of the confirmation."
    return "Test was not read: confirm.seeds=0." if config["confirm"]["seeds"] == 0 else "Test was not read yet."


def published_note(settings: Iterable[str]) -> list[str]:
    """What settings that are named after published values are, a sentence each; nothing for others.

    >>> published_note(["top1", "released", "baseline"])[0].split(" under ")[0]
    'released scalars: the published values of the six scalars'
    """
    return [
        f"{origin_label(name)}: the published values of the six scalars under this search's own readings (target, "
        f"epsilon, interval ends, iterations), which the published setting need not share."
        for name in settings
        if name in PUBLISHED
    ]


SHARES = (
    "psi_share: part of the snippets that SCS suppressed; mcm_share: part of the proposals that MCM acted on; both in "
    "the run's last reading."
)
"""What two columns of the runs are."""


def trial_measure(config: Mapping[str, Any]) -> str:
    """What a trial's value is, without its unit: ``average mAP 0.1:0.7 on holdout``."""
    split = "test" if config["protocol"] == "paper" else "holdout"
    if config["metric"] == "classification":
        return f"classification mAP on {split}"
    return f"average mAP {config['run']['evaluation']['averages'][-1]} on {split}"
