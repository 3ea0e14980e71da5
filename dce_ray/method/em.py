"""One training step of the method, from a batch to its loss terms. Read this file first.

Shapes: B videos, T snippets, D input channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import torch
from torch import Tensor

from dce_ray.baselines import Objective, TwoStreamNetwork
from dce_ray.method.mcm import Consistency
from dce_ray.method.scs import Intervention
from dce_ray.records import Batch, StepResult, TwoStreamOutputs


def em_step(
    network: TwoStreamNetwork,
    objective: Objective,
    batch: Batch,
    *,
    intervention: Intervention | None,
    consistency: Consistency | None,
    iteration: int,
    progress: float | Tensor,
) -> StepResult:
    """One step of Eq. 13: the streams vote, then the baseline learns without what they disagree on.

    Args:
        network: as the caller set it: in training mode dropout acts in both passes, as released.
        objective: the baseline's terms.
        batch: features ``(B, T, D)`` and labels; never changed.
        intervention: SCS; None skips the E step, and the baseline learns from the features as they are.
        consistency: MCM; None adds no term.
        iteration: number of the step, from 1.
        progress: share of the training that is done, in [0, 1]; a 0-dimensional tensor where the step is captured or
            compiled.

    Returns:
        The objective's terms and weights with MCM's beside them; ``result.total.backward()`` is the caller's. The
        diagnostics are those of the parts that are on: ``psi_share`` (mean of Psi) with SCS, ``mcm_share`` and
        ``proposals`` with MCM. Nothing here waits for the device.
    """
    features_BTD, diagnostics = batch.features, {}
    if intervention is not None:  # E: only as far as the attentions
        with torch.no_grad():
            attentions = network.attend(features_BTD, batch.lengths)
            psi_BT = intervention.confounders(*map(_whole, attentions))
            features_BTD = intervention.apply(features_BTD, psi_BT)
        diagnostics["psi_share"] = psi_BT.mean()
    outputs = _whole_outputs(network(features_BTD, batch.lengths))  # M
    with _whole_precision(features_BTD.device):
        terms, weights = objective(outputs, batch, progress), dict(objective.weights)
        if consistency is not None:
            mcm_terms, mcm_diagnostics = consistency(outputs, iteration)
            terms, weights = terms | mcm_terms, weights | consistency.weights
            diagnostics |= mcm_diagnostics
    return StepResult(terms, weights, diagnostics)


def _whole(tensor: Tensor) -> Tensor:
    """At least float32: under autocast a network answers in 8 bits of mantissa, too few to compare with thresholds."""
    return tensor.float() if tensor.dtype in {torch.bfloat16, torch.float16} else tensor


def _whole_outputs(outputs: TwoStreamOutputs) -> TwoStreamOutputs:
    """The same record, whatever a baseline adds to it included, in whole precision."""
    return replace(outputs, **{item.name: _whole(getattr(outputs, item.name)) for item in fields(outputs)})


@contextmanager
def _whole_precision(device: torch.device) -> Iterator[None]:
    """Autocast, where it is on, is for the network; losses are computed in the precision of what they are given."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        with torch.autocast(device.type, enabled=False):
            yield
    else:
        yield
