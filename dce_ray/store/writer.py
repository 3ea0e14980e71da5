"""Writing a store: one video after the other, hashed on the way, in bounded memory."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dce_ray.errors import DceError, StoreError
from dce_ray.store.schema import (
    ANNOTATIONS,
    ANNOTATIONS_SCHEMA,
    BATCH_BYTES,
    DTYPES,
    FEATURES,
    MANIFEST,
    REPORT,
    SUBSETS,
    Description,
    FileRecord,
    Manifest,
    features_schema,
    read_manifest,
)
from dce_ray.store.staging import Occupied, refuse_occupied, staged_folder

logger = logging.getLogger(__name__)

LARGEST_LIST = 2**31 - 1
"""Elements that one Arrow list may hold with 32-bit offsets."""


@dataclass(frozen=True)
class VideoAnnotation:
    """What is known of one video besides its features."""

    name: str
    subset: str
    """``train`` or ``test``."""
    duration_s: float
    labels: Sequence[int]
    """Video-level labels: class indices, in [0, C)."""
    instances: Sequence[tuple[int, float, float]] = ()
    """(class index, start, end) in seconds."""
    ambiguous: Sequence[tuple[float, float]] = ()
    """(start, end) in seconds."""


def write_store(
    target: Path | str,
    description: Description,
    videos: Iterable[tuple[VideoAnnotation, NDArray[Any]]],
    *,
    provenance: Mapping[str, Any] | None = None,
    report: Callable[[], str] | None = None,
) -> Manifest:
    """Write a whole store to ``target``.

    If the very same data already stand there, they are kept and nothing else happens.

    Args:
        target: folder to make; what is missing above it is made too.
        description: what the videos have in common.
        videos: annotation and features ``(T, D)`` of each video; consumed once, one at a time.
        provenance: how the data were made, for the manifest.
        report: gives the text of ``import_report.json`` once all videos are written.

    Raises:
        StoreError: the place is taken, another writer is at work, the disk is full, may not be written to, or a video
            does not fit the description.

    Example:
        >>> import dce_ray, numpy
        >>> about = dce_ray.Description("mine", feature_size=16, rgb_size=8, fps=25.0, stride_frames=16,
        ...                             class_names=("Jump", "Run"))
        >>> def videos():  # a generator: one video in memory at a time
        ...     for number in range(4):
        ...         subset, label = "train" if number < 3 else "test", number % 2
        ...         known = dce_ray.VideoAnnotation(f"video{number}", subset, duration_s=12.8, labels=[label],
        ...                                         instances=[(label, 1.0, 4.5)])
        ...         yield known, numpy.random.default_rng(number).normal(size=(20, 16))
        >>> manifest = dce_ray.write_store(folder / "mine", about, videos())
        >>> manifest.counts["videos"], dce_ray.open_store(folder / "mine").class_names
        (4, ('Jump', 'Run'))
    """
    folder = Path(target).expanduser().resolve()
    held = _held_store(folder)
    manifest: Manifest | None = None
    try:
        with staged_folder(folder) as staging:
            writer = _Writer(staging, description)
            with writer:
                for annotation, features in videos:
                    writer.add(annotation, features)
            manifest = writer.finish(provenance or {}, report)
            if held is not None and held.digest != manifest.digest:
                raise Occupied(f"{folder}: holds a store with other data; choose another target, or remove it first")
    except Occupied:
        held = _held_store(folder)
        if held is None or manifest is None or held.digest != manifest.digest:
            raise
        logger.warning("%s: holds exactly this data set already; it stays as it is", folder)
        return held
    return manifest


def _held_store(folder: Path) -> Manifest | None:
    """The manifest of the store at ``folder``; None where the place is free, ``Occupied`` where it is not."""
    try:
        return read_manifest(folder)
    except DceError:
        refuse_occupied(folder)
        return None


class _HashedFile:
    """A file for Arrow to write to that knows its size and SHA-256 in the end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._sha256 = hashlib.sha256()
        self._size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._sha256.update(view)
        self._size += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.closed = True
        self._file.close()

    @property
    def record(self) -> FileRecord:
        return FileRecord(self._size, self._sha256.hexdigest())


