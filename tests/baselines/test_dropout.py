"""Dropout of our own: what it draws, what it scales, and whose random numbers it uses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from dce_ray.baselines import BASELINES
from dce_ray.baselines import dropout as module
from dce_ray.baselines.dropout import CHUNK, TOLERANCE, Dropout, draw_mask, dropout, scaled, threshold
from dce_ray.presets import run_config
from dce_ray.train import Run
from dce_ray.train.random_states import RandomStates

PUBLISHED = (0.5, 0.7)
SHARES = (1e-6, 0.01, 0.1, 0.3, *PUBLISHED, 0.9, 0.99)


def forbid(*_: object) -> torch.Tensor:
    raise AssertionError("not this way")


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tensors are drawn like large ones, but for the test of their border."""
    monkeypatch.setattr(module, "FEWEST", 0)


@pytest.fixture
def no_own_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "draw_mask", forbid)


class TestMask:
    @pytest.mark.parametrize("p", SHARES)
    def test_share_of_kept_elements(self, p: float) -> None:
        """Within five standard deviations of a binomial distribution, and within 0.0003 of 1 - p."""
        torch.manual_seed(0)
        elements = 24_000_000
        kept = int(draw_mask(torch.Size((elements,)), p).sum(dtype=torch.int64)) / elements
        assert abs(kept - (1 - p)) < 5 * math.sqrt(p * (1 - p) / elements) + TOLERANCE * min(p, 1 - p)
        assert abs(kept - (1 - p)) < 3e-4
        assert 0 < kept < 1

    @pytest.mark.parametrize(
        ("p", "bits", "dropped"),
        [
            (0.5, 8, 128),
            (0.25, 8, 64),
            (0.7, 16, 45875),
            (0.9, 16, 58982),
            (0.01, 32, 42949673),
            (0.001, 32, 4294967),
            (1e-6, 32, 4295),
        ],
    )
    def test_fewest_bits_that_meet_the_share(self, p: float, bits: int, dropped: int) -> None:
        integers, lowest_kept = threshold(p)
        assert integers.itemsize * 8 == bits
        assert int(lowest_kept) + 2 ** (bits - 1) == dropped

    @pytest.mark.parametrize("p", [1e-12, 1 - 1e-12])
    def test_shares_beyond_32_bits_are_served(self, p: float) -> None:
        kept = draw_mask(torch.Size((10_000,)), p)
        assert kept.float().mean() == round(1 - p)

    @pytest.mark.parametrize("p", PUBLISHED)
    def test_no_value_stands_out_of_its_place(self, p: float) -> None:
        """Neighbours, distant elements, rows and the bytes of a word are independent of each other."""
        torch.manual_seed(1)
        centred = draw_mask(torch.Size((4 * CHUNK,)), p).double() - (1 - p)
        for distance in (1, 2, 3, 4, 7, 8, 96, 4096, CHUNK):
            correlation = (centred[distance:] * centred[:-distance]).mean() / (p * (1 - p))
            assert abs(correlation) < 5 / math.sqrt(len(centred) - distance), distance
        lanes = centred.view(-1, 8).mean(dim=0)
        assert lanes.abs().max() < 5 * math.sqrt(p * (1 - p) * 8 / len(centred))

    def test_calls_are_independent(self) -> None:
        torch.manual_seed(2)
        p, elements = 0.5, 100_000
        masks = torch.stack([draw_mask(torch.Size((elements,)), p).double() for _ in range(20)]) - (1 - p)
        correlations = (masks @ masks.T) / (elements * p * (1 - p))
        assert (correlations - torch.eye(20)).abs().max() < 5 / math.sqrt(elements)

    @pytest.mark.parametrize("elements", [0, 1, 3, 7, 9, CHUNK - 1, CHUNK, CHUNK + 5])
    @pytest.mark.parametrize("p", [*PUBLISHED, 0.001])
    def test_any_number_of_elements_is_filled(self, elements: int, p: float) -> None:
        mask = draw_mask(torch.Size((elements, 1)), p)
        assert mask.shape == (elements, 1)
        assert ((mask == 0) | (mask == 1)).all()

    def test_threads_do_not_change_it(self) -> None:
        before = torch.get_num_threads()
        drawn = []
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                torch.manual_seed(3)
                drawn.append(dropout(torch.ones(300, 1000), 0.7))
        finally:
            torch.set_num_threads(before)
        assert torch.equal(*drawn)


