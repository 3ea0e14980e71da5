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
import pandas as pd
from numpy.typing import NDArray

from benchmarks.provenance import provenance
from dce_ray.config import EvaluationConfig
from dce_ray.evaluation.detection import detection_ap
from dce_ray.evaluation.tables import map_table
from dce_ray.localize import propose_videos
from dce_ray.records import GroundTruth, Proposals

Outputs = list[tuple[NDArray[np.float32], NDArray[np.float32]]]

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


def reference_proposals(outputs: Outputs, config: EvaluationConfig) -> Proposals:
    """Loops over videos, thresholds, runs and classes."""
    rows: list[tuple[int, int, int, int, float]] = []
    for video, (logits, attention) in enumerate(outputs):
        length = len(attention)
        weighted = logits * attention[:, None]
        count = max(1, length // 10)
        means = np.partition(weighted, length - count, axis=0)[length - count :].mean(axis=0, dtype=np.float64)
        scores = np.exp(means - means.max())
        scores = (scores / scores.sum())[:-1]
        classes = np.flatnonzero(scores >= config.class_threshold)
        if len(classes) == 0:
            classes = np.array([scores.argmax()])
        by_class: dict[int, list[tuple[int, int, float]]] = {int(label): [] for label in classes}
        for threshold in np.linspace(0.1, 0.9, config.proposal_thresholds):
            active = np.flatnonzero(attention.astype(np.float64) > threshold)
            if not active.any():  # as released: also true where snippet 0 is the only one
                continue
            for run in np.split(active, np.flatnonzero(np.diff(active) != 1) + 1):
                start, end = int(run[0]), int(run[-1]) + 1
                margin = config.outer_ratio * (end - start)
                before = max(0, int(start - margin))
                behind = min(length - 1, int(end - 1 + margin)) + 1
                for label, found in by_class.items():
                    inner = weighted[start:end, label].mean(dtype=np.float64)
                    around = np.concatenate([weighted[before:start, label], weighted[end:behind, label]])
                    outer = around.mean(dtype=np.float64) if len(around) else 0.0
                    score = inner - outer + config.class_score_weight * scores[label]
                    found.append((start, end, float(score)))
        for label, found in by_class.items():
            kept = reference_soft_nms(np.array(found, np.float64).reshape(-1, 3), config.nms_parameter)
            rows += [(video, label, int(s), int(e), x) for s, e, x in kept if e - s >= config.min_length]
    table = np.array(rows, np.float64).reshape(-1, 5).T
    return Proposals(table[0].astype(np.int64), table[2], table[3], table[1].astype(np.int64), table[4])


def reference_soft_nms(found: NDArray[np.float64], sigma: float) -> list[tuple[float, float, float]]:
    """One class of one video: take the best, decay the rest, with NumPy over the rest."""
    start, end, score = found[:, 0].copy(), found[:, 1].copy(), found[:, 2].copy()
    taken = []
    while len(score):
        best = int(score.argmax())
        s, e, x = start[best], end[best], score[best]
        taken.append((s, e, x))
        keep = np.arange(len(score)) != best
        start, end, score = start[keep], end[keep], score[keep]
        shared = np.maximum(0.0, np.minimum(end, e) - np.maximum(start, s) + 1)
        overlap = shared / ((end - start + 1) + (e - s + 1) - shared)
        score *= np.exp(-(overlap**2) / sigma)
    return taken


ClassAp = Callable[[pd.DataFrame, pd.DataFrame, tuple[float, ...]], NDArray[np.float64]]


def reference_ap(
    proposals: Proposals, truth: GroundTruth, levels: tuple[float, ...], class_ap: ClassAp
) -> NDArray[np.float64]:
    """A data frame per class."""
    columns = ("video", "start", "end", "label")
    instances = pd.DataFrame({name: getattr(truth, name) for name in columns})
    predictions = pd.DataFrame({name: getattr(proposals, name) for name in (*columns, "score")})
    by_label = dict(tuple(predictions.groupby("label")))
    result = np.full((len(levels), len(truth.class_names)), np.nan)
    for label, wanted in instances.groupby("label"):
        found = by_label.get(label)
        result[:, label] = 0.0 if found is None else class_ap(wanted, found, levels)
    return result


def pandas_class_ap(wanted: pd.DataFrame, found: pd.DataFrame, levels: tuple[float, ...]) -> NDArray[np.float64]:
    """One class as the ActivityNet evaluation is built: pandas hands out predictions and instances of a video."""
    found = found.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
    wanted = wanted.reset_index(drop=True)
    by_video = wanted.groupby("video")
    free = np.ones((len(levels), len(wanted)), bool)
    hit = np.zeros((len(levels), len(found)))
    for number, row in found.iterrows():
        try:
            instances = by_video.get_group(row["video"])
        except KeyError:
            continue
        tiou = tiou_with(row["start"], row["end"], instances[["start", "end"]].to_numpy())
        match_one(tiou, instances.index.to_numpy(), free, hit[:, number], levels)
    return interpolated_areas(hit, len(wanted))


def tight_class_ap(wanted: pd.DataFrame, found: pd.DataFrame, levels: tuple[float, ...]) -> NDArray[np.float64]:
    """The same loops without pandas inside."""
    found = found.sort_values("score", ascending=False, kind="stable")
    numbers = np.arange(len(wanted))
    places = {video: numbers[rows] for video, rows in wanted.groupby("video").indices.items()}
    segments = {video: wanted[["start", "end"]].to_numpy()[rows] for video, rows in places.items()}
    free = np.ones((len(levels), len(wanted)), bool)
    hit = np.zeros((len(levels), len(found)))
    for number, row in enumerate(found.itertuples(index=False)):
        if row.video in segments:
            tiou = tiou_with(row.start, row.end, segments[row.video])
            match_one(tiou, places[row.video], free, hit[:, number], levels)
    return interpolated_areas(hit, len(wanted))


def tiou_with(start: float, end: float, segments: NDArray[np.float64]) -> NDArray[np.float64]:
    """tIoU of one prediction with the instances of its video."""
    shared = np.minimum(segments[:, 1], end) - np.maximum(segments[:, 0], start)
    shared = np.maximum(shared, 0.0)
    union = (segments[:, 1] - segments[:, 0]) + (end - start) - shared
    return shared / np.maximum(union, 1e-12)


def match_one(
    tiou: NDArray[np.float64],
    places: NDArray[np.int64],
    free: NDArray[np.bool_],
    hit: NDArray[np.float64],
    levels: tuple[float, ...],
) -> None:
    """Give one prediction its best free instance at each threshold."""
    best_first = np.argsort(tiou, kind="stable")[::-1]
    for level, threshold in enumerate(levels):
        for candidate in best_first:
            if tiou[candidate] < threshold:
                break
            if free[level, places[candidate]]:
                free[level, places[candidate]] = False
                hit[level] = 1
                break


def interpolated_areas(hit: NDArray[np.float64], instances: int) -> NDArray[np.float64]:
    """Interpolated AP of ranked predictions at each threshold."""
    area = np.empty(len(hit))
    for level in range(len(hit)):
        positives = np.cumsum(hit[level])
        precision = np.hstack([[0.0], positives / np.arange(1, hit.shape[1] + 1), [0.0]])
        recall = np.hstack([[0.0], positives / instances, [1.0]])
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
        area[level] = ((recall[steps] - recall[steps - 1]) * precision[steps]).sum()
    return area


# The data -----------------------------------------------------------------------------------------------------------


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
