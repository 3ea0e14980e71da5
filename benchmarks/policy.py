"""Which policy finds good scalars, when a run's score is mostly noise? Simulated surfaces, so that the truth is known.

``python -m benchmarks.policy [repeats=8] [settings=all] [policies=all] [budgets=16,32,96] [seed=0] [jobs=1]
[figure=path.png]`` measures the choice; several settings or policies are separated by semicolons, ``policies=cheap``
leaves out those that take seconds per search. ``python -m benchmarks.policy cost [runs=96,300]`` measures the time of
one proposal.

A setting is a smooth random function f of six scalars (random Fourier features of a length scale), of standard
deviation s over the space, and the noise of a run in units of s: the residual, and effects of the fold and of the seed
that all runs on it share, each 0.75 times the residual (as measured on the embedded data). Scores rise to the end;
the score at a third of the length correlates with the one at the end by 0.1, so that stopping there takes the better
half about as often as the worse, as measured too. With ``curves`` a run has twelve noisy evaluations, highest on
average shortly before the end: the peers take the best of them, as they do, and the fair iteration has to be found.

A budget counts runs. Ours pays for the plain baseline's runs out of it, the peers have none. Ours proposes while the
run before still trains, as the search does. A trial that is stopped
early counts as a run, as in ``search.num_trials``; rows with ``equal training`` start further trials until as many
iterations were spent as the budget's full runs have. A search is one sequence: its first 32 runs are the search with a
budget of 32.

The value of a policy is f at the point that it chooses, in units of s above the mean of the space: mean over surfaces,
with the half-width of the 95 % interval (Student's t). All policies see the same surfaces, so that differences are
paired.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from scipy import stats

from benchmarks.provenance import provenance
from dce_ray.config import SCALARS, ScalarRange
from dce_ray.points.runs import PointRun, Replicate, replicate_of
from dce_ray.search.policy import Policy
from dce_ray.search.study import make_pruner, make_sampler

RANGES = {name: ScalarRange(0.0, 1.0) for name in SCALARS}
FOLDS = 5
ITERATIONS = 300
THIRD = 100
SPREAD = 0.005
"""s: half a point of mAP."""
LEVEL = 0.3
"""Mean score of the space at the end of training."""
RISE = 0.1
"""How much lower the score is at a third of the length."""
SHARED = 0.75
"""Standard deviation of the folds' effects, and of the seeds', in residuals."""
EARLY_CORRELATION = 0.1
"""Of the score at a third of the length with the one at the end."""
PEAK = 250
"""Iteration at which the mean curve is highest, with ``curves``."""
EVALUATION = 0.5
"""Noise of one evaluation in residuals, with ``curves``."""
FEATURES = 400
OPTIONS = {
    "repeats": "8",
    "settings": "all",
    "policies": "all",
    "budgets": "16,32,96",
    "seed": "0",
    "jobs": "1",
    "figure": "",
}
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """A kind of surface."""

    name: str
    residual: float
    """Standard deviation of a run's own noise in units of s."""
    length_scale: float
    """In widths of a scalar's range; 0.4 is rough in six dimensions."""
    curves: bool = False


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("smooth 3.2", 3.2, 0.8),
        Setting("smooth 1", 1.0, 0.8),
        Setting("smooth 0.4", 0.4, 0.8),
        Setting("rough 3.2", 3.2, 0.4),
        Setting("rough 1", 1.0, 0.4),
        Setting("rough 0.4", 0.4, 0.4),
        Setting("curves 1", 1.0, 0.8, curves=True),
    )
}


