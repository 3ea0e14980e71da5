"""DDG-Net's graphs against the description, one snippet at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dce_ray.baselines.blocks import valid_mask
from dce_ray.baselines.ddgnet import GraphModule
from dce_ray.baselines.graph import Graph, adjacency, roles

SIZE = 6


def video(snippets: int, seed: int) -> tuple[Tensor, Tensor]:
    """RGB and FLOW features ``(S, T)`` that drift slowly, and so have alike neighbours; some snippets are erased."""
    torch.manual_seed(seed)
    rgb, flow = (torch.randn(2, SIZE, snippets).cumsum(dim=2) + 3 * torch.randn(2, SIZE, 1)).double()
    rgb[:, snippets // 3], flow[:, snippets // 3] = 0, 0
    return rgb, flow


def obvious_adjacency(rgb: Tensor, flow: Tensor, a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Three graphs of one video, built entry by entry from the description."""
    snippets = rgb.shape[1]

    def cosine(x: Tensor, i: int, j: int) -> float:
        return float((x[:, i] @ x[:, j]) / (x[:, i].norm() * x[:, j].norm()).clamp(min=1e-12))

    def role(t: int) -> str:
        if a[t] >= 0.5 and b[t] >= 0.5:
            return "action"
        return "background" if a[t] < 0.5 and b[t] < 0.5 else "ambiguous"

    graphs = {name: torch.zeros(snippets, snippets).double() for name in ("action", "background", "ambiguous")}
    for target in range(snippets):
        alike = [(cosine(rgb, s, target) + cosine(flow, s, target)) / 2 for s in range(snippets)]
        kept = sorted(range(snippets), key=lambda s: -alike[s])[: snippets // 10]
        for source in kept:
            same = role(source) == role(target) and (role(target) != "ambiguous" or source == target)
            speaks = role(target) == "ambiguous" and role(source) != "ambiguous"
            if alike[source] >= 0.8 and (same or speaks):
                graphs[role(target)][source, target] = alike[source]
    return {name: graph / graph.sum(dim=0).clamp(min=1e-12) for name, graph in graphs.items()}


@pytest.mark.parametrize("snippets", [1, 9, 10, 23, 45])
def test_adjacency_is_the_sum_of_the_three_described(snippets: int) -> None:
    rgb, flow = video(snippets, seed=snippets)
    a, b = torch.rand(2, snippets).double()
    graphs = obvious_adjacency(rgb, flow, a, b)
    mine = adjacency(rgb[None], flow[None], roles(a[None], b[None]))[0]
    torch.testing.assert_close(mine, sum(graphs.values()))
    assert bool(mine.any()) == (snippets >= 10)
    if snippets == 45:
        assert all(graph.any() for graph in graphs.values()), "the case is too poor to test all three graphs"


def test_padding_takes_no_place_among_the_edges() -> None:
    lengths = (45, 30, 9)
    padded = torch.full((2, 3, SIZE, 45), 0.0).double()
    a, b = torch.rand(2, 3, 45).double()
    for row, length in enumerate(lengths):
        padded[0, row, :, :length], padded[1, row, :, :length] = video(length, seed=row)
    lengths_B = torch.tensor(lengths)
    valid = valid_mask(lengths_B, 45, padded)
    mine = adjacency(padded[0], padded[1], roles(a, b, valid), lengths_B, valid)
    for row, length in enumerate(lengths):
        alone = padded[:, row : row + 1, :, :length]
        of = roles(a[row : row + 1, :length], b[row : row + 1, :length])
        torch.testing.assert_close(mine[row, :length, :length], adjacency(alone[0], alone[1], of)[0])
        assert not mine[row, length:].any()
        assert not mine[row, :, length:].any()


def test_graph_module_is_the_three_networks_described() -> None:
    torch.manual_seed(0)
    module = GraphModule(SIZE).double().eval()
    x = torch.stack(video(45, seed=45))
    a, b = torch.rand(2, 45).double()
    of = roles(a[None], b[None])
    graphs = obvious_adjacency(x[0], x[1], a, b)
    edges = adjacency(x[:1], x[1:], of)
    assert of.action.any()
    assert of.background.any()
    for stream in (0, 1):
        average = x[stream] @ graphs["action"] + x[stream] @ graphs["background"] + x[stream] @ graphs["ambiguous"]
        results = []
        for name, layers in (("action", module.action_graph), ("background", module.background_graph)):
            hidden = x[stream][None]
            for layer in layers[stream]:
                hidden = F.leaky_relu(layer(hidden) @ graphs[name], 0.2)
            results.append(hidden[0])
        ambiguous = graphs["ambiguous"]
        from_action, from_background = (ambiguous * mask[0][:, None] for mask in (of.action, of.background))
        own = torch.diag(ambiguous.diagonal() * of.ambiguous[0])
        heard = results[0] @ from_action + results[1] @ from_background + x[stream] @ own
        mine_average, mine_network = module._change(stream, x[stream][None], Graph.of(edges, of), of)
        torch.testing.assert_close(mine_average[0], average)
        torch.testing.assert_close(mine_network[0], results[0] + results[1] + heard)
