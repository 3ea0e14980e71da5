"""The line above every measured table."""

from __future__ import annotations

import datetime
import platform

from dce_ray.provenance import commit, cores, processor, versions


def provenance(*packages: str) -> str:
    """Hardware, commit, date and versions.

    Args:
        packages: further distributions whose versions belong to the number.
    """
    found = ", ".join(f"{name} {number}" for name, number in versions(*packages).items() if name != "dce-ray")
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return f"{processor()}, {cores()} cores; commit {commit()}; {today}; Python {platform.python_version()}, {found}"
