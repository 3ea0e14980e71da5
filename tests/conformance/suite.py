"""What every baseline must do; subclass :class:`ConformanceSuite`, set ``baseline`` and the tests come along.

Shapes: B videos, T snippets, D input channels, C classes.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from no_sync import NoSync
from torch import Tensor

from dce_ray.baselines import Baseline, Objective, TwoStreamNetwork
from dce_ray.records import Batch, TwoStreamOutputs

SIZE, CLASSES, SEGMENTS = 16, 3, 24
LENGTHS = (1, 2, 5, 9, 10, 13, 20, 31)


class ConformanceSuite:
    """Tests of one baseline in one published variant."""

    baseline: Baseline
    variant: str = "thumos14"

    def network(self, size: int = SIZE, classes: int = CLASSES, seed: int = 0) -> TwoStreamNetwork:
        torch.manual_seed(seed)
        options: dict[str, Any] = {"pool": False, "dropout": 0.7} | dict(
            self.baseline.variants[self.variant]["network"]
        )
        network = self.baseline.network(feature_size=size, classes=classes, segments=SEGMENTS, **options)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.5)  # attentions that leave 0.5
        return network.eval()

    def objective(self) -> Objective:
        values = self.baseline.variants[self.variant]["objective"]
        return self.baseline.objective(self.baseline.objective_config(**values))

    def batch(self, videos: int = 7, snippets: int = 20, size: int = SIZE, pairs: int = 2, seed: int = 1) -> Batch:
        """Features that drift from snippet to snippet, so that neighbours are alike; each pair shares a class."""
        torch.manual_seed(seed)
        drift = torch.randn(videos, snippets, size).cumsum(dim=1) * 0.3
        features_BTD = (drift + 1.5 * torch.randn(videos, 1, size)).relu()
        labels_BC = (torch.rand(videos, CLASSES) < 0.3).float()
        labels_BC[:, 0] = 1
        labels_BC[-1] = 0
        labels_BC[-1, CLASSES - 1] = 1
        return Batch(features_BTD, labels_BC, pairs=pairs)

    def total(self, outputs: TwoStreamOutputs, batch: Batch) -> Tensor:
        objective = self.objective()
        terms = objective(outputs, batch, 0.25)
        return torch.stack([objective.weights[name] * value for name, value in terms.items()]).sum()

    @pytest.mark.parametrize("snippets", range(1, 21))
    def test_shapes_and_ranges_from_one_snippet_on(self, snippets: int) -> None:
        batch = self.batch(snippets=snippets)
        outputs = self.network()(batch.features)
        assert outputs.logits.shape == (7, snippets, CLASSES + 1)
        assert outputs.features.shape[:2] == (7, snippets)
        for attention in (outputs.rgb_attention, outputs.flow_attention, outputs.attention):
            assert attention.shape == (7, snippets)
            assert ((attention >= 0) & (attention <= 1)).all()
        total = self.total(outputs, batch)
        total.backward()
        assert total.isfinite()

    @pytest.mark.parametrize("snippets", [1, 3, 20])
    def test_training_mode_gives_finite_gradients(self, snippets: int) -> None:
        network, batch = self.network().train(), self.batch(snippets=snippets)
        self.total(network(batch.features), batch).backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name

    @pytest.mark.parametrize(("size", "classes", "videos", "pairs"), [(4, 1, 2, 1), (10, 3, 1, 0), (36, 3, 12, 6)])
    def test_any_size(self, size: int, classes: int, videos: int, pairs: int) -> None:
        batch = self.batch(videos=videos, size=size, pairs=pairs)
        batch = Batch(batch.features, batch.labels[:, :classes], pairs=pairs)
        outputs = self.network(size, classes)(batch.features)
        assert outputs.logits.shape == (videos, 20, classes + 1)
        assert self.total(outputs, batch).isfinite()

    def test_terms_are_scalars_with_weights(self) -> None:
        batch, objective = self.batch(), self.objective()
        terms = objective(self.network()(batch.features), batch, 0.5)
        assert set(terms) == set(objective.weights)
        assert all(value.dim() == 0 and value.isfinite() for value in terms.values())

    def test_gradients_reach_every_parameter(self) -> None:
        network, batch = self.network(), self.batch(snippets=40)
        self.total(network(batch.features), batch).backward()
        still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        assert not still, f"no gradient: {still}"

    def test_video_without_labels_and_no_pair_are_finite(self) -> None:
        network, batch = self.network(), self.batch(pairs=0)
        bare = Batch(batch.features, torch.zeros_like(batch.labels), pairs=2)
        for case in (batch, bare):
            network.zero_grad()
            total = self.total(network(case.features), case)
            total.backward()
            assert total.isfinite()
            assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())

    def test_features_of_zeros_are_finite(self) -> None:
        network, batch = self.network(), self.batch()
        erased = Batch(torch.zeros_like(batch.features), batch.labels, pairs=2)
        self.total(network(erased.features), erased).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())

    def test_padding_does_not_reach_a_video(self) -> None:
        network = self.network()
        whole = self.batch(videos=len(LENGTHS), snippets=max(LENGTHS)).features
        lengths_B = torch.tensor(LENGTHS)
        inside_BT = torch.arange(max(LENGTHS)) < lengths_B[:, None]
        outputs = network(whole * inside_BT[:, :, None], lengths_B)
        attended = network.attend(whole * inside_BT[:, :, None], lengths_B)
        for video, length in enumerate(LENGTHS):
            alone = network(whole[video : video + 1, :length])
            for name in ("features", "logits", "rgb_attention", "flow_attention"):
                together = getattr(outputs, name)[video, :length]
                torch.testing.assert_close(together, getattr(alone, name)[0], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(attended[0][video, :length], alone.rgb_attention[0], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(attended[1][video, :length], alone.flow_attention[0], rtol=1e-5, atol=1e-5)
        assert not outputs.attention[~inside_BT].any(), "attention behind a video's end"

    def test_lengths_of_full_videos_change_nothing(self) -> None:
        network, batch = self.network(), self.batch()
        with_lengths = network(batch.features, torch.full((7,), 20))
        torch.testing.assert_close(with_lengths.logits, network(batch.features).logits, rtol=1e-5, atol=1e-5)

    def test_videos_do_not_see_each_other(self) -> None:
        network, batch = self.network(), self.batch()
        together = network(batch.features)
        for video in range(7):
            alone = network(batch.features[video : video + 1])
            torch.testing.assert_close(alone.logits[0], together.logits[video], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(alone.attention[0], together.attention[video], rtol=1e-5, atol=1e-5)

    def test_eval_mode_is_deterministic_and_training_is_not(self) -> None:
        network, batch = self.network(), self.batch()
        assert torch.equal(network(batch.features).logits, network(batch.features).logits)
        network.train()
        assert not torch.equal(network(batch.features).logits, network(batch.features).logits)

    def test_attend_is_forward_without_a_graph(self) -> None:
        network, batch = self.network(), self.batch()
        outputs, (rgb_BT, flow_BT) = network(batch.features), network.attend(batch.features)
        torch.testing.assert_close(rgb_BT, outputs.rgb_attention)
        torch.testing.assert_close(flow_BT, outputs.flow_attention)
        assert not rgb_BT.requires_grad
        assert not flow_BT.requires_grad

    def test_input_is_left_as_it_was(self) -> None:
        network, batch = self.network(), self.batch()
        before = batch.features.clone()
        self.total(network(batch.features), batch).backward()
        assert torch.equal(before, batch.features)

    @pytest.mark.parametrize("snippets", [1, 20])
    @pytest.mark.parametrize("padded", [False, True])
    def test_nothing_waits_for_the_device(self, snippets: int, padded: bool) -> None:
        network, batch = self.network().train(), self.batch(snippets=snippets)
        lengths_B = torch.full((7,), snippets) if padded else None
        with NoSync():
            network.attend(batch.features, lengths_B)
            self.total(network(batch.features, lengths_B), batch).backward()

    def test_double_precision(self) -> None:
        network, batch = self.network(), self.batch()
        double = copy.deepcopy(network).double()
        outputs = double(batch.features.double())
        assert outputs.logits.dtype == outputs.attention.dtype == torch.float64
        torch.testing.assert_close(outputs.logits.float(), network(batch.features).logits, rtol=1e-4, atol=1e-4)

    def test_mixed_precision_is_finite(self) -> None:
        network, batch = self.network().train(), self.batch()
        with torch.autocast("cpu", torch.bfloat16):
            network.attend(batch.features)
            total = self.total(network(batch.features), batch)
        total.backward()
        assert total.isfinite()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())

    def test_one_seed_gives_one_network(self) -> None:
        one, same, other = self.network(seed=3), self.network(seed=3), self.network(seed=4)
        pairs = list(zip(one.parameters(), same.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs)
        assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
