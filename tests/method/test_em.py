"""The EM step: which pass sees what, what it returns, and that it never waits for the device."""

from __future__ import annotations

import pytest
import torch
from no_sync import NoSync, Waits
from torch import nn

from dce_ray.baselines import BASELINES, TwoStreamNetwork
from dce_ray.config import MethodConfig
from dce_ray.method import Consistency, Intervention, build_method, em_step
from dce_ray.records import Batch, TwoStreamOutputs

VIDEOS, SNIPPETS, SIZE, CLASSES = 6, 30, 16, 3


class SmallNetwork(TwoStreamNetwork):
    """Attentions are read off the features, and every call is noted."""

    def __init__(self):
        super().__init__(feature_size=2, classes=1)
        self.classifier = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)
        self.calls = []

    def forward(self, features_BTD, lengths_B=None):
        self.calls.append(("forward", features_BTD, torch.is_grad_enabled(), self.training))
        return self._outputs(features_BTD)

    def attend(self, features_BTD, lengths_B=None):
        self.calls.append(("attend", features_BTD, torch.is_grad_enabled(), self.training))
        outputs = self._outputs(features_BTD)
        return outputs.rgb_attention, outputs.flow_attention

    def _outputs(self, features):
        features = features * self.classifier.weight.sum() / self.classifier.weight.sum().detach()
        return TwoStreamOutputs(
            features=features,
            logits=self.drop(self.classifier(features)),
            rgb_attention=features[..., 0],
            flow_attention=features[..., 1],
        )


class SmallObjective:
    """Mean logit, times the progress, so that it is seen to arrive."""

    def __init__(self):
        self.weights = {"mean": 2.0}

    def __call__(self, outputs, batch, progress):
        return {"mean": outputs.logits.mean() * progress}


FEATURES = torch.tensor(
    [[[0.9, 0.9], [0.6, 0.6], [0.9, 0.1], [0.9, 0.7]], [[0.1, 0.1], [0.2, 0.2], [0.1, 0.9], [0.3, 0.3]]]
)
INTERVENTION = Intervention.of(MethodConfig(delta=0.5, lambda_=0.5))
CONSISTENCY = Consistency.of(MethodConfig(theta_rep=0.75, theta_pro=0.5, beta=3.0, gamma=5.0))


def step(network, intervention=INTERVENTION, consistency=CONSISTENCY, iteration=1, progress=0.5):
    batch = Batch(FEATURES, torch.ones(2, 1))
    return em_step(
        network,
        SmallObjective(),
        batch,
        intervention=intervention,
        consistency=consistency,
        iteration=iteration,
        progress=progress,
    )


def test_streams_vote_then_the_network_learns_without_what_they_disagree_on():
    network = SmallNetwork()
    before = FEATURES.clone()
    result = step(network)
    (first, voted, vote_has_graph, vote_drops), (second, learned, learns_with_graph, learns_with_drop) = network.calls
    assert (first, vote_has_graph, vote_drops) == ("attend", False, True)
    assert (second, learns_with_graph, learns_with_drop) == ("forward", True, True)
    assert torch.equal(voted, FEATURES)
    # |0.9 - 0.1| / 1 > 0.5 at snippet 2 of both videos; lambda 0.5 halves it.
    expected = FEATURES.clone()
    expected[:, 2] *= 0.5
    torch.testing.assert_close(learned, expected)
    assert torch.equal(before, FEATURES)
    assert result.diagnostics["psi_share"].item() == pytest.approx(2 / 8)


def test_consistency_reads_the_second_pass():
    result = step(SmallNetwork())
    # Mean attentions after the intervention: 0.9, 0.6, 0.25, 0.8: proposals {0.9, 0.6} and {0.8}. With the snippet as
    # it was (0.5, at the threshold), nothing else would be one either; without E it is {0.9, 0.6}, {0.8} all the same.
    assert result.diagnostics["proposals"].item() == 2
    assert result.diagnostics["mcm_share"].item() == pytest.approx(1 / 2)
    # X = attentions: mean of representatives 0.9, of the proposal 0.75; squares 0.0225 in both channels; {0.8} adds 0.
    assert result.terms["mcm_feature"].item() == pytest.approx(0.0225 / 2)
    # Target 0.9: squares 0 and 0.09; video 2 has no proposal.
    assert result.terms["mcm_label"].item() == pytest.approx((0.045 + 0) / 2 / 2)


