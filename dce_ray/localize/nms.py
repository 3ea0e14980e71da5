"""Non-maximum suppression of all videos and classes at once.

Gaussian and linear: Bodla et al., "Soft-NMS: improving object detection with one line of code", ICCV 2017; the gaussian
kind with the +1 lengths of the published CO2-Net, DELU and DDG-Net.

Two facts make it fast and leave every score as it is. A pick changes only what overlaps it, so segments that are not
connected through overlaps (the runs of two different high-attention stretches) can be worked off side by side: one
NumPy step makes one pick in every such *cluster*. And copies of one segment with one score, which the attention
thresholds produce in numbers, share a cell that is picked as often as there are copies.
Shapes: N proposals, G clusters, W cells in the widest cluster of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import ConfigError, unknown_name
from dce_ray.records import Proposals

Real = NDArray[np.float64]
Whole = NDArray[np.int64]

_NOWHERE = -1e15  # position of cells that hold nothing: overlaps no segment, finite so that no NaN arises


def _gaussian(score: Real, overlap: Real, sigma: float) -> Real:
    np.multiply(overlap, overlap, out=overlap)
    overlap /= -sigma
    decayed: Real = np.exp(overlap, out=overlap)
    decayed *= score
    return decayed


def _linear(score: Real, overlap: Real, threshold: float) -> Real:
    return np.where(overlap > threshold, score * (1.0 - overlap), score)


def _hard(score: Real, overlap: Real, threshold: float) -> Real:
    return np.where(overlap > threshold, -np.inf, score)


KINDS: dict[str, tuple[Callable[[Real, Real, float], Real], float]] = {
    "gaussian": (_gaussian, 1.0),
    "linear": (_linear, 0.0),
    "hard": (_hard, 0.0),
}
"""By name: the scores behind a pick (-inf is dropped) given scores, tIoU with the pick (may be overwritten) and the
parameter; and what is added to lengths and intersections (the published gaussian kind counts a segment from s to e as
e - s + 1)."""


def suppress(proposals: Proposals, kind: str = "gaussian", parameter: float = 0.3) -> Proposals:
    """Let the best proposals of each video and class push down those that overlap them.

    Repeatedly the best remaining proposal is taken with its current score, and all others are multiplied by
    ``exp(-tiou^2 / parameter)`` (gaussian), by ``1 - tiou`` where ``tiou > parameter`` (linear), or dropped where
    ``tiou > parameter`` (hard). Of equal scores the one that starts first is taken, then the one that ends first.

    Args:
        proposals: N rows in any order, finite values, snippets.
        kind: ``gaussian``, ``linear`` or ``hard``.
        parameter: sigma of gaussian, tIoU threshold of the others.

    Returns:
        The rows in their order with decayed scores; nothing is dropped but by ``hard``.

    Raises:
        ConfigError: for an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(unknown_name("kind of suppression", kind, KINDS))
    decay, extra = KINDS[kind]
    order, cluster = _clusters(proposals)
    rows = proposals.select(order)
    cell = _cells(rows, cluster)
    scores = np.full(len(rows), -np.inf)
    for members in _blocks(cluster, cell):
        table = _fill(rows, cluster, cell, members, extra)
        _work_off(table, lambda score, overlap: decay(score, overlap, parameter), scores)
    in_order = np.empty(len(rows))
    in_order[order] = scores
    left = ~np.isneginf(in_order)
    kept = proposals.select(left)
    return Proposals(kept.video, kept.start, kept.end, kept.label, in_order[left])


