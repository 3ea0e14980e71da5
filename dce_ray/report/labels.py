"""How baselines, data sets and settings are called where people read: in tables, figures and pages alike."""

from __future__ import annotations

from collections.abc import Iterable

from dce_ray.baselines import BASELINES
from dce_ray.experiment.candidate import WINNER
from dce_ray.experiment.record import PLAIN, PLAIN_LABEL, origin_label
from dce_ray.presets import DATA_SETS

WINNER_LABEL = f"{WINNER} (best point)"
SEARCHED_LABEL = "+ SCS + MCM, searched"
SETTING_LABELS = {
    PLAIN: PLAIN_LABEL,
    "scs": "+ SCS",
    "mcm": "+ MCM",
    "scs+mcm": "+ SCS + MCM",
    WINNER: WINNER_LABEL,
}
"""Settings whose own name says too little."""


def baseline_title(name: str) -> str:
    """A baseline as its authors write it, or its name where nothing else is known.

    >>> baseline_title("ddgnet"), baseline_title("mine")
    ('DDG-Net', 'mine')
    """
    return (BASELINES[name].title if name in BASELINES else "") or name


def data_title(name: str) -> str:
    """A data set as papers write it, or its name where nothing else is known.

    >>> data_title("activitynet12"), data_title("mine")
    ('ActivityNet-1.2', 'mine')
    """
    return (DATA_SETS[name].title if name in DATA_SETS else "") or name


def setting_label(name: str) -> str:
    """A setting as figures call it.

    >>> setting_label("scs"), setting_label("top1"), setting_label("released")
    ('+ SCS', 'top1 (best point)', 'released scalars')
    """
    return SETTING_LABELS.get(name) or origin_label(name)


def in_order(baselines: Iterable[str]) -> list[str]:
    """Names of baselines, each once: those of the table in its order, which is the paper's, then others as they come.

    >>> in_order(["mine", "ddgnet", "co2net", "ddgnet"])
    ['co2net', 'ddgnet', 'mine']
    """
    names = dict.fromkeys(baselines)
    return [name for name in BASELINES if name in names] + [name for name in names if name not in BASELINES]