class _Writer:
    """Collects videos into record batches and writes them out as they fill."""

    def __init__(self, folder: Path, description: Description) -> None:
        self._folder = folder
        self._description = description
        self._schema = features_schema(description.feature_size, description.dtype)
        self._file = _HashedFile(folder / FEATURES)
        self._arrow = pa.ipc.new_file(self._file, self._schema)
        self._names: list[str] = []
        self._waiting: list[NDArray[Any]] = []
        self._waiting_snippets = 0
        self._batch = 0
        self._columns: dict[str, list[Any]] = {name: [] for name in ANNOTATIONS_SCHEMA.names}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._flush()
            self._arrow.close()
        self._file.close()

    def add(self, annotation: VideoAnnotation, features: NDArray[Any]) -> None:
        """Append one video, features ``(T, D)``."""
        matrix = self._checked(annotation, features)
        if self._waiting_snippets * matrix[0].nbytes + matrix.nbytes > BATCH_BYTES:
            self._flush()
        row = {
            "name": annotation.name,
            "subset": annotation.subset,
            "duration_s": annotation.duration_s,
            "snippets": len(matrix),
            "batch": self._batch,
            "first_snippet": self._waiting_snippets,
            "labels": list(annotation.labels),
            "instance_label": [label for label, _, _ in annotation.instances],
            "instance_start_s": [start for _, start, _ in annotation.instances],
            "instance_end_s": [end for _, _, end in annotation.instances],
            "ambiguous_start_s": [start for start, _ in annotation.ambiguous],
            "ambiguous_end_s": [end for _, end in annotation.ambiguous],
        }
        for name, value in row.items():
            self._columns[name].append(value)
        self._names.append(annotation.name)
        self._waiting.append(matrix)
        self._waiting_snippets += len(matrix)

    def _checked(self, annotation: VideoAnnotation, features: NDArray[Any]) -> NDArray[Any]:
        description, where = self._description, f"video {annotation.name}"
        if features.ndim != 2 or features.shape[1] != description.feature_size or not len(features):
            raise StoreError(
                f"{where}: features of shape {features.shape}; give (T, {description.feature_size}), T >= 1"
            )
        if features.size > LARGEST_LIST:
            raise StoreError(f"{where}: {features.size} values; a video may have {LARGEST_LIST}, cut it into parts")
        if annotation.subset not in SUBSETS:
            raise StoreError(f"{where}: subset {annotation.subset!r}; give one of {', '.join(SUBSETS)}")
        classes = [*annotation.labels, *(label for label, _, _ in annotation.instances)]
        if classes and not 0 <= min(classes) <= max(classes) < len(description.class_names):
            raise StoreError(f"{where}: class {max(classes)}; the data set has 0 to {len(description.class_names) - 1}")
        with np.errstate(over="ignore"):  # the overflow is looked for below
            matrix: NDArray[Any] = features.astype(DTYPES[description.dtype])
        if not np.isfinite(matrix).all():
            raise StoreError(
                f"{where}: a feature is not finite as {description.dtype} (largest value "
                f"{np.abs(features).max():g}); use dtype=float32, or mend the features"
            )
        return matrix

    def _flush(self) -> None:
        if not self._waiting:
            return
        offsets = np.cumsum([0, *(len(part) for part in self._waiting)]).astype(np.int32)
        flat = np.concatenate([part.reshape(-1) for part in self._waiting])
        self._waiting.clear()
        self._waiting_snippets = 0
        snippets = pa.FixedSizeListArray.from_arrays(pa.array(flat), self._description.feature_size)
        columns = [pa.array(self._names), pa.ListArray.from_arrays(pa.array(offsets), snippets)]
        self._names = []
        self._arrow.write_batch(pa.record_batch(columns, schema=self._schema))
        self._batch += 1

    def finish(self, provenance: Mapping[str, Any], report: Callable[[], str] | None) -> Manifest:
        """Write annotations and manifest; the features are complete."""
        names = self._columns["name"]
        if not names:
            raise StoreError(
                f"{self._description.name}: no video to write; see the report of the import for the reasons"
            )
        if len(set(names)) < len(names):
            raise StoreError(f"{self._description.name}: a video name occurs twice; names must be unique")
        files = {FEATURES: self._file.record, ANNOTATIONS: self._write_annotations()}
        if report is not None:
            files[REPORT] = self._write_text(REPORT, report())
        subsets = self._columns["subset"]
        counts = {
            "videos": len(names),
            **{subset: subsets.count(subset) for subset in SUBSETS},
            "snippets": sum(self._columns["snippets"]),
            "instances": sum(len(labels) for labels in self._columns["instance_label"]),
            "ambiguous": sum(len(starts) for starts in self._columns["ambiguous_start_s"]),
        }
        manifest = Manifest(self._description, counts, files, provenance)
        self._write_text(MANIFEST, manifest.to_json())
        return manifest

    def _write_annotations(self) -> FileRecord:
        file = _HashedFile(self._folder / ANNOTATIONS)
        batch = pa.record_batch(self._columns, schema=ANNOTATIONS_SCHEMA)
        with pa.ipc.new_file(file, ANNOTATIONS_SCHEMA) as arrow:
            arrow.write_batch(batch)
        file.close()
        return file.record

    def _write_text(self, name: str, text: str) -> FileRecord:
        file = _HashedFile(self._folder / name)
        file.write(text.encode())
        file.close()
        return file.record
