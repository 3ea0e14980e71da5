"""Import of a data set in the released layout into a store."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import ImportFault
from dce_ray.store.inspection import Inspector, usual_feature_size
from dce_ray.store.known import check_ambiguous, check_coverage, resolve_subsets, resolve_timing
from dce_ray.store.layout import Progress, Released, locate, no_progress, read_released
from dce_ray.store.report import ImportReport, report_json, summarize
from dce_ray.store.schema import DTYPES, Description
from dce_ray.store.writer import VideoAnnotation, write_store
from dce_ray.version import VERSION

logger = logging.getLogger(__name__)


def import_released(
    source: Path | str,
    target: Path | str,
    *,
    name: str | None = None,
    dtype: str = "float32",
    fps: float | None = None,
    stride_frames: int | None = None,
    train_subset: str | None = None,
    test_subset: str | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a released data set into a store at ``target``; a fault costs its video, not the data set.

    Peak memory is the size of the feature file plus less than 1 GB.

    Args:
        source: folder with ``<Name>-I3D-JOINTFeatures.npy`` and ``<Name>-Annotations``.
        target: folder of the store to make.
        name: released name; needed only where ``source`` holds several data sets.
        dtype: storage, float32 or float16 (half the disk and page cache; batches are float32 either way).
        fps: frames per second at which the features were extracted; known for THUMOS14 and ActivityNet-1.2.
        stride_frames: frames per snippet; known likewise, else 16.
        train_subset: released name of the training subset.
        test_subset: released name of the test subset.
        strict: any finding at all ends the import.
        progress: told (stage, done, total).

    Raises:
        ImportFault: the data set cannot be imported, or ``strict`` and there are findings; all faults at once.
        StoreError: ``target`` cannot be written, or holds something else.
    """
    if dtype not in DTYPES:
        raise ImportFault(f"dtype={dtype!r}: must be one of {', '.join(DTYPES)}")
    progress = progress or no_progress
    files = locate(source, name)
    released = read_released(files, progress)
    notices: list[str] = []
    description, subsets = _describe(released, dtype, (fps, stride_frames), (train_subset, test_subset), notices)
    for notice in notices:
        logger.warning("%s: %s", files.name, notice)
    rate = description.fps / description.stride_frames
    inspector = Inspector(released, subsets, description.feature_size, rate)
    videos = len(released)
    manifest = write_store(
        target,
        description,
        _videos(released, inspector, strict=strict, progress=progress),
        provenance=_provenance(released, subsets),
        report=lambda: report_json(files.name, inspector.findings, notices, videos),
    )
    findings = tuple(inspector.findings)
    return ImportReport(
        files.name, Path(target).resolve(), manifest.digest, dict(manifest.counts), findings, tuple(notices)
    )


def _describe(
    released: Released,
    dtype: str,
    timing: tuple[float | None, int | None],
    subset_names: tuple[str | None, str | None],
    notices: list[str],
) -> tuple[Description, dict[str, str]]:
    """What the whole data set has in common, or all the reasons why that cannot be told."""
    name = released.files.name
    faults: list[str] = []
    rate, subsets = (1.0, 1), {}
    try:
        rate = resolve_timing(name, *timing, (released.extracted_fps, released.stride_frames), notices)
    except ImportFault as fault:
        faults.append(str(fault))
    try:
        found = sorted(set(released.subsets))
        subsets = resolve_subsets(name, found, *subset_names, notices)
    except ImportFault as fault:
        faults.append(str(fault))
    classes = released.class_names
    if not classes or len(set(classes)) < len(classes):
        faults.append(f"classlist.npy: {len(classes)} names, {len(set(classes))} different; every class needs its own")
    feature_size = usual_feature_size(released.features) or 0
    if feature_size < 2 or feature_size % 2:
        faults.append(
            f"{released.files.features.name}: {feature_size} channels; two streams of equal size are needed, RGB first"
        )
    if faults:
        raise ImportFault("\n".join(f"{name}: {fault}" for fault in faults))
    lengths = np.array([len(cell) if np.ndim(cell) else 0 for cell in released.features], np.int64)
    check_ambiguous(name, len(released.ambiguous), notices)
    check_coverage(lengths, released.durations_s, *rate, notices)
    return Description(name, feature_size, feature_size // 2, *rate, tuple(classes), dtype), subsets


def _videos(
    released: Released, inspector: Inspector, *, strict: bool, progress: Progress
) -> Iterator[tuple[VideoAnnotation, NDArray[Any]]]:
    """The videos to keep, one at a time; each lets go of its source array."""
    total, kept = len(released), 0
    released.sources.pop("features", None)
    for row in range(total):
        video = inspector.video(row)
        released.features[row] = None
        if video is not None:
            kept += 1
            yield video
        progress("writing videos", row + 1, total)
    if (strict and inspector.findings) or not kept:
        listed = "\n".join(f"  {line}" for line in summarize(inspector.findings, shown=len(inspector.findings)))
        reason = "and strict=true, so nothing was imported" if kept else "and no video is left, so nothing was imported"
        raise ImportFault(f"{released.files.name}: {len(inspector.findings)} findings {reason}:\n{listed}")


def _provenance(released: Released, subsets: dict[str, str]) -> dict[str, Any]:
    now = datetime.datetime.now(tz=datetime.UTC)
    return {
        "made_by": f"dce_ray {VERSION}",
        "made_at": now.isoformat(timespec="seconds"),
        "source": str(released.files.features.parent.resolve()),
        "subsets": subsets,
        "source_files": {
            source.path.name: {"size": source.size, "sha256": source.sha256} for source in released.sources.values()
        },
    }
