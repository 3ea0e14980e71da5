"""Import of a user's own data: a feature file per video and an ActivityNet JSON become a store.

Everything is read and checked before anything is written, and one message names all faults. ``skip_faulty`` leaves the
videos with a fault out instead and says which.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import ImportFault, nearest
from dce_ray.store.activitynet import Annotated, read_annotations
from dce_ray.store.feature_files import FeatureFiles, Unusable, find_features, read_features
from dce_ray.store.inspection import ROUNDING_S
from dce_ray.store.known import DEFAULT_STRIDE_FRAMES, check_coverage, resolve_subsets
from dce_ray.store.layout import Progress, no_progress
from dce_ray.store.report import Finding, ImportReport, report_json
from dce_ray.store.schema import DTYPES, Description
from dce_ray.store.writer import VideoAnnotation, write_store
from dce_ray.version import VERSION
from dce_ray.words import counted

SHOWN = 10
"""Videos per kind of fault in the message."""
SHOWN_OF_ALL = 3
"""The same where it is the data set's as a whole."""


@dataclass(slots=True)
class _Source:
    """What was read, what is wrong with it, and what is known of each sound video."""

    annotations: Path
    features: FeatureFiles
    subsets: dict[str, str]
    class_names: tuple[str, ...]
    trim_streams: bool
    findings: list[Finding] = field(default_factory=list)
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """(T, D) by video."""

    def find(self, file: str, video: str, kind: str, found: str, remedy: str) -> None:
        self.findings.append(Finding(file, video, kind, found, "left out", remedy))

    def read(self, video: str) -> NDArray[Any]:
        """Features of a video that has a file."""
        name = self.features.of(video)
        assert name is not None
        return read_features(self.features.files[name], trim_streams=self.trim_streams)