def test_intervention_splits_a_proposal():
    weak = Consistency.of(MethodConfig(theta_rep=0.75, theta_pro=0.4))
    with_e = step(SmallNetwork(), consistency=weak)
    without_e = step(SmallNetwork(), intervention=None, consistency=weak)
    assert with_e.terms["mcm_feature"].item() == pytest.approx(0.0225 / 2)
    # Video 1 is one proposal of four: X of the representatives (0.9, 0.8), of all (0.825, 0.575).
    assert without_e.terms["mcm_feature"].item() == pytest.approx((0.075**2 + 0.225**2) / 2)


def test_total_weighs_all_terms_and_reaches_the_parameters():
    network = SmallNetwork().eval()
    result = step(network)
    assert dict(result.weights) == {"mean": 2.0, "mcm_feature": 3.0, "mcm_label": 5.0}
    expected = sum(result.weights[name] * value.item() for name, value in result.terms.items())
    assert result.total.item() == pytest.approx(expected)
    result.total.backward()
    assert network.classifier.weight.grad.abs().sum() > 0


def test_without_scs_and_mcm_it_is_the_plain_baseline():
    network = SmallNetwork().eval()
    result = step(network, intervention=None, consistency=None)
    assert [call[0] for call in network.calls] == ["forward"]
    assert network.calls[0][1] is FEATURES
    assert dict(result.weights) == {"mean": 2.0}
    assert result.diagnostics == {}
    assert torch.equal(result.terms["mean"], network(FEATURES).logits.mean() * 0.5)


def test_each_part_brings_its_own_diagnostics():
    assert step(SmallNetwork(), consistency=None).diagnostics.keys() == {"psi_share"}
    assert step(SmallNetwork(), intervention=None).diagnostics.keys() == {"mcm_share", "proposals"}
    assert not any(value.requires_grad for value in step(SmallNetwork()).diagnostics.values())


def test_mcm_waits_for_its_start_and_the_row_stays_the_same():
    late = Consistency.of(MethodConfig(theta_rep=0.75, theta_pro=0.5, mcm_start_iteration=3000))
    early, after = (step(SmallNetwork().eval(), consistency=late, iteration=number) for number in (3000, 3001))
    assert early.terms["mcm_feature"].item() == early.terms["mcm_label"].item() == 0
    assert after.terms["mcm_feature"].item() > 0
    assert early.terms.keys() == after.terms.keys()
    assert early.diagnostics.keys() == after.diagnostics.keys()
    early.total.backward()


def test_losses_keep_their_precision_under_autocast():
    seen = []

    class Objective(SmallObjective):
        def __call__(self, outputs, batch, progress):
            seen.append((outputs.logits.dtype, outputs.features.dtype, torch.is_autocast_enabled("cpu")))
            return super().__call__(outputs, batch, progress)

    batch = Batch(FEATURES, torch.ones(2, 1))
    parts = {"intervention": INTERVENTION, "consistency": CONSISTENCY, "iteration": 1, "progress": 0.5}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = em_step(SmallNetwork(), Objective(), batch, **parts)
    assert seen == [(torch.float32, torch.float32, False)]
    assert {value.dtype for value in result.terms.values()} == {torch.float32}


def test_build_method_reads_every_field():
    config = MethodConfig(
        delta=0.1,
        theta_rep=0.2,
        theta_pro=0.3,
        beta=4.0,
        gamma=5.0,
        lambda_=0.6,
        strategy="minmax",
        epsilon=1e-5,
        target="ones",
        reduction="sum",
        representatives="closed",
        mcm_start_iteration=7,
    )
    intervention, consistency = build_method(config, scs=True, mcm=True)
    assert intervention == Intervention(delta=0.1, strength=0.6, strategy="minmax", epsilon=1e-5)
    assert consistency == Consistency(
        theta_rep=0.2,
        theta_pro=0.3,
        beta=4.0,
        gamma=5.0,
        target="ones",
        reduction="sum",
        representatives="closed",
        start_iteration=7,
    )
    assert build_method(config, scs=False, mcm=True) == (None, consistency)
    assert build_method(config, scs=True, mcm=False) == (intervention, None)


