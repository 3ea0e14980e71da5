"""Dropout of our own against ``torch.nn.Dropout`` on the CPU: milliseconds forward, and forward plus backward.

``python -m benchmarks.dropout [p=0.7] [turns=20] [threads=1]``

Both take turns in one process; the least of ``turns`` times counts, as other work can only add to it. The last column
is the share of elements that ours kept.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.provenance import provenance
from dce_ray.baselines.dropout import Dropout

OPTIONS = {"p": "0.7", "turns": "20", "threads": "1"}
SHAPES = ((10, 1, 64), (10, 64, 64), (10, 128, 64), (10, 512, 64), (10, 2048, 320))
"""Videos, channels, snippets: of the embedded data, and of THUMOS14 at the end."""


def least_ms(layers: dict[str, nn.Module], run: Callable[[nn.Module], object], turns: int) -> dict[str, float]:
    """Least milliseconds of each layer over ``turns`` turns."""
    best = dict.fromkeys(layers, math.inf)
    for turn in range(turns + 1):
        for name in sorted(layers, reverse=turn % 2 == 1):
            start = time.perf_counter()
            run(layers[name])
            if turn:
                best[name] = min(best[name], (time.perf_counter() - start) * 1e3)
    return best


def main(arguments: list[str]) -> None:
    given = dict(argument.split("=", 1) for argument in arguments)
    if unknown := given.keys() - OPTIONS.keys():
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(OPTIONS)}")
    options = OPTIONS | given
    p, turns = float(options["p"]), int(options["turns"])
    torch.set_num_threads(int(options["threads"]))
    layers: dict[str, nn.Module] = {"ours": Dropout(p), "torch": nn.Dropout(p)}
    print(provenance())
    print(f"python -m benchmarks.dropout {' '.join(f'{key}={value}' for key, value in options.items())}")
    print(f"least of {turns} turns; load average {os.getloadavg()[0]:.1f}\n")
    print(f"{'':16}{'forward [ms]':>24}{'ratio':>8}{'and backward [ms]':>24}{'ratio':>8}{'kept':>9}")
    for shape in SHAPES:
        x, gradient = torch.randn(shape, requires_grad=True), torch.randn(shape)

        def there_and_back(layer: nn.Module, x: Tensor = x, gradient: Tensor = gradient) -> None:
            torch.autograd.grad(layer(x), x, gradient)

        forward = least_ms(layers, lambda layer, x=x: layer(x), turns)
        whole = least_ms(layers, there_and_back, turns)
        kept = (layers["ours"](torch.ones(shape)) != 0).double().mean().item()
        print(f"{' x '.join(map(str, shape)):16}", end="")
        for times in (forward, whole):
            print(f"{times['ours']:12.3f}{times['torch']:12.3f}{times['torch'] / times['ours']:7.1f}x", end="")
        print(f"{kept:9.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
