"""What a verdict is worth: how often its interval holds, and how often it claims what is not so.

``python -m benchmarks.calibration [repetitions=10000] [seed=0]`` draws paired differences of known mean, sends them
through the arithmetic of a confirmation (first stage, seed plan, second stage, interval, fixed sequence) as
``dce_ray.verdict.stein`` does it, and counts. Beside it stand two rules that look at the data after every seed:
``until narrow`` stops when half the ordinary t interval is no wider than asked for, ``until decided`` when the interval
excludes 0; both have the same first and most seeds.

``python -m benchmarks.calibration searches [repeats=200] [kinds=...] [gains=0;1;2] [budgets=48] [seed=0]`` plays whole
searches through to their verdicts; see :mod:`benchmarks.calibration_searches`. Shares stand with their 95 %
binomial interval (Clopper-Pearson). All numbers are percentage points of mAP.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from benchmarks.provenance import provenance
from dce_ray.verdict.statistics import Estimate, mean_interval
from dce_ray.verdict.stein import BETTER, UNTESTED, WORSE, fixed_sequence, outcome_of, plan_seeds, stein_interval

Real = NDArray[np.float64]
FIRST, MOST, PRECISION = 5, 20, 1.0
"""The defaults of confirm.seeds, confirm.max_seeds and confirm.precision."""
DEVIATIONS = (0.5, 1.3, 2.5)
"""Of paired differences; 1.3 to 2.5 were measured on the embedded data."""
Draw = Callable[[np.random.Generator, int], Real]


def heavy(random: np.random.Generator, count: int) -> Real:
    """Student's t with 5 degrees of freedom, of deviation 1."""
    return random.standard_t(5, count) / np.sqrt(5 / 3)


def unequal(random: np.random.Generator, count: int) -> Real:
    """Normal; the deviation of each pair is drawn anew, from a quarter to four times, and is 1 over all."""
    scale = np.exp(random.uniform(-np.log(4), np.log(4), count))
    return random.standard_normal(count) * scale / np.sqrt((16 - 1 / 16) / (4 * np.log(4)))


NOISE: dict[str, Draw] = {
    "normal": lambda random, count: random.standard_normal(count),
    "heavy tails (t5)": heavy,
    "unequal noise": unequal,
}


@dataclass(frozen=True, slots=True)
class Told:
    """What one confirmation came to."""

    interval: Estimate
    outcome: str
    published: str = UNTESTED


def confirm(gains: Real, over_published: Real | None) -> Told:
    """Both stages and both comparisons, as a search makes them.

    Args:
        gains: winner less plain baseline, as many as there may be pairs.
        over_published: winner less published values, of the first stage; None where the winner is those.
    """
    plan = plan_seeds(gains[:FIRST].tolist(), seeds=FIRST, precision=PRECISION, max_seeds=MOST)
    assert plan.deviation is not None, "five pairs have a deviation"
    first = stein_interval(gains[: plan.total].tolist(), plan.deviation, plan.pairs)
    second = None if over_published is None else mean_interval(over_published.tolist())
    outcome, published = fixed_sequence(first, lambda: second)
    return Told(first, outcome, published)


def until(stop: Callable[[Estimate], bool], gains: Real) -> Told:
    """The rule that looks after every seed."""
    estimate = mean_interval(gains[:FIRST].tolist())
    for count in range(FIRST + 1, MOST + 1):
        if stop(estimate):
            break
        estimate = mean_interval(gains[:count].tolist())
    return Told(estimate, outcome_of(estimate))


def narrow(estimate: Estimate) -> bool:
    return estimate.half_width is not None and estimate.half_width <= PRECISION


def decided(estimate: Estimate) -> bool:
    return outcome_of(estimate) in (BETTER, WORSE)


RULES: dict[str, Callable[[Real, Real], Told]] = {
    "two stages": confirm,
    "until narrow": lambda gains, _: until(narrow, gains),
    "until decided": lambda gains, _: until(decided, gains),
}


