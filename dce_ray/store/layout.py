"""The released layout: ``<Name>-I3D-JOINTFeatures.npy`` and ``<Name>-Annotations/``, read and written as it is.

All files have one entry per video in the same order; reading checks no more than that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import ImportFault, unknown_name
from dce_ray.store.safe_npy import SourceFile, read_npy

FEATURES_SUFFIX = "-I3D-JOINTFeatures.npy"
ANNOTATIONS_SUFFIX = "-Annotations"
PER_VIDEO = ("videoname", "subset", "labels_all", "labels", "segments", "duration")
OPTIONAL = ("extracted_fps", "stride_frames")
"""The second is ours: the layout as published says nowhere how many frames a snippet has."""
AMBIGUOUS = "Ambiguous_test.txt"

Progress = Callable[[str, int, int], None]
"""Called with the stage, how much is done and how much there is."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Shows nothing."""


@dataclass(frozen=True, slots=True)
class ReleasedFiles:
    """Where a released data set lies."""

    name: str
    features: Path
    annotations: Path


@dataclass
class Released:
    """Content of a released data set, one entry per video, nothing judged yet."""

    files: ReleasedFiles
    features: NDArray[Any]
    """Object array of matrices, or ``(N, T, D)``."""
    names: list[str]
    subsets: list[str]
    class_names: list[str]
    labels_all: NDArray[Any]
    labels: NDArray[Any]
    segments: NDArray[Any]
    durations_s: NDArray[np.float64]
    extracted_fps: NDArray[np.float64] | None
    stride_frames: NDArray[np.float64] | None
    """Written by our own export alone, which says the frame rate of the features, too."""
    ambiguous: list[tuple[int, str]]
    """(line number, text) of the ambiguous file."""
    sources: dict[str, SourceFile] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)


