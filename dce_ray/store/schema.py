"""What a store is made of: three files in a folder, and the manifest that says how to read them.

``features.arrow`` holds one row per video (its name and its snippets, a list of D channels), uncompressed, in record
batches below 256 MB so that no Arrow offset overflows; ``annotations.arrow`` holds one row per video with labels,
instances and where its snippets are; ``manifest.json`` holds the rest, with size and SHA-256 of every file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dce_ray.errors import StoreError
from dce_ray.words import is_name

FORMAT = "dce-ray feature store"
SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
FEATURES = "features.arrow"
ANNOTATIONS = "annotations.arrow"
REPORT = "import_report.json"

SUBSETS = ("train", "test")
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16)}
BATCH_BYTES = 128 << 20
"""A record batch is closed before it grows past this; one longer video stands alone."""


def features_schema(feature_size: int, dtype: str) -> pa.Schema:
    """One row per video: ``(T, D)`` as a list of fixed-size lists, so that its bytes lie in one piece."""
    channel = pa.float32() if dtype == "float32" else pa.float16()
    return pa.schema([("name", pa.string()), ("features", pa.list_(pa.list_(channel, feature_size)))])


ANNOTATIONS_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("subset", pa.string()),
        ("duration_s", pa.float64()),
        ("snippets", pa.int64()),
        ("batch", pa.int32()),  # record batch of features.arrow
        ("first_snippet", pa.int64()),  # row inside that batch
        ("labels", pa.list_(pa.int32())),
        ("instance_label", pa.list_(pa.int32())),
        ("instance_start_s", pa.list_(pa.float64())),
        ("instance_end_s", pa.list_(pa.float64())),
        ("ambiguous_start_s", pa.list_(pa.float64())),
        ("ambiguous_end_s", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True)
class Description:
    """What all videos of a data set have in common."""

    name: str
    feature_size: int
    """Channels of both streams together, D."""
    rgb_size: int
    """Channels of the first stream; the second has the rest."""
    fps: float
    """Frames per second of the videos that the features were taken from."""
    stride_frames: int
    """Frames per snippet."""
    class_names: tuple[str, ...]
    dtype: str = "float32"
    """Storage of the features: float32 or float16."""

    def __post_init__(self) -> None:
        faults = [
            f"{name}={getattr(self, name)!r}: must be above 0"
            for name in ("feature_size", "fps", "stride_frames")
            if not getattr(self, name) > 0
        ]
        if not 0 < self.rgb_size < self.feature_size:
            faults.append(f"rgb_size={self.rgb_size}: must leave channels to both streams of {self.feature_size}")
        if not is_name(self.name):
            faults.append(f"name={self.name!r}: must be a name and no path; results lie in a folder that is called so")
        if self.dtype not in DTYPES:
            faults.append(f"dtype={self.dtype!r}: must be one of {', '.join(DTYPES)}")
        if not self.class_names or len(set(self.class_names)) < len(self.class_names):
            faults.append(f"class_names={list(self.class_names)}: must be at least one, all different")
        if faults:
            raise StoreError("\n".join(faults))


@dataclass(frozen=True)
class FileRecord:
    """What a file of the store must be."""

    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything about a store that is not in its tables."""

    description: Description
    counts: Mapping[str, int]
    """Videos, train, test, snippets, instances, ambiguous."""
    files: Mapping[str, FileRecord]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How the store was made; not part of the digest."""

    @property
    def digest(self) -> str:
        """SHA-256 over the description and the checksums of both tables: the same data give the same digest."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "description": asdict(self.description),
            "files": {name: self.files[name].sha256 for name in (FEATURES, ANNOTATIONS)},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        content = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "digest": self.digest,
            **asdict(self.description),
            "counts": dict(self.counts),
            "files": {name: asdict(record) for name, record in self.files.items()},
            "provenance": dict(self.provenance),
        }
        return json.dumps(content, indent=2) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json`` of a folder.

    Raises:
        StoreError: no store at all, one of a newer version, or a manifest that was changed.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise StoreError(f"{folder}: {what}; give the folder of a store (python -m dce_ray.store import makes one)")
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{folder}: not a store, it has no {MANIFEST}; {_remedy(folder)}") from None
    except OSError as fault:
        raise StoreError(f"{folder / MANIFEST}: cannot be read ({fault.strerror})") from fault
    return manifest_of(content, str(folder), _remedy(folder))


def manifest_of(text: bytes, where: str, remedy: str = "import the data set again") -> Manifest:
    """Check what ``manifest.json`` holds.

    Args:
        text: its content.
        where: folder or address of the store, for messages.
        remedy: what to do where it is no store.

    Raises:
        StoreError: not a store's, a newer version's, or one that was changed.
    """
    content = _parsed(text, where, remedy)
    version = content.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"{where}/{MANIFEST}: schema_version is {version!r}, not a number from 1; import again")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{where}: written with store version {version}, this dce_ray reads up to {SCHEMA_VERSION}; "
            f"upgrade dce_ray, or import the data set again with this one"
        )
    try:
        names = Description.__dataclass_fields__
        description = Description(
            **{name: content[name] for name in names if name != "class_names"}
            | {"class_names": tuple(content["class_names"])}
        )
        files = {name: FileRecord(**record) for name, record in content["files"].items()}
        manifest = Manifest(description, content["counts"], files, content["provenance"])
        intact = content["digest"] == manifest.digest
    except (KeyError, TypeError, AttributeError) as fault:
        raise StoreError(
            f"{where}/{MANIFEST}: damaged ({type(fault).__name__}: {fault}); import the data set again"
        ) from fault
    if not intact:
        raise StoreError(
            f"{where}/{MANIFEST}: was changed after the import (its digest does not fit); import again, "
            f"with fps=, stride_frames= or name= if those were the reason"
        )
    return manifest


def _parsed(text: bytes, where: str, remedy: str) -> dict[str, Any]:
    try:
        content = json.loads(text.decode("utf-8"))
    except ValueError as fault:
        raise StoreError(f"{where}/{MANIFEST}: not JSON ({fault}); import the data set again") from fault
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise StoreError(f"{where}: not a store, {MANIFEST} is of something else; {remedy}")
    return content


def _remedy(folder: Path) -> str:
    released = any(folder.glob("*-I3D-JOINTFeatures.npy")) or any(folder.glob("*-Annotations"))
    if released:
        return f"it holds a released data set: python -m dce_ray.store import source={folder} target=..."
    return "make one with python -m dce_ray.store import source=... target=..."
