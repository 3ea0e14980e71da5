"""Cut the compact golden data out of the full one: ``python tests/parity/compact/make.py <golden folder>``.

Numbers only, in the format of the full files, one configuration per baseline; of the logits every eighth snippet.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

CONFIGURATIONS = ("co2net_thumos14", "delu_activitynet12", "ddgnet_thumos14")
DROPPED = ("weights_check", "f32_vs_f64_max_abs", "output_stats", "margins")
OPTIONS = ("max_seqlen", "k", "lr", "weight_decay")


def rounded(value: Any) -> Any:
    """17 digits are kept where they are compared (f64); the f32 numbers of the reference are not needed."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items() if key != "f32" and not key.endswith("_f32")}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def main(source: Path, target: Path) -> None:
    for name in CONFIGURATIONS:
        numbers = json.loads((source / f"{name}.json").read_text())
        numbers = {key: value for key, value in numbers.items() if key not in DROPPED}
        numbers["options"] = {key: numbers["options"][key] for key in OPTIONS}
        numbers["input_check"] = {"crc32": numbers["input_check"]["crc32"]}
        (target / f"{name}.json").write_text(json.dumps(rounded(numbers), separators=(",", ":")) + "\n")
        with np.load(source / f"{name}.npz") as arrays:
            kept = {(f"{key}_sub" if key.endswith("cas") else key): arrays[key] for key in arrays.files}
        kept = {key: value[:, ::8] if key.endswith("cas_sub") else value for key, value in kept.items()}
        np.savez_compressed(target / f"{name}.npz", **kept)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