def text(value: object) -> str:
    """Text of a name that may be bytes."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin1")
    return str(value)


def texts(value: object) -> list[str]:
    """Names in a cell that holds a list of them, or one."""
    if isinstance(value, str | bytes):
        return [text(value)]
    return [text(item) for item in np.ravel(np.asarray(value, dtype=object))]


def locate(source: Path | str, name: str | None = None) -> ReleasedFiles:
    """Find the released data set in the folder ``source``; the annotations may lie beside it too.

    Raises:
        ImportFault: nothing there, several and no ``name``, or a part missing.
    """
    folder = Path(source).expanduser()
    if folder.name.endswith(FEATURES_SUFFIX):
        folder, name = folder.parent, name or folder.name.removesuffix(FEATURES_SUFFIX)
    if not folder.is_dir():
        raise ImportFault(f"{folder}: not a folder; give the one that holds <Name>{FEATURES_SUFFIX}")
    names = sorted(path.name.removesuffix(FEATURES_SUFFIX) for path in folder.glob(f"*{FEATURES_SUFFIX}"))
    if not names:
        raise ImportFault(
            f"{folder}: holds no <Name>{FEATURES_SUFFIX}; give the folder of a released data set, or for a folder of "
            f"<video>.npy also annotations=<ActivityNet JSON>"
        )
    if name is None and len(names) > 1:
        raise ImportFault(f"{folder}: holds several data sets; say which with name=: {', '.join(names)}")
    name = name or names[0]
    if name not in names:
        raise ImportFault(f"{folder}: {unknown_name('data set', name, names)}")
    for parent in (folder, folder.parent):
        annotations = parent / f"{name}{ANNOTATIONS_SUFFIX}"
        if annotations.is_dir():
            return ReleasedFiles(name, folder / f"{name}{FEATURES_SUFFIX}", annotations)
    raise ImportFault(f"{folder}: the folder {name}{ANNOTATIONS_SUFFIX} is missing, here and one level up; put it here")


def read_released(files: ReleasedFiles, progress: Progress = no_progress) -> Released:
    """Read all files of a released data set; the features are held in memory as a whole.

    Raises:
        ImportFault: naming every file that is missing, cannot be read, or has another number of entries.
    """
    sources: dict[str, SourceFile] = {}
    faults: list[str] = []
    for stem in ("classlist", *PER_VIDEO, *OPTIONAL):
        path = files.annotations / f"{stem}.npy"
        if stem in OPTIONAL and not path.exists():
            continue
        try:
            sources[stem] = read_npy(path)
        except ImportFault as fault:
            faults.append(str(fault))
    try:
        size = files.features.stat().st_size
        sources["features"] = read_npy(files.features, lambda done: progress("reading features", done, size))
    except (ImportFault, OSError) as fault:
        faults.append(str(fault))
    if not faults:
        faults = _unequal_lengths(sources)
    if faults:
        raise ImportFault("\n".join(faults))
    return _assemble(files, sources)


def _unequal_lengths(sources: dict[str, SourceFile]) -> list[str]:
    lengths = {
        source.path.name: len(np.atleast_1d(source.array))
        for stem, source in sources.items()
        if stem not in ("classlist", *OPTIONAL)
    }
    if len(set(lengths.values())) == 1:
        return []
    listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
    return [
        f"the files have different numbers of entries ({listed}), so nothing says which features belong to which "
        f"video; take features and annotations from the same release"
    ]


def _assemble(files: ReleasedFiles, sources: dict[str, SourceFile]) -> Released:
    extracted, strides = sources.get("extracted_fps"), sources.get("stride_frames")
    return Released(
        files=files,
        features=_cells(sources["features"]),
        names=[text(name) for name in np.ravel(sources["videoname"].array)],
        subsets=[text(subset) for subset in np.ravel(sources["subset"].array)],
        class_names=[text(name) for name in np.ravel(sources["classlist"].array)],
        labels_all=_cells(sources["labels_all"]),
        labels=_cells(sources["labels"]),
        segments=_cells(sources["segments"]),
        durations_s=_numbers(sources["duration"]),
        extracted_fps=None if extracted is None else _numbers(extracted),
        stride_frames=None if strides is None else _numbers(strides),
        ambiguous=_ambiguous_lines(files.annotations / AMBIGUOUS),
        sources=sources,
    )


def _cells(source: SourceFile) -> NDArray[Any]:
    """One cell per video, in an object array whose cells can be let go one by one."""
    cells = np.empty(len(source.array), dtype=object)
    for row, value in enumerate(source.array):
        cells[row] = value
    return cells


def _numbers(source: SourceFile) -> NDArray[np.float64]:
    """One number per video; NaN where a cell holds none."""
    numbers = np.full(len(source.array), np.nan)
    for row, value in enumerate(source.array):
        try:
            numbers[row] = float(np.ravel(value)[0])
        except (TypeError, ValueError, IndexError):
            continue  # stays NaN, which the inspection reports with the video's name
    return numbers


def _ambiguous_lines(path: Path) -> list[tuple[int, str]]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


AMBIGUOUS_LINE = re.compile(r"(?P<video>\S+)\s+(?P<start>\S+)\s+(?P<end>\S+)\s*")


def write_released(
    folder: Path,
    name: str,
    features: NDArray[Any],
    tables: Mapping[str, Sequence[Any]],
    *,
    class_names: Sequence[str],
    ambiguous: Sequence[tuple[str, float, float]] = (),
) -> None:
    """Write a data set in the released layout into an existing ``folder``.

    Args:
        folder: takes the feature file and the annotation folder.
        name: released name.
        features: object array of N matrices ``(T, D)``.
        tables: content of the ``PER_VIDEO`` files (and the ``OPTIONAL`` ones), N entries each.
        class_names: content of ``classlist.npy``.
        ambiguous: (video, start, end) in seconds; no file where empty.
    """
    annotations = folder / f"{name}{ANNOTATIONS_SUFFIX}"
    annotations.mkdir()
    np.save(folder / f"{name}{FEATURES_SUFFIX}", features, allow_pickle=True)
    np.save(annotations / "classlist.npy", np.array([name.encode() for name in class_names]))
    for stem, values in tables.items():
        if stem in ("videoname", "subset"):
            array: NDArray[Any] = np.array([text(value).encode() for value in values])
        elif stem in ("labels_all", "labels", "segments"):
            array = np.empty(len(values), dtype=object)
            for row, value in enumerate(values):
                array[row] = value
        else:
            array = np.asarray(values, np.float64).reshape(-1, 1)
        np.save(annotations / f"{stem}.npy", array, allow_pickle=True)
    if ambiguous:
        lines = [f"{video}  {start!r} {end!r}" for video, start, end in ambiguous]
        (annotations / AMBIGUOUS).write_text("\n".join(lines) + "\n", encoding="utf-8")
