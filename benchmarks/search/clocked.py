"""A search whose workers and driver write down where their core seconds go.

It is ``python -m dce_ray.search`` with clocks round the steps of a run and the stages of the search. The clocks read
the processor time of the whole process, its threads included; each process writes its sums to a file of its own, anew
after every step, so that nothing is lost when Ray kills a worker.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dce_ray.trainables.base import RunTrainable

VARIABLE = "DCE_CLOCKS"
"""Environment variable with the folder of the clocks' files."""


class Clock:
    """Core seconds of this process by what they were spent on; what is inside of another part is not counted twice."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.inside: list[float] = []

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block as ``name``."""
        began = time.process_time()
        self.inside.append(0.0)
        try:
            yield
        finally:
            took = time.process_time() - began
            self.spent[name] += took - self.inside.pop()
            if self.inside:
                self.inside[-1] += took

    def around(self, owner: Any, method: str, name: str) -> None:
        """Count every call of a method, or of a module's function, as ``name``."""
        call: Callable[..., Any] = getattr(owner, method)

        def counted(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return call(*given, **named)

        setattr(owner, method, counted)

    def write(self) -> None:
        """Keep the sums in this process's file."""
        folder = Path(os.environ[VARIABLE])
        draft = folder / f"{os.getpid()}.tmp"
        draft.write_text(json.dumps(self.spent))
        draft.replace(folder / f"{os.getpid()}.json")


CLOCK = Clock()
"""Of this process."""
START = "start and imports"


class Clocked(RunTrainable):
    """Any baseline's trainable with clocks."""

    def _begin(self, config: dict[str, Any]) -> None:
        if START not in CLOCK.spent:
            import dce_ray.train

            importlib.import_module("torch._dynamo")  # which else a process's first optimiser imports
            CLOCK.spent[START] = time.process_time()
            CLOCK.around(dce_ray.train.Run, "advance", "training")
            CLOCK.around(dce_ray.train.Run, "evaluate", "evaluation")
            CLOCK.around(dce_ray.train.Run, "save", "checkpoints")
        with CLOCK.part("beginning of runs"):
            super()._begin(config)
        CLOCK.write()

    def step(self) -> dict[str, Any]:
        """A step of the run."""
        with CLOCK.part("records of runs"):
            found = super().step()
        CLOCK.write()
        return found


def main(arguments: list[str]) -> int:
    """Search as the command does, with clocks."""
    import dce_ray.search.__main__ as command
    from dce_ray.search import api, stages
    from dce_ray.session import ray_session

    CLOCK.spent[START] = time.process_time()
    setattr(stages, "trainable_named", lambda baseline: Clocked)  # noqa: B010  (stages does not export it)
    CLOCK.around(ray_session, "_start", "Ray's start")
    for method, name in (("search", "search"), ("choose", "choice"), ("confirm", "confirmation")):
        CLOCK.around(stages.Search, method, f"driver: {name}")
    CLOCK.around(api, "_write_outputs", "driver: report")
    try:
        with CLOCK.part("driver: rest"):
            return command.main(arguments)
    finally:
        CLOCK.write()
