"""Whether the files of a store are what its manifest says."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dce_ray.errors import StoreError
from dce_ray.store.schema import Manifest


def check_files(folder: Path, manifest: Manifest, *, verify: bool) -> None:
    """Compare the files with the manifest: their size, and with ``verify`` their SHA-256.

    Raises:
        StoreError: naming every file that is missing, truncated, of another size or damaged.
    """
    faults = []
    for name, record in manifest.files.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            faults.append(f"{name} is missing")
        elif size < record.size:
            faults.append(f"{name} is truncated: {size} of {record.size} bytes")
        elif size > record.size:
            faults.append(f"{name} has a wrong size: {size} bytes, not {record.size}")
        elif verify and file_sha256(path) != record.sha256:
            faults.append(f"{name} has a wrong SHA-256: its content was damaged or changed")
    if faults:
        raise StoreError(f"{folder}: {'; '.join(faults)}. Import the data set again, or copy the store again")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
