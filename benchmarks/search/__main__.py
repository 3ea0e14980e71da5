"""``python -m benchmarks.search``: what a search costs beside its runs, and how many iterations it needs.

``python -m benchmarks.search [variants=ours,optuna] [repeats=3]`` measures the overhead: a trivial objective of three
steps, 50 trials, 2 CPUs, against Ray Tune with a function trainable and OptunaSearch (its default, and with reused
actors and without loggers), and against Optuna alone. Each runs in a process of its own, one after the other.

``python -m benchmarks.search seconds [key=value ...]`` runs that search (``python -m dce_ray.search``) and says where
its core seconds go: training, evaluation, checkpoints, actors, Ray, the driver, reports, MLflow.

``python -m benchmarks.search idle [runs=1000] [slots=4] [seconds=2]`` measures how long slots wait for a proposal of
``policy=replicates`` while that many runs of so many seconds go through them. The runs only sleep; no Ray.

``python -m benchmarks.search efficiency [quick]`` measures the iterations that TPE with successive halving needs to
reach the best of 64 full-length random trials, on the synthetic data, for three seeds. One process, no Ray.
"""

from __future__ import annotations

import sys

from benchmarks.search.overhead import REPEATS, VARIANTS, one, overhead


def main(arguments: list[str]) -> None:
    """What the first word asks for."""
    what, rest = arguments[0] if arguments else "", arguments[1:]
    if what == "one":
        one(rest[0])
    elif what == "seconds":
        from benchmarks.search.seconds import seconds

        seconds(rest)
    elif what == "idle":
        from benchmarks.search.idle import idle

        given = dict(argument.split("=", 1) for argument in rest)
        idle(int(given.get("runs", 1000)), int(given.get("slots", 4)), float(given.get("seconds", 2)))
    elif what == "efficiency":
        from benchmarks.search.efficiency import efficiency

        efficiency(quick="quick" in rest)
    else:
        chosen = dict(argument.split("=", 1) for argument in arguments)
        overhead(chosen.get("variants", ",".join(VARIANTS)).split(","), int(chosen.get("repeats", REPEATS)))


if __name__ == "__main__":
    main(sys.argv[1:])
