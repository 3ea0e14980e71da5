"""Shared layers against the plain form that the publications describe."""

from __future__ import annotations

import torch
from torch import nn

from dce_ray.baselines.blocks import AttentionHead, ConsensusModule, mean_over_time, smooth_over_time, valid_mask


def test_channel_gate_is_the_convolution_of_a_sequence_of_one_snippet() -> None:
    torch.manual_seed(0)
    module = ConsensusModule(6).double().eval()
    main, auxiliary = torch.randn(2, 3, 6, 5).double()
    convolve = module.channel_conv[0]
    plain_BS1 = module.channel_conv(main.mean(dim=2, keepdim=True))
    filtered = torch.sigmoid(module.bit_wise_attn(auxiliary) * plain_BS1) * main
    attention, mine = module(main, auxiliary, None)
    torch.testing.assert_close(mine, filtered)
    torch.testing.assert_close(attention, module.attention(filtered))
    wanted = torch.autograd.grad(filtered.square().sum(), convolve.weight)[0]
    found = torch.autograd.grad(mine.square().sum(), convolve.weight)[0]
    torch.testing.assert_close(found, wanted)
    assert not found[:, :, [0, 2]].any()


def test_half_of_the_attentions_is_undecided_in_training() -> None:
    torch.manual_seed(0)
    head = AttentionHead(8)
    nn.init.constant_(head[5].bias, 3.0)
    undecided = (head.train()(torch.randn(20, 8, 200)) == 0.5).double().mean()
    assert 0.47 < undecided < 0.53
    assert not (head.eval()(torch.randn(20, 8, 200)) == 0.5).any()


def test_weights_are_kaiming_uniform_and_biases_zero() -> None:
    head = AttentionHead(64)
    bound = (6 / (64 * 3)) ** 0.5
    assert 0.98 * bound < head[0].weight.abs().max() <= bound
    assert not any(head[index].bias.any() for index in (0, 3, 5))


def test_smoothing_counts_what_lies_outside_as_zero() -> None:
    x = torch.tensor([[[3.0, 6.0, 9.0, 12.0]]])
    assert smooth_over_time(x, 3, None).tolist() == [[[3.0, 6.0, 9.0, 7.0]]]
    valid = valid_mask(torch.tensor([2]), 4, x)
    assert smooth_over_time(x, 3, valid)[0, 0, :2].tolist() == [3.0, 3.0]


def test_mean_over_time_counts_own_snippets_alone() -> None:
    x = torch.tensor([[[1.0, 3.0, 100.0]], [[1.0, 2.0, 6.0]]])
    valid = valid_mask(torch.tensor([2, 3]), 3, x)
    assert mean_over_time(x, valid).tolist() == [[2.0], [3.0]]
