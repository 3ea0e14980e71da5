"""Proposals, suppression and detection mAP against loops and pandas: ``python -m benchmarks.evaluation [quick]``.

The references are what a careful researcher writes from the protocol. Proposals: loops over videos, thresholds, runs
and classes with NumPy means of slices; soft-NMS with NumPy over the remaining segments per pick. mAP: the structure of
the ActivityNet evaluation, a data frame per class, sorted once, grouped by video, and for each prediction the group of
its video, tIoU with all its instances in NumPy, loops over thresholds and candidates. A second reference for mAP has
the same loops with pandas taken out of the inner one (arrays by video, made once): the fastest form of the loops.
All sides read the same arrays, run in one process on one thread, and must agree before their times are printed: the
same segments, scores to 1e-9, AP to 1e-9. Times are CPU seconds of the process, so that other load counts less.
Golden prediction tables are read from DCE_GOLDEN where it is set (or ../shared/golden), and left out with a note
where they are absent.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluation_reference import (
    ClassAp,
    Outputs,
    pandas_class_ap,
    reference_ap,
    reference_proposals,
    tight_class_ap,
)
from benchmarks.provenance import provenance
from dce_ray.config import EvaluationConfig
from dce_ray.evaluation.detection import detection_ap
from dce_ray.evaluation.tables import map_table
from dce_ray.localize import propose_videos
from dce_ray.records import GroundTruth, Proposals

THUMOS14_LEVELS = tuple(round(0.1 * step, 1) for step in range(1, 10))
PANDAS_LIMIT = 200_000
"""Predictions up to which the pandas loops are timed (0.2 to 0.3 ms each)."""
ACTIVITYNET_LEVELS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


class Task(NamedTuple):
    """Network outputs of a whole test set with its ground truth."""

    name: str
    outputs: Outputs
    truth: GroundTruth
    levels: tuple[float, ...]
    averages: tuple[str, ...]


# The reference ------------------------------------------------------------------------------------------------------


def smooth(random: np.random.Generator, snippets: int, columns: int, step: float) -> NDArray[np.float64]:
    """Gaussian noise, piecewise linear over time, a knot every ``step`` snippets: ``(T, columns)``."""
    position = np.arange(snippets) / step
    left = position.astype(int)
    part = (position - left)[:, None]
    knots = random.standard_normal((left[-1] + 2, columns))
    return (1 - part) * knots[left] + part * knots[left + 1]


def generate(name: str, videos: int, classes: int, mean_length: float, levels: tuple[float, ...]) -> Task:
    """Outputs of a network that is right now and then: one or two classes per video, instances of some seconds."""
    random = np.random.default_rng(20)
    averages = ("0.1:0.5", "0.3:0.7", "0.1:0.7") if levels == THUMOS14_LEVELS else ("0.5:0.95",)
    outputs: Outputs = []
    instances: list[tuple[int, float, float, int]] = []
    lengths = np.maximum(8, random.lognormal(np.log(mean_length) - 0.32, 0.8, videos)).astype(int)
    for video, length in enumerate(lengths.tolist()):
        label = int(random.integers(classes))
        also = int(random.integers(classes)) if random.random() < 0.2 else label
        action = smooth(random, length, 1, 9.0)[:, 0]
        logits = smooth(random, length, classes + 1, 9.0) - 1.0
        logits[:, [label, also]] += (6.0 / (1.0 + np.exp(-3.0 * action)))[:, None]
        noise = smooth(random, length, 1, 2.0)[:, 0]
        attention = 1.0 / (1.0 + np.exp(-3.0 * (action - 0.3) - 0.8 * noise))
        outputs.append((logits.astype(np.float32), attention.astype(np.float32)))
        edges = np.diff((np.concatenate([[-1.0], action, [-1.0]]) > 0.4).astype(int))
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            instances.append((video, float(start), float(end), label))
    video, start, end, label = (np.array(column) for column in zip(*instances, strict=True))
    names = tuple(f"video_{number}" for number in range(videos))
    truth = GroundTruth(video, start, end, label, names, tuple(f"class_{number}" for number in range(classes)))
    return Task(name, outputs, truth, levels, averages)


def golden_tables() -> list[tuple[str, Proposals, GroundTruth, tuple[float, ...]]]:
    """The published prediction tables on real annotations, where they are at hand."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "golden"
    folder = Path(os.environ.get("DCE_GOLDEN", beside))
    tables = []
    for name, levels in (("thumos14", THUMOS14_LEVELS), ("activitynet12", ACTIVITYNET_LEVELS)):
        file = folder / f"detection_{name}.npz"
        if not file.is_file():
            print(f"left out: {file.name} of the golden data (set DCE_GOLDEN)")
            continue
        with np.load(file) as arrays:
            columns = {key: arrays[key] for key in arrays}
        wanted = [columns[f"gt_{key}"].astype(kind) for key, kind in _KINDS.items()]
        found = [columns[f"pred_{key}"].astype(kind) for key, kind in (_KINDS | {"score": np.float64}).items()]
        truth = GroundTruth(*wanted, tuple(columns["video_names"]), tuple(columns["class_names"]))
        tables.append((f"golden {name}", Proposals(*found), truth, levels))
    return tables


