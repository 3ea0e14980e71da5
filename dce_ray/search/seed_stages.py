"""The confirmation's two stages: all candidates first, then as many more pairs as the first stage's spread asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dce_ray.errors import ConfigError
from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.search.options import ConfirmOptions
from dce_ray.search.plan import Planned, hold_planned, plan_confirmation, plan_second_stage
from dce_ray.verdict.judge import differences_of, paired_runs
from dce_ray.verdict.stein import SeedPlan, identity_of, plan_seeds
from dce_ray.words import command_line, counted

FIXED = ("seeds", "precision", "max_seeds")
"""Of ConfirmOptions: what cannot be changed once it has decided how many pairs there are."""


def confirmation_stages(
    folder: ExperimentFolder, candidates: Sequence[Candidate], options: ConfirmOptions
) -> Iterator[list[Planned]]:
    """The runs of each stage; ask for the second when the first has ended, and not before.

    Args:
        folder: the search; ``seed_plan.json`` is written between the stages.
        candidates: the winner first; the second stage is the winner's and the plain baseline's alone.
        options: how many seeds; with ``seeds=0`` there is no stage at all.
    """
    if options.seeds == 0:
        return
    first = plan_confirmation(folder, candidates, options.seeds)
    winner, plain = candidates[0], next((one for one in candidates if one.plain), None)
    fixed, second = SeedPlan.read(folder), list[Planned]()
    if plain is not None and fixed is not None and fixed.identity == identity_of(winner, plain) and fixed.more:
        second = plan_second_stage(folder, [winner, plain], options.seeds, fixed.more, after=len(first))
    hold_planned(folder, [*first, *second])
    yield first
    if plain is not None:
        if any(not item.finished for item in first if item.record.setting in (winner.setting, plain.setting)):
            yield first  # once more what failed: the pairs of the first stage decide how many there are in all
        more = fix_seeds(folder, winner, plain, options).more
        if more:
            second = plan_second_stage(folder, [winner, plain], options.seeds, more, after=len(first))
            hold_planned(folder, [*first, *second])  # the plain baseline's of an earlier winner come back
            yield second


def fix_seeds(folder: ExperimentFolder, winner: Candidate, plain: Candidate, options: ConfirmOptions) -> SeedPlan:
    """The plan of these two settings: the one that was fixed before, else made of the first stage and written."""
    identity, former = identity_of(winner, plain), SeedPlan.read(folder)
    plan = former
    if plan is None or plan.identity != identity:
        differences = differences_of(paired_runs(folder, winner, plain, range(options.seeds)))
        plan = plan_seeds(
            differences,
            seeds=options.seeds,
            precision=options.precision,
            max_seeds=options.max_seeds,
            identity=identity,
        )
        if former is not None:
            plan = replace(plan, looks=former.looks + 1)
        if plan.deviation is not None:  # fewer than two pairs decide nothing; a resumed search tries again
            plan.write(folder)
    return plan


def refuse_other_seeds(folder: ExperimentFolder, options: ConfirmOptions) -> None:
    """Keep a resumed search from changing how many seeds there are after a look at what they gave.

    ``confirm.seeds=0`` is allowed: it trains nothing more.

    Raises:
        ConfigError: a number that the written plan was not made with.
    """
    plan = SeedPlan.read(folder)
    if options.seeds == 0:
        return
    if plan is None:
        begun = len({run.record().seed for run in folder.confirmations()})
        if options.seeds < begun:
            raise ConfigError(
                f"confirm.seeds={options.seeds}: {folder.path} has begun {counted(begun, 'seed')} on test; to stop "
                f"sooner after a look at them would make the interval too narrow. Give {begun} or more, or leave it out"
            )
        return
    asked: Mapping[str, Any] = {name: getattr(options, name) for name in FIXED}
    wrong = [f"confirm.{name}={value}" for name, value in asked.items() if value != getattr(plan, name)]
    if wrong:
        fixed = ", ".join(f"confirm.{name}={getattr(plan, name)}" for name in FIXED)
        raise ConfigError(
            f"{', '.join(wrong)}: {folder.path} has read test with {fixed} already "
            f"({counted(plan.total, 'pair')} of seeds); other numbers after that look would make the interval too "
            f"narrow. Leave them out; with fresh seeds, as many as you like: "
            f"{command_line('dce_ray.confirm', search=folder.path, seeds=max(options.seeds, plan.total))}"
        )
