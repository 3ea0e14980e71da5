"""Looking at each video of a released data set: keep, repair or leave out, and say so.

The rule: nothing that a published evaluation counts is changed. Instances beyond the annotated duration or without
length count there (as instances that cannot be found), so they stay, with a finding; only what has no meaning at all
(NaN, an end before its start, an unknown class) goes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dce_ray.store.layout import AMBIGUOUS, AMBIGUOUS_LINE, Released, texts
from dce_ray.store.report import Action, Finding
from dce_ray.store.writer import VideoAnnotation

ROUNDING_S = 0.01
"""Annotated times carry this error: an end that lies less behind the duration is no finding."""
Instance = tuple[int, float, float]


class Inspector:
    """Judges the videos of one data set; collects findings.

    Args:
        released: the data set.
        subsets: ours by released name.
        feature_size: channels that a video must have, D.
        snippets_per_second: for durations that are missing.
    """

    def __init__(
        self, released: Released, subsets: dict[str, str], feature_size: int, snippets_per_second: float
    ) -> None:
        self._released = released
        self._subsets = subsets
        self._feature_size = feature_size
        self._snippets_per_second = snippets_per_second
        self._class_index = {name: index for index, name in enumerate(released.class_names)}
        self._rows_of_name = Counter(released.names)
        self._seen: set[str] = set()
        self.findings: list[Finding] = []
        self._ambiguous = self._read_ambiguous()
        self._usual_dtype = _usual_dtype(released.features)

    def _find(self, stem: str, row: int | None, kind: str, found: object, *, done: Action, remedy: str) -> None:
        released = self._released
        file = released.files.features.name if stem == "features" else stem if "." in stem else f"{stem}.npy"
        video = "" if row is None else released.names[row] or f"row {row}"
        self.findings.append(Finding(file, video, kind, str(found), done, remedy))

    def video(self, row: int) -> tuple[VideoAnnotation, NDArray[Any]] | None:
        """Annotation and features of the video in ``row``, repaired; None where it is left out."""
        named = self._has_own_name(row)
        subset = self._subset(row)
        features = self._features(row)
        labels = self._labels(row, subset)
        instances = self._instances(row)
        if not named or subset is None or features is None or labels is None or instances is None:
            return None
        name = self._released.names[row]
        duration_s = self._duration(row, len(features))
        self._notice_odd_times(row, instances, duration_s)
        ambiguous = self._ambiguous.get(name, [])
        return VideoAnnotation(name, subset, duration_s, labels, instances, ambiguous), features

    def _has_own_name(self, row: int) -> bool:
        name = self._released.names[row]
        if not name:
            self._find("videoname", row, "empty name", f"row {row}", done="left out", remedy="name the video")
        elif name in self._seen:
            found = f"row {row}; the first of {self._rows_of_name[name]} rows is kept"
            self._find(
                "videoname", row, "name occurs twice", found, done="left out", remedy="give every video its own name"
            )
        else:
            self._seen.add(name)
            return True
        return False

    def _subset(self, row: int) -> str | None:
        subset = self._released.subsets[row]
        if subset not in self._subsets:
            remedy = f"the import takes {' and '.join(map(repr, self._subsets))}; see train_subset= and test_subset="
            self._find("subset", row, "unknown subset", repr(subset), done="left out", remedy=remedy)
        return self._subsets.get(subset)

    def _features(self, row: int) -> NDArray[Any] | None:
        matrix = self._released.features[row]
        fault = self._unusable(matrix)
        if fault is not None:
            kind, found = fault
            self._find("features", row, kind, found, done="left out", remedy="extract the features of this video again")
            return None
        if matrix.dtype != self._usual_dtype:
            found = f"{matrix.dtype}, most videos have {self._usual_dtype}"
            self._find(
                "features",
                row,
                "other dtype than most",
                found,
                done="repaired",
                remedy="values are cast to the store's",
            )
        finite = np.isfinite(matrix).all(axis=1)
        if finite.all():
            return np.asarray(matrix)
        found = f"{int((~finite).sum())} of {len(matrix)} snippets, the first is {int(finite.argmin())}"
        if not finite.any():
            remedy = "extract the features of this video again"
            self._find("features", row, "NaN or infinite features", found, done="left out", remedy=remedy)
            return None
        remedy = "these snippets are set to zero; extract the features of this video again"
        self._find("features", row, "NaN or infinite features", found, done="repaired", remedy=remedy)
        return np.where(finite[:, None], matrix, np.zeros((), matrix.dtype))

    def _unusable(self, matrix: object) -> tuple[str, str] | None:
        """(kind, found) of a matrix that cannot be a video's features."""
        if matrix is None or (isinstance(matrix, np.ndarray) and matrix.size == 0):
            return "no features", "None" if matrix is None else f"an array of shape {np.shape(matrix)}"
        if not isinstance(matrix, np.ndarray) or matrix.dtype.kind not in "fiu":
            found = matrix.dtype if isinstance(matrix, np.ndarray) else type(matrix).__name__
            return "features are not an array of numbers", str(found)
        if matrix.ndim != 2:
            return "features are not a matrix (T, D)", f"shape {matrix.shape}"
        if matrix.shape[1] != self._feature_size:
            return "other number of channels than most", f"{matrix.shape[1]}, most videos have {self._feature_size}"
        if not matrix.any():
            return "all features are zero", f"{len(matrix)} snippets"
        return None

    def _labels(self, row: int, subset: str | None) -> list[int] | None:
        names = list(dict.fromkeys(texts(self._released.labels_all[row])))
        for name in names:
            if name not in self._class_index:
                remedy = "the label is dropped; add the class to classlist.npy or correct the name"
                self._find("labels_all", row, "label not in classlist.npy", repr(name), done="repaired", remedy=remedy)
        labels = [self._class_index[name] for name in names if name in self._class_index]
        if not labels and subset == "train":
            remedy = "training needs a label; fill labels_all.npy"
            self._find("labels_all", row, "no video-level label", "an empty list", done="left out", remedy=remedy)
            return None
        if not labels and subset == "test":
            remedy = "published evaluations count its instances, so it stays; fill labels_all.npy if it is a mistake"
            self._find("labels_all", row, "no video-level label", "an empty list", done="kept", remedy=remedy)
        return labels

    def _instances(self, row: int) -> list[Instance] | None:
        names = texts(self._released.labels[row])
        segments = _as_list(self._released.segments[row])
        if len(segments) == 2 and len(names) == 1 and all(np.ndim(value) == 0 for value in segments):
            segments = [segments]  # one instance, written without the list around it
        if len(names) != len(segments):
            found = f"{len(segments)} segments, {len(names)} labels"
            remedy = "which belongs to which is not known; make segments.npy and labels.npy agree"
            self._find("segments", row, "segments and labels differ in number", found, done="left out", remedy=remedy)
            return None
        instances = []
        for name, segment in zip(names, segments, strict=True):
            instance = self._instance(row, name, segment)
            if instance is not None:
                instances.append(instance)
        return instances

    def _instance(self, row: int, name: str, segment: object) -> Instance | None:
        remedy = "the instance is dropped; correct its annotation"
        try:
            start_s, end_s = (float(value) for value in np.ravel(np.asarray(segment)))
        except (TypeError, ValueError):
            self._find("segments", row, "segment is not [start, end]", repr(segment), done="repaired", remedy=remedy)
            return None
        found = f"[{start_s:g}, {end_s:g}] s"
        if not np.isfinite([start_s, end_s]).all():
            self._find("segments", row, "NaN or infinite time", found, done="repaired", remedy=remedy)
        elif end_s < start_s:
            self._find("segments", row, "segment ends before it starts", found, done="repaired", remedy=remedy)
        elif name not in self._class_index:
            remedy = "the instance is dropped; add the class to classlist.npy or correct the name"
            self._find("labels", row, "label not in classlist.npy", repr(name), done="repaired", remedy=remedy)
        else:
            return self._class_index[name], start_s, end_s
        return None

    def _duration(self, row: int, snippets: int) -> float:
        duration_s = float(self._released.durations_s[row])
        if np.isfinite(duration_s) and duration_s > 0:
            return duration_s
        replacement = snippets / self._snippets_per_second
        remedy = "the length of the features is taken; correct duration.npy"
        self._find("duration", row, "no duration", f"{duration_s:g} s", done="repaired", remedy=remedy)
        return replacement

    def _notice_odd_times(self, row: int, instances: list[Instance], duration_s: float) -> None:
        remedy = "it stays as annotated, because published evaluations count it; correct it if it is a mistake"
        for _, start_s, end_s in instances:
            found = f"[{start_s:g}, {end_s:g}] s, the video has {duration_s:g} s"
            if start_s < 0 or end_s > duration_s + ROUNDING_S:
                self._find("segments", row, "segment beyond the duration", found, done="kept", remedy=remedy)
            if start_s == end_s:
                self._find("segments", row, "segment without length", found, done="kept", remedy=remedy)

    def _read_ambiguous(self) -> dict[str, list[tuple[float, float]]]:
        intervals: dict[str, list[tuple[float, float]]] = {}
        for number, line in self._released.ambiguous:
            match = AMBIGUOUS_LINE.fullmatch(line)
            times = _times(match["start"], match["end"]) if match else None
            where = f"line {number}, {line!r}"
            if match is None or times is None:
                remedy = "the line is dropped; write video  start end"
                self._find(AMBIGUOUS, None, "not a name and two times in order", where, done="repaired", remedy=remedy)
            elif match["video"] not in self._rows_of_name:
                remedy = "the line is dropped; no evaluation reads it"
                self._find(AMBIGUOUS, None, "video is not in the data set", where, done="repaired", remedy=remedy)
            else:
                intervals.setdefault(match["video"], []).append(times)
        return intervals


def _times(start: str, end: str) -> tuple[float, float] | None:
    try:
        start_s, end_s = float(start), float(end)
    except ValueError:
        return None
    return (start_s, end_s) if 0 <= start_s <= end_s < np.inf else None


def _as_list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | np.ndarray) and np.ndim(np.asarray(value, object)) else []


def _usual_dtype(features: NDArray[Any]) -> np.dtype[Any] | None:
    counts = Counter(cell.dtype for cell in features if isinstance(cell, np.ndarray))
    return counts.most_common(1)[0][0] if counts else None


def usual_feature_size(features: NDArray[Any]) -> int | None:
    """The number of channels that most videos have; None where no video has a matrix."""
    sizes = Counter(cell.shape[1] for cell in features if isinstance(cell, np.ndarray) and cell.ndim == 2 and cell.size)
    return int(sizes.most_common(1)[0][0]) if sizes else None