_KINDS: dict[str, Any] = {"video": np.int64, "start": np.float64, "end": np.float64, "label": np.int64}


# The comparison -----------------------------------------------------------------------------------------------------


def best_of(action: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least CPU time of some calls, and the last result."""
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        result = action()
        times.append(time.process_time() - begun)
    return min(times), result


def line(what: str, ours_s: float, theirs_s: float, note: str = "") -> None:
    print(f"{what:<52} {theirs_s:>11.3f} s {ours_s:>9.4f} s {theirs_s / ours_s:>8.0f} x  {note}".rstrip())


def agree(ours: Proposals, theirs: Proposals) -> None:
    """Same segments, scores to 1e-9."""
    columns = []
    for rows in (ours, theirs):
        order = np.lexsort((-rows.score, rows.end, rows.start, rows.label, rows.video))
        columns.append(rows.select(order))
    a, b = columns
    for name in ("video", "start", "end", "label"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_allclose(a.score, b.score, rtol=0, atol=1e-9)


def compare_map(name: str, proposals: Proposals, truth: GroundTruth, levels: tuple[float, ...]) -> None:
    """Time mAP against both references."""
    ours_s, ours = best_of(lambda: detection_ap(proposals, truth, levels), 5)
    note = f"{len(proposals):,} predictions, {len(truth):,} instances, {len(levels)} thresholds"
    references: list[tuple[str, ClassAp]] = [("pandas loops", pandas_class_ap), ("tight loops", tight_class_ap)]
    for kind, class_ap in references[len(proposals) > PANDAS_LIMIT :]:
        theirs_s, theirs = best_of(lambda one=class_ap: reference_ap(proposals, truth, levels, one), 1)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
        line(f"mAP, {name}, {kind}", ours_s, theirs_s, note)


def compare_proposals(task: Task, config: EvaluationConfig, share: int) -> Proposals:
    """Time proposals and suppression; the reference on every ``share``-th video, scaled and marked."""
    ours_s, ours = best_of(lambda: propose_videos(task.outputs, config), 3)
    some = task.outputs[::share]
    theirs_s, theirs = best_of(lambda: reference_proposals(some, config), 1)
    chosen = ours.select(ours.video % share == 0)
    agree(Proposals(chosen.video // share, chosen.start, chosen.end, chosen.label, chosen.score), theirs)
    factor = len(chosen) and len(ours) / len(chosen)
    note = f"{len(ours):,} proposals"
    if share > 1:
        note += f"; reference timed on {len(some):,} of {len(task.outputs):,} videos ({theirs_s:.2f} s), scaled by rows"
    line(f"proposals + soft-NMS, {task.name}, {config.proposal_thresholds} thr.", ours_s, theirs_s * factor, note)
    return ours


def to_table(task: Task, config: EvaluationConfig) -> None:
    """From outputs to the printed table, ours alone."""

    def whole() -> str:
        found = propose_videos(task.outputs, config)
        class_ap = detection_ap(found, task.truth, task.levels)
        sizes = {"videos": len(task.truth.video_names), "instances": len(task.truth)}
        names = task.truth.class_names
        return str(map_table(class_ap, thresholds=task.levels, averages=task.averages, class_names=names, **sizes))

    seconds, text = best_of(whole, 3)
    print(
        f"\nfrom outputs to the table, {task.name}, {config.proposal_thresholds} thresholds: {seconds:.3f} s\n{text}\n"
    )


def main(arguments: list[str]) -> int:
    """Print all comparisons; ``quick`` leaves out ActivityNet's size."""
    print(provenance("pandas"))
    print(f"one process, NumPy on one thread (OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')})\n")
    print(f"{'':<52} {'reference':>13} {'ours':>11} {'ratio':>10}")
    for name, found, truth, levels in golden_tables():
        compare_map(name, found, truth, levels)
    tasks = [generate("THUMOS14 size", 213, 20, 330.0, THUMOS14_LEVELS)]
    if "quick" not in arguments:
        tasks.append(generate("ActivityNet size", 2383, 100, 180.0, ACTIVITYNET_LEVELS))
    for task in tasks:
        share = 1 if len(task.outputs) < 1000 else 4
        for config in (EvaluationConfig(), EvaluationConfig(proposal_thresholds=20, min_length=2)):
            found = compare_proposals(task, config, share)
            compare_map(f"{task.name}, {config.proposal_thresholds} thr.", found, task.truth, task.levels)
    for config in (EvaluationConfig(), EvaluationConfig(proposal_thresholds=20, min_length=2)):
        to_table(tasks[0], config)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
