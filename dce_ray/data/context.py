"""What each snippet of the synthetic data is, and how well SCS finds the context among them.

The record lies beside a generated store as ``<store>.context.npz``. Letters: N videos, T snippets of one video.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dce_ray.errors import DataError
from dce_ray.files import atomic_file

BACKGROUND, VISUAL_CONTEXT, MOTION_CONTEXT, ACTION = range(4)
KIND_NAMES = ("background", "visual_context", "motion_context", "action")
"""Names of the kinds, by their number."""
_COLUMNS = ("kinds", "strengths", "classes", "starts", "video_names")


@dataclass(frozen=True, slots=True)
class SnippetContext:
    """The truth about all snippets of a store; the videos lie end to end in the store's order."""

    kinds: NDArray[np.int8]
    """0 background, 1 visual context, 2 motion context, 3 action."""
    strengths: NDArray[np.float32]
    """How much of the class template the snippet shows, in [0, 1]; 0 for background."""
    classes: NDArray[np.int16]
    """Class that the snippet shows or resembles; -1 for background."""
    starts: NDArray[np.int64]
    """Where each video begins, ``(N + 1,)``; the last entry is the number of snippets."""
    video_names: tuple[str, ...]
    """Videos in the store's order."""

    def of(self, video: int) -> SnippetContext:
        """The truth about one video: all columns ``(T,)``."""
        rows = slice(int(self.starts[video]), int(self.starts[video + 1]))
        length = np.array([0, rows.stop - rows.start], dtype=np.int64)
        return SnippetContext(
            self.kinds[rows], self.strengths[rows], self.classes[rows], length, (self.video_names[video],)
        )

    def save(self, path: Path) -> None:
        """Write to ``path``: whole or not at all.

        Raises:
            OutputError: the disk is full or not writable.
        """
        columns: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in _COLUMNS}
        with atomic_file(path) as file:
            np.savez_compressed(file, allow_pickle=False, **columns)


def context_path(store_path: Path | str) -> Path:
    """Where the record of a store lies: beside it."""
    path = Path(store_path)
    return path.with_name(f"{path.name}.context.npz")


def load_context(store_path: Path | str) -> SnippetContext:
    """The truth about the snippets of a synthetic store.

    Raises:
        DataError: no record beside the store (real data has none), or it is damaged.
    """
    path = context_path(store_path)
    try:
        with np.load(path, allow_pickle=False) as columns:
            return SnippetContext(
                kinds=columns["kinds"],
                strengths=columns["strengths"],
                classes=columns["classes"],
                starts=columns["starts"],
                video_names=tuple(str(name) for name in columns["video_names"]),
            )
    except FileNotFoundError as absent:
        raise DataError(
            f"{path} does not exist: only synthetic data knows what its snippets are; "
            f"make some with python -m dce_ray.data.synthetic"
        ) from absent
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as fault:
        raise DataError(f"{path} is damaged ({fault}); delete it and its store and generate them again") from fault


class ConfounderScore(NamedTuple):
    """How well a substituted confounder set matches the true context."""

    precision: float
    """Part of Psi's weight that lies on context; NaN where Psi is empty."""
    recall: float
    """Part of the context that Psi covers; NaN where there is no context."""
    context_share: float
    """Part of the snippets that are context: the precision of a set drawn at random."""


def scs_precision_recall(psi: ArrayLike, kinds: ArrayLike) -> ConfounderScore:
    """Precision and recall of a confounder set (Eq. 2 of the paper) as a detector of action context.

    With context c = 1 where the kind is visual or motion context, else 0:
    precision = sum(psi c) / sum(psi), recall = sum(psi c) / sum(c).

    Args:
        psi: weights in [0, 1] of any shape.
        kinds: kind of each snippet (:class:`SnippetContext`), of the same shape.

    Raises:
        DataError: the shapes differ, or a weight lies outside [0, 1].
    """
    weights, truth = np.asarray(psi, dtype=np.float64), np.asarray(kinds)
    if weights.shape != truth.shape:
        raise DataError(f"psi of shape {weights.shape} and kinds of shape {truth.shape}: give one kind per weight")
    if not ((weights >= 0) & (weights <= 1)).all():
        raise DataError(f"psi lies in [{weights.min():g}, {weights.max():g}]: weights must lie in [0, 1]")
    context = (truth == VISUAL_CONTEXT) | (truth == MOTION_CONTEXT)
    found, marked, present = float(weights[context].sum()), float(weights.sum()), int(context.sum())
    return ConfounderScore(
        precision=found / marked if marked else float("nan"),
        recall=found / present if present else float("nan"),
        context_share=present / truth.size if truth.size else float("nan"),
    )
