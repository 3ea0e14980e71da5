"""Who runs next where the plain baseline has a search of its own: two policies take turns in one budget.

Each arm gets every second run. The plain baseline's policy is the points' own, in the space of the keys that it reads:
nothing of the method's search is kept from it but the scalars that it does not have. The turns are a pure function of
the runs started so far, as each policy is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dce_ray.experiment.record import PLAIN
from dce_ray.points.runs import PointRun
from dce_ray.search.policy import Policy, Proposal


@dataclass(frozen=True, slots=True)
class TwoArms:
    """The points' policy and the plain baseline's; both without a plain baseline beside."""

    points: Policy
    plain: Policy

    @property
    def folds(self) -> int:
        """K, from 1."""
        return self.points.folds

    @property
    def startup(self) -> int:
        """Points of both arms before the samplers suggest."""
        return self.points.startup + self.plain.startup

    def propose(self, runs: Sequence[PointRun]) -> Proposal:
        """The next run: of the arm with fewer runs, of the plain baseline's where they are equal.

        Args:
            runs: all that were ever started, the running ones included, in any order.
        """
        own = [run for run in runs if run.own_search]
        others = [run for run in runs if not run.own_search]
        plain = len(own) <= len(others)
        arm, policy = (own, self.plain) if plain else (others, self.points)
        numbers = sorted({run.point for run in arm if run.point is not None})
        among_themselves = {number: index for index, number in enumerate(numbers)}
        proposal = policy.propose(
            [replace(run, point=among_themselves[run.point], own_search=False) for run in arm if run.point is not None]
        )
        following = 1 + max((run.point for run in runs if run.point is not None), default=-1)
        assert proposal.point is not None, "neither arm has a plain baseline beside it"
        point = following if proposal.new else numbers[proposal.point]
        origin = PLAIN if plain else proposal.origin
        return replace(proposal, point=point, origin=origin, own_search=plain)