class World:
    """One surface with its noise; the noise of a run depends on how many ran before."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting = setting
        random = np.random.default_rng([seed, 1])
        size = len(RANGES)
        self.waves = random.normal(size=(FEATURES, size)) / setting.length_scale
        self.phases = random.uniform(0, 2 * math.pi, FEATURES)
        self.weights = random.normal(size=FEATURES) * math.sqrt(2 / FEATURES)
        raw = self._raw(random.uniform(size=(4000, size)))
        self.middle, self.deviation = float(raw.mean()), float(raw.std())
        self.effects: dict[tuple[int, ...], float] = {}
        self.seed = seed
        self.noise = np.random.default_rng([seed, 2])

    def _raw(self, places: Array) -> Array:
        return np.asarray(np.cos(places @ self.waves.T + self.phases) @ self.weights)

    def value(self, scalars: Mapping[str, float]) -> float:
        """f in units of s above the mean of the space."""
        return float((self._raw(np.array([[scalars[name] for name in RANGES]]))[0] - self.middle) / self.deviation)

    def effect(self, *of: int) -> float:
        """Of a fold, or of a fold and a round, in units of s."""
        if of not in self.effects:
            self.effects[of] = SHARED * self.setting.residual * np.random.default_rng([self.seed, 3, *of]).normal()
        return self.effects[of]

    def train(self, scalars: Mapping[str, float] | None, replicate: Replicate) -> dict[int, float]:
        """The curve of a run; the plain baseline (None) lies at the mean of the space."""
        residual = self.setting.residual
        own = (0.0 if scalars is None else self.value(scalars)) + residual * self.noise.normal()
        shared = self.effect(replicate.fold) + self.effect(replicate.fold, replicate.round)
        total = math.hypot(1.0, residual)
        rest = math.sqrt(1 - EARLY_CORRELATION**2)
        early = EARLY_CORRELATION * own + rest * total * self.noise.normal()
        if not self.setting.curves:
            return {THIRD: _score(early + shared) - RISE, ITERATIONS: _score(own + shared)}
        curve = {}
        for iteration in range(ITERATIONS // 12, ITERATIONS + 1, ITERATIONS // 12):
            late = max(0.0, (iteration - THIRD) / (ITERATIONS - THIRD))
            level = shared + late * own + (1 - late) * early + EVALUATION * residual * self.noise.normal()
            curve[iteration] = _score(level) - RISE * (iteration / PEAK - 1) ** 2
        return curve


def _score(level: float) -> float:
    return LEVEL + SPREAD * level


Chosen = dict[int, float]
"""Value of the point that would be chosen, by budget."""
Search = Callable[[World, Sequence[int], int], Chosen]


def ours(sampler: str = "gp") -> Search:
    """The policy, and the choice by the model's mean."""

    def search(world: World, budgets: Sequence[int], seed: int) -> Chosen:
        policy = Policy(RANGES, (), FOLDS, seed, sampler)
        runs: list[PointRun] = []
        chosen = {}
        while len(runs) < max(budgets):
            proposal = policy.propose([*runs[:-1], *(replace(run, state="running", curve={}) for run in runs[-1:])])
            curve = world.train(proposal.scalars or None, proposal.replicate)
            run = PointRun(len(runs), proposal.point, proposal.scalars, proposal.replicate, "finished", curve)
            runs.append(run)
            if len(runs) in budgets:
                posterior = policy.posterior(runs)
                assert posterior is not None
                best = max(posterior.points, key=lambda estimate: estimate.mean).point
                chosen[len(runs)] = next(world.value(run.scalars) for run in runs if run.point == best)
        return chosen

    return search


