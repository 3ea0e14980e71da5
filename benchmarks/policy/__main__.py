"""The command; see the package's head for what it takes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.policy.cost import cost
from benchmarks.policy.kept import told
from benchmarks.policy.measure import (
    CHEAP,
    EMULATED,
    FREE,
    KNOWN,
    POLICIES,
    RECORDED,
    Measured,
    Task,
    measure,
    pool_at,
    truth_error_of,
)
from benchmarks.policy.output import draw, show, show_pool
from benchmarks.policy.recorded import POOL
from benchmarks.policy.surfaces import SETTINGS
from benchmarks.provenance import provenance
from dce_ray.errors import DceError

OPTIONS = {
    "repeats": "8",
    "settings": "simulated",
    "policies": "all",
    "budgets": "16,32,96",
    "seed": "0",
    "jobs": "1",
    "pool": str(POOL),
    "work": "",
    "make": "on",
    "figure": "",
}
SETTING_GROUPS = {"simulated": list(SETTINGS)}
POLICY_GROUPS = {"all": list(POLICIES), "cheap": CHEAP}
"""Words for several names."""


def chosen_names(text: str, known: Sequence[str], groups: Mapping[str, list[str]], what: str) -> list[str]:
    """A group, or names separated by semicolons.

    Raises:
        SystemExit: for unknown names.
    """
    names = groups.get(text) or text.split(";")
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"unknown {what}: {'; '.join(unknown)}; known: {'; '.join(known)}")
    return names


def measured(
    setting: str, policies: Sequence[str], budgets: Sequence[int], options: dict[str, str]
) -> dict[str, Measured]:
    """What each policy found in a setting."""
    repeats = int(options["repeats"])
    policies = [name for name in policies if setting not in RECORDED or name not in FREE]
    seeds = [1000 * int(options["seed"]) + repeat for repeat in range(repeats)]
    tasks: list[Task] = [
        (setting, policy, tuple(budgets), seed, Path(options["pool"])) for policy in policies for seed in seeds
    ]
    error = truth_error_of(setting, Path(options["pool"]))
    work = Path(options["work"]) if options["work"] else None
    found = measure(tasks, int(options["jobs"]), work, options["make"] == "on")
    results = {}
    for index, policy in enumerate(policies):
        rows = found[index * repeats : (index + 1) * repeats]
        values = np.array([row for row, _ in rows])
        if np.isnan(values).any(axis=0).all():
            continue  # the folder holds no budget for all repetitions
        results[policy] = Measured(values, float(np.mean([seconds for _, seconds in rows])), error)
    return results


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
    if options["make"] not in ("on", "off") or (options["make"] == "off" and not options["work"]):
        raise SystemExit(f"make={options['make']}: on, or off with work=<folder> to show only what is kept there")
    settings = chosen_names(options["settings"], KNOWN, SETTING_GROUPS, "settings")
    policies = chosen_names(options["policies"], list(POLICIES), POLICY_GROUPS, "policies")
    budgets = sorted(int(budget) for budget in options["budgets"].split(","))
    print(provenance("optuna", "scipy"))
    print(f"python -m benchmarks.policy {' '.join(f'{key}={value!r}' for key, value in given.items())}")
    print(f"{options['repeats']} repetitions per setting; load average {os.getloadavg()[0]:.1f}")
    results: dict[str, dict[str, Measured]] = {}
    try:
        if {*RECORDED, *EMULATED} & set(settings):
            show_pool(pool_at(Path(options["pool"])))
        for name in settings:
            results[name] = measured(name, policies, budgets, options)
            show(name, results[name], budgets)
            sys.stdout.flush()
    except DceError as fault:
        raise SystemExit(str(fault)) from fault
    if options["work"]:
        print(f"\n{told(Path(options['work']))}")
    if options["figure"]:
        draw(results, budgets, Path(options["figure"]))


if __name__ == "__main__":
    main(sys.argv[1:])
