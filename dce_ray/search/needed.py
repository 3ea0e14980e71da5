"""Everything that a search comes to need, imported before its first run: what cannot be is told before it has cost
anything.

Modules are imported late where a command can do without them, such as Matplotlib until there is something to draw. A
search needs them all in the end, and must not find out then that one is broken.
"""

from __future__ import annotations

import importlib

from dce_ray.errors import SearchError

NEEDED = (
    *("dce_ray.search.stages", "dce_ray.report.page", "dce_ray.report.page_anew", "dce_ray.search.estimate"),
    *("dce_ray.report.acting", "dce_ray.tracking", "dce_ray.evaluation", "dce_ray.train", "dce_ray.train.run"),
    *("ray", "torch", "yaml", "cmaes", "scipy.linalg", "scipy.stats", "rich.console", "rich.live", "rich.table"),
    *("matplotlib", "matplotlib.figure", "matplotlib.ticker", "matplotlib.backends.backend_agg"),
    "matplotlib.backends.backend_svg",
)
"""What is imported inside functions on the way to a verdict and its report; a test compares it with the code."""


def import_needed() -> None:
    """Import all of :data:`NEEDED`.

    Raises:
        SearchError: naming every module that cannot be imported, with the reason.
    """
    faults = []
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except Exception as fault:  # a broken library raises whatever it likes while it is imported
            faults.append(f"{name}: {type(fault).__name__}: {' '.join(str(fault).split())[:300]}")
    if faults:
        lines = "\n  ".join(faults)
        raise SearchError(
            f"nothing was started: a search needs what cannot be imported here\n  {lines}\n"
            f"install the requirements again (pip install -e . -c constraints.txt), and see that no file of your own "
            f"has a library's name"
        )