def baseline_step(name, pool, device="cpu", **method):
    """A whole step of a real baseline, backward pass included."""
    torch.manual_seed(0)
    baseline = BASELINES[name]
    variant = baseline.variants["activitynet12" if pool else "thumos14"]
    network = baseline.network(feature_size=SIZE, classes=CLASSES, segments=SNIPPETS, **variant["network"]).to(device)
    objective = baseline.objective(baseline.objective_config(**variant["objective"]))
    features = torch.rand(VIDEOS, SNIPPETS, SIZE).to(device)
    labels = torch.zeros(VIDEOS, CLASSES)
    labels[:, 0] = 1
    batch = Batch(features, labels.to(device), pairs=2)
    config = MethodConfig(delta=0.1, theta_rep=0.55, theta_pro=0.45, **method)
    intervention, consistency = build_method(config, scs=True, mcm=True)

    def run():
        network.zero_grad(set_to_none=True)
        parts = {"intervention": intervention, "consistency": consistency, "iteration": 1, "progress": 0.25}
        result = em_step(network, objective, batch, **parts)
        result.total.backward()
        return network, result

    return run


METHODS = [
    {},
    {"target": "ones", "representatives": "closed"},
    {"target": "proposal", "representatives": "closed", "strategy": "minmax"},
    {"reduction": "sum", "strategy": "threshold"},
    {"reduction": "pooled", "strategy": "difference"},
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("name", BASELINES)
def test_a_step_never_waits_for_the_device(name, pool, method):
    run = baseline_step(name, pool, **method)
    run()  # caches, lazy initialisation
    with NoSync():
        run()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("name", BASELINES)
def test_a_step_needs_no_values_at_all(name, pool, method):
    # Tensors on the meta device have shapes and no data: .cpu(), .numpy(), .item() and masks as indices all fail there.
    _, result = baseline_step(name, pool, device="meta", **method)()
    assert {value.shape for value in (*result.terms.values(), *result.diagnostics.values())} == {torch.Size([])}


def sample():
    return torch.tensor([1.0, 0.0, 2.0])


@pytest.mark.parametrize(
    "waits",
    [
        lambda: sample().sum().item(),
        lambda: bool(sample().sum() > 0),
        lambda: sample().nonzero(),
        lambda: torch.where(sample() > 0),
        lambda: sample()[sample() > 0],
        lambda: sample().__setitem__(sample() > 0, torch.ones(2)),
        lambda: sample().masked_select(sample() > 0),
        lambda: sample().unique(),
        lambda: torch.equal(sample(), sample()),
        lambda: sample().to("meta"),
        lambda: sample().repeat_interleave(torch.tensor([1, 2, 3])),
    ],
)
def test_the_guard_itself_can_fail(waits):
    with NoSync(), pytest.raises(Waits):
        waits()


def test_the_guard_lets_the_rest_pass():
    with NoSync():
        x = sample()
        x[torch.tensor([0, 1])] + torch.where(x[:2] > 0, x[:2], 0.0) + x.to(torch.float64)[:2] + x.cumsum(0)[0]


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_seed_gives_the_same_step_bit_for_bit(name):
    run = baseline_step(name, pool=False)
    rows = []
    for _ in range(2):
        torch.manual_seed(3)
        network, result = run()
        assert result.diagnostics["proposals"] > VIDEOS
        assert 0 < result.diagnostics["psi_share"] < 1
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        rows.append([result.total.detach(), *result.diagnostics.values(), *gradients])
    assert all(torch.equal(one, other) for one, other in zip(*rows, strict=True))


@pytest.mark.parametrize("name", BASELINES)
def test_a_step_improves_what_it_optimises(name):
    run = baseline_step(name, pool=False)
    network, first = run()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    network.eval()
    totals = []
    for _ in range(15):
        _, result = run()
        totals.append(result.total.item())
        optimiser.step()
    assert first.terms.keys() >= {"mcm_feature", "mcm_label"}
    assert totals[-1] < totals[0]