@dataclass(frozen=True, slots=True)
class Counted:
    """Shares over the repetitions."""

    repetitions: int
    held: int
    """Intervals that hold the true mean."""
    better: int
    worse: int
    over_published: int
    """Claims that tuning beat the published values."""
    pairs: float
    """Mean number of pairs."""
    half_width: float
    """Mean half-width."""


def count(draw: Draw, deviation: float, truth: float, rule: str, *, repetitions: int, seed: int) -> Counted:
    """Send ``repetitions`` confirmations of true mean ``truth`` through a rule.

    The published values are as good as the winner: every claim that it beats them is false.
    """
    random = np.random.default_rng(seed)
    told = []
    for _ in range(repetitions):
        noise = draw(random, 2 * MOST).reshape(2, MOST)
        told.append(RULES[rule](truth + deviation * noise[0], deviation * (noise[0] + noise[1])[:FIRST] / np.sqrt(2)))
    held = sum(abs(one.interval.mean - truth) <= (one.interval.half_width or 0.0) for one in told)
    return Counted(
        repetitions,
        held,
        sum(one.outcome == BETTER for one in told),
        sum(one.outcome == WORSE for one in told),
        sum(one.published == BETTER for one in told),
        float(np.mean([one.interval.count for one in told])),
        float(np.mean([one.interval.half_width for one in told])),
    )


def share(successes: int, repetitions: int) -> str:
    """In percent with its interval."""
    low = betaincinv(successes, repetitions - successes + 1, 0.025) if successes else 0.0
    high = betaincinv(successes + 1, repetitions - successes, 0.975) if successes < repetitions else 1.0
    return f"{100 * successes / repetitions:6.2f} [{100 * low:5.2f}, {100 * high:5.2f}]"


def main(arguments: list[str]) -> int:
    """Calibration, then power; or whole searches."""
    if arguments[:1] == ["searches"]:
        from benchmarks.calibration_searches import main as searches

        return searches(arguments[1:])
    given = dict(argument.split("=", 1) for argument in arguments)
    repetitions, seed = int(given.get("repetitions", 10_000)), int(given.get("seed", 0))
    began = time.perf_counter()
    print(provenance("scipy"))
    print(f"{repetitions} confirmations a line; {FIRST} to {MOST} pairs, half-width asked for {PRECISION:g}\n")
    print("no true difference; deviation is that of the paired differences")
    head = ("noise", "deviation", "rule", "interval holds, %", "false better, %", "false worse, %", "over published, %")
    print(f"{head[0]:17} {head[1]:>9} {head[2]:14} " + " ".join(f"{name:>23}" for name in head[3:]) + "  pairs  half")
    for noise, draw in NOISE.items():
        for deviation in DEVIATIONS:
            for rule in RULES:
                one = count(draw, deviation, 0.0, rule, repetitions=repetitions, seed=seed)
                cells = [share(number, repetitions) for number in (one.held, one.better, one.worse)]
                cells.append(share(one.over_published, repetitions) if rule == "two stages" else "-")
                shown = " ".join(f"{cell:>23}" for cell in cells)
                print(f"{noise:17} {deviation:9g} {rule:14} {shown} {one.pairs:6.1f} {one.half_width:5.2f}", flush=True)
    print("\npower of the two stages: called better, %, at a true difference of")
    print(f"{'noise':17} {'deviation':>9} " + " ".join(f"{f'{truth:g}, and pairs':>31}" for truth in (1.0, 2.0)))
    for noise, draw in NOISE.items():
        for deviation in DEVIATIONS:
            found = [
                count(draw, deviation, truth, "two stages", repetitions=repetitions, seed=seed) for truth in (1.0, 2.0)
            ]
            cells = [f"{share(one.better, repetitions)} {one.pairs:6.1f}" for one in found]
            print(f"{noise:17} {deviation:9g} " + " ".join(f"{cell:>31}" for cell in cells), flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
