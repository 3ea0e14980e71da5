"""The verdict in words: one short sentence, what else is to be known in lines after it, and what to run next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import origin_label
from dce_ray.verdict.asked import confirmed_identity, numbers_that_hold
from dce_ray.verdict.statistics import difference_for_power
from dce_ray.verdict.stein import BETTER, UNDECIDED, UNTESTED, WORSE
from dce_ray.verdict.verdict import UNCONFIRMED, Verdict
from dce_ray.words import counted, portable_command

LONGEST = 40
"""Words of the sentence."""
ANEW = "confirmation"
"""What ``kind`` says in the ``config.json`` of a confirmation that was made anew, with fresh seeds."""
FEWEST_SEEDS, USUAL_SEEDS = 5, 20
"""Seeds that are advised at least (the spread of fewer pairs is itself chance) and at most, or where no spread is known
(the defaults of ``confirm.seeds`` and ``confirm.max_seeds``)."""
MOST_SEEDS = 10_000
"""Seeds of one confirmation, at most: those of the next one begin behind them."""


def told(verdict: Verdict, folder: ExperimentFolder, known: Sequence[str] = ()) -> Verdict:
    """The verdict with its words.

    Args:
        verdict: all but its words.
        folder: of the search, or of a confirmation that was made anew.
        known: what else is to be known of the winner, a sentence each.
    """
    config, command = folder.config, next_command(verdict, folder)
    lines = _unconfirmed(verdict, config) if verdict.outcome == UNCONFIRMED else _confirmed(verdict, config)
    details = [*lines, *known, *_next(verdict, command, _look_anew(verdict, folder)["seeds"])]
    text = f"verdict: {verdict.outcome}: {_sentence(verdict, config)}."
    return replace(verdict, sentence=text, details=tuple(details), command=command)


def _sentence(verdict: Verdict, config: Mapping[str, Any]) -> str:
    if verdict.outcome == UNCONFIRMED:
        return _not_confirmed(verdict, config)
    if verdict.gain is None:
        return f"{verdict.winner} could not be compared with the plain baseline on test: {verdict.reason}"
    claim = {
        BETTER: "beats the plain baseline on test",
        WORSE: "is worse than the plain baseline on test",
        UNDECIDED: "is not shown to differ from the plain baseline on test",
    }[verdict.outcome]
    gain = f"{verdict.winner} {claim}, {verdict.gain:+.2f} {measure_on_test(config)}"
    if verdict.low is None or verdict.high is None:
        return f"{gain} without an interval: {verdict.reason}"
    interval = f"95 % interval {_interval(verdict.low, verdict.high)} ({_pairs(verdict)})"
    paper = config["protocol"] == "paper"
    return f"{gain}, {interval}, {'optimistic: selected on test' if paper else 'over training seeds, not test videos'}"


def _not_confirmed(verdict: Verdict, config: Mapping[str, Any]) -> str:
    if config["confirm"]["seeds"] == 0:
        what = "trained anew with seeds of its own" if config["protocol"] == "paper" else "measured on test"
        return f"{verdict.winner} was not {what} (confirm.seeds=0)"
    so_far = f"; so far {verdict.gain:+.2f} {measure_on_test(config)}" if verdict.gain is not None else ""
    ended = f"{verdict.pairs} of {counted(verdict.planned_pairs, 'pair')}"
    return f"{verdict.winner}: {verdict.reason}, with {ended} of seeds done{so_far}, which decides nothing"


def _unconfirmed(verdict: Verdict, config: Mapping[str, Any]) -> Iterator[str]:
    yield from _common(verdict, config)


def _confirmed(verdict: Verdict, config: Mapping[str, Any]) -> Iterator[str]:
    if verdict.fairness is not None:
        yield verdict.fairness.text
    if verdict.test_videos.low is not None and verdict.test_videos.high is not None:
        interval = _interval(verdict.test_videos.low, verdict.test_videos.high)
        yield f"Other test videos (the same networks, {verdict.test_videos.note}) would give {interval}."
    elif verdict.test_videos.note:
        yield f"The uncertainty of the test videos is not covered: {verdict.test_videos.note}."
    if verdict.deviation == 0:
        yield "The two settings scored the same with every seed, as they do where neither component acts."
    elif verdict.outcome == UNDECIDED and verdict.seeds_for_power is not None:
        needed = counted(verdict.seeds_for_power, "seed")
        yield f"A true difference of 1 mAP would take {needed} to be found in 80 % of cases{_affordable(verdict)}."
    if verdict.gain is not None and config.get("kind") != ANEW:
        yield _against(verdict)
    yield from _common(verdict, config)
    if config.get("kind") == ANEW:
        wrong = 100 * (1 - 0.95**verdict.looks)
        yield (
            f"Look {verdict.looks} at test, with seeds of its own, so that its interval holds by itself; that any of "
            f"{verdict.looks} looks claims a difference where there is none happens in up to {wrong:.0f} % of cases."
        )
    elif verdict.looks > 1:
        yield (
            f"This search has looked at test {verdict.looks} times, with another winner each time: 95 % held for the "
            f"first look alone; a new search says more."
        )


def _affordable(verdict: Verdict) -> str:
    """What fewer seeds than those could do; empty where those are affordable."""
    shown, seeds = _shown_difference(verdict), advised_seeds(verdict)
    if shown is None:
        return ""
    if _worth_it(verdict):
        return f"; {seeds} seeds find one of {shown:.2f} mAP as often"
    return (
        f", and the {seeds} that are affordable find none below {shown:.2f} mAP as often, more than the interval "
        f"leaves open: only a setting with a larger effect or longer training would settle it"
    )


def _shown_difference(verdict: Verdict) -> float | None:
    """True difference that the advised seeds find in 80 % of cases; None where that is 1 mAP or less, or not known."""
    seeds = advised_seeds(verdict)
    if not verdict.deviation or verdict.seeds_for_power is None or verdict.seeds_for_power <= seeds:
        return None
    return difference_for_power(verdict.deviation, seeds)


def _worth_it(verdict: Verdict) -> bool:
    """Whether the interval holds a difference that the advised seeds would probably find."""
    shown = _shown_difference(verdict)
    if shown is None or verdict.low is None or verdict.high is None:
        return True
    return max(-verdict.low, verdict.high) >= shown


def _common(verdict: Verdict, config: Mapping[str, Any]) -> Iterator[str]:
    if expected := _expected(verdict, config):
        yield expected
    if verdict.search_runs:
        confirmed = f" and {verdict.confirmation_runs} of the confirmation" if verdict.confirmation_runs else ""
        yield f"Runs: {verdict.search_runs} of the search{confirmed}."
    else:
        yield f"Runs: {verdict.confirmation_runs} of this confirmation."
    if config["protocol"] == "paper":
        yield "All of this is optimistic, since selection has seen the test set (protocol=paper)."


def _against(verdict: Verdict) -> str:
    other = verdict.published
    if other.outcome == UNTESTED:
        return f"Against the published values: not tested{': ' if other.reason else ''}{other.reason}."
    assert other.setting is not None, "what was tested has a name"
    assert other.gain is not None, "what was tested has a gain"
    assert other.low is not None, "and an interval"
    assert other.high is not None, "and both its ends"
    claim = {
        BETTER: "Tuning beat the published values",
        WORSE: "Tuning did worse than the published values",
        UNDECIDED: "Whether tuning beat the published values is undecided",
    }[other.outcome]
    pairs = counted(other.pairs, "pair")
    return (
        f"{claim} ({origin_label(other.setting)}), {other.gain:+.2f} mAP {_interval(other.low, other.high)} ({pairs})."
    )


def _expected(verdict: Verdict, config: Mapping[str, Any]) -> str:
    """What the selecting split let expect; shrunken means with a model, single runs without."""
    if verdict.expected_gain is None:
        return ""
    split = "test" if config["protocol"] == "paper" else "holdout"
    measure = "classification mAP" if config["metric"] == "classification" else "mAP"
    if verdict.shrunken:
        return f"The search's model expected {verdict.expected_gain:+.2f} {measure} on {split}."
    optimistic = ", which is optimistic" if verdict.expected_gain > 0 else ""
    return f"Single runs on {split} promised {verdict.expected_gain:+.2f} {measure}{optimistic}."


def next_command(verdict: Verdict, folder: ExperimentFolder) -> str:
    """What a user may validly run next; empty where nothing is open, or nothing would settle it.

    Args:
        verdict: with outcome and numbers.
        folder: of the search, or of a confirmation that was made anew.
    """
    confirm = folder.config["confirm"]
    if verdict.outcome == UNCONFIRMED:
        if confirm["seeds"] > 0:
            return portable_command("dce_ray.search", resume=str(folder.path), search__time_budget="null")
        usual = {"seeds": 5, "max_seeds": max(5, confirm.get("max_seeds", 5))}
        wanted = numbers_that_hold(folder) or usual  # those of a confirmation that was begun and given up
        numbers = {name: value for name, value in wanted.items() if value != confirm.get(name, value)}
        words = {f"confirm__{name}": "null" if value is None else value for name, value in numbers.items()}
        return portable_command("dce_ray.search", resume=str(folder.path), **words)
    comparable = verdict.planned_pairs > 0 and verdict.deviation != 0
    if verdict.outcome != UNDECIDED or not comparable or not _worth_it(verdict):
        return ""
    return portable_command("dce_ray.confirm", search=str(_search_of(folder).path), **_look_anew(verdict, folder))


def _search_of(folder: ExperimentFolder) -> ExperimentFolder:
    return folder.searched if folder.config.get("kind") == ANEW else folder


def _look_anew(verdict: Verdict, folder: ExperimentFolder) -> dict[str, Any]:
    """Arguments of the confirmation anew that is advised."""
    return next_look(_search_of(folder), advised_seeds(verdict), ended=folder.path)


def next_look(search: ExperimentFolder, seeds: int, ended: Path | None = None) -> dict[str, Any]:
    """Arguments of the confirmation anew that may come next: one that was begun and has not ended, else a new one.

    Args:
        search: whose winner it confirms.
        seeds: of a new one.
        ended: folder of one that has ended, also where its verdict is not written yet.
    """
    identity, number = confirmed_identity(search), 2
    while search.look(number).exists():
        look = ExperimentFolder(search.look(number))
        if look.path != ended and _goes_on(look, identity):
            seeds = look.config["confirm"]["seeds"]
            break
        number += 1
    return {"seeds": seeds, **({"look": number} if number > 2 else {})}


def _goes_on(look: ExperimentFolder, identity: str | None) -> bool:
    """Whether a confirmation anew of these two settings was begun and has not ended."""
    if not (look.path / "config.json").is_file() or Verdict.read(look) is not None:
        return False
    return identity in (None, look.config.get("identity"))


def advised_seeds(verdict: Verdict) -> int:
    """Pairs of a confirmation anew: as ``seeds_for_power`` says within what is worth it, and no fewer than before."""
    wanted = min(max(verdict.seeds_for_power or USUAL_SEEDS, FEWEST_SEEDS), USUAL_SEEDS)
    return min(max(wanted, verdict.planned_pairs), MOST_SEEDS)


def _next(verdict: Verdict, command: str, seeds: int) -> Iterator[str]:
    """What the command that follows does; ``seeds`` are those of a confirmation anew."""
    if not command:
        return
    if verdict.outcome != UNCONFIRMED:
        yield f"To confirm the same setting anew, with fresh seeds ({2 * seeds} runs):"
    elif verdict.planned_pairs:
        yield "To go on, without a time budget:"
    else:
        yield "To confirm it:"


def measure_on_test(config: Mapping[str, Any]) -> str:
    """What runs on test are measured in; it is told apart where the search ranked by something else."""
    return "detection mAP" if config["metric"] == "classification" else "mAP"


def _pairs(verdict: Verdict) -> str:
    failed, left = verdict.failed_pairs, verdict.planned_pairs - verdict.pairs - verdict.failed_pairs
    more = f", {failed} more failed" if failed else ""
    return f"{counted(verdict.pairs, 'pair')} of seeds{more}{f', {left} not run' if left > 0 else ''}"


def _interval(low: float, high: float) -> str:
    return f"[{low:+.2f}, {high:+.2f}]"
