"""Does Psi point at the context? What SCS weakens while it trains, against the generator's record of every snippet.

``python -m benchmarks.psi [baseline=delu] [levels=strong] [deltas=0.8] [draws=1] [size=bench] [iterations=0]``

Per level, draw and delta one run with SCS alone is trained on all of train, as in ``ablate study=confounding``. At its
end Psi (Eq. 2) of all train videos is taken as a step takes it, with dropout, and once more without. ``share`` is the
part of the snippets that Psi marks, ``precision`` the part of the marked that are context, ``recall`` the part of the
context that is marked, ``action`` the part of the action snippets that are marked by mistake; the means of the two
attentions on each kind of snippet follow. No test video is read: a delta can be chosen by this without having seen any
score.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.provenance import provenance
from dce_ray.data.context import ACTION, KIND_NAMES, load_context, scs_precision_recall
from dce_ray.data.levels import LevelDraw
from dce_ray.method import Intervention
from dce_ray.presets import run_config
from dce_ray.store import open_store
from dce_ray.train import Run

OPTIONS = {
    "baseline": "delu",
    "levels": "strong",
    "deltas": "0.8",
    "draws": "1",
    "size": "bench",
    "iterations": "0",
    "threads": "1",
}
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Marked:
    """All train snippets of a run at its end, each ``(S,)``."""

    psi: Values
    rgb: Values
    """Attention of the RGB stream."""
    flow: Values
    """Attention of the FLOW stream."""
    kinds: NDArray[np.int8]

    def line(self) -> str:
        """What the table says of it."""
        score = scs_precision_recall(self.psi, self.kinds)
        action = self.psi[self.kinds == ACTION].mean()
        means = [
            f"{name} {self.rgb[self.kinds == kind].mean():.2f}/{self.flow[self.kinds == kind].mean():.2f}"
            for kind, name in enumerate(KIND_NAMES)
            if (self.kinds == kind).any()
        ]
        return (
            f"{self.psi.mean():7.3f}{score.precision:10.2f}{score.recall:7.2f}{action:7.3f}"
            f"{score.context_share:8.2f}   {', '.join(means)}"
        )


def trained(store: Path, baseline: str, delta: float, iterations: int) -> Run:
    """A run with SCS alone, at its end."""
    changes = {"device": "cpu", "protocol": "confirm", "mcm": False, "method": {"delta": delta}}
    if iterations:
        changes["training"] = {"iterations": iterations}
    run = Run(run_config(baseline, store, data_set="synthetic", overrides=changes))
    while not run.finished:
        run.advance(run.config.training.eval_every)
    return run


def marked(run: Run, place: Path, *, dropout: bool) -> Marked:
    """Psi and attentions of all train videos; with dropout from one fixed state of the random numbers."""
    store, truth = open_store(place), load_context(place)
    intervention = Intervention.of(run.config.method)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    kinds = []
    run.network.train(dropout)
    torch.manual_seed(0)
    with torch.no_grad():
        for video in np.flatnonzero(np.asarray(store.subsets) == "train"):
            features = torch.from_numpy(np.array(store.features(int(video)), dtype=np.float32))[None]
            rgb, flow = run.network.attend(features)
            parts.append((intervention.confounders(rgb, flow)[0], rgb[0], flow[0]))
            kinds.append(truth.of(int(video)).kinds)
    psi, rgb, flow = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return Marked(psi, rgb, flow, np.concatenate(kinds))


def main(arguments: list[str]) -> None:
    """One line per level, draw and delta."""
    given = dict(argument.split("=", 1) for argument in arguments)
    unknown = sorted(given.keys() - OPTIONS.keys())
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; known: {', '.join(OPTIONS)}")
    options = OPTIONS | given
    torch.set_num_threads(int(options["threads"]))
    print(provenance())
    print(f"python -m benchmarks.psi {' '.join(arguments)}".rstrip())
    run_names = f"{'level':>8}{'draw':>6}{'delta':>7}{'dropout':>9}"
    names = f"{'share':>7}{'precision':>10}{'recall':>7}{'action':>7}{'context':>8}   rgb/flow attention on each kind"
    print(run_names + names)
    for level in options["levels"].split(","):
        for draw in options["draws"].split(","):
            with tempfile.TemporaryDirectory() as folder:
                place = LevelDraw(options["size"], level, int(draw)).ensure(Path(folder))
                for delta in options["deltas"].split(","):
                    run = trained(place, options["baseline"], float(delta), int(options["iterations"]))
                    for dropout in (True, False):
                        found = marked(run, place, dropout=dropout).line()
                        print(f"{level:>8}{draw:>6}{delta:>7}{'on' if dropout else 'off':>9}{found}", flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
