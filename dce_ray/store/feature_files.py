"""Features as most projects keep them: one ``.npy`` or ``.npz`` per video, both streams in one file or in two folders.

A file is ``<video>.npy`` or ``v_<video>.npy`` and holds ``(T, D)``: RGB first, then FLOW. With two streams apart, the
folders are ``rgb/`` and ``flow/`` below the source (or named), each file ``(T, D / 2)``. An ``.npz`` holds one array,
an array ``features``, or the arrays ``rgb`` and ``flow``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import ImportFault

ENDINGS = (".npy", ".npz")
UNREADABLE = (".h5", ".hdf5", ".pt", ".pth", ".pkl", ".mat")
"""Endings of feature files that need another reader than NumPy's, or that can run code."""
PREFIX = "v_"
"""What ActivityNet's file names have before the video's name."""
STREAMS = ("rgb", "flow")
WHOLE = "features"
"""Array of an ``.npz`` that holds both streams."""


class Unusable(Exception):
    """What is wrong with one video's features: kind, what was found, remedy."""


@dataclass(frozen=True, slots=True)
class FeatureFiles:
    """Where each video's features lie."""

    files: Mapping[str, tuple[Path, ...]]
    """By video: one file with both streams, or the RGB and the FLOW file."""
    one_sided: Mapping[str, str]
    """Videos that only one of the two folders holds, with the stream that is missing."""

    def of(self, video: str) -> str | None:
        """The name under which a video's file lies: the video's own, or with ActivityNet's ``v_``; None without one."""
        return next((name for name in (video, PREFIX + video) if name in self.files), None)

    def videos(self, *, prefixed: bool) -> dict[str, tuple[Path, ...]]:
        """The files by the names of their videos, where no annotations say them: without ActivityNet's ``v_``, as
        :meth:`of` finds them, unless the same name is there without it.

        Args:
            prefixed: whether names of videos begin with ``v_`` themselves, so that it stays.
        """
        plain = {name: name if prefixed else name.removeprefix(PREFIX) for name in self.files}
        named = {name: name if plain[name] in self.files else plain[name] for name in self.files}
        return {named[name]: self.files[name] for name in sorted(self.files, key=named.__getitem__)}

    def missing_stream(self, video: str) -> str | None:
        """Which stream of a video is missing while the other is there."""
        return self.one_sided.get(video) or self.one_sided.get(PREFIX + video)


def has_feature_files(folder: Path) -> bool:
    """Whether a folder holds a file per video, or the folders ``rgb`` and ``flow``."""
    if all((folder / stream).is_dir() for stream in STREAMS):
        return True
    return any(next(folder.glob(f"*{ending}"), None) is not None for ending in ENDINGS)


def find_features(source: Path, rgb: Path | None = None, flow: Path | None = None) -> FeatureFiles:
    """List the feature files.

    Args:
        source: folder of the files, or of the folders ``rgb`` and ``flow``.
        rgb: folder of the RGB stream where it lies elsewhere.
        flow: folder of the FLOW stream likewise.

    Raises:
        ImportFault: a folder that is not there, one without feature files, or a video with two files.
    """
    if (rgb is None) != (flow is None):
        raise ImportFault("rgb= and flow= belong together: give the folders of both streams, or neither")
    if rgb is None and all((source / stream).is_dir() for stream in STREAMS):
        rgb, flow = source / "rgb", source / "flow"
    if rgb is None or flow is None:
        return FeatureFiles({name: (path,) for name, path in _listed(source).items()}, {})
    first, second = _listed(rgb), _listed(flow)
    both = {name: (first[name], second[name]) for name in first if name in second}
    one_sided = dict.fromkeys(first.keys() - both.keys(), "flow") | dict.fromkeys(second.keys() - both.keys(), "rgb")
    return FeatureFiles(both, one_sided)


def _listed(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ImportFault(f"{folder}: not a folder; give the one that holds a feature file per video")
    found: dict[str, Path] = {}
    twice, foreign = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix in ENDINGS:
            twice += [path.stem] if path.stem in found else []
            found[path.stem] = path
        elif path.suffix in UNREADABLE:
            foreign.append(path.name)
    if twice:
        raise ImportFault(f"{folder}: {', '.join(twice[:5])}: has an .npy and an .npz; keep one of them")
    if not found and foreign:
        raise ImportFault(
            f"{folder}: holds {len(foreign)} files such as {foreign[0]}; {' and '.join(ENDINGS)} alone are read, since "
            f"no reader of others comes with dce_ray: save each with numpy.save(<video>.npy, array of (T, D))"
        )
    if not found:
        raise ImportFault(f"{folder}: holds no {' or '.join(ENDINGS)}; give the folder with a feature file per video")
    return found


def read_features(paths: tuple[Path, ...], *, trim_streams: bool = False) -> NDArray[Any]:
    """The features of one video, ``(T, D)``, RGB first.

    Args:
        paths: of :class:`FeatureFiles`.
        trim_streams: whether the longer stream is cut at its end to the length of the shorter.

    Raises:
        Unusable: (kind, found, remedy), when they are no two streams of finite numbers.
    """
    streams = [array for path in paths for array in _arrays(path)]
    for stream in streams:
        _check_matrix(stream)
    if len(streams) == 1:
        return streams[0]
    lengths = [len(stream) for stream in streams]
    if lengths[0] != lengths[1] and not trim_streams:
        remedy = "extract both at the same snippets, or give trim_streams=true to cut the longer one at its end"
        raise Unusable("streams of unequal length", f"RGB {lengths[0]}, FLOW {lengths[1]} snippets", remedy)
    widths = [stream.shape[1] for stream in streams]
    if widths[0] != widths[1]:
        remedy = "the networks take two streams of equal size; use the same extractor for both"
        raise Unusable("streams of unequal width", f"RGB {widths[0]}, FLOW {widths[1]} channels", remedy)
    return np.concatenate([stream[: min(lengths)] for stream in streams], axis=1)


def _arrays(path: Path) -> list[NDArray[Any]]:
    """One array of a file, or both streams; never unpickles."""
    remedy = "save it anew with numpy.save or numpy.savez, as numbers and not as objects"
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return [loaded]
        with loaded:
            names = set(loaded.files)
            if set(STREAMS) <= names:
                return [loaded[stream] for stream in STREAMS]
            if len(names) == 1 or WHOLE in names:
                return [loaded[WHOLE if WHOLE in names else names.pop()]]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise Unusable("file cannot be read", f"{path.name}: {_without_numpys_advice(fault)}", remedy) from fault
    kind = "archive holds several arrays"
    raise Unusable(kind, f"{path.name}: {', '.join(sorted(names))}", "name them rgb and flow, or one of them features")


def _without_numpys_advice(fault: Exception) -> str:
    """What numpy says of a file, but for its hint how a pickle could be executed all the same."""
    told = str(fault)
    return "no array of numbers" if isinstance(fault, ValueError) and "pickle" in told else told


def _check_matrix(matrix: NDArray[Any]) -> None:
    again = "extract the features of this video again"
    if matrix.dtype.kind not in "fiu":
        raise Unusable("features are not numbers", str(matrix.dtype), again)
    if matrix.ndim != 2 or not matrix.size:
        raise Unusable("features are not a matrix (T, D)", f"shape {matrix.shape}", "save one row per snippet")
    bad = ~np.isfinite(matrix).all(axis=1)
    if bad.any():
        found = f"{int(bad.sum())} of {len(matrix)} snippets, the first is {int(bad.argmax())}"
        raise Unusable("NaN or infinite features", found, again)
