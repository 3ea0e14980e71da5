"""A picture of what a network sees in a video: annotations, detections, both attentions and Psi over seconds.

Readable without colour: rows are named, bars are hatched, lines have their own style.
Shapes: T snippets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dce_ray.errors import EvaluationError
from dce_ray.evaluation import VideoOutputs
from dce_ray.files import atomic_file
from dce_ray.method import Intervention
from dce_ray.records import GroundTruth, Proposals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_PER_CLASS = 8
"""Detections drawn per class."""
RANKS = "number: rank of a detection within its class, 1 has the highest score"
ENDINGS = (".png", ".svg", ".pdf")

Segments = dict[str, list[tuple[float, float, float]]]


@dataclass(frozen=True, slots=True)
class Timeline:
    """One video's row of pictures; times in seconds."""

    title: str
    snippets_per_second: float
    outputs: VideoOutputs
    psi: NDArray[np.float32]
    """How much each snippet is taken for a confounder, ``(T,)`` in [0, 1]."""
    annotated: Segments
    """By class: (start s, end s, 1) of every instance."""
    detected: Segments
    """By class: (start s, end s, score) of the best detections that do not overlap, best first."""


def timeline_of(
    video: int,
    outputs: VideoOutputs,
    proposals: Proposals,
    ground_truth: GroundTruth,
    *,
    snippets_per_second: float,
    intervention: Intervention,
) -> Timeline:
    """Collect what the picture of one video shows.

    Args:
        video: row in ``ground_truth.video_names``.
        outputs: of the network on that video.
        proposals: detections of all videos.
        ground_truth: instances of all videos.
        snippets_per_second: the data set's own fps / stride_frames.
        intervention: how Psi is made of the attentions.
    """
    rgb, flow = (torch.from_numpy(part.copy())[None] for part in (outputs.rgb_attention, outputs.flow_attention))
    psi: NDArray[np.float32] = intervention.confounders(rgb, flow)[0].numpy()
    mine = proposals.select(proposals.video == video)
    annotated: Segments = {}
    for row in np.flatnonzero(ground_truth.video == video):
        segment = (ground_truth.start[row] / snippets_per_second, ground_truth.end[row] / snippets_per_second, 1.0)
        annotated.setdefault(ground_truth.class_names[ground_truth.label[row]], []).append(segment)
    detected = {
        ground_truth.class_names[label]: best_apart(mine.select(mine.label == label), snippets_per_second)
        for label in np.unique(mine.label)
    }
    title = ground_truth.video_names[video]
    return Timeline(title, snippets_per_second, outputs, psi, annotated, detected)


def best_apart(proposals: Proposals, snippets_per_second: float) -> list[tuple[float, float, float]]:
    """The best proposals that do not overlap each other, in seconds, at most ``SHOWN_PER_CLASS``, best first."""
    chosen: list[int] = []
    start, end = proposals.start, proposals.end
    for row in np.argsort(-proposals.score, kind="stable").tolist():
        if all(end[row] <= start[other] or start[row] >= end[other] for other in chosen):
            chosen.append(row)
        if len(chosen) == SHOWN_PER_CLASS:
            break
    return [
        (start[row] / snippets_per_second, end[row] / snippets_per_second, float(proposals.score[row]))
        for row in chosen
    ]


def figure_of(names: Sequence[str]) -> str:
    """File of the picture of some videos where the user names none: it is called after them.

    >>> figure_of(["video_7"]), figure_of(["a", "b"]), figure_of(["a", "b", "c", "d"])
    ('timeline-video_7.png', 'timeline-a-b.png', 'timeline-a-and-3-more.png')
    """
    few = len(names) <= 3
    told = "-".join(names) if few else f"{names[0]}-and-{len(names) - 1}-more"
    return f"timeline-{told.replace('/', '_')}.png"


