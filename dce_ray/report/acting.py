"""Whether the components that a search tunes did anything in its runs."""

from __future__ import annotations

from collections.abc import Iterable

from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.run_folder import RunFolder

SHARES = {
    "psi_share": ("scs", "SCS suppressed no snippet", "try a lower delta"),
    "mcm_share": ("mcm", "MCM had no proposal to act on", "try other theta_rep and theta_pro, or a longer training"),
}
"""By reading: the component, what it means that all its readings are 0, and what may help."""


def idle_lines(folder: ExperimentFolder) -> list[str]:
    """A line for each component that never acted in runs which had it: they trained as if it was off.

    Args:
        folder: of a search.
    """
    return idle_in(run for run in folder.trials() if run.record().role == "trial")


def idle_in(runs: Iterable[RunFolder]) -> list[str]:
    """The same of any runs; those that are not finished, and those without a reading, do not count."""
    finished = [(run, record) for run in runs if (record := run.record()).state == "finished"]
    lines = []
    for name, (component, meaning, remedy) in SHARES.items():
        readings = [
            [line.metrics[name] for line in run.readings() if line.metrics.get(name) is not None]
            for run, record in finished
            if component in record.components.split("+")
        ]
        read = [values for values in readings if values]
        idle = sum(not any(values) for values in read)
        if idle:
            lines.append(f"{meaning} in {idle} of {len(read)} runs ({name}=0 at every reading); {remedy}")
    return lines