class TestValues:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("p", PUBLISHED)
    def test_what_is_kept_is_divided_by_the_share(self, p: float, dtype: torch.dtype) -> None:
        x = torch.randn(40, 50, dtype=dtype) + 10
        y = Dropout(p)(x)
        assert y.dtype == dtype
        kept = y != 0
        assert 0 < kept.double().mean() < 1
        torch.testing.assert_close(y[kept], (x / (1 - p))[kept])

    @pytest.mark.parametrize("p", PUBLISHED)
    def test_expectation_is_the_input(self, p: float) -> None:
        torch.manual_seed(4)
        x = torch.tensor([[-2.0, 0.0, 0.5, 3.0]]).expand(500_000, 4)
        deviation = x[0].abs() * math.sqrt(p / (1 - p) / len(x))
        assert ((dropout(x, p).double().mean(dim=0) - x[0]).abs() <= 5 * deviation + 1e-4 * x[0].abs()).all()

    def test_the_input_stays_as_it_is(self) -> None:
        x = torch.randn(10, 10)
        before = x.clone()
        dropout(x, 0.5)
        assert torch.equal(x, before)

    def test_strides_do_not_matter(self) -> None:
        x = torch.randn(6, 40, 50)
        views = x.transpose(1, 2), x[:, ::2], x[:1].expand(6, 40, 50), x[0, 0, 0]
        for view in views:
            torch.manual_seed(5)
            found = dropout(view, 0.7)
            torch.manual_seed(5)
            assert torch.equal(found, dropout(view.contiguous(), 0.7))
            assert found.shape == view.shape

    def test_no_elements(self) -> None:
        assert dropout(torch.zeros(3, 0, 2), 0.5).shape == (3, 0, 2)

    def test_eval_mode_is_the_identity_and_draws_nothing(self) -> None:
        x, before = torch.randn(4, 5), torch.get_rng_state()
        assert Dropout(0.7).eval()(x) is x
        assert torch.equal(torch.get_rng_state(), before)

    def test_none_and_all(self) -> None:
        x, before = torch.randn(4, 5), torch.get_rng_state()
        assert torch.equal(Dropout(0.0)(x), x)
        assert not Dropout(1.0)(x).any()
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("p", [-0.1, 1.1])
    def test_no_probability(self, p: float) -> None:
        with pytest.raises(ValueError, match="probability"):
            Dropout(p)

    def test_integers_are_refused(self) -> None:
        with pytest.raises(RuntimeError):
            dropout(torch.ones(3, dtype=torch.int64), 0.5)


class TestGradient:
    def test_is_the_mask_times_the_scale(self) -> None:
        x = torch.randn(30, 40, requires_grad=True)
        y = Dropout(0.7)(x)
        incoming = torch.randn(30, 40)
        y.backward(incoming)
        torch.testing.assert_close(x.grad, (y.detach() != 0) * incoming / 0.3)

    def test_reaches_kept_zeros(self) -> None:
        """An element that is zero itself is not taken for a dropped one."""
        x = torch.zeros(10_000, requires_grad=True)
        dropout(x, 0.5).sum().backward()
        assert 4_500 < x.grad.count_nonzero() < 5_500
        assert set(x.grad.unique().tolist()) == {0.0, 2.0}

    def test_first_and_second_order_with_a_frozen_mask(self) -> None:
        x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
        keep = draw_mask(x.shape, 0.5)

        def curved(x: torch.Tensor) -> torch.Tensor:
            return scaled(x, keep, 2.0) ** 3

        assert torch.autograd.gradcheck(curved, (x,))
        assert torch.autograd.gradgradcheck(curved, (x,))

    def test_of_a_transposed_input(self) -> None:
        x = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
        keep = draw_mask(torch.Size((7, 5)), 0.5)
        assert torch.autograd.gradcheck(lambda x: scaled(x.T, keep, 2.0).T, (x,))

    def test_remembers_one_byte_per_element(self) -> None:
        x = torch.randn(100, 100, requires_grad=True)
        saved: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            dropout(x, 0.7)
        assert sum(t.nbytes for t in saved) == x.numel()

    def test_without_a_graph_the_masks_are_the_same(self) -> None:
        x = torch.randn(20, 20, requires_grad=True)
        torch.manual_seed(6)
        with torch.no_grad():
            bare = dropout(x, 0.7)
        torch.manual_seed(6)
        graphed = dropout(x, 0.7)
        assert not bare.requires_grad
        assert graphed.requires_grad
        assert torch.equal(bare, graphed)


