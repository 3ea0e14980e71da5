"""Reading a store: memory-mapped, so that it opens at once and all processes of a machine share one copy.

Shapes: N videos, T snippets, D channels (RGB first), C classes; B and T of a batch as in ``records.py``.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dce_ray.errors import StoreError
from dce_ray.places import is_bucket
from dce_ray.store.integrity import check_files
from dce_ray.store.node_cache import fetched
from dce_ray.store.schema import ANNOTATIONS, ANNOTATIONS_SCHEMA, FEATURES, Manifest, features_schema, read_manifest


@dataclass(frozen=True, slots=True)
class Instances:
    """Annotated actions of some videos, one entry per instance, in the order of the videos."""

    video: NDArray[np.int64]
    """Position in the list of videos that was asked for."""
    label: NDArray[np.int64]
    """Class index, in [0, C)."""
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.video)


@dataclass(frozen=True, slots=True)
class Intervals:
    """Stretches of some videos that the annotators could not decide on."""

    video: NDArray[np.int64]
    """Position in the list of videos that was asked for."""
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.video)


class FeatureStore:
    """One data set on disk. Immutable; open it with ``FeatureStore.open`` or ``open_store``.

    Pickling carries the path only: the other process maps the same pages.
    """

    path: Path
    name: str
    digest: str
    """Hex; the same for the same data, whenever and wherever it was imported."""
    feature_size: int
    """D."""
    rgb_size: int
    """Channels of the first stream."""
    fps: float
    stride_frames: int
    """Frames per snippet."""
    class_names: tuple[str, ...]
    video_names: tuple[str, ...]
    subsets: tuple[str, ...]
    """``train`` or ``test`` for each video."""
    lengths: NDArray[np.int64]
    """Snippets of each video, ``(N,)``."""
    durations_s: NDArray[np.float64]
    """Seconds of each video as annotated, ``(N,)``."""
    dtype: np.dtype[Any]
    """Storage of the features."""
    manifest: Manifest

    def __init__(self, path: Path, manifest: Manifest) -> None:
        description = manifest.description
        self.path = path
        self.manifest = manifest
        self.digest = manifest.digest
        self.name = description.name
        self.feature_size = description.feature_size
        self.rgb_size = description.rgb_size
        self.fps = description.fps
        self.stride_frames = description.stride_frames
        self.class_names = description.class_names
        self.dtype = np.dtype(description.dtype)
        self._open_annotations()
        self._features = _map_arrow(path / FEATURES, features_schema(self.feature_size, description.dtype))
        self._matrices: dict[int, NDArray[Any]] = {}

    def _open_annotations(self) -> None:
        reader = _map_arrow(self.path / ANNOTATIONS, ANNOTATIONS_SCHEMA)
        self._table = reader.get_batch(0)
        self.video_names = tuple(self._table["name"].to_pylist())
        self.subsets = tuple(self._table["subset"].to_pylist())
        self.lengths = _view(self._table["snippets"], np.int64)
        self.durations_s = _view(self._table["duration_s"], np.float64)
        self._batches = _view(self._table["batch"], np.int32)
        self._firsts = _view(self._table["first_snippet"], np.int64)

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = False) -> FeatureStore:
        """Open the store in the folder ``path``; milliseconds, whatever its size.

        Args:
            path: the folder.
            verify: read every file once and compare its SHA-256.

        Raises:
            StoreError: not a store, of a newer version, truncated, changed, or (``verify``) damaged.
        """
        folder = Path(path).expanduser().resolve()
        manifest = read_manifest(folder)
        check_files(folder, manifest, verify=verify)
        return cls(folder, manifest)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (self.path,)

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path)!r}, {self.name}, {len(self)} videos, D={self.feature_size})"

    def __len__(self) -> int:
        return len(self.video_names)

    @property
    def snippets_per_second(self) -> float:
        """Snippets per second of video, ``fps / stride_frames``."""
        return self.fps / self.stride_frames

    def features(self, video: int) -> NDArray[Any]:
        """Snippets of one video, ``(T, D)`` in the stored dtype: a read-only view of the map, nothing is copied.

        Never hand it to ``torch.from_numpy``: torch ignores that it is read-only, and writing to it in place kills
        the process. ``gather`` returns arrays of your own.

        Raises:
            StoreError: no such video.
        """
        if not 0 <= video < len(self):
            raise StoreError(f"video {video}: {self.name} has rows 0 to {len(self) - 1}")
        first = self._firsts[video]
        return self._matrix(int(self._batches[video]))[first : first + self.lengths[video]]

    def _matrix(self, batch: int) -> NDArray[Any]:
        """All snippets of one record batch, ``(rows, D)``, mapped when it is first asked for."""
        if batch not in self._matrices:
            try:
                values = self._features.get_batch(batch)["features"].values.values
            except (pa.ArrowException, OSError) as fault:
                raise StoreError(f"{self.path / FEATURES}: damaged ({fault}); import the data set again") from fault
            self._matrices[batch] = _view(values, self.dtype).reshape(-1, self.feature_size)
        return self._matrices[batch]

    def gather(
        self, videos_B: ArrayLike, snippets_BT: ArrayLike, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Chosen snippets of chosen videos as a new array, ``(B, T, D)`` float32, free to be written to.

        Args:
            videos_B: store rows, ``(B,)``.
            snippets_BT: snippets of each video, ``(B, T)``, in [0, T of the video).
            out: a contiguous array of that shape to write to instead of a new one.

        Raises:
            StoreError: a video or snippet that is not there.
        """
        videos_B = np.asarray(videos_B)
        snippets_BT = np.asarray(snippets_BT)
        limits_B1 = self._rows(videos_B, self.lengths)[:, None]
        if snippets_BT.ndim != 2 or len(snippets_BT) != len(videos_B):
            raise StoreError(f"snippets of shape {snippets_BT.shape} for {len(videos_B)} videos; give (B, T)")
        if ((snippets_BT < 0) | (snippets_BT >= limits_B1)).any():
            row = int(((snippets_BT < 0) | (snippets_BT >= limits_B1)).any(axis=1).argmax())
            raise StoreError(
                f"video {self.video_names[videos_B[row]]}: snippets {snippets_BT[row].min()} to "
                f"{snippets_BT[row].max()} asked for; it has 0 to {limits_B1[row, 0] - 1}"
            )
        gathered_BTD = out if out is not None else np.empty((*snippets_BT.shape, self.feature_size), np.float32)
        for row, video in enumerate(videos_B):
            features_TD = self.features(int(video))
            if features_TD.dtype == np.float32:  # straight into its place; 'clip' is the mode without a buffer
                np.take(features_TD, snippets_BT[row], axis=0, out=gathered_BTD[row], mode="clip")
            else:
                gathered_BTD[row] = features_TD[snippets_BT[row]]
        return gathered_BTD

    def _rows(self, videos: NDArray[Any], column: NDArray[Any]) -> NDArray[Any]:
        if videos.size and (videos.min() < 0 or videos.max() >= len(self)):
            raise StoreError(
                f"videos {videos.min()} to {videos.max()} asked for; {self.name} has rows 0 to {len(self) - 1}"
            )
        chosen: NDArray[Any] = column[videos.astype(np.int64)]
        return chosen

    def _ragged(self, videos: ArrayLike, *columns: str) -> tuple[NDArray[np.int64], list[NDArray[Any]]]:
        """Values of list columns for some videos: (position of the video, one array per column)."""
        videos = np.asarray(videos)
        offsets = _view(self._table[columns[0]].offsets, np.int32)
        first, last = self._rows(videos, offsets[:-1]).astype(np.int64), self._rows(videos, offsets[1:])
        counts = last - first
        position = np.repeat(np.arange(len(videos)), counts)
        where = np.arange(len(position)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        return position, [self._values(column)[where] for column in columns]

    def _values(self, column: str) -> NDArray[Any]:
        """All values of a list column, one video's behind the other's."""
        kind = ANNOTATIONS_SCHEMA.field(column).type.value_type
        return _view(self._table[column].values, np.int32 if pa.types.is_int32(kind) else np.float64)

    def labels(self, videos: ArrayLike) -> NDArray[np.float32]:
        """Video-level labels, multi-hot, ``(len(videos), C)``; reads the rows of these videos only."""
        position, (label,) = self._ragged(videos, "labels")
        multi_hot = np.zeros((len(np.asarray(videos)), len(self.class_names)), np.float32)
        multi_hot[position, label] = 1
        return multi_hot

    def video_labels(self) -> list[list[int]]:
        """Class indices of every video, in the order in which they were annotated."""
        labels: list[list[int]] = self._table["labels"].to_pylist()
        return labels

    def instances(self, videos: ArrayLike) -> Instances:
        """Annotated instances of ``videos``, in their order."""
        columns = ("instance_label", "instance_start_s", "instance_end_s")
        position, (label, start_s, end_s) = self._ragged(videos, *columns)
        return Instances(position, label.astype(np.int64), start_s, end_s)

    def ambiguous(self, videos: ArrayLike) -> Intervals:
        """Ambiguous stretches of ``videos``, in their order."""
        position, (start_s, end_s) = self._ragged(videos, "ambiguous_start_s", "ambiguous_end_s")
        return Intervals(position, start_s, end_s)


_OPENED: dict[Path | str, FeatureStore] = {}


def open_store(path: Path | str) -> FeatureStore:
    """The store at ``path``, opened once per process and again only if another one has taken its place.

    Where ``path`` is an address (``s3://``, ``gs://``) the store is fetched once per machine, see
    :mod:`dce_ray.store.node_cache`; what lies at an address is never another store later on.

    Raises:
        StoreError: not a store, of a newer version, truncated or changed.
        StorageError: the address does not answer, or refuses.

    Example:
        >>> import dce_ray
        >>> data = dce_ray.open_store(store)
        >>> data.name, len(data), data.class_names[0], data.features(0).shape[1] == data.feature_size
        ('synthetic', 20, 'Action00', True)
    """
    if is_bucket(path):
        if path not in _OPENED:
            _OPENED[path] = FeatureStore.open(fetched(str(path)))
        return _OPENED[path]
    folder = Path(path).expanduser().resolve()
    opened = _OPENED.get(folder)
    if opened is None or opened.digest != read_manifest(folder).digest:
        opened = _OPENED[folder] = FeatureStore.open(folder)
    return opened


def _view(array: pa.Array, dtype: DTypeLike) -> NDArray[Any]:
    """Numbers of an Arrow array as a read-only NumPy view.

    Not ``Array.to_numpy``: it imports pandas where that is installed, half a second and 20 MB in every process.
    """
    if not len(array):
        return np.empty(0, dtype)
    view: NDArray[Any] = np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]
    return view


def _map_arrow(path: Path, schema: pa.Schema) -> pa.RecordBatchFileReader:
    """Open an Arrow file through a read-only map."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise StoreError(f"{path}: cannot be read as an Arrow file ({fault}); import the data set again") from fault
    if not reader.schema.equals(schema):
        raise StoreError(f"{path}: holds other columns than a store's; import the data set again")
    return reader