def peer(
    make: Callable[[int], optuna.samplers.BaseSampler],
    scheduler: str = "none",
    seeds: int = 1,
    equal_training: bool = False,
) -> Search:
    """One trial per point on fold 0, chosen by the best observed score; a trial is the mean of ``seeds`` runs."""

    def search(world: World, budgets: Sequence[int], seed: int) -> Chosen:
        study = optuna.create_study(
            direction="maximize", sampler=make(seed), pruner=make_pruner(scheduler, THIRD, ITERATIONS)
        )
        spent, best, value = 0.0, -math.inf, 0.0
        chosen: Chosen = {}
        while spent < max(budgets):
            trial = study.ask()
            scalars = {name: trial.suggest_float(name, item.low, item.high) for name, item in RANGES.items()}
            curves = [world.train(scalars, Replicate(0, number)) for number in range(seeds)]
            curve = {iteration: float(np.mean([one[iteration] for one in curves])) for iteration in curves[0]}
            length = _follow(trial, curve) if scheduler != "none" else ITERATIONS
            score = max(curve.values())
            study.tell(trial, score if length == ITERATIONS else None, _state(length))
            spent += seeds * (length / ITERATIONS if equal_training else 1)
            chosen |= {budget: value for budget in budgets if budget < spent - 1e-9 and budget not in chosen}
            if length == ITERATIONS and score > best:
                best, value = score, world.value(scalars)
        return chosen | {budget: value for budget in budgets if budget not in chosen}

    return search


def _follow(trial: optuna.Trial, curve: Mapping[int, float]) -> int:
    """The iteration at which the pruner ends the trial."""
    for iteration, score in curve.items():
        trial.report(score, iteration)
        if trial.should_prune():
            return iteration
    return ITERATIONS


def _state(length: int) -> optuna.trial.TrialState:
    return optuna.trial.TrialState.COMPLETE if length == ITERATIONS else optuna.trial.TrialState.PRUNED


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    return make_sampler("tpe", seed, 0)


def _gp(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)


OURS = "ours"
TODAY = "TPE, ASHA (policy=single)"
POLICIES: dict[str, Search] = {
    "random": peer(lambda seed: make_sampler("random", seed, 0)),
    "TPE": peer(_tpe),
    "TPE, three seeds": peer(_tpe, seeds=3),
    TODAY: peer(_tpe, "asha"),
    "TPE, ASHA, equal training": peer(_tpe, "asha", equal_training=True),
    "TPE, Hyperband": peer(_tpe, "hyperband"),
    "TPE, Hyperband, equal training": peer(_tpe, "hyperband", equal_training=True),
    "GP": peer(_gp),
    "GP, three seeds": peer(_gp, seeds=3),
    OURS: ours(),
    "ours, sampler=tpe": ours("tpe"),
    "ours, sampler=cmaes": ours("cmaes"),
    "ours, sampler=random": ours("random"),
}
CHEAP = [name for name in POLICIES if name not in ("GP", "GP, three seeds", OURS)]


@dataclass(frozen=True)
class Measured:
    """What a policy found in a setting."""

    values: Array
    """(surfaces, budgets) value of the chosen point."""
    seconds: float
    """CPU seconds per search, all budgets together."""


Task = tuple[str, str, tuple[int, ...], int]
"""Setting, policy, budgets, and the seed of the surface and of the search."""


def one_search(task: Task) -> tuple[list[float], float]:
    """Values of the chosen points by budget, and CPU seconds."""
    setting, policy, budgets, seed = task
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    start = time.process_time()
    chosen = POLICIES[policy](World(SETTINGS[setting], seed), budgets, seed)
    return [chosen[budget] for budget in budgets], time.process_time() - start


def measure(tasks: Sequence[Task], jobs: int) -> list[tuple[list[float], float]]:
    """All searches, in ``jobs`` processes."""
    if jobs == 1:
        return [one_search(task) for task in tasks]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(one_search, tasks))


def half_width(values: Array) -> Array:
    """Of the 95 % interval of the mean over the first axis."""
    count = len(values)
    if count < 2:
        return np.full(values.shape[1:], math.nan)
    return np.asarray(stats.t.ppf(0.975, count - 1) * values.std(axis=0, ddof=1) / math.sqrt(count))