def _changes(*columns: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether each row differs from the row before it in any column; the first row does."""
    changed = np.zeros(len(columns[0]), bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def _clusters(proposals: Proposals) -> tuple[Whole, Whole]:
    """Rows sorted by video, class, start and end, and the cluster of each sorted row, from 0.

    A cluster ends where a segment starts a whole snippet behind the end of all before it: nothing overlaps beyond,
    with or without the added 1. Groups (one video, one class) are laid behind each other on one axis of time.
    """
    group = proposals.video * (proposals.label.max(initial=0) + 1) + proposals.label
    span = float(proposals.end.max(initial=0.0) - proposals.start.min(initial=0.0)) + 4.0
    start, end = proposals.start + group * span, proposals.end + group * span
    order = np.lexsort((end, start))
    reach = np.maximum.accumulate(end[order])
    fresh = np.ones(len(order), bool)
    fresh[1:] = start[order[1:]] >= reach[:-1] + 1.0
    return order, np.cumsum(fresh) - 1


def _cells(rows: Proposals, cluster: Whole) -> Whole:
    """Cell of each row in its cluster, from 0; copies (same segment, same score) share one."""
    fresh = np.cumsum(_changes(cluster, rows.start, rows.end, rows.score)) - 1
    first = fresh[_changes(cluster)]
    cells: Whole = fresh - first[cluster]
    return cells


def _blocks(cluster: Whole, cell: Whole) -> Iterator[Whole]:
    """Clusters of similar width, so that little padding is computed: cluster numbers, those with most rows first."""
    if not len(cluster):
        return
    starts = np.flatnonzero(_changes(cluster))
    heights = np.diff(np.append(starts, len(cluster)))
    widths = cell[np.append(starts[1:], len(cluster)) - 1] + 1
    octave = np.ceil(np.log2(widths)).astype(np.int64)
    for size in np.unique(octave):
        members = np.flatnonzero(octave == size)
        yield members[np.argsort(-heights[members], kind="stable")]


@dataclass(frozen=True, slots=True)
class _Table:
    """A block of G clusters as flat ``(G * W,)`` arrays of cells; cells that hold nothing lie at ``_NOWHERE``."""

    start: Real
    end: Real
    """Ends, with what the kind adds to lengths."""
    score: Real
    """Current scores; -inf where nothing is left."""
    row: Whole
    """The next of the cell's copies."""
    copies: Whole
    """How many copies are left."""
    steps: Whole
    """Step i picks in the first ``steps[i]`` clusters; the others have no row left."""
    width: int


def _fill(rows: Proposals, cluster: Whole, cell: Whole, members: Whole, extra: float) -> _Table:
    """Lay the rows of the clusters ``members`` out as cells."""
    starts = np.flatnonzero(_changes(cluster))
    heights = np.diff(np.append(starts, len(cluster)))[members]
    place = np.full(len(starts), -1)
    place[members] = np.arange(len(members))
    inside = np.flatnonzero(place[cluster] >= 0)
    width = int(cell[inside].max()) + 1
    flat = place[cluster[inside]] * width + cell[inside]
    cells = len(members) * width
    start, end, score = np.full(cells, _NOWHERE), np.full(cells, _NOWHERE), np.full(cells, -np.inf)
    start[flat], end[flat], score[flat] = rows.start[inside], rows.end[inside] + extra, rows.score[inside]
    row = np.zeros(cells, np.int64)
    row[flat[::-1]] = inside[::-1]  # of several writes to one cell the last stays: the first copy
    steps = np.searchsorted(-heights, -np.arange(heights[0]), side="left")
    return _Table(start, end, score, row, np.bincount(flat, minlength=cells), steps, width)


def _work_off(table: _Table, decay: Callable[[Real, Real], Real], scores: Real) -> None:
    """Pick until nothing is left, one pick in every cluster per step, and write each row's score at its pick."""
    for active in table.steps:
        stop, shape = active * table.width, (active, table.width)
        start, end, score = (array[:stop].reshape(shape) for array in (table.start, table.end, table.score))
        pick = np.arange(0, stop, table.width) + score.argmax(axis=1)
        first, last = table.start[pick, None], table.end[pick, None]
        taken = pick[table.score[pick] > -np.inf]  # hard suppression may have emptied a cluster early
        scores[table.row[taken]] = table.score[taken]
        overlap = np.minimum(end, last)
        overlap -= np.maximum(start, first)
        np.maximum(overlap, 0.0, out=overlap)
        overlap /= np.maximum((end - start) + (last - first) - overlap, 1e-12)  # two empty segments: 0, not 0 / 0
        score[...] = decay(score, overlap)
        table.row[taken] += 1
        table.copies[taken] -= 1
        empty = taken[table.copies[taken] == 0]
        table.score[empty] = -np.inf
        table.start[empty] = table.end[empty] = _NOWHERE
