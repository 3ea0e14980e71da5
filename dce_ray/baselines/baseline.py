"""What the table of baselines holds: a network, an objective and the published variants of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from dce_ray.baselines.network import TwoStreamNetwork
from dce_ray.config import ObjectiveConfig
from dce_ray.errors import DataError
from dce_ray.records import Batch, TwoStreamOutputs


class Objective(Protocol):
    """The loss terms of a baseline."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each term in the total, by the names of the terms."""
        ...

    def __call__(self, outputs: TwoStreamOutputs, batch: Batch, progress: float | Tensor) -> dict[str, Tensor]:
        """Unweighted terms by name, 0-dimensional.

        Args:
            outputs: of the baseline's own network on ``batch``.
            batch: labels and pairs; all videos have T snippets.
            progress: iteration / iterations, in [0, 1]; a 0-dimensional tensor where the step is captured or compiled,
                so that one graph serves all of them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Baseline:
    """One line of the table: how to build a baseline."""

    name: str
    """Name on the command line and of the results folder."""
    network: Callable[..., TwoStreamNetwork]
    """Called with the keywords ``feature_size, classes, segments, pool, dropout``."""
    objective: Callable[[Any], Objective]
    """Called with a record of the type ``objective_config``."""
    objective_config: type[ObjectiveConfig]
    """Weights and sizes of the loss terms; its defaults are the THUMOS14 values."""
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Published values by data set: ``{"network": {...}, "objective": {...}}``, by the keys of ``RunConfig``; a data
    set that is absent has the defaults."""
    title: str = ""
    """As its authors write it; empty where the name will do."""
    method: Mapping[str, Any] = field(default_factory=dict)
    """What SCS and MCM begin with, by the keys of ``MethodConfig``, where neither the paper nor its released code has
    values for this baseline (``METHOD_PRESETS``); what is absent has the paper's readings."""


def weights_of(config: ObjectiveConfig, *names: str) -> dict[str, float]:
    """The fields ``names`` of a configuration record, as weights by term."""
    return {name: float(getattr(config, name)) for name in names}


def require_full_length(batch: Batch) -> None:
    """Refuse padded videos: the published losses average over all T snippets.

    Raises:
        DataError: the batch is padded.
    """
    if batch.lengths is not None:
        raise DataError(
            "a batch with lengths reached a loss: the losses count every snippet of a batch, padding included; "
            "resample training videos to the same number of snippets"
        )
