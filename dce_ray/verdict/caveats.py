"""What is to be known of a winner beside its score: the runs it rests on, what never acted in it, where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dce_ray.config import COMPONENT_OF, ScalarRange
from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import RunRecord
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.searchable import LIMITS
from dce_ray.words import counted, written

SHARES = {"psi_share": "scs", "mcm_share": "mcm"}
"""Reading that says how much a component did, and the component."""
NEAR_END = 0.01
"""So near an end of its range, as a part of it, a value lies at the end."""


def caveats(folder: ExperimentFolder, winner: Candidate) -> Iterator[str]:
    """A sentence for each thing that a reader of the verdict would want to know of its winner.

    Args:
        folder: of the search.
        winner: what was confirmed.
    """
    if winner.runs == 1 and folder.config.get("policy") == "replicates":
        yield "The winner rests on a single run of the search, so that luck had its part in the choice."
    if alone := _without_plain([run.record() for run in folder.trials()]):
        yield (
            f"The plain baseline lacks {counted(len(alone), 'run')} beside those of points ({', '.join(alone)}): "
            f"trials.csv says why. A search that goes on with more runs tries again what was lost."
        )
    runs = [run for run in (*folder.trials(), *folder.confirmations()) if _is_of(run, winner)]
    for share, component in SHARES.items():
        read = [values for run in runs if winner.config[component] and (values := _values(run, share))]
        if read and not any(any(values) for values in read):
            yield (
                f"{component.upper()} never acted in the winner's {counted(len(read), 'run')} ({share}=0 at every "
                f"reading): they trained as without it."
            )
    ends = dict(_at_ends(folder.config.get("space", {}), winner))
    if ends:
        places = ", ".join(f"{key.rpartition('.')[0]}={_shown(value)} ({end})" for (key, end), value in ends.items())
        keys = " ".join(f"space.{key}=<{'less' if end == 'low' else 'more'}>" for key, end in ends)
        yield f"At an end of what was searched: {places}; a new search goes further with {keys}"


def _without_plain(records: Sequence[RunRecord]) -> list[str]:
    """Fold and seed of every run of the plain baseline that failed and has finished runs of points beside it."""
    plain = [record for record in records if record.role == "plain" and record.point is None]
    points = {_place(record) for record in records if record.role == "trial" and record.state == "finished"}
    failed = {_place(record) for record in plain if record.state == "failed"}
    return sorted(failed & points)


def _place(record: RunRecord) -> str:
    return f"seed {record.seed}" if record.fold is None else f"fold {record.fold} with seed {record.seed}"


def _shown(value: float) -> str:
    return written(value) if float(value).is_integer() else f"{value:.3g}"


def _is_of(run: RunFolder, winner: Candidate) -> bool:
    record = run.record()
    same = record.point == winner.point if record.role == "trial" else record.setting == winner.setting
    return same and record.state == "finished"


def _values(run: RunFolder, name: str) -> list[float]:
    return [value for line in run.readings() if (value := line.metrics.get(name)) is not None]


def _at_ends(space: Mapping[str, Any], winner: Candidate) -> Iterator[tuple[tuple[str, str], float]]:
    """Key and end of the range, and the value there; ends beyond which no value exists are none."""
    for name, item in space.items():
        value = winner.params.get(name)
        unread = name in COMPONENT_OF and not winner.config[COMPONENT_OF[name]]
        if not isinstance(item, Mapping) or value is None or unread:
            continue
        found = ScalarRange(item["low"], item["high"], bool(item.get("log")))
        place, limits = found.to_unit(value), LIMITS[name]
        if place <= NEAR_END and found.low > limits.low:
            yield (f"{name}.low", "low"), value
        elif place >= 1 - NEAR_END and found.high < limits.high:
            yield (f"{name}.high", "high"), value
