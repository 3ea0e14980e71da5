"""One training step with SCS and MCM against a step of the released kind, on the CPU.

``python -m benchmarks.step [baseline=delu] [pairs=3] [threads=2] [snippets=320] [videos=10]``

The reference does what the released training loops do, written anew from their description: the whole network with its
autograd graph in the E step, a mask made in NumPy on the host, MCM in Python loops over videos and proposals, with
PyTorch's own dropout and default Adam. Both kinds share weights, objective and batch and all other layers, take turns
in one process, and are checked to return the same loss before they are timed. Peak memory is that of a fresh process
for each kind.
"""

from __future__ import annotations

import itertools
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.provenance import provenance
from benchmarks.released import released_optimiser, released_twin
from dce_ray.baselines import Objective, TwoStreamNetwork, baseline_named
from dce_ray.baselines.blocks import AttentionHead
from dce_ray.config import MethodConfig
from dce_ray.method import METHOD_PRESETS, build_method, em_step
from dce_ray.records import Batch, StepResult, TwoStreamOutputs

FEATURE_SIZE, CLASSES, PROGRESS = 2048, 20, 0.1
OPTIONS = {"baseline": "delu", "pairs": "3", "threads": "2", "snippets": "320", "videos": "10"}


@dataclass
class Bench:
    """What both kinds share, and in which layers and optimiser they differ; the weights are the same tensors."""

    network: TwoStreamNetwork
    twin: TwoStreamNetwork
    objective: Objective
    batch: Batch
    method: MethodConfig
    optimisers: dict[str, torch.optim.Optimizer]

    def ours(self) -> StepResult:
        intervention, consistency = build_method(self.method, scs=True, mcm=True)
        return em_step(
            self.network,
            self.objective,
            self.batch,
            intervention=intervention,
            consistency=consistency,
            iteration=1,
            progress=PROGRESS,
        )

    def released(self) -> StepResult:
        features, method = self.batch.features, self.method
        outputs = self.twin(features)
        rgb = outputs.rgb_attention.detach().cpu().numpy()
        flow = outputs.flow_attention.detach().cpu().numpy()
        mask = np.abs(rgb - flow) / (rgb + flow + method.epsilon) > method.delta
        factor = torch.from_numpy(1 - method.lambda_ * mask.astype(np.float32)).to(features.device)
        outputs = self.twin(features * factor[:, :, None])
        terms = self.objective(outputs, self.batch, PROGRESS)
        terms["mcm_feature"], terms["mcm_label"] = looped_mcm(outputs, method)
        weights = {**self.objective.weights, "mcm_feature": method.beta, "mcm_label": method.gamma}
        return StepResult(terms, weights)

    def learn(self, kind: str) -> StepResult:
        """One whole step of ``ours`` or the ``released`` kind."""
        result: StepResult = getattr(self, kind)()
        self.optimisers[kind].zero_grad(set_to_none=True)
        result.total.backward()
        self.optimisers[kind].step()
        return result


def looped_mcm(outputs: TwoStreamOutputs, method: MethodConfig, *, per_video: bool = False) -> tuple[Tensor, Tensor]:
    """Feature and label level in loops over videos and proposals found on the host; closed ends.

    As released, a proposal's features are a slice of the whole batch's tensor, so that its backward pass fills a
    gradient of the batch's size, and its representatives are picked one snippet at a time. With ``per_video`` each
    video's tensor is taken apart once and representatives are picked at once: what a careful hand makes of the loops.
    """
    attention, features = outputs.attention, outputs.features
    feature_terms, label_sum = [], attention.new_zeros(())
    for video in range(len(attention)):
        values = attention[video].detach().cpu().numpy()
        strong = np.flatnonzero(values > method.theta_rep)
        features_TE = features[video]
        strong_features = list(features_TE[strong]) if not per_video else []
        label_terms = []
        for start, end in runs_above(values, method.theta_pro):
            chosen = [row for row, snippet in enumerate(strong) if start <= snippet <= end]
            if chosen:
                if per_video:
                    best, inside = features_TE[strong[chosen]], features_TE[start:end]
                else:
                    best, inside = torch.stack([strong_features[row] for row in chosen]), features[video, start:end]
                feature_terms.append(F.mse_loss(inside.mean(dim=0), best.mean(dim=0)))
            proposal = attention[video, start:end]
            target = torch.ones_like(proposal) if method.target == "ones" else proposal.mean().expand_as(proposal)
            label_terms.append(F.mse_loss(proposal, target))
        if label_terms:
            label_sum = label_sum + torch.stack(label_terms).mean()
    feature = torch.stack(feature_terms).mean() if feature_terms else attention.new_zeros(())
    return feature, label_sum / len(attention)


def runs_above(values: NDArray[np.float32], threshold: float) -> list[tuple[int, int]]:
    """Maximal runs [start, end) of values above ``threshold``."""
    steps = np.diff(np.concatenate(([0], values > threshold, [0])).astype(np.int8))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


