"""Published values of the method, as overrides of ``MethodConfig`` by the user's keys.

``paper``: section 4.2 of the paper, with its own readings, which are the defaults of ``MethodConfig``; it prints values
for THUMOS14 only. ``released``: the training scripts and the code of its authors, which differ from the paper and from
each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]

PAPER: Values = {
    "strategy": "ratio",
    "lambda": 1.0,
    "epsilon": 1e-8,
    "target": "representative",
    "reduction": "mean",
    "representatives": "half_open",
    "mcm_start_iteration": 0,
}
"""The paper's readings. Its sums are replaced by means: the printed weights beta and gamma are those of the code."""

_RELEASED: Values = {**PAPER, "representatives": "closed"}
CO2NET: Values = {**_RELEASED, "target": "ones"}
"""What the released CO2-Net with EDCE computes."""
DELU: Values = {**_RELEASED, "target": "proposal", "epsilon": 1e-5}
"""What the released DELU with EDCE computes."""
DDGNET: Values = {**_RELEASED, "target": "proposal"}
"""What the released DDG-Net with EDCE computes."""


def _scalars(delta: float, theta_rep: float, theta_pro: float, weight: float) -> Values:
    """Every published pair of beta and gamma is one number twice."""
    return {"delta": delta, "theta_rep": theta_rep, "theta_pro": theta_pro, "beta": weight, "gamma": weight}


METHOD_PRESETS: dict[tuple[str, str, str], dict[str, Any]] = {
    ("paper", "thumos14", "co2net"): {**PAPER, **_scalars(0.70, 0.80, 0.55, 0.5)},
    ("paper", "thumos14", "delu"): {**PAPER, **_scalars(0.80, 0.90, 0.60, 0.5)},
    # theta_rep < theta_pro, as printed: every snippet of a proposal represents it, and the feature level is zero.
    ("paper", "thumos14", "ddgnet"): {**PAPER, **_scalars(0.90, 0.75, 0.86, 0.6)},
    ("released", "thumos14", "co2net"): {**CO2NET, **_scalars(0.70, 0.80, 0.55, 0.5)},
    ("released", "thumos14", "delu"): {**DELU, **_scalars(0.85, 0.80, 0.60, 0.3)},
    ("released", "thumos14", "ddgnet"): {**DDGNET, **_scalars(0.75, 0.80, 0.70, 0.6)},
    # The script does not set lambda, whose option defaults to 0.1; MCM waits for 3,000 iterations.
    ("released", "activitynet12", "co2net"): {
        **CO2NET,
        **_scalars(0.35, 0.70, 0.40, 1.5),
        "lambda": 0.1,
        "mcm_start_iteration": 3000,
    },
    ("released", "activitynet12", "delu"): {**DELU, **_scalars(0.70, 0.90, 0.70, 1.0)},
    ("released", "activitynet12", "ddgnet"): {**DDGNET, **_scalars(0.90, 0.70, 0.50, 1.5)},
}
"""Overrides by (preset, data set, baseline); the paper prints nothing for ActivityNet-1.2."""
