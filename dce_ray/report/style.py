"""The look of every figure: readable without colour, small, the same bytes for the same numbers.

Matplotlib is imported when something is drawn. ``INK``, ``PAPER``, ``MUTED`` and ``GRID`` are colours that occur
nowhere else: a page may replace them in the SVG by its own and so show the figure in light and dark.
"""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dce_ray.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b1c1e"
PAPER = "#fffffe"
MUTED = "#6b6d71"
GRID = "#dcdde1"
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREEN = "#009e73"
PURPLE = "#b8609a"
"""Four of Okabe and Ito's colours, told apart with every kind of colour vision."""
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++")
SYMBOLS = {
    "delta": r"$\delta$",
    "theta_rep": r"$\theta_{rep}$",
    "theta_pro": r"$\theta_{pro}$",
    "beta": r"$\beta$",
    "gamma": r"$\gamma$",
    "lambda": r"$\lambda$",
}
"""The six parameters as the paper writes them."""


def symbol(name: str) -> str:
    """How a searched parameter is called in figures: as the paper writes it, else by its own name.

    >>> symbol("lambda"), symbol("training.learning_rate")
    ('$\\\\lambda$', 'learning rate')
    """
    return SYMBOLS.get(name, name.rpartition(".")[2].replace("_", " "))


RULES: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": PAPER,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw what follows in the house style, whatever the user's matplotlibrc says."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RULES)
        yield


def new_figure(width_inch: float = 6.6, height_inch: float = 3.4, **grid: Any) -> tuple[Figure, Any]:
    """A figure outside of pyplot's registry (nothing to close) and its axes; call inside :func:`house_style`.

    Args:
        width_inch: 6.6 spans a page, 3.3 a column.
        height_inch: height.
        grid: passed to ``Figure.subplots``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inch, height_inch))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(**grid)


def write_instead(axes: Axes, text: str) -> None:
    """Put ``text`` where a drawing would be: a figure that cannot be drawn says why."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", wrap=True, color=MUTED, transform=axes.transAxes)


CAPTION_LETTERS = 108
"""Letters of a caption that fit below a figure as wide as a page."""


def caption_below(figure: Figure, text: str) -> None:
    """A line below the drawing, or several where it is long: seeds, units, what was left out."""
    letters = int(CAPTION_LETTERS * figure.get_figwidth() / 6.6)
    figure.supxlabel(textwrap.fill(text, letters), fontsize=7.5, color=MUTED, x=0.01, ha="left")


def title_with_legend(figure: Figure, title: str, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """The figure's title with the legend in a row below it, where no drawing can cover either."""
    figure.legend(
        handles,
        labels,
        title=title,
        title_fontsize=RULES["axes.titlesize"],
        alignment="left",
        loc="outside upper left",
        ncols=min(6, len(labels)),
        handletextpad=0.3,
        columnspacing=1.4,
        borderpad=0.1,
    )


def write_figure(figure: Figure, folder: Path, name: str) -> str:
    """Write ``<name>.svg`` and ``<name>.png`` (200 dpi) into ``folder``; call inside :func:`house_style`.

    Returns:
        The text of the SVG.

    Raises:
        OutputError: the disk is full or not writable.
    """
    import matplotlib as mpl

    vector, raster = io.StringIO(), io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(vector, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    figure.savefig(raster, format="png", dpi=200, metadata={"Software": None})
    write_atomically(folder / f"{name}.svg", vector.getvalue())
    write_atomically(folder / f"{name}.png", raster.getvalue())
    return vector.getvalue()