def make(options: dict[str, str]) -> Bench:
    """A network whose attentions spread over [0, 1], as training makes them, and videos that change slowly."""
    torch.manual_seed(0)
    torch.set_num_threads(int(options["threads"]))
    videos, snippets = int(options["videos"]), int(options["snippets"])
    baseline = baseline_named(options["baseline"])
    variant = baseline.variants["thumos14"]
    network = baseline.network(
        feature_size=FEATURE_SIZE, classes=CLASSES, segments=snippets, **variant.get("network", {})
    )
    objective = baseline.objective(baseline.objective_config(**variant["objective"]))
    knots = torch.randn(videos, FEATURE_SIZE, max(2, snippets // 10))
    walk = F.interpolate(knots, size=snippets, mode="linear") + 0.12 * torch.randn(videos, FEATURE_SIZE, snippets)
    features = 2 * F.relu(walk - 0.6).transpose(1, 2).contiguous()
    labels = torch.zeros(videos, CLASSES)
    labels[torch.arange(videos), torch.arange(videos) // 2 % CLASSES] = 1
    batch = Batch(features, labels, pairs=min(3, videos // 2))
    method = MethodConfig.from_mapping(METHOD_PRESETS["released", "thumos14", options["baseline"]])
    spread_attentions(network, batch.features[:2])
    twin = released_twin(network)
    ours = torch.optim.Adam(network.parameters(), lr=5e-5, weight_decay=1e-3, fused=True)  # as build_optimiser does
    optimisers: dict[str, torch.optim.Optimizer] = {"ours": ours, "released": released_optimiser(twin, ours)}
    return Bench(network, twin, objective, batch, method, optimisers)


@torch.no_grad()
def spread_attentions(network: TwoStreamNetwork, features: Tensor) -> None:
    """Scale the last layer of the attention heads to logits of mean 0 and deviation 2.5; initial ones are all near 0,
    and a network without proposals would leave the reference's loops nothing to do."""
    heads = [module for module in network.modules() if isinstance(module, AttentionHead)]
    for head in heads:
        seen: list[Tensor] = []
        handle = head[5].register_forward_hook(lambda _module, _inputs, output, seen=seen: seen.append(output))
        network.eval().attend(features)
        handle.remove()
        scale = 2.5 / seen[-1].std()
        head[5].bias.copy_((head[5].bias - seen[-1].mean()) * scale)
        head[5].weight.mul_(scale)
    network.train()


def check_same_loss(bench: Bench) -> None:
    """Without dropout both kinds compute one function."""
    bench.network.eval(), bench.twin.eval()
    with torch.no_grad():
        ours, released = bench.ours().total.item(), bench.released().total.item()
    bench.network.train(), bench.twin.train()
    assert abs(ours / released - 1) < 1e-4, (ours, released)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def time_steps(bench: Bench, pairs: int) -> tuple[float, float]:
    """Median seconds of our step and of the released kind's, which take turns; the first pair warms up."""
    times: dict[str, list[float]] = {"ours": [], "released": []}
    for pair in range(pairs + 1):
        for name in sorted(times, reverse=pair % 2 == 1):
            elapsed = seconds(partial(bench.learn, name))
            if pair:
                times[name].append(elapsed)
    return statistics.median(times["ours"]), statistics.median(times["released"])


def time_mcm(bench: Bench, pairs: int) -> tuple[dict[str, float], int]:
    """Median seconds of MCM alone, forward and backward, on one training pass's outputs; and its proposals."""
    with torch.no_grad():
        outputs = bench.network(bench.batch.features)
    names = ("features", "rgb_attention", "flow_attention")
    leaves = [getattr(outputs, name).detach().requires_grad_() for name in names]
    outputs = TwoStreamOutputs(leaves[0], outputs.logits, leaves[1], leaves[2])
    _, consistency = build_method(bench.method, scs=False, mcm=True)
    assert consistency is not None
    kinds: dict[str, Callable[[], Iterable[Tensor]]] = {
        "ours": lambda: list(consistency(outputs, 1)[0].values()),
        "released": lambda: looped_mcm(outputs, bench.method),
        "careful": lambda: looped_mcm(outputs, bench.method, per_video=True),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for pair, name in itertools.product(range(pairs + 1), kinds):
        for leaf in leaves:
            leaf.grad = None
        elapsed = seconds(lambda name=name: sum(kinds[name]()).backward())
        if pair:
            times[name].append(elapsed)
    proposals = int(consistency(outputs, 1)[1]["proposals"])
    return {name: statistics.median(values) for name, values in times.items()}, proposals


def peak_mib(options: dict[str, str], kind: str) -> float:
    """Peak resident memory of a fresh process that takes two steps of ``kind``."""
    arguments = [f"{key}={value}" for key, value in options.items()]
    command = [sys.executable, "-m", "benchmarks.step", *arguments, f"peak={kind}"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(arguments: list[str]) -> None:
    given = dict(argument.split("=", 1) for argument in arguments)
    kind = given.pop("peak", None)
    unknown = given.keys() - OPTIONS.keys()
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(OPTIONS)}")
    options = OPTIONS | given
    if kind is not None:
        bench = make(options)
        for _ in range(2):
            bench.learn(kind)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    report(options)


def report(options: dict[str, str]) -> None:
    print(provenance())
    print(f"python -m benchmarks.step {' '.join(f'{key}={value}' for key, value in options.items())}")
    peaks = {kind: peak_mib(options, kind) for kind in ("ours", "released")}
    bench, pairs = make(options), int(options["pairs"])
    check_same_loss(bench)
    mcm_s, proposals = time_mcm(bench, max(5, pairs))
    step_ours_s, step_released_s = time_steps(bench, pairs)
    load = os.getloadavg()[0]
    print(f"{proposals} proposals in the batch; medians of {pairs} interleaved steps; load average {load:.1f}\n")
    print(f"{'':40}{'ours':>10}{'reference':>12}{'ratio':>9}")
    row("step, released kind [s]", step_ours_s, step_released_s)
    row("MCM, released loops [ms]", mcm_s["ours"] * 1e3, mcm_s["released"] * 1e3)
    row("MCM, loops over videos taken apart [ms]", mcm_s["ours"] * 1e3, mcm_s["careful"] * 1e3)
    row("peak memory, released kind [MiB]", peaks["ours"], peaks["released"])


def row(name: str, ours: float, reference: float) -> None:
    print(f"{name:40}{ours:10.2f}{reference:12.2f}{reference / ours:8.2f}x")


if __name__ == "__main__":
    main(sys.argv[1:])
