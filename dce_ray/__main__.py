"""``python -m dce_ray``: the commands there are; ``python -m dce_ray <command> ...`` runs one of them."""

from __future__ import annotations

import runpy
import sys

from dce_ray.commandline import DONE, MISTAKE
from dce_ray.errors import unknown_name
from dce_ray.version import VERSION

COMMANDS = {
    "search": "tune SCS and MCM for a baseline, choose on holdout, confirm on test: the main job",
    "train": "one run without Ray",
    "evaluate": "a checkpoint, ours or a published one, to a mAP table",
    "predict": "detections for videos that nobody annotated",
    "ablate": "the paper's ablations; does deconfounding help?",
    "confirm": "a search's best setting confirmed anew, with more and fresh seeds",
    "report": "finished searches side by side, in the paper's tables",
    "store": "the Arrow feature store: import, copy, info, verify, export",
    "data.synthetic": "the embedded data, in any size",
    "cluster": "searches on a Ray cluster: submit, list, status, logs, stop, fetch",
    "tracking": "experiment folders into MLflow: sync, ui",
}
"""Modules below ``dce_ray`` that are commands, and what they do."""


def usage() -> str:
    """The commands, a line each, and what holds for all of them."""
    lines = [f"  python -m dce_ray.{name:<16}{about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            f"dce-ray {VERSION}: tune, compare and believe weakly-supervised temporal action localization",
            "",
            *lines,
            "",
            "All take key=value; --help explains each, and 'search keys' and 'train keys' list their keys.",
            "Begin with: python -m dce_ray.search baseline=delu",
            "",
            "exit status  0 done; 1 a fault nobody foresaw; 2 a mistake, or a fault of the machine, with its remedy;",
            "             130 stopped by Ctrl-C or SIGTERM, what is done is kept; 141 what read the output has gone",
            "environment  DCE_DATA (where named data sets lie), DCE_CACHE (what is imported and generated),",
            "             DCE_SEARCHES (where searches of one machine know of each other), MLFLOW_TRACKING_URI,",
            "             RAY_ADDRESS, NO_COLOR (any value: no colours)",
        ]
    )


def main(arguments: list[str]) -> int:
    """List the commands, or run one; the exit status."""
    name = arguments[0].removeprefix("dce_ray.") if arguments else "--help"
    if name in {"--help", "-h", "help"}:
        print(usage())
        return DONE
    if name == "--version":
        print(f"dce-ray {VERSION}")
        return DONE
    if name not in COMMANDS:
        print(f"{unknown_name('command', name, COMMANDS)}\n\n{usage()}", file=sys.stderr)
        return MISTAKE
    sys.argv = [f"dce_ray.{name}", *arguments[1:]]
    runpy.run_module(f"dce_ray.{name}", run_name="__main__", alter_sys=True)
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
