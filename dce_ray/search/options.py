"""What a search may be asked of how much is run, and where: the groups of its own keys."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dce_ray.config import LARGEST_SEED
from dce_ray.config_base import Config, number, text
from dce_ray.errors import ConfigError
from dce_ray.session.address import address_fault
from dce_ray.session.resources import gpu_share_fault
from dce_ray.train.mirrored import MlflowOptions

UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION = "a duration with units, such as 45s, 90m or 1h30m"


def seconds(duration: str) -> float:
    """Seconds of a duration such as ``90m`` or ``1h30m``.

    Raises:
        ConfigError: when it is none.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", duration)
    if not parts or "".join(amount + unit for amount, unit in parts) != duration:
        raise ConfigError(f"search.time_budget={duration}: write {DURATION}")
    return sum(float(amount) * UNIT_S[unit] for amount, unit in parts)


@dataclass(frozen=True, slots=True)
class SearchOptions(Config):
    """How much is searched."""

    num_runs: int = number(32, 2, 10**6)
    """Runs of the search in all, the plain baseline's included; ``search.num_trials`` is another name for it. What is
    trained counts: a point that the sampler proposes once more is told its result and takes no run."""
    folds: int = number(5, 2, 20)
    """Parts of the train videos, of which a run holds one out; with ``protocol=paper`` none: seeds alone differ."""
    time_budget: str | None = text(None, DURATION)
    """Time for the whole search, its confirmation and the rest after a resume included (``90m``). It begins with
    the first node: the start of Ray does not count, nor does the wait for a node of a cluster."""
    max_failures: int = number(2, 0, 1000)
    """How often a trial's process may be lost before the trial counts as failed."""
    cpus_per_trial: float | None = number(None, 0.01, 10**4)
    gpus_per_trial: float | None = number(None, 0.0, 10**3)
    min_iterations: int | None = number(None, 1, 10**9)
    """No trial is stopped before (``policy=single``); None: a third of the full length, with hyperband the first
    evaluation."""
    seed: int = number(0, 0, LARGEST_SEED)
    """Of the suggestions; runs train with ``seed`` and those after it."""

    def faults(self) -> list[str]:
        """Also: the time budget is a duration, and a share of GPUs one that Ray gives."""
        lines = Config.faults(self)
        if not lines and self.time_budget is not None:
            try:
                seconds(self.time_budget)
            except ConfigError as fault:
                lines.append(str(fault).removeprefix("search."))
        if not lines and (wrong := gpu_share_fault(self.gpus_per_trial)):
            lines.append(f"gpus_per_trial={self.gpus_per_trial}: {wrong}")
        return lines

    def refusals(self) -> list[str]:
        """Also: a time budget is more than nothing."""
        lines = Config.refusals(self)
        if self.time_budget is not None and seconds(self.time_budget) <= 0:
            lines.append(f"time_budget={self.time_budget}: must be more than nothing; leave it out for no budget")
        return lines


@dataclass(frozen=True, slots=True)
class ConfirmOptions(Config):
    """What is confirmed at the end."""

    top: int = number(3, 1, 1000)
    """Best configurations on the selecting split."""
    seeds: int = number(5, 0, 1000)
    """Seeds per configuration; 0 confirms nothing and never reads the test set, 1 gives no interval."""
    precision: float | None = number(1.0, 0.01, 100.0, null="for no more seeds than confirm.seeds")
    """Wanted half-width of the interval of winner less plain baseline, in percentage points of mAP: these two get so
    many more seeds. None: no more than ``seeds``."""
    max_seeds: int = number(20, 1, 10_000)
    """Most seeds of winner and plain baseline; the interval is wider than ``precision`` where more would be needed."""

    @property
    def further_seeds(self) -> int:
        """How many seeds the second stage may take at most."""
        second = self.precision is not None and self.seeds > 1
        return max(self.max_seeds - self.seeds, 0) if second else 0

    def faults(self) -> list[str]:
        """Also: the most seeds are no fewer than the first."""
        lines = Config.faults(self)
        if not lines and self.precision is not None and self.max_seeds < self.seeds:
            lines.append(
                f"max_seeds={self.max_seeds}: must be at least seeds={self.seeds}; raise it, or give "
                f"confirm.precision=null for no second stage"
            )
        return lines


@dataclass(frozen=True, slots=True)
class RayOptions(Config):
    """Which Ray is used."""

    address: str | None = None
    """``auto``, ``host:port``; None starts a local Ray unless RAY_ADDRESS is set."""
    num_cpus: int | None = number(None, 1, 10**5)
    """CPUs of a local Ray; None takes what this process may use and other searches leave free."""

    def faults(self) -> list[str]:
        """Also: the address is one that a search can use."""
        lines = Config.faults(self)
        if not lines and (wrong := address_fault(self.address)):
            lines.append(f"address={self.address}: {wrong}")
        return lines


@dataclass(frozen=True, slots=True)
class TrackingOptions(MlflowOptions):
    """Where MLflow is."""

    enabled: bool = True
    system: bool = True
    """Whether runs are shown with what they take of their machines: CPU, memory, GPU."""

    @property
    def system_metrics(self) -> bool:
        """Whether runs shall tell what they take: nobody is shown it without MLflow."""
        return self.enabled and self.system