def show(setting: Setting, found: Mapping[str, Measured], budgets: Sequence[int]) -> None:
    """One setting's table: values, and what ours gains over each other."""
    head = "".join(f"{f'{budget} runs':>16}" for budget in budgets)
    print(f"\n{setting.name}: residual {setting.residual} s, length scale {setting.length_scale}")
    print(f"{'':32}{head}{'s per search':>14}   ours gains (paired)")
    for name, one in found.items():
        print(f"{name:32}{_cells(one.values)}{one.seconds:14.1f}", end="")
        if OURS in found and name != OURS:
            print(f"   {_cells(found[OURS].values - one.values)}", end="")
        print()
    if {OURS, TODAY} <= found.keys():
        _show_targets(found[OURS].values, found[TODAY].values, budgets)


def _cells(values: Array) -> str:
    cells = [f"{mean:.2f} ±{half:.2f}" for mean, half in zip(values.mean(axis=0), half_width(values), strict=True)]
    return "".join(f"{cell:>16}" for cell in cells)


def _show_targets(mine: Array, today: Array, budgets: Sequence[int]) -> None:
    """Ours against today's default: the ratio at equal budgets, and a third of the budget against the whole."""
    for column, budget in enumerate(budgets):
        ratio = mine[:, column].mean() / today[:, column].mean()
        print(f"  {budget} runs: ours {ratio:.2f} times the value of {TODAY}", end="")
        if budget % 3 == 0 and budget // 3 in budgets:
            gain = mine[:, budgets.index(budget // 3)] - today[:, column]
            print(f"; ours with {budget // 3} less today's with {budget}: {_cells(gain[:, None]).strip()}", end="")
        print()


def draw(results: Mapping[str, Mapping[str, Measured]], budgets: Sequence[int], path: Path) -> None:
    """Value over budget, a panel per setting, as a PNG."""
    from dce_ray.report.style import COLOURS, LINES, MARKERS, caption_below, house_style, new_figure, title_with_legend

    shown = [name for name in next(iter(results.values())) if "equal" not in name and "sampler" not in name]
    columns = 3
    rows = math.ceil(len(results) / columns)
    with house_style():
        figure, panels = new_figure(
            7.2, 1.2 + 2.1 * rows, nrows=rows, ncols=columns, sharex=True, sharey=True, squeeze=False
        )
        for axes in panels.flat[len(results) :]:
            axes.set_axis_off()
        handles = []
        for axes, (setting, found) in zip(panels.flat, results.items(), strict=False):
            axes.set_title(setting)
            handles = [
                axes.errorbar(
                    budgets,
                    found[name].values.mean(axis=0),
                    half_width(found[name].values),
                    color=COLOURS[index % len(COLOURS)],
                    linestyle=LINES[index // len(COLOURS) % len(LINES)],
                    marker=MARKERS[index % len(MARKERS)],
                    linewidth=2.2 if name == OURS else 1.1,
                    elinewidth=0.7,
                )
                for index, name in enumerate(shown)
            ]
            axes.set_xscale("log", base=2)
            axes.set_xticks(budgets, [str(budget) for budget in budgets])
            axes.minorticks_off()
        for axes in panels[:, 0]:
            axes.set_ylabel("chosen point [s]")
        for axes in panels[-1]:
            axes.set_xlabel("budget [runs]")
        title_with_legend(figure, "Value of the chosen point above the mean of the space", handles, shown)
        count = len(next(iter(next(iter(results.values())).values())).values)
        caption_below(figure, f"{count} simulated surfaces per panel; title: surface, residual noise of a run in s")
        figure.savefig(path, format="png", dpi=200, metadata={"Software": None})


def chosen_names(text: str, known: Sequence[str], what: str) -> list[str]:
    """``all``, ``cheap`` policies, or names separated by semicolons.

    Raises:
        SystemExit: for unknown names.
    """
    if text in ("all", "cheap"):
        return [name for name in known if text == "all" or name in CHEAP]
    names = text.split(";")
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"unknown {what}: {'; '.join(unknown)}; known: {'; '.join(known)}")
    return names


def cost(counts: Sequence[int]) -> None:
    """Seconds of the next proposal after so many runs: our policy's samplers, and Optuna's GPSampler told the same."""
    rows: dict[str, list[float]] = {name: [] for name in ("gp, components fitted anew", "gp", "tpe", "GPSampler")}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for count in counts:
        runs = _random_runs(count + 1)
        ours, tpe = (Policy(RANGES, (), FOLDS, 0, sampler, replicate_every=0) for sampler in ("gp", "tpe"))
        rows["gp, components fitted anew"].append(_seconds(ours.propose, runs[:-2]))
        rows["gp"].append(_seconds(ours.propose, runs[:-1]))
        rows["tpe"].append(_seconds(tpe.propose, runs))
        rows["GPSampler"].append(_seconds(_ask_gp_sampler, runs[:-1]))
    print(f"{'CPU seconds of one proposal':32}" + "".join(f"{f'{count} runs':>12}" for count in counts))
    for name, seconds in rows.items():
        print(f"{name:32}" + "".join(f"{one:12.3f}" for one in seconds))


def _random_runs(count: int) -> list[PointRun]:
    """Finished runs of random points, one in three a second replicate."""
    world, random = World(SETTINGS["smooth 1"], 0), np.random.default_rng(0)
    runs: list[PointRun] = []
    for number in range(count):
        point = number % math.ceil(2 * count / 3)
        scalars = dict(zip(RANGES, random.uniform(size=len(RANGES)).tolist(), strict=True))
        scalars = dict(runs[point].scalars) if point < number else scalars
        replicate = replicate_of(point, int(point < number), FOLDS)
        runs.append(PointRun(number, point, scalars, replicate, "finished", world.train(scalars, replicate)))
    return runs


def _ask_gp_sampler(runs: Sequence[PointRun]) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.GPSampler(seed=0))
    searched = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in RANGES}
    for run in runs:
        value = run.curve[ITERATIONS]
        study.add_trial(optuna.trial.create_trial(params=dict(run.scalars), distributions=searched, value=value))
    study.ask(searched)


