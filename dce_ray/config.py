"""Typed configuration: every default lives here, every range is checked here.

A configuration is a tree of frozen dataclasses; :class:`RunConfig` is its root. What they can do is in config_base.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dce_ray.config_base import Config, choice, number, place, places

SCALARS = ("delta", "theta_rep", "theta_pro", "beta", "gamma", "lambda")
"""The six scalars of the paper, by the user's keys of ``method``: what a search varies."""
COMPONENT_OF = {"delta": "scs", "lambda": "scs", "theta_rep": "mcm", "theta_pro": "mcm", "beta": "mcm", "gamma": "mcm"}
"""The component that reads a scalar; without it the scalar decides nothing."""
STRATEGY_NAMES = ("ratio", "threshold", "difference", "minmax", "minmax_as_printed")
TARGET_NAMES = ("representative", "ones", "proposal")
REDUCTION_NAMES = ("mean", "pooled", "sum")
LARGEST_SEED = 2**31 - 1
REPRESENTATIVES = ("half_open", "closed")
"""Variants of the method by name; the first three name the lines of tables in ``dce_ray.method``, which check it."""


@dataclass(frozen=True, slots=True)
class ScalarRange:
    """Where a search looks for a number: uniform in [low, high], or uniform in its logarithm."""

    low: float
    high: float
    log: bool = False
    step: int | None = None
    """Values are whole multiples of it, as the ends are; None: any value."""

    @property
    def constant(self) -> bool:
        """Whether there is nothing to search."""
        return self.low == self.high

    def to_unit(self, value: float) -> float:
        """Where a value lies between the ends, in [0, 1] on the scale that is searched uniformly.

        >>> ScalarRange(0.1, 10.0, log=True).to_unit(1.0)
        0.5
        """
        if self.constant:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, place: float) -> float:
        """The value at a place in [0, 1]; the inverse of :meth:`to_unit`."""
        if self.constant:
            return self.low
        if self.log:
            return self.nearest(self.low * math.exp(place * math.log(self.high / self.low)))
        return self.nearest(self.low + place * (self.high - self.low))

    def nearest(self, value: float) -> float:
        """The value of the range that lies nearest; of two equally near ones the higher.

        >>> ScalarRange(4, 12, step=4).nearest(10.0), ScalarRange(0.1, 1.0).nearest(3.0)
        (12.0, 1.0)
        """
        if self.step is not None:
            value = float(self.step * math.floor(value / self.step + 0.5))
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, slots=True)
class MethodConfig(Config):
    """The six scalars of the paper and the variants of SCS and MCM that the released code holds."""

    delta: float = number(0.7, 0.0, 1.0)
    """Disparity above which the streams disagree (Eq. 2); ``xi`` for the strategy ``threshold``."""
    theta_rep: float = number(0.8, 0.0, 1.0)
    """Attention above which a snippet represents its proposal (Eq. 5)."""
    theta_pro: float = number(0.55, 0.0, 1.0)
    """Attention above which a snippet belongs to a proposal."""
    beta: float = number(0.5, 0.0, 100.0)
    """Weight of the feature level (Eq. 12)."""
    gamma: float = number(0.5, 0.0, 100.0)
    """Weight of the label level (Eq. 12)."""
    lambda_: float = number(1.0, 0.0, 1.0)
    """Strength of the intervention (Eq. 3); 1 erases confounders, 0 keeps them."""
    strategy: str = choice("ratio", *STRATEGY_NAMES)
    """How Psi is made of the two attentions: Eq. 2, 14, 15, 16."""
    epsilon: float = number(1e-8, 0.0, 1.0)
    """Added to the denominator of Psi; 1e-5 in the released DELU."""
    target: str = choice("representative", *TARGET_NAMES)
    """What the label level pulls attentions to: Eq. 10, or one of the two released readings."""
    reduction: str = choice("mean", *REDUCTION_NAMES)
    """``mean`` as released, ``sum`` as the paper prints it; ``pooled`` averages the label level over all proposals of
    the batch at once instead of per video first."""
    representatives: str = choice("half_open", *REPRESENTATIVES)
    """``closed`` also counts the snippet behind a proposal's end in the feature level (a released off-by-one)."""
    mcm_start_iteration: int = number(0, 0, 10**9)
    """MCM acts from the iteration after this one."""