def draw_timelines(timelines: Sequence[Timeline], path: Path | str) -> None:
    """Draw one picture with all videos under each other.

    Args:
        timelines: at least one.
        path: PNG, SVG or PDF, by its ending.

    Raises:
        EvaluationError: nothing to draw, or another ending.
        OutputError: the disk is full or not writable.
    """
    target = Path(path)
    if not timelines or target.suffix not in ENDINGS:
        raise EvaluationError(f"figure={target} of {len(timelines)} videos: name videos, end in {' or '.join(ENDINGS)}")
    from matplotlib import rc_context

    with rc_context({"font.size": 8.5, "hatch.linewidth": 0.6, "svg.fonttype": "path", "svg.hashsalt": "timeline"}):
        figure = timelines_figure(timelines)
        with atomic_file(target) as file:
            form = target.suffix.removeprefix(".")
            figure.savefig(file, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)


def timelines_figure(timelines: Sequence[Timeline]) -> Figure:
    """The picture itself, two panels per video."""
    from matplotlib.figure import Figure

    heights = [height for item in timelines for height in (0.5 + 0.28 * len(_rows(item)), 1.5)]
    figure = Figure(figsize=(9.0, sum(heights) + 0.7 * len(timelines)), layout="constrained")
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for upper, lower, item in zip(axes[::2], axes[1::2], timelines, strict=True):
        upper.set_title(item.title, fontsize=9.5, loc="left")
        _draw_bars(upper, item)
        _draw_attentions(lower, item)
    return figure


def _rows(item: Timeline) -> list[tuple[str, str]]:
    """Rows of bars from top to bottom: (class, ``annotated`` or ``detected``); classes that were annotated first."""
    classes = [*item.annotated, *(name for name in item.detected if name not in item.annotated)]
    return [(name, kind) for name in classes for kind in ("annotated", "detected")]


def _draw_bars(axes: Axes, item: Timeline) -> None:
    """A bar per segment; detections carry their rank within the class, 1 is the best, and the picture says so."""
    rows = _rows(item)
    axes.set_axisbelow(True)
    axes.set_xlim(0, len(item.psi) / item.snippets_per_second)
    for height, (name, kind) in enumerate(rows):
        segments = (item.annotated if kind == "annotated" else item.detected).get(name, [])
        spans = [(start, end - start) for start, end, _ in segments]
        if kind == "annotated":
            axes.broken_barh(spans, (height - 0.36, 0.72), facecolor="#3c3f44", edgecolor="#1b1c1e", linewidth=0.6)
            continue
        axes.broken_barh(
            spans, (height - 0.36, 0.72), facecolor="#f3d9bf", edgecolor="#1b1c1e", linewidth=0.8, hatch="////"
        )
        for rank, (start, end, _) in enumerate(segments, start=1):
            box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"}
            axes.text((start + end) / 2, height, str(rank), ha="center", va="center", fontsize=6.5, bbox=box)
    if any(item.detected.values()):
        axes.set_title(RANKS, loc="right", fontsize=7.5, color="#6b6d71")
    axes.set_yticks(range(len(rows)), [f"{name}: {kind}" for name, kind in rows])
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    if not rows:
        axes.set_yticks([0], ["nothing annotated or detected"])
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(axis="x", labelbottom=False)


def _draw_attentions(axes: Axes, item: Timeline) -> None:
    """Both attentions as lines, Psi as a hatched band whose height is its value."""
    snippets = len(item.psi)
    edges = np.arange(snippets + 1) / item.snippets_per_second
    middles = (edges[:-1] + edges[1:]) / 2
    band: dict[str, Any] = {"facecolor": "#e4e5e8", "edgecolor": "#9a9ca1", "hatch": "....", "linewidth": 0.4}
    if item.psi.any():
        axes.stairs(item.psi, edges, fill=True, label="Psi", **band)
    else:  # a band that is nowhere would be looked for
        axes.plot([], [], linestyle="none", label="no snippet in Psi")
    axes.plot(middles, item.outputs.rgb_attention, "-", color="#0b5a8f", linewidth=1.3, label="RGB attention")
    axes.plot(middles, item.outputs.flow_attention, "--", color="#c24a00", linewidth=1.3, label="FLOW attention")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0, edges[-1])
    axes.set_xlabel("time (s)")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=3, frameon=False, fontsize=7.5)
