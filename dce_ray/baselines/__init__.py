"""The baselines: ``BASELINES`` maps a name to a network, an objective and their published variants.

A fourth baseline is one file and one line. The file, say ``dce_ray/baselines/mine.py``, holds

1. the network, a :class:`TwoStreamNetwork` (or a :class:`TrunkNetwork`, which has the published fusion and
   classifier)::

       class Mine(TwoStreamNetwork):
           def __init__(self, feature_size, classes, *, segments, pool, dropout):
               super().__init__(feature_size, classes)
               ...

           def forward(self, features_BTD, lengths_B=None) -> TwoStreamOutputs:
               ...  # with lengths_B: a video's outputs do not depend on the padding behind it

   ``attend`` comes for free (the whole forward pass without an autograd graph); override it if the attentions need
   less, the E step is then cheaper;

2. the objective, any callable with ``weights`` that returns unweighted terms by name; ``dce_ray.losses`` holds those of
   the published baselines::

       @dataclass(frozen=True)
       class MineObjective:
           weights: Mapping[str, float]
           k_ratio: float

           @classmethod
           def of(cls, config: ObjectiveConfig): ...

           def __call__(self, outputs, batch, progress) -> dict[str, Tensor]:
               return {"mil_original": losses.mil(outputs.logits, batch.labels, k_ratio=self.k_ratio, background=1.0)}

3. its line of the table, ``MINE = Baseline("mine", Mine, MineObjective.of, ObjectiveConfig, method={"delta": 0.6})``;
   ``method`` says what SCS and MCM of a single run begin with, and terms with weights of their own get a subclass of
   ``ObjectiveConfig``.

The one line is ``MINE`` in the tuple of ``BASELINES`` below. SCS, MCM, training, evaluation and search then serve it
(in the ranges of ``search_spaces/default.yaml``, unless there is a ``search_spaces/mine.yaml``), and
``tests/conformance`` checks it: shapes, ranges, gradients, padding, every T from 1, no wait for the device.
"""

from __future__ import annotations

from dce_ray.baselines.baseline import Baseline, Objective
from dce_ray.baselines.co2net import CO2NET
from dce_ray.baselines.ddgnet import DDGNET
from dce_ray.baselines.delu import DELU
from dce_ray.baselines.network import TrunkNetwork, TwoStreamNetwork
from dce_ray.errors import ConfigError, unknown_name

BASELINES: dict[str, Baseline] = {baseline.name: baseline for baseline in (CO2NET, DELU, DDGNET)}
"""Every baseline by name."""


def baseline_named(name: str) -> Baseline:
    """The baseline of that name.

    Raises:
        ConfigError: there is none; the message lists the known names and the nearest.
    """
    if name not in BASELINES:
        raise ConfigError(unknown_name("baseline", name, BASELINES))
    return BASELINES[name]


__all__ = ["BASELINES", "Baseline", "Objective", "TrunkNetwork", "TwoStreamNetwork", "baseline_named"]