@dataclass(frozen=True, slots=True)
class SamplingConfig(Config):
    """How training batches are drawn."""

    segments: int = number(320, 1, 100_000)
    """Snippets that every training video is resampled to."""
    batch: int = number(10, 2, 10_000)
    """Videos per batch; what the pairs leave is drawn with replacement."""
    pairs: int = number(3, 0, 5_000)
    """Pairs of videos that share a class."""
    min_snippets: int = number(1, 1, 100_000)
    """Shorter videos are left out of training and test (11 on ActivityNet-1.2)."""
    folds: int = number(5)
    """K: parts of equal size and like classes that the train videos are shared out to, 2 or more. One of them is held
    out: selection sees it and training does not."""
    fold: int = number(0)
    """The fold that is held out, 0..K-1."""
    fold_seed: int = number(0, 0, LARGEST_SEED)
    """Decides ties in the sharing out and nothing else; apart from ``seed``, so that all seeds share the folds."""

    def faults(self) -> list[str]:
        """Also: the pairs must fit into the batch, and the fold must be one of the folds."""
        lines = Config.faults(self)
        if lines:
            return lines
        if 2 * self.pairs > self.batch:
            lines.append(f"pairs={self.pairs}: {2 * self.pairs} videos do not fit into batch={self.batch}")
        if self.folds < 2:
            lines.append(
                f"folds={self.folds}: must be 2 or more, for one fold is held out and the others train; "
                f"protocol=confirm trains on all train videos"
            )
        elif not 0 <= self.fold < self.folds:
            lines.append(
                f"fold={self.fold}: must lie in 0..{self.folds - 1}, for folds={self.folds} are counted from 0; "
                f"choose one of them or raise folds"
            )
        return lines


@dataclass(frozen=True, slots=True)
class TrainingConfig(Config):
    """The optimisation."""

    iterations: int = number(5000, 1, 10**9)
    """Optimisation steps; the schedule of the uncertainty guide runs over them."""
    stop_at: int | None = number(None, 1, 10**9)
    """Iteration at which the run ends although its schedule goes on: the one that a search chose on holdout."""
    learning_rate: float = number(5e-5, 1e-12, 10.0, kept=(0.0, 10.0))
    """Adam's step size."""
    weight_decay: float = number(1e-3, 0.0, 10.0)
    """L2 term in the gradient, as in Adam (not AdamW)."""
    eval_every: int = number(50, 1, 10**9)
    """Iterations between evaluations."""
    log_every: int = number(10, 1, 10**9, decides=False)
    """Iterations between readings of the loss terms (each waits for the device once)."""
    precision: str = choice("float32", "float32", "tf32", "bf16")
    """Arithmetic of matrix products and convolutions alike: ``float32`` is float32 (PyTorch alone would let cuDNN round
    to TF32), ``tf32`` rounds their inputs to 10 bits of mantissa (CUDA alone; a CPU refuses it), ``bf16`` computes the
    network in bfloat16 and the losses in float32."""
    deterministic: bool = place(False)
    """Whether CUDA must give the same bits for the same seed: kernels that cannot are refused, and so is a process
    whose cuBLAS was started without CUBLAS_WORKSPACE_CONFIG. The CPU does so anyway."""
    compile: bool = False
    """Whether torch.compile is tried on the step: E step, network, losses and MCM in one."""
    graphs: bool = place(False)
    """Whether the step is captured into a CUDA graph and replayed; needs a CUDA device. Not proven on one yet."""
    resident: str = choice("auto", "auto", "host", "device", decides=False)
    """Where the training features lie; ``auto`` puts them on a CUDA device where they fit. All runs of a process share
    the features of one data set on one device."""
    prefetch: bool = place(False)
    """Whether a thread gathers the next batch while the device computes, and a stream of its own uploads it; acts where
    the features lie on the host. The upload is not proven on CUDA yet."""

    def faults(self) -> list[str]:
        """Also: features that lie on the device need no reading ahead."""
        lines = Config.faults(self)
        if not lines and self.prefetch and self.resident == "device":
            lines.append(
                "prefetch=True: with resident='device' nothing is read ahead; use resident=host or prefetch=off"
            )
        return lines


