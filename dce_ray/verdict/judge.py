"""The verdict on a confirmation: the planned comparisons, made from the runs in the folder.

Two comparisons are planned and made in this order: the winner against the plain baseline, and, where that is decided,
the winner against the published values. Everything else that a confirmation measures only describes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dce_ray.evaluation import MapTable
from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PUBLISHED, decisive, origin_label
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.files import read_json
from dce_ray.verdict.caveats import caveats
from dce_ray.verdict.fairness import Fairness, fairness_of
from dce_ray.verdict.statistics import Estimate, mean_interval, seeds_for_power
from dce_ray.verdict.stein import UNDECIDED, SeedPlan, fixed_sequence, identity_of, plan_seeds, stein_interval
from dce_ray.verdict.text import ANEW, told
from dce_ray.verdict.verdict import NOTICEABLE, UNCONFIRMED, Against, Verdict
from dce_ray.verdict.videos import video_interval
from dce_ray.words import counted


def paired_runs(
    folder: ExperimentFolder, ours: Candidate, theirs: Candidate, numbers: Sequence[int]
) -> dict[int, tuple[RunFolder, RunFolder]]:
    """Finished runs of two candidates by seed, where both have one.

    Args:
        folder: the search.
        ours: the first of each pair.
        theirs: the second of each pair.
        numbers: of the confirmation's seeds, from 0.
    """
    pairs = {}
    for number in numbers:
        runs = [(one, folder.confirm(f"{one.setting}-{one.confirmation_seed(number)}")) for one in (ours, theirs)]
        if all(_finished(run, one, one.confirmation_seed(number)) for one, run in runs):
            pairs[ours.confirmation_seed(number)] = (runs[0][1], runs[1][1])
    return pairs


def _finished(run: RunFolder, candidate: Candidate, seed: int) -> bool:
    if not run.exists() or not run.table.is_file():
        return False
    record = run.record()
    return record.state == "finished" and decisive(record.config) == decisive(candidate.configuration(seed))


def differences_of(pairs: Mapping[int, tuple[RunFolder, RunFolder]]) -> list[float]:
    """First less second of each pair in the ranking average on test, in percentage points."""
    return [100 * (_ranking(ours) - _ranking(theirs)) for ours, theirs in pairs.values()]


def _ranking(run: RunFolder) -> float:
    return MapTable.from_mapping(read_json(run.table)).ranking


def _fairness(folder: ExperimentFolder, candidates: Sequence[Candidate]) -> Fairness | None:
    """What the plain baseline was given; of a confirmation that was made anew the search's verdict says it."""
    if folder.config.get("kind") != ANEW:
        return fairness_of(folder, candidates)
    former = Verdict.read(folder.searched)
    return former.fairness if former else None


def judge(folder: ExperimentFolder, candidates: Sequence[Candidate]) -> Verdict:
    """The verdict on a confirmation; unconfirmed where the first stage of winner and plain baseline has not ended.

    Args:
        folder: its runs, and its seed plan where one was fixed.
        candidates: the winner first.
    """
    config, winner = folder.config, candidates[0]
    plain = next((one for one in candidates if one.plain), None)
    fairness = _fairness(folder, candidates)
    expected_gain = None
    if plain is not None and (fairness is None or fairness.same_folds):
        expected_gain = 100 * (winner.value - plain.value)
    verdict = Verdict(
        UNDECIDED,
        winner=winner.setting if winner.point is None else f"{winner.setting} (point {winner.point})",
        expected_gain=expected_gain,
        shrunken=winner.deviation is not None,
        search_runs=len(folder.trials()),
        confirmation_runs=len(folder.confirmations()),
        fairness=fairness,
    )
    if config["confirm"]["seeds"] == 0:
        verdict = replace(verdict, outcome=UNCONFIRMED, reason="confirm.seeds=0")
    elif plain is None:
        why = "it has no finished run on the selecting split"
        verdict = replace(verdict, reason=why)
    elif _first_stage_left(folder, winner, plain):
        verdict = _cut_off(verdict, folder, winner, plain)
    else:
        verdict = _compared(verdict, folder, candidates, plain)
    known = () if config.get("kind") == ANEW else tuple(caveats(folder, winner))
    return told(verdict, folder, known)


def _first_stage_left(folder: ExperimentFolder, winner: Candidate, plain: Candidate) -> bool:
    """Whether runs of the first stage are still to come: nothing is fixed then, and no interval holds."""
    fixed = SeedPlan.read(folder)
    if fixed is not None and fixed.identity == identity_of(winner, plain):
        return False
    states = _states(folder, (winner, plain), range(folder.config["confirm"]["seeds"]))
    return any(state is None for pair in states for state in pair)


