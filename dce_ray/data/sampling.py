"""Batches of row numbers: which videos, and which snippets of each, are trained on next.

Letters: N training videos, C classes, B videos of a batch, T segments that each video is resampled to.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import CheckpointError, DataError

log = logging.getLogger(__name__)


def jitter_bounds(lengths_B: NDArray[np.int64], segments: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last snippet, both inclusive, that each position may be drawn from; two arrays ``(B, T)``.

    Position i of n (= ``segments``) in a video of L snippets draws uniformly from the whole numbers

        floor(i L / n), ..., min(floor((i + 1) L / n), L - 1).

    Neighbouring ranges share an end (as in the released samplers), so a draw is sorted but may name a snippet twice;
    a range within one snippet (L < n) yields that snippet. The released code bounds its last position by a separate
    rule, which equals the minimum above.
    """
    edges_BT1 = np.arange(segments + 1, dtype=np.int64) * lengths_B[:, None] // segments
    return edges_BT1[:, :-1], np.minimum(edges_BT1[:, 1:], lengths_B[:, None] - 1)


class BatchSampler:
    """Draws batches as the three baselines train on them.

    A batch starts with ``pairs`` pairs (rows 0-1, 2-3, ...): for each a class, uniformly and with replacement among
    the classes of at least two videos, then two different videos of it. The rest are drawn uniformly with replacement
    from all videos. Every video is resampled to ``segments`` snippets by :func:`jitter_bounds`.

    Args:
        labels_NC: video-level labels, ``(N, C)``, multi-hot.
        lengths_N: snippets of each video, ``(N,)``, at least 1.
        segments: snippets per video in a batch, at least 1.
        batch: videos per batch.
        pairs: pairs of videos that share a class; ``2 * pairs <= batch``.
        seed: of the one generator that decides everything.

    Raises:
        DataError: no video, a video without snippets, or pairs asked for where no class has two videos.
    """

    def __init__(
        self,
        labels_NC: NDArray[np.float32],
        lengths_N: NDArray[np.int64],
        *,
        segments: int,
        batch: int,
        pairs: int,
        seed: int,
    ) -> None:
        self.segments, self.batch, self.pairs = segments, batch, pairs
        self._lengths_N = np.asarray(lengths_N, dtype=np.int64)
        self._check(labels_NC)
        member_NC = np.asarray(labels_NC) > 0
        sizes_C = member_NC.sum(axis=0)
        self._classes = np.flatnonzero(sizes_C >= 2)
        self.notices = self._notices(sizes_C)
        # Members of all classes end to end; those of class c are members[starts[c] : starts[c] + sizes[c]].
        self._members = np.nonzero(member_NC.T)[1].astype(np.int64)
        self._sizes_C = sizes_C
        self._starts_C = np.concatenate([[0], np.cumsum(sizes_C)[:-1]]).astype(np.int64)
        self._random = np.random.Generator(np.random.PCG64(seed))

    def draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The next batch: rows of the videos ``(B,)`` and their snippets ``(B, T)``, sorted in time."""
        paired = self._draw_pairs() if self.pairs else np.empty(0, np.int64)
        others = self._random.integers(0, len(self._lengths_N), size=self.batch - len(paired))
        videos_B = np.concatenate([paired, others])
        low_BT, high_BT = jitter_bounds(self._lengths_N[videos_B], self.segments)
        return videos_B, self._random.integers(low_BT, high_BT, endpoint=True)

    def state(self) -> dict[str, Any]:
        """State of the generator: nested dicts of whole numbers and text, fit for JSON and for torch.save."""
        return dict(self._random.bit_generator.state)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where ``state`` was taken.

        Raises:
            CheckpointError: ``state`` is not a sampler's.
        """
        try:
            self._random.bit_generator.state = dict(state)
        except (KeyError, TypeError, ValueError, OverflowError) as fault:
            raise CheckpointError(f"not the state of a batch sampler ({fault}); start the run anew") from fault

    def _draw_pairs(self) -> NDArray[np.int64]:
        classes = self._random.choice(self._classes, size=self.pairs)
        sizes, starts = self._sizes_C[classes], self._starts_C[classes]
        first = self._random.integers(0, sizes)
        second = self._random.integers(0, sizes - 1)
        second += second >= first  # skips the first video, so that all others stay equally likely
        return np.stack([self._members[starts + first], self._members[starts + second]], axis=1).reshape(-1)

    def _check(self, labels_NC: NDArray[np.float32]) -> None:
        videos = len(self._lengths_N)
        if not videos or len(labels_NC) != videos:
            raise DataError(f"{len(labels_NC)} rows of labels for {videos} training videos; give one row per video")
        empty = np.flatnonzero(self._lengths_N < 1)
        if len(empty):
            raise DataError(
                f"{len(empty)} training videos have no snippet (rows {', '.join(map(str, empty[:10]))}); "
                f"set sampling.min_snippets to at least 1"
            )
        if 2 * self.pairs > self.batch:
            raise DataError(f"{self.pairs} pairs do not fit into a batch of {self.batch} videos; lower sampling.pairs")

    def _notices(self, sizes_C: NDArray[np.int64]) -> tuple[str, ...]:
        if not self.pairs:
            return ()
        if not len(self._classes):
            raise DataError(
                f"no class has two training videos, but sampling.pairs={self.pairs} pairs must share one; "
                f"set sampling.pairs=0 and objective.contrastive=0, or add training videos"
            )
        single = int((sizes_C == 1).sum())
        if not single:
            return ()
        notice = (
            f"{single} of {len(sizes_C)} classes have a single training video; "
            f"pairs are drawn from the {len(self._classes)} classes that have two"
        )
        log.warning("%s", notice)
        return (notice,)