@dataclass(frozen=True, slots=True)
class EvaluationConfig(Config):
    """From outputs to the mAP table; the fields in which the published baselines differ have presets."""

    proposal_thresholds: int = number(10, 1, 1000)
    """Attention thresholds, evenly spaced from 0.1 to 0.9."""
    class_threshold: float = number(0.2, 0.0, 1.0)
    """Video-level score from which a class is predicted."""
    outer_ratio: float = number(0.25, 0.0, 10.0)
    """Outer margin of a proposal, as a part of its length."""
    class_score_weight: float = number(0.2, 0.0, 10.0)
    """Weight of the video-level class score in a proposal's score."""
    nms: str = choice("gaussian", "gaussian", "linear", "hard")
    """Kind of non-maximum suppression."""
    nms_parameter: float = number(0.3, 1e-6, 10.0)
    """Sigma of the gaussian kind, tIoU threshold of the other two."""
    min_length: int = number(1, 1, 1000, kept=(1, 100_000))
    """Shortest proposal that is kept, in snippets (2 in the published DELU)."""
    drop_ambiguous: bool = True
    """Whether proposals that touch an interval annotated as ambiguous are dropped (no effect where none is)."""
    skip_videos: tuple[str, ...] = ()
    """Test videos without predictions, whose ground truth still counts (DDG-Net on THUMOS14)."""
    tiou_thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Temporal IoU thresholds of the table."""
    averages: tuple[str, ...] = ("0.1:0.5", "0.3:0.7", "0.1:0.7")
    """Averages of the table, each ``first:last`` threshold; the last one ranks."""
    max_snippets_per_batch: int = number(16_384, 1, 10**9)
    """Padded snippets that one inference batch may hold: the memory bound."""

    def refusals(self) -> list[str]:
        """Also: the thresholds rise within (0, 1], and every average goes from one of them to another."""
        lines = Config.refusals(self)
        if lines:
            return lines
        levels = list(self.tiou_thresholds)
        if not levels or levels != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] <= 1:
            return [f"tiou_thresholds={levels}: give one or more values in (0, 1], rising, such as [0.3,0.5]"]
        if not self.averages:
            return [f"averages=[]: name at least one first:last of the thresholds {levels}; the last one ranks"]
        return [
            f"averages: {name!r}: write first:last, both of them thresholds of {levels}, such as "
            f"averages=[{levels[0]:g}:{levels[-1]:g}]"
            for name in self.averages
            if not _is_span(name, levels)
        ]


def _is_span(name: str, levels: Sequence[float]) -> bool:
    """Whether a name is ``first:last`` with both of them among ``levels``, the first no higher."""
    first, _, last = name.partition(":")
    ends = [[level for level in levels if _says(end, level)] for end in (first, last)]
    return all(ends) and ends[0][0] <= ends[1][0]


def _says(text: str, level: float) -> bool:
    try:
        return math.isclose(float(text), level, rel_tol=0, abs_tol=1e-9)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class ObjectiveConfig(Config):
    """Weights and sizes of the loss terms; a baseline reads those it has (defaults: THUMOS14)."""

    k_ratio: float = number(7.0, 1.0, 10_000.0)
    """Multiple-instance learning averages the T // k_ratio largest logits."""
    mil_original: float = number(1.0, 0.0, 1e6)
    mil_suppressed: float = number(1.0, 0.0, 1e6)
    contrastive: float = number(1.0, 0.0, 1e6)
    mutual: float = number(1.0, 0.0, 1e6)
    norm: float = number(0.8, 0.0, 1e6)
    guide: float = number(0.8, 0.0, 1e6)


@dataclass(frozen=True, slots=True)
class DeluObjectiveConfig(ObjectiveConfig):
    """CO2-Net's terms and the two of evidential learning."""

    guide: float = number(0.4, 0.0, 1e6)
    evidential: float = number(1.3, 0.0, 1e6)
    uncertainty_guide: float = number(0.4, 0.0, 1e6)
    evidence: str = choice("exp", "exp", "relu")
    """``exp``: exponential evidence and log loss (THUMOS14); ``relu``: squared error (ActivityNet-1.2)."""
    evidence_ratio: int = number(9, 1, 10_000)
    """Evidence averages the T // evidence_ratio snippets of highest attention."""
    amplitude: float = number(0.7, 0.0, 100.0)
    """Amplitude of the uncertainty guide's curve."""


@dataclass(frozen=True, slots=True)
class DdgNetObjectiveConfig(DeluObjectiveConfig):
    """DELU's terms and the two of the graph network."""

    feature_consistency: float = number(3.2, 0.0, 1e6)
    complementary: float = number(1.0, 0.0, 1e6)


@dataclass(frozen=True, slots=True)
class NetworkConfig(Config):
    """What differs between a baseline's published network variants."""

    pool: bool = False
    """Whether logits and attentions pass the average pool of the ActivityNet-1.2 variants."""
    dropout: float = number(0.7, 0.0, 0.99)
    """Dropout of fusion and classifier."""


@dataclass(frozen=True, slots=True)
class RunConfig(Config):
    """All that decides a run. Build one with :func:`dce_ray.presets.run_config`."""

    baseline: str
    """Name in ``dce_ray.baselines.BASELINES``."""
    objective: ObjectiveConfig
    """The baseline's own record."""
    data: str = place()
    """Folder of the feature store; what it holds decides, and goes by its digest."""
    preset: str = choice("paper", "paper", "released")
    """Which published values the other fields started from."""
    protocol: str = choice("holdout", "holdout", "paper", "confirm")
    """``holdout``: train on train minus one fold of it, select on that fold; ``paper``: train on train, select on test
    (as published); ``confirm``: train on all of train, select nothing, evaluate test once at the end."""
    metric: str = choice("detection", "detection", "classification")
    """What selection ranks by: detection mAP (reads temporal labels of the holdout videos) or video-level
    classification mAP (reads none: strictly weakly supervised)."""
    seed: int = number(0, 0, LARGEST_SEED)
    """Decides network, dropout and sampling."""
    device: str = place("auto")
    """``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``."""
    scs: bool = True
    """Whether the E step's intervention acts."""
    mcm: bool = True
    """Whether consistency mining acts."""
    method: MethodConfig = MethodConfig()
    network: NetworkConfig = NetworkConfig()
    sampling: SamplingConfig = SamplingConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


PLACES = places(RunConfig)
"""Dotted keys of a run that say where and how fast it computes, and not what: runs that differ in them alone are the
same run, and a checkpoint of the one is gone on with by the other."""