def _states(folder: ExperimentFolder, pair: Sequence[Candidate], numbers: Iterable[int]) -> list[list[str | None]]:
    """Of each number's two runs: ``finished``, ``failed``, or None where the run is still to come."""
    found = []
    for number in numbers:
        seeds = [(one, one.confirmation_seed(number)) for one in pair]
        found.append([_state(folder.confirm(f"{one.setting}-{seed}"), one, seed) for one, seed in seeds])
    return found


def _state(run: RunFolder, candidate: Candidate, seed: int) -> str | None:
    if _finished(run, candidate, seed):
        return "finished"
    return "failed" if run.exists() and run.record().state == "failed" else None


def _cut_off(verdict: Verdict, folder: ExperimentFolder, winner: Candidate, plain: Candidate) -> Verdict:
    """What there is of a first stage that was cut off: a mean, and nothing that could be concluded from it."""
    seeds = folder.config["confirm"]["seeds"]
    differences = differences_of(paired_runs(folder, winner, plain, range(seeds)))
    return replace(
        verdict,
        outcome=UNCONFIRMED,
        reason="the time budget ended its confirmation",
        gain=sum(differences) / len(differences) if differences else None,
        pairs=len(differences),
        planned_pairs=seeds,
    )


def _compared(verdict: Verdict, folder: ExperimentFolder, candidates: Sequence[Candidate], plain: Candidate) -> Verdict:
    winner = candidates[0]
    plan = seed_plan(folder, winner, plain)
    pairs = paired_runs(folder, winner, plain, range(plan.seeds + plan.more))
    differences, against = differences_of(pairs), Against(reason="the first comparison is undecided")
    if winner.origin in PUBLISHED:
        against = _same_as_published(winner)
    states = _states(folder, (winner, plain), range(plan.seeds + plan.more))
    verdict = replace(
        verdict,
        gain=sum(differences) / len(differences) if differences else None,
        pairs=len(pairs),
        planned_pairs=plan.seeds + plan.more,
        failed_pairs=sum("failed" in pair for pair in states),
        first_pairs=plan.pairs,
        looks=folder.config.get("look", plan.looks),
        test_videos=video_interval(folder.config["run"], list(pairs.values())),
    )
    if plan.deviation is None or not differences:
        finished = f"{counted(len(pairs), 'pair')} of seeds finished"
        return replace(verdict, reason=f"{finished} and an interval needs two", published=against)
    first = stein_interval(differences, plan.deviation, plan.pairs)

    def second() -> Estimate | None:
        nonlocal against
        against, estimate = _published(folder, candidates, plan.seeds)
        return estimate

    outcome, other = fixed_sequence(first, second)
    return replace(
        verdict,
        outcome=outcome,
        low=first.low,
        high=first.high,
        deviation=first.deviation,
        seeds_for_power=seeds_for_power(plan.deviation, NOTICEABLE),
        published=replace(against, outcome=other),
    )


def seed_plan(folder: ExperimentFolder, winner: Candidate, plain: Candidate) -> SeedPlan:
    """The plan that was fixed for these two settings; where none was, what the finished first stage alone says."""
    fixed, identity = SeedPlan.read(folder), identity_of(winner, plain)
    if fixed is not None and fixed.identity == identity:
        return fixed
    options = folder.config["confirm"]
    differences = differences_of(paired_runs(folder, winner, plain, range(options["seeds"])))
    return plan_seeds(differences, seeds=options["seeds"], precision=None, max_seeds=0, identity=identity)


def _same_as_published(winner: Candidate) -> Against:
    return Against(setting=winner.origin, reason=f"the winner has the published values ({origin_label(winner.origin)})")


def _published(
    folder: ExperimentFolder, candidates: Sequence[Candidate], seeds: int
) -> tuple[Against, Estimate | None]:
    """Winner against the published values by the first stage's pairs, with an ordinary t interval."""
    winner = candidates[0]
    if winner.origin in PUBLISHED:
        return _same_as_published(winner), None
    known = {one.origin: one for one in reversed(candidates[1:])}
    published = next((known[origin] for origin in PUBLISHED if origin in known), None)
    if published is None:
        return Against(reason="no published setting was confirmed"), None
    differences = differences_of(paired_runs(folder, winner, published, range(seeds)))
    if len(differences) < 2:
        return Against(setting=published.origin, reason=f"{counted(len(differences), 'pair')} of seeds finished"), None
    estimate = mean_interval(differences)
    against = Against(
        setting=published.origin, gain=estimate.mean, low=estimate.low, high=estimate.high, pairs=estimate.count
    )
    return against, estimate
