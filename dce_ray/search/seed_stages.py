"""The confirmation's two stages: all candidates first, then as many more pairs as the first stage's spread asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dce_ray.errors import ConfigError
from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.search.options import ConfirmOptions
from dce_ray.search.plan import Planned, plan_confirmation, plan_second_stage
from dce_ray.search.set_aside import hold_planned
from dce_ray.verdict.asked import FIXED, begun_looks, keep_asked, numbers_that_hold
from dce_ray.verdict.judge import differences_of, paired_runs
from dce_ray.verdict.stein import SeedPlan, identity_of, plan_seeds
from dce_ray.verdict.text import next_look
from dce_ray.words import command_line, counted


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
    keep_asked(folder, options, identity_of(winner, plain) if plain else "")
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
        plan = replace(plan, looks=max(begun_looks(folder), former.looks + 1 if former else 1))
        if plan.deviation is not None:  # fewer than two pairs decide nothing; a resumed search tries again
            plan.write(folder)
    return plan


def refuse_other_seeds(folder: ExperimentFolder, options: ConfirmOptions) -> None:
    """Keep a resumed search from changing how many seeds there are after a look at what any of them gave.

    Who stops once the numbers please, or goes on until they do, calls a difference real where there is none in up to a
    quarter of cases instead of 5 %. ``confirm.seeds=0`` alone is allowed: it trains nothing more.

    Raises:
        ConfigError: a number that the confirmation was not begun with.
    """
    plan, begun = SeedPlan.read(folder), numbers_that_hold(folder)
    if begun is None:
        return
    asked: Mapping[str, Any] = {name: getattr(options, name) for name in FIXED if options.seeds or name != "seeds"}
    wrong = [f"confirm.{name}={_shown(value)}" for name, value in asked.items() if value != begun[name]]
    if wrong:
        fixed = ", ".join(f"confirm.{name}={_shown(value)}" for name, value in begun.items())
        pairs = f" ({counted(plan.total, 'pair')} of seeds)" if plan else ""
        look = next_look(folder, max(2, options.seeds, _fewest(plan, begun)))
        fresh = command_line("dce_ray.confirm", search=folder.path, **look)
        raise ConfigError(
            f"{', '.join(wrong)}: {folder.path} has read test with {fixed} already{pairs}; other numbers after that "
            f"look would make the interval too narrow. Leave them out; with fresh seeds, as many as you like"
            f"{'' if folder.confirmation.is_file() else ', once this one has ended'}: {fresh}"
        )


def _fewest(plan: SeedPlan | None, begun: Mapping[str, Any]) -> int:
    return plan.total if plan else int(begun["seeds"])


def _shown(value: Any) -> Any:
    return "null" if value is None else value
