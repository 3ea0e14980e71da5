"""The picture of one run: loss terms, mAP and shares over the iterations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dce_ray.files import atomic_file
from dce_ray.train.run_files import Reading

STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "x", "+", "P", "*")


def draw_curves(readings: Sequence[Reading], path: Path, *, title: str) -> None:
    """Draw a run's readings; readable without colour (each line has its own style and marker).

    Args:
        readings: of its ``progress.jsonl``.
        path: PNG or SVG, by its ending.
        title: what was trained on what, with the seed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    panels = {
        "loss term (unweighted)": _series(readings, "loss/"),
        "mAP (%)": _series(readings, "mAP/", scale=100.0),
        "share (%)": _series(readings, "psi_share", scale=100.0) | _series(readings, "mcm_share", scale=100.0),
    }
    panels = {label: series for label, series in panels.items() if series}
    figure = Figure(figsize=(8.0, 3.0 * max(len(panels), 1)), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, (label, series) in zip(
        figure.subplots(max(len(panels), 1), 1, sharex=True, squeeze=False)[:, 0], panels.items(), strict=False
    ):
        for index, (name, points) in enumerate(series.items()):
            marker, style = MARKERS[index % len(MARKERS)], STYLES[index % len(STYLES)]
            x, y = zip(*points, strict=True)
            every = max(len(points) // 12, 1)
            axes.plot(x, y, style, marker=marker, markevery=every, ms=4, lw=1.2, label=name)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False)
        if label.startswith("loss"):
            axes.set_yscale("symlog", linthresh=1e-2)
        axes.set_xlabel("iteration")
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=130)


def _series(readings: Sequence[Reading], prefix: str, scale: float = 1.0) -> dict[str, list[tuple[int, float]]]:
    """Points (iteration, value) of every metric whose name starts with ``prefix``."""
    series: dict[str, list[tuple[int, float]]] = {}
    for reading in readings:
        for name, value in reading.metrics.items():
            if name.startswith(prefix) and value is not None:
                label = name.removeprefix("loss/").removeprefix("mAP/")
                series.setdefault(label, []).append((int(reading.iteration), scale * float(value)))
    return series
