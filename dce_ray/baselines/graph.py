"""The graphs of DDG-Net: which snippets speak to which.

Shapes: B videos, T snippets, S channels of one stream. Adjacencies are ``(B, T, T)``: rows are sources, columns are
targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_SIMILARITY = 0.8
"""Snippets less alike than this are not connected."""
SNIPPETS_PER_EDGE = 10
"""Each snippet hears its ``T // 10`` most similar ones."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Each snippet is exactly one of the three; padding is none of them. Boolean, ``(B, T)`` each."""

    action: Tensor
    """Both streams see action: attention >= 0.5."""
    background: Tensor
    """Neither stream sees action."""
    ambiguous: Tensor
    """The streams disagree."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The edges, each column normalised, and the parts of them that the graph network needs."""

    edges: Tensor
    """All of them, ``(B, T, T)``; each column belongs to the graph of its target's role."""
    to_clear: Tensor
    """Those between action snippets and those between background snippets, ``(B, T, T)``."""
    to_ambiguous: Tensor
    """Those that end at ambiguous snippets, ``(B, T, T)``."""
    own: Tensor
    """Edge of each ambiguous snippet to itself, 0 elsewhere, ``(B, T)``."""

    @classmethod
    def of(cls, edges_BTT: Tensor, of: Roles) -> Self:
        """Take the parts out of the matrix of :func:`adjacency`."""
        to_ambiguous_BTT = edges_BTT * of.ambiguous[:, None]
        return cls(edges_BTT, edges_BTT - to_ambiguous_BTT, to_ambiguous_BTT, to_ambiguous_BTT.diagonal(dim1=1, dim2=2))


def roles(rgb_attention_BT: Tensor, flow_attention_BT: Tensor, valid_B1T: Tensor | None = None) -> Roles:
    """Sort the snippets by what both streams' attentions, in [0, 1], say."""
    rgb_BT, flow_BT = rgb_attention_BT >= 0.5, flow_attention_BT >= 0.5
    inside_BT = torch.ones_like(rgb_BT) if valid_B1T is None else valid_B1T[:, 0] > 0
    return Roles(rgb_BT & flow_BT & inside_BT, ~(rgb_BT | flow_BT) & inside_BT, (rgb_BT ^ flow_BT) & inside_BT)


@torch.no_grad()
def adjacency(
    rgb_BST: Tensor, flow_BST: Tensor, of: Roles, lengths_B: Tensor | None = None, valid_B1T: Tensor | None = None
) -> Tensor:
    """The action, background and ambiguous graph in one matrix, ``(B, T, T)``: each column belongs to one of them.

    Similarity is the mean of both streams' cosines; of each column the ``T // 10`` largest entries stay if they are at
    least ``MIN_SIMILARITY``, and if source and target fit: action to action, background to background, both of them to
    ambiguous, and an ambiguous snippet to itself. Columns add up to 1, or to 0 where nothing stays (T < 10 above all).

    Args:
        rgb_BST: RGB features, ``(B, S, T)``.
        flow_BST: FLOW features, ``(B, S, T)``.
        of: the snippets' roles.
        lengths_B: T of each padded video.
        valid_B1T: mask that belongs to ``lengths_B``.

    No gradient: the graph depends on input features and roles alone. Which of equally similar sources stays is left to
    PyTorch's ``topk``, as released.
    """
    similarity_BTT = (_cosines(rgb_BST) + _cosines(flow_BST)) / 2
    if valid_B1T is not None:
        # Below every similarity, so that no padding takes the place of a snippet.
        similarity_BTT = similarity_BTT.masked_fill(valid_B1T.transpose(1, 2) == 0, -2.0)
    values_BkT, sources_BkT = similarity_BTT.topk(similarity_BTT.shape[1] // SNIPPETS_PER_EDGE, dim=1)
    kept_BkT = values_BkT * (values_BkT >= MIN_SIMILARITY)
    if lengths_B is not None:
        rank_k = torch.arange(values_BkT.shape[1], device=values_BkT.device)
        edges_B = lengths_B.to(values_BkT.device) // SNIPPETS_PER_EDGE
        kept_BkT = kept_BkT * (rank_k[None, :, None] < edges_B[:, None, None])
    edges_BTT = torch.zeros_like(similarity_BTT).scatter_(1, sources_BkT, kept_BkT)
    return F.normalize(edges_BTT * _allowed(of), p=1.0, dim=1)


def _cosines(stream_BST: Tensor) -> Tensor:
    """Cosine between all snippets of a video, 0 for a snippet of zeros: ``(B, T, T)``."""
    unit_BST = F.normalize(stream_BST, dim=1)
    return unit_BST.transpose(1, 2) @ unit_BST


def _allowed(of: Roles) -> Tensor:
    """Whether the row's snippet may speak to the column's: ``(B, T, T)``."""
    alike_BTT = (of.action[:, :, None] & of.action[:, None]) | (of.background[:, :, None] & of.background[:, None])
    clear_BTT = ~of.ambiguous[:, :, None] & of.ambiguous[:, None]
    itself_TT = torch.eye(of.action.shape[1], dtype=torch.bool, device=of.action.device)
    return alike_BTT | clear_BTT | (itself_TT & of.ambiguous[:, None])