class TestDispatch:
    def test_other_devices_use_pytorchs_own(self, no_own_masks: None) -> None:
        x = torch.empty(4, 5, device="meta", requires_grad=True)
        y = Dropout(0.7)(x)
        assert (y.device.type, y.shape) == ("meta", x.shape)
        with pytest.raises(AssertionError, match="not this way"):
            Dropout(0.7)(torch.ones(4, 5))

    def test_small_tensors_use_pytorchs_own(self, no_own_masks: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "FEWEST", 100)
        assert dropout(torch.ones(99), 0.5).unique().tolist() == [0.0, 2.0]
        with pytest.raises(AssertionError, match="not this way"):
            dropout(torch.ones(100), 0.5)

    def test_other_devices_draw_what_pytorch_draws(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module.F, "dropout", lambda x, p: ("own", p))
        assert dropout(torch.empty(3, device="meta"), 0.25) == ("own", 0.25)

    def test_a_compiled_network_uses_pytorchs_own(self, no_own_masks: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert dropout(torch.ones(100), 0.5).unique().tolist() == [0.0, 2.0]

    @pytest.mark.parametrize("name", ["co2net", "delu", "ddgnet"])
    def test_every_dropout_of_a_network_is_ours_and_has_no_state(self, name: str) -> None:
        network = BASELINES[name].network(feature_size=8, classes=2, segments=60, pool=False, dropout=0.6)
        found = [layer for layer in network.modules() if isinstance(layer, nn.Dropout)]
        assert len(found) >= 7
        assert all(isinstance(layer, Dropout) and not layer.state_dict() for layer in found)
        assert {layer.p for layer in found} == {0.5, 0.6, 0.7}


class TestWhoseRandomNumbers:
    def test_pytorchs_seed_decides(self) -> None:
        x, drawn = torch.ones(100), []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            drawn.append(torch.stack([dropout(x, 0.5), dropout(x, 0.5)]))
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])
        assert not torch.equal(drawn[0][0], drawn[0][1])

    def test_a_fork_leaves_no_trace(self) -> None:
        torch.manual_seed(0)
        with torch.random.fork_rng():
            forked = dropout(torch.ones(100), 0.5)
        assert torch.equal(dropout(torch.ones(100), 0.5), forked)

    def test_two_runs_do_not_disturb_each_other(self) -> None:
        def masks(states: RandomStates) -> torch.Tensor:
            with states.active():
                return dropout(torch.ones(100), 0.5)

        alone = RandomStates(0, torch.device("cpu"))
        expected = [masks(alone) for _ in range(3)]
        one, other, found = RandomStates(0, torch.device("cpu")), RandomStates(7, torch.device("cpu")), []
        for _ in range(3):
            found.append(masks(one))
            masks(other)
            dropout(torch.ones(100), 0.5)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))

    def test_a_saved_state_goes_on(self, tmp_path: Path) -> None:
        states = RandomStates(0, torch.device("cpu"))
        with states.active():
            dropout(torch.ones(100), 0.5)
        torch.save(states.state(), tmp_path / "random.pt")
        with states.active():
            expected = dropout(torch.ones(100), 0.5)
        again = RandomStates(99, torch.device("cpu"))
        again.restore(torch.load(tmp_path / "random.pt", weights_only=True))
        with again.active():
            assert torch.equal(dropout(torch.ones(100), 0.5), expected)

    def test_both_passes_of_a_step_draw(self, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Eight masks for the attentions of the E step without a graph, eleven for the whole network with one."""
        graphs: list[bool] = []

        def counted(shape: torch.Size, p: float) -> torch.Tensor:
            graphs.append(torch.is_grad_enabled())
            return draw_mask(shape, p)

        monkeypatch.setattr(module, "draw_mask", counted)
        small = {"sampling": {"segments": 24, "batch": 6, "pairs": 2}, "device": "cpu"}
        Run(run_config("delu", tiny_store, data_set="synthetic", overrides=small)).advance(1)
        assert graphs == [False] * 8 + [True] * 11
