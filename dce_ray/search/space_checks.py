"""What must hold of a space before anything starts, where more than the six scalars is searched."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dce_ray.commandline import flatten
from dce_ray.config import RunConfig
from dce_ray.errors import ConfigError, SearchSpaceError
from dce_ray.presets import merge, run_config_from_mapping
from dce_ray.search.space import SearchSpace, nearest_steps
from dce_ray.searchable import ITERATIONS, changes_of, evaluations_of, typed


def check_space(space: SearchSpace, run: RunConfig, given: Mapping[str, Any], policy: str) -> None:
    """Refuse what cannot be searched as asked.

    Args:
        space: all that is searched.
        run: what all trials share.
        given: the user's own changes of it, nested.
        policy: of the search.

    Raises:
        SearchSpaceError: a key is searched and given, its ends make no valid run, or the policy cannot be fair to it.
    """
    if not space.further:
        return
    _refuse_contradictions(space, run, flatten(given))
    if policy == "single":
        raise SearchSpaceError(
            f"policy=single: space.{', space.'.join(space.further)} cannot be searched with it, for its plain baseline "
            f"is one run and would have no search of its own to be compared by; use policy=replicates (the default)"
        )
    others = {name: item for name, item in space.further.items() if name != ITERATIONS}
    for corner in itertools.product(*((item.low, item.high) for item in others.values())):
        values = {name: typed(name, value) for name, value in zip(others, corner, strict=True)}
        try:
            with_values(run, values)
        except ConfigError as fault:
            told = ", ".join(f"{name}={value:g}" for name, value in values.items())
            raise SearchSpaceError(
                f"space.{', space.'.join(others)}: at {told} there is no valid run: {fault}; narrow the ranges"
            ) from fault


def _refuse_contradictions(space: SearchSpace, run: RunConfig, given: Mapping[str, Any]) -> None:
    faults = [
        f"{name}={given[name]}: space.{name} is given as well; give a value or a range, not both"
        for name in space.further
        if name in given
    ]
    if ITERATIONS in space.further and run.training.stop_at is not None:
        faults.append(
            f"training.stop_at={run.training.stop_at}: space.{ITERATIONS} is given as well, and the search chooses the "
            f"iteration; leave training.stop_at out"
        )
    if faults:
        raise SearchSpaceError("\n".join(faults))


def at_equal_shares(space: SearchSpace, run: RunConfig) -> SearchSpace:
    """The space with lengths that can be evaluated at the same shares as all others: whole multiples of how often a
    run is evaluated.

    Args:
        space: of any data set.
        run: on the data set that is searched on.

    Raises:
        SearchSpaceError: an end, a step or the run's own length is none.
    """
    item = space.further.get(ITERATIONS)
    if item is None:
        return space
    iterations, every, evaluations = run.training.iterations, run.training.eval_every, evaluations_of(run)
    step = evaluations if item.step in (None, 1) else item.step
    why = (
        f"a run is evaluated {evaluations} times (training.iterations={iterations} / training.eval_every={every}), and "
        f"runs of all lengths at equal shares"
    )
    faults = [
        f"space.{ITERATIONS}.{end}={value:g}: must be a multiple of {step}, for {why}; {nearest_steps(value, step)}"
        for end, value in (("low", item.low), ("high", item.high))
        if value % step
    ]
    if step % evaluations:
        faults.append(f"space.{ITERATIONS}.step={step}: must be a multiple of {evaluations}, for {why}; leave it out")
    if iterations % every:
        faults.append(
            f"training.eval_every={every}: must divide training.iterations={iterations}, for {why}; give another one"
        )
    if faults:
        raise SearchSpaceError("\n".join(faults))
    return replace(space, dimensions={**space.dimensions, ITERATIONS: replace(item, step=step)})


def with_values(run: RunConfig, values: dict[str, float], *, kept: bool = False) -> RunConfig:
    """A run with other values of further keys.

    Args:
        run: what all trials share.
        values: by key.
        kept: whether the search was accepted before, with these values in its space.

    Raises:
        ConfigError: such a run cannot be.
    """
    return run_config_from_mapping(merge(run.to_mapping(), changes_of(values, evaluations_of(run))), kept=kept)


def largest_run(run: RunConfig, space: SearchSpace) -> RunConfig:
    """The run with the longest videos and the largest batch that the space allows: it takes most memory."""
    memory = ("sampling.segments", "sampling.batch")
    values = {name: typed(name, item.high) for name, item in space.further.items() if name in memory}
    pairs = space.further.get("sampling.pairs")
    if values and pairs is not None:  # the fewest, which the largest batch holds where any run is possible
        values["sampling.pairs"] = typed("sampling.pairs", pairs.low)
    return with_values(run, values, kept=True) if values else run