def import_per_video(
    source: Path | str,
    annotations: Path | str,
    target: Path | str,
    *,
    rgb: Path | str | None = None,
    flow: Path | str | None = None,
    name: str | None = None,
    dtype: str = "float32",
    fps: float | None = None,
    stride_frames: int | None = None,
    train_subset: str | None = None,
    test_subset: str | None = None,
    classes: Path | str | None = None,
    skip_faulty: bool = False,
    trim_streams: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import per-video features and an ActivityNet JSON into a store at ``target``; with any fault nothing is written.

    Args:
        source: folder with ``<video>.npy`` or ``.npz``, ``(T, D)`` RGB first, or with the folders ``rgb`` and ``flow``.
        annotations: ActivityNet JSON, times in seconds.
        target: folder of the store to make.
        rgb: folder of the RGB stream where the streams lie apart.
        flow: folder of the FLOW stream likewise.
        name: of the data set; None takes the name of the annotation file.
        dtype: storage, float32 or float16.
        fps: frames per second at which the features were extracted; None takes the annotations' where all agree.
        stride_frames: frames from one snippet to the next; None takes 16 and says so.
        train_subset: subset that trains; None guesses from usual pairs and says so.
        test_subset: subset that is tested on.
        classes: text file with a class per line; None takes those of the training videos, sorted.
        skip_faulty: leave each video with a fault out, instead of importing nothing.
        trim_streams: cut the longer of a video's two streams at its end.
        progress: told (stage, done, total).

    Raises:
        ImportFault: naming all faults of the input at once.
        StoreError: ``target`` cannot be written, or holds something else.
    """
    if dtype not in DTYPES:
        raise ImportFault(f"dtype={dtype!r}: must be one of {', '.join(DTYPES)}")
    path, progress = Path(annotations).expanduser(), progress or no_progress
    files = find_features(Path(source).expanduser(), *(None if one is None else Path(one) for one in (rgb, flow)))
    listed, notices = read_annotations(path), list[str]()
    rate, subsets = _described(path, listed, (fps, stride_frames), (train_subset, test_subset), notices)
    wanted = [video for video in listed if video.subset in subsets]
    origin = _Source(path, files, subsets, _class_names(wanted, subsets, classes), trim_streams)
    sound = _checked(origin, wanted, progress)
    _refuse(origin, sound, len(wanted), skip_faulty=skip_faulty)
    lengths = np.array([origin.shapes[video.name][0] for video in sound], np.int64)
    durations_s = np.array([video.duration_s or np.nan for video in sound])
    check_coverage(lengths, durations_s, *rate, notices)
    without = int(np.isnan(durations_s).sum())
    if without:
        notices.append(f"{without} videos have no duration; the length of their features is taken")
    width = origin.shapes[sound[0].name][1]
    description = Description(name or path.stem, width, width // 2, *rate, origin.class_names, dtype)
    manifest = write_store(
        target,
        description,
        _videos(origin, sound, description, progress),
        provenance=_provenance(Path(source), path, subsets),
        report=lambda: report_json(description.name, origin.findings, notices, len(wanted)),
    )
    findings, counts = tuple(origin.findings), dict(manifest.counts)
    return ImportReport(description.name, Path(target).resolve(), manifest.digest, counts, findings, tuple(notices))


def _described(
    path: Path,
    listed: Sequence[Annotated],
    timing: tuple[float | None, int | None],
    subset_names: tuple[str | None, str | None],
    notices: list[str],
) -> tuple[tuple[float, int], dict[str, str]]:
    """Timing and subsets, or all the reasons why they cannot be told."""
    faults: list[str] = []
    rate, subsets = (1.0, 1), dict[str, str]()
    try:
        rate = _timing(path, listed, *timing, notices)
    except ImportFault as fault:
        faults.append(str(fault))
    try:
        subsets = _subsets(path, listed, *subset_names, notices)
    except ImportFault as fault:
        faults.append(str(fault))
    if faults:
        raise ImportFault("\n".join(faults))
    return rate, subsets


def _timing(
    path: Path, listed: Sequence[Annotated], fps: float | None, stride_frames: int | None, notices: list[str]
) -> tuple[float, int]:
    """Frame rate and stride: as asked for, else as the annotations say, else as usual with a notice."""
    if fps is None:
        rates = sorted({video.fps for video in listed if video.fps is not None})
        if len(rates) != 1:
            found = f"{len(rates)} different rates ({rates[0]:g} to {rates[-1]:g})" if rates else "no fps"
            raise ImportFault(
                f"annotations={path}: the frame rate is not known, for it holds {found}; give fps=, the frames "
                f"per second at which the features were extracted"
            )
        fps = rates[0]
        notices.append(f"fps={fps:g} is taken from the annotations; give fps= if the features have another rate")
    if stride_frames is None:
        stride_frames = DEFAULT_STRIDE_FRAMES
        notices.append(f"stride_frames={stride_frames} is assumed; give stride_frames= if a snippet has other frames")
    if not (np.isfinite(fps) and fps > 0) or stride_frames < 1:
        raise ImportFault(f"fps={fps}, stride_frames={stride_frames}: both must be above 0")
    return float(fps), int(stride_frames)


def _subsets(
    path: Path, listed: Sequence[Annotated], train: str | None, test: str | None, notices: list[str]
) -> dict[str, str]:
    """Ours by the names of the two subsets; a subset without any annotation is none of them unless asked for."""
    counts = Counter(video.subset for video in listed)
    annotated = {video.subset for video in listed if video.labels or video.faults}
    found = sorted(annotated | {subset for subset in (train, test) if subset in counts and subset is not None})
    subsets = resolve_subsets("", found, train, test, notices, where=f"annotations={path}")
    for subset, videos in counts.items():
        if subset not in subsets:
            notices.append(f"subset {subset!r} ({videos} videos) is neither train nor test and stays out")
    return subsets


def _class_names(wanted: Sequence[Annotated], subsets: dict[str, str], classes: Path | str | None) -> tuple[str, ...]:
    if classes is None:
        return tuple(sorted({label for video in wanted if subsets[video.subset] == "train" for label in video.labels}))
    try:
        lines = Path(classes).expanduser().read_text(encoding="utf-8").splitlines()
    except OSError as fault:
        raise ImportFault(f"classes={classes}: cannot be read ({fault.strerror}); give a class per line") from fault
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) < len(names):
        raise ImportFault(f"classes={classes}: {len(names)} names, {len(set(names))} different; give each once")
    return names


def _checked(origin: _Source, wanted: Sequence[Annotated], progress: Progress) -> list[Annotated]:
    """The videos without a fault; those with one are in the findings, with every fault."""
    sound = []
    for row, video in enumerate(wanted):
        before = len(origin.findings)
        _check_annotation(origin, video)
        _check_features(origin, video)
        if len(origin.findings) == before:
            sound.append(video)
        progress("checking videos", row + 1, len(wanted))
    usual = _check_widths(origin)
    return [video for video in sound if origin.shapes[video.name][1] == usual]


def _check_widths(origin: _Source) -> int:
    """The number of channels that most videos have; what is wrong with it, or with those of others, is found."""
    shapes = origin.shapes
    widths = Counter(width for _, width in shapes.values())
    usual, count = widths.most_common(1)[0] if widths else (0, 0)
    if 2 * count < len(shapes):
        found = ", ".join(f"{video} {shape}" for video, shape in list(shapes.items())[:SHOWN_OF_ALL])
        rows, alike = Counter(length for length, _ in shapes.values()).most_common(1)[0]
        if 2 * alike > len(shapes):
            kind = f"features look transposed: {alike} of {len(shapes)} files have {rows} rows, and most other channels"
            remedy = "a file is to hold (T, D), a row per snippet: save each anew with numpy.save(<video>.npy, array.T)"
        else:
            kind = f"numbers of channels differ: {len(widths)} different ones in {len(shapes)} files"
            remedy = "use one extractor for all videos, and save each as (T, D), a row per snippet"
        origin.find("features", "", kind, found, remedy)
        return usual
    for video, (_, width) in shapes.items():
        if width != usual:
            remedy = "use one extractor for all videos, and save each as (T, D), a row per snippet"
            found = f"{width}, most videos have {usual}"
            origin.find("features", video, "other number of channels than most", found, remedy)
    if usual % 2:
        remedy = "the networks take two streams of equal size, RGB and FLOW; extract both with one extractor"
        origin.find("features", "", "odd number of channels", str(usual), remedy)
    return usual


def _check_annotation(origin: _Source, video: Annotated) -> None:
    file = origin.annotations.name
    for fault in video.faults:
        origin.find(file, video.name, "annotation cannot be read", fault, "correct the annotation")
    for label in video.labels:
        if label not in origin.class_names:
            guess = nearest(label, origin.class_names)
            remedy = "no training video has it: correct the label, or name all classes with classes=<file>"
            found = f"{label!r}{f' (did you mean {guess}?)' if guess else ''}"
            origin.find(file, video.name, "unknown label", found, remedy)
    if not video.labels and origin.subsets[video.subset] == "train":
        origin.find(file, video.name, "training video without a label", "none", "label it, or take it out")
    if video.duration_s is None:
        return
    for _, start_s, end_s in video.instances:
        if start_s < 0 or end_s > video.duration_s + ROUNDING_S:
            found = f"[{start_s:g}, {end_s:g}] s, the video has {video.duration_s:g} s"
            origin.find(file, video.name, "segment outside the video", found, "correct the segment or the duration")


def _check_features(origin: _Source, video: Annotated) -> None:
    missing = origin.features.missing_stream(video.name)
    if missing is not None:
        origin.find("features", video.name, "one stream has no file", f"{missing} is missing", "extract it")
        return
    if origin.features.of(video.name) is None:
        found = f"no {video.name}.npy, v_{video.name}.npy or .npz"
        origin.find("features", video.name, "no feature file", found, "extract it")
        return
    try:
        matrix = origin.read(video.name)
    except Unusable as fault:
        kind, found, remedy = fault.args
        origin.find("features", video.name, kind, found, remedy)
        return
    origin.shapes[video.name] = (len(matrix), matrix.shape[1])


def _refuse(origin: _Source, sound: Sequence[Annotated], videos: int, *, skip_faulty: bool) -> None:
    """Say all faults at once, unless they are to be skipped and enough is left."""
    lacking = sorted({"train", "test"} - {origin.subsets[video.subset] for video in sound})
    whole = [finding for finding in origin.findings if not finding.video]
    enough = not lacking and not whole
    if enough and (skip_faulty or not origin.findings):
        return
    if not origin.findings:
        raise ImportFault(f"{origin.annotations}: no {' and no '.join(lacking)} video")
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in origin.findings:
        kinds.setdefault((finding.kind, finding.remedy), []).append(finding)
    lines = [f"{origin.annotations}: {counted(len(origin.findings), 'fault')}, so nothing was imported:"]
    for (kind, remedy), found in kinds.items():
        lines += _kind_lines(kind, remedy, found, videos)
    if enough:
        lines.append("skip_faulty=true leaves these videos out and imports the rest")
    elif skip_faulty and lacking:
        lines.append(f"skip_faulty=true would leave no {' and no '.join(lacking)} video")
    raise ImportFault("\n".join(lines))


def _kind_lines(kind: str, remedy: str, found: Sequence[Finding], videos: int) -> list[str]:
    """What is said of one kind of fault: once where most videos have it, else of each of the first."""
    first = found[0]
    if not first.video:
        return [f"  {kind}: {first.found}; {remedy}"]
    if len(found) > max(SHOWN_OF_ALL, videos / 2):
        return [f"  {kind}: {len(found)} of {videos} videos, such as {first.video}: {first.found}; {remedy}"]
    lines = [f"  {kind} ({len(found)}); {remedy}", *(f"    {one.video}: {one.found}" for one in found[:SHOWN])]
    return lines + ([f"    ... and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])


def _videos(
    origin: _Source, sound: Sequence[Annotated], description: Description, progress: Progress
) -> Iterator[tuple[VideoAnnotation, NDArray[Any]]]:
    """Annotation and features of each sound video, read one at a time."""
    index = {name: number for number, name in enumerate(description.class_names)}
    for row, video in enumerate(sound):
        features = origin.read(video.name)
        duration_s = video.duration_s or len(features) * description.stride_frames / description.fps
        labels = [index[label] for label in video.labels]
        instances = [(index[label], start_s, end_s) for label, start_s, end_s in video.instances]
        yield (
            VideoAnnotation(
                video.name, origin.subsets[video.subset], duration_s, labels, instances, list(video.ambiguous)
            ),
            features,
        )
        progress("writing videos", row + 1, len(sound))


def _provenance(source: Path, annotations: Path, subsets: dict[str, str]) -> dict[str, Any]:
    now = datetime.datetime.now(tz=datetime.UTC)
    return {
        "made_by": f"dce_ray {VERSION}",
        "made_at": now.isoformat(timespec="seconds"),
        "source": str(source.resolve()),
        "annotations": str(annotations.resolve()),
        "subsets": subsets,
    }