def _seconds(call: Callable[[Sequence[PointRun]], object], runs: Sequence[PointRun]) -> float:
    start = time.process_time()
    call(runs)
    return time.process_time() - start


def main(arguments: list[str]) -> None:
    """Print the tables, draw the figure."""
    if arguments[:1] == ["cost"]:
        given = dict(argument.split("=", 1) for argument in arguments[1:])
        print(provenance("optuna", "scipy"))
        cost([int(count) for count in given.get("runs", "96,300").split(",")])
        return
    given = dict(argument.split("=", 1) for argument in arguments)
    if unknown := given.keys() - OPTIONS.keys():
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(OPTIONS)}")
    options = OPTIONS | given
    settings = chosen_names(options["settings"], list(SETTINGS), "settings")
    policies = chosen_names(options["policies"], list(POLICIES), "policies")
    budgets = sorted(int(budget) for budget in options["budgets"].split(","))
    repeats = int(options["repeats"])
    print(provenance("optuna", "scipy"))
    print(f"python -m benchmarks.policy {' '.join(f'{key}={value!r}' for key, value in options.items() if value)}")
    print(f"{repeats} surfaces per setting; load average {os.getloadavg()[0]:.1f}")
    results: dict[str, dict[str, Measured]] = {}
    for name in settings:
        seeds = [1000 * int(options["seed"]) + repeat for repeat in range(repeats)]
        tasks: list[Task] = [(name, policy, tuple(budgets), seed) for policy in policies for seed in seeds]
        found = measure(tasks, int(options["jobs"]))
        results[name] = {}
        for index, policy in enumerate(policies):
            rows = found[index * repeats : (index + 1) * repeats]
            values = np.array([row for row, _ in rows])
            results[name][policy] = Measured(values, float(np.mean([seconds for _, seconds in rows])))
        show(SETTINGS[name], results[name], budgets)
        sys.stdout.flush()
    if options["figure"]:
        draw(results, budgets, Path(options["figure"]))


if __name__ == "__main__":
    main(sys.argv[1:])
