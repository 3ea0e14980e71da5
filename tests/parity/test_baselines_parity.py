"""CO2-Net, DELU and DDG-Net against the published implementations: all golden data, and the committed part of it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import pytest
import torch
from golden_case import COMPACT, COMPACT_CONFIGURATIONS, CONFIGURATIONS, GoldenCase, load_case
from parity_checks import gradient_errors, output_errors, second_pass, term_errors, term_tolerances

from dce_ray.baselines import TwoStreamNetwork, baseline_named
from dce_ray.baselines.ddgnet import DdgNet, DdgNetOutputs
from dce_ray.baselines.graph import adjacency, roles
from dce_ray.records import TwoStreamOutputs

SINGLE, DOUBLE = torch.float32, torch.float64
EXACT = 1e-10  # float64 against float64; section 11 of the data's README asks for 1e-8
KINKS = 1e-3
"""Of float32 gradients: one snippet that rounding carries over a kink (a ReLU, the k-th largest) moves a norm by up to
5e-4, another one on every kind of processor; the published float32 is up to 4e-4 off its own float64."""


@dataclass(frozen=True)
class Pass:
    """One forward pass of a configuration, used by several tests."""

    case: GoldenCase
    network: TwoStreamNetwork
    outputs: TwoStreamOutputs
    dtype: torch.dtype


SOURCES = [("golden", name) for name in CONFIGURATIONS] + [("compact", name) for name in COMPACT_CONFIGURATIONS]
PASSES = [
    (*source, dtype) for source in SOURCES for dtype in (SINGLE, DOUBLE) if source[0] == "golden" or dtype == SINGLE
]


def find_case(request: pytest.FixtureRequest, source: str, name: str) -> GoldenCase:
    return load_case(COMPACT if source == "compact" else request.getfixturevalue("golden"), name)


@pytest.fixture(params=SOURCES, ids="-".join)
def case(request: pytest.FixtureRequest) -> GoldenCase:
    return find_case(request, *request.param)


@pytest.fixture(scope="module", params=PASSES, ids=lambda p: f"{p[0]}-{p[1]}-{str(p[2]).removeprefix('torch.')}")
def passed(request: pytest.FixtureRequest) -> Pass:
    source, name, dtype = request.param
    case = find_case(request, source, name)
    network = case.network(dtype)
    return Pass(case, network, network(case.features.to(dtype)), dtype)


def within(errors: dict[str, float], tolerances: dict[str, float]) -> None:
    worse = {name: error for name, error in errors.items() if not error <= tolerances[name]}
    assert not worse, worse


def test_weights_and_inputs_follow_the_rule(case: GoldenCase) -> None:
    for name, check in case.numbers.get("weights_check", {}).items():
        if not name.startswith("feat_encoder"):
            shape = next(tuple(p.shape) for n, p in case.network().named_parameters() if n == name)
            assert zlib.crc32(case.weight(name, shape).numpy().tobytes()) == check["crc32"], name
            break
    assert (case.labels.numpy() == case.arrays["labels"]).all()
    assert case.features.shape == (case.numbers["B"], case.numbers["T"], 2048)


def test_variant_holds_the_published_weights(case: GoldenCase) -> None:
    assert dict(case.objective().weights) == case.terms(case.published_names())


def test_defaults_are_those_of_thumos14(case: GoldenCase) -> None:
    baseline = baseline_named(case.baseline)
    published = baseline.objective_config(**baseline.variants["thumos14"]["objective"])
    assert baseline.objective_config() == published


def test_outputs(passed: Pass) -> None:
    within(output_errors(passed.case, passed.outputs), dict.fromkeys(passed.case.arrays, 1.0))


def test_attend_gives_the_attentions(passed: Pass) -> None:
    attentions = passed.network.attend(passed.case.features.to(passed.dtype))
    for mine, whole in zip(attentions, (passed.outputs.rgb_attention, passed.outputs.flow_attention), strict=True):
        assert not mine.requires_grad
        torch.testing.assert_close(mine, whole.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_terms_total_and_gradients(passed: Pass, which: int) -> None:
    case, double = passed.case, passed.dtype == DOUBLE
    iteration = case.iterations[which]
    errors, total = term_errors(case, passed.outputs, iteration, case.numbers["losses"][str(iteration)]["f64"])
    base = EXACT if double else 1e-5
    with torch.no_grad():
        within(errors, term_tolerances(case, passed.outputs, base, intervened=False))
    if double == bool(which):
        return  # float64 differentiates at the first iteration, float32 at the second
    passed.network.zero_grad()
    total.backward(retain_graph=True)
    for name, (norm_error, probe_error) in gradient_errors(case, passed.network, iteration).items():
        assert norm_error <= (1e-8 if double else KINKS), name
        assert probe_error <= (1e-8 if double else KINKS), name


def test_second_pass_on_intervened_features(passed: Pass) -> None:
    case, double = passed.case, passed.dtype == DOUBLE
    keys = list(case.numbers["scs"]["intervened"])
    for key in keys[-1:] if double else keys:
        published = case.numbers["scs"]["intervened"][key]
        outputs = second_pass(case, passed.network, passed.outputs, key)
        within(output_errors(case, outputs, f"scs_{key}_"), dict.fromkeys(case.arrays, 1.0))
        errors, _ = term_errors(case, outputs, published["itr"], published["f64"])
        within(errors, term_tolerances(case, outputs, EXACT if double else 1e-5, intervened=True))


def test_graph_of_ddgnet(passed: Pass) -> None:
    if not isinstance(passed.network, DdgNet):
        return
    assert isinstance(passed.outputs, DdgNetOutputs)
    published, arrays = passed.case.numbers["ddg_graph"], passed.case.arrays
    early = passed.outputs.early_rgb_attention, passed.outputs.early_flow_attention
    for mine, name in zip(early, ("ddg_pre_graph_v_atn", "ddg_pre_graph_f_atn"), strict=True):
        assert (mine - torch.from_numpy(arrays[name])).abs().max() < 2e-5
    of = roles(*early)
    assert (int(of.action.sum()), int(of.background.sum())) == (published["n_action"], published["n_background"])
    rgb_BST, flow_BST, _ = passed.network.split(passed.case.features.to(passed.dtype), None)
    edges_BTT = adjacency(rgb_BST, flow_BST, of)
    ambiguous_BTT = edges_BTT * of.ambiguous[:, None]
    own_BT = ambiguous_BTT.diagonal(dim1=1, dim2=2)
    parts = (
        edges_BTT * of.action[:, None],
        edges_BTT * of.background[:, None],
        ambiguous_BTT,
        ambiguous_BTT * of.action[:, :, None],
        ambiguous_BTT * of.background[:, :, None],
        own_BT,
    )
    assert [int((part != 0).sum()) for part in parts] == published["adjacency_nonzeros"]
    sums = torch.tensor([float(part.double().sum()) for part in parts], dtype=DOUBLE)
    torch.testing.assert_close(sums, torch.tensor(published["adjacency_sum"], dtype=DOUBLE), rtol=1e-6, atol=0)
