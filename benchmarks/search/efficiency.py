"""How many iterations TPE with successive halving needs for what random search finds: one process, no Ray."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.provenance import provenance


@dataclass
class Curve:
    """Best full-length score after so many iterations in all."""

    iterations: list[int]
    best: list[float]

    def reaches(self, score: float) -> int | None:
        """Iterations after which ``score`` was reached, None if never."""
        return next((n for n, best in zip(self.iterations, self.best, strict=True) if best >= score), None)


def efficiency(quick: bool) -> None:
    """Iterations that TPE + ASHA needs to reach the best of random search's full-length trials."""
    trials, seeds, size = (16, 2, "tiny") if quick else (64, 3, "small")
    print(provenance("optuna"))
    print(f"DELU on synthetic-{size}, {trials} random full-length trials against tpe + asha, {seeds} seeds\n")
    shares = []
    for seed in range(seeds):
        random = search_curve("random", "none", trials, seed=seed, size=size)
        target, spent = random.best[-1], random.iterations[-1]
        ours = search_curve("tpe", "asha", 4 * trials, seed=seed, size=size, budget=spent)
        needed = ours.reaches(target)
        reached = random.reaches(target)
        shares.append(needed / spent if needed else float("inf"))
        print(
            f"seed {seed}: best of random {100 * target:.2f} (first reached after {reached} of {spent} iterations); "
            f"tpe + asha {'needs ' + str(needed) if needed else 'does not reach it'}; "
            f"its best within the same budget {100 * ours.best[-1]:.2f}"
        )
        for part in (1, 2, 4, 8, 16):
            at = spent * part // 16
            print(
                f"   after {at:7d} iterations: random {value_at(random, at):6.2f}, tpe + asha {value_at(ours, at):6.2f}"
            )
    print(
        f"\niterations needed / random's whole budget: {', '.join(f'{share:.2f}' for share in shares)}; "
        f"median {statistics.median(shares):.2f} (expected at most 0.25)"
    )


def value_at(curve: Curve, iterations: int) -> float:
    """Best full-length score in percent after so many iterations, NaN before the first one ended."""
    values = [best for n, best in zip(curve.iterations, curve.best, strict=True) if n <= iterations]
    return 100 * values[-1] if values else float("nan")


def search_curve(
    sampler: str, scheduler: str, trials: int, *, seed: int, size: str, budget: int | None = None
) -> Curve:
    """One search in this process, trial after trial, until its trials or its budget of iterations are used up."""
    from dce_ray.datasets import resolve_data
    from dce_ray.experiment.folder import ExperimentFolder
    from dce_ray.presets import merge, run_config, run_config_from_mapping
    from dce_ray.search.single import SingleLedger
    from dce_ray.search.space_file import load_space
    from dce_ray.search.study import first_resource, make_pruner, recover_study
    from dce_ray.train import Run
    from dce_ray.train.driver import Driver

    base = run_config("delu", resolve_data(f"synthetic-{size}"), data_set="synthetic", overrides={"seed": seed})
    training = base.training
    curve, spent, best = Curve([], []), 0, 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = ExperimentFolder.create(Path(place) / "experiment", {}, {})
        study = recover_study(folder.study)
        first = first_resource(scheduler, training.iterations, training.eval_every)
        study.pruner = make_pruner(scheduler, first, training.iterations)
        ledger = SingleLedger(
            folder,
            study,
            load_space("delu", "synthetic", {}),
            lambda params: merge(base.to_mapping(), {"method": dict(params)}),
            "",
            sampler=sampler,
            seed=seed,
            num_runs=trials,
        )
        while (budget is None or spent < budget) and (home := ledger.ask()) is not None:
            run, pruned = Run(run_config_from_mapping(home.record().config)), False
            driver = Driver(run, home, keep_last=False)
            while not run.finished and not pruned:
                step = driver.step()
                pruned = ledger.report(home.key, step.iteration, step.score) and not step.finished
            spent += run.iteration
            if pruned:
                ledger.prune(home.key)
            else:
                ledger.finish(home.key)
                assert run.best
                best = max(best, run.best.score)
            curve.iterations.append(spent)
            curve.best.append(best)
    return curve
