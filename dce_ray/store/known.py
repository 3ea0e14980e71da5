"""What cannot be read off a released data set safely: frame rate, snippet stride, and which subset is which.

The released ``extracted_fps`` may be wrong (THUMOS14's says 10, its evaluation uses 25), so the known data sets have
their values here, and for any other the import says aloud what it goes by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dce_ray.errors import ImportFault

DEFAULT_STRIDE_FRAMES = 16
COVERAGE = (0.8, 1.25)
"""Where the length of the features lies, relative to the annotated duration, when fps and stride are right."""


@dataclass(frozen=True, slots=True)
class DataSetFacts:
    """Facts of a published data set."""

    fps: float
    stride_frames: int
    train_subset: str
    test_subset: str
    ambiguous: bool
    """The published evaluation leaves out what its annotators marked as ambiguous."""


THUMOS14 = "Thumos14reduced"
ACTIVITYNET12 = "ActivityNet1.2"
"""Names in the released files, which the stores made of them carry."""

KNOWN = {
    THUMOS14: DataSetFacts(25.0, 16, "validation", "test", ambiguous=True),
    ACTIVITYNET12: DataSetFacts(25.0, 16, "training", "validation", ambiguous=False),
}

USUAL_SUBSETS = (
    ("train", "test"),
    ("training", "testing"),
    ("training", "test"),
    ("validation", "test"),
    ("train", "validation"),
    ("train", "val"),
    ("training", "validation"),
    ("val", "test"),
)
"""(train, test) pairs that say by themselves which is which."""


def resolve_timing(
    name: str,
    fps: float | None,
    stride_frames: int | None,
    files: tuple[NDArray[np.float64] | None, NDArray[np.float64] | None],
    notices: list[str],
) -> tuple[float, int]:
    """Frame rate and stride of a data set: as asked for, else as exported, else as known, else as ``extracted_fps``
    says, with a notice.

    Args:
        name: released name.
        fps: asked for, or None.
        stride_frames: asked for, or None.
        files: ``extracted_fps`` and ``stride_frames``, one value per video, None where a file is missing. Our export
            alone writes the second, and then both are true.
        notices: takes what the user must know.

    Raises:
        ImportFault: no way to know, or values that cannot be.
    """
    extracted_fps, strides = files
    facts = KNOWN.get(name)
    if strides is not None:
        fps = fps if fps is not None else _one_value("extracted_fps", "fps", extracted_fps)
        stride_frames = (
            stride_frames if stride_frames is not None else int(_one_value("stride_frames", "stride_frames", strides))
        )
    if fps is None and facts is not None:
        fps = facts.fps
    if fps is None:
        fps = _one_value("extracted_fps", "fps", extracted_fps)
        notices.append(
            f"fps={fps:g} is taken from extracted_fps.npy, which is wrong in some published data sets; "
            f"give fps= if the features were extracted at another rate"
        )
    if stride_frames is None and facts is not None:
        stride_frames = facts.stride_frames
    if stride_frames is None:
        stride_frames = DEFAULT_STRIDE_FRAMES
        notices.append(f"stride_frames={stride_frames} is assumed; give stride_frames= if a snippet has other frames")
    if not (np.isfinite(fps) and fps > 0) or stride_frames < 1:
        raise ImportFault(f"fps={fps}, stride_frames={stride_frames}: both must be above 0")
    return float(fps), int(stride_frames)


def _one_value(file: str, key: str, per_video: NDArray[np.float64] | None) -> float:
    """The value that all videos share.

    Raises:
        ImportFault: there is no file, or videos differ.
    """
    if per_video is None:
        raise ImportFault(
            "the frame rate is not known: there is no extracted_fps.npy; give fps=, the frames per second at which "
            "the features were extracted"
        )
    values = np.unique(per_video)
    if len(values) != 1:
        raise ImportFault(
            f"{file}.npy has {len(values)} different values ({values[0]:g} to {values[-1]:g}); a store has one of "
            f"them: give {key}="
        )
    return float(values[0])


def check_ambiguous(name: str, lines: int, notices: list[str]) -> None:
    """Say aloud when the list of ambiguous stretches is missing: the tables would differ from published ones."""
    facts = KNOWN.get(name)
    if facts is not None and facts.ambiguous and not lines:
        notices.append(
            "Ambiguous_test.txt is missing or empty, so nothing is filtered as ambiguous and tables will differ from "
            "published ones; put it into the annotation folder and import again"
        )


def check_coverage(
    lengths: NDArray[np.int64], durations_s: NDArray[np.float64], fps: float, stride_frames: int, notices: list[str]
) -> None:
    """Say aloud when the features are far longer or shorter than the videos: then fps or stride is wrong."""
    usable = np.isfinite(durations_s) & (durations_s > 0)
    if not usable.any():
        return
    share = float(np.median(lengths[usable] * stride_frames / fps / durations_s[usable]))
    if not COVERAGE[0] <= share <= COVERAGE[1]:
        notices.append(
            f"with fps={fps:g} and stride_frames={stride_frames} the features last {share:.2f} times as long as the "
            f"videos (median): times of instances will be off unless that is meant; check fps= and stride_frames="
        )


def resolve_subsets(
    name: str,
    found: Sequence[str],
    train_subset: str | None,
    test_subset: str | None,
    notices: list[str],
    *,
    where: str = "subset.npy",
) -> dict[str, str]:
    """Which released subset is ``train`` and which is ``test``: {released name: ours}.

    Args:
        name: released name of the data set.
        found: subsets that occur.
        train_subset: asked for, or None.
        test_subset: asked for, or None.
        notices: takes what the user must know.
        where: the subsets were found.

    Raises:
        ImportFault: not to be told, or a subset that does not occur.
    """
    facts = KNOWN.get(name)
    if facts is not None and train_subset is None and test_subset is None:
        train_subset, test_subset = facts.train_subset, facts.test_subset
    if len(found) == 2 and (train_subset is None) != (test_subset is None):
        given = train_subset or test_subset
        other = next((subset for subset in found if subset != given), None)
        train_subset, test_subset = train_subset or other, test_subset or other
    if train_subset is None or test_subset is None:
        train_subset, test_subset = _guess(found, where)
        notices.append(
            f"subsets are guessed: {train_subset!r} is train, {test_subset!r} is test; give train_subset= and "
            f"test_subset= if not"
        )
    absent = [subset for subset in (train_subset, test_subset) if subset not in found]
    if absent or train_subset == test_subset:
        raise ImportFault(
            f"train_subset={train_subset!r}, test_subset={test_subset!r}: must be two of the subsets in {where}, "
            f"which are {', '.join(map(repr, found))}"
        )
    return {train_subset: "train", test_subset: "test"}


def _guess(found: Sequence[str], where: str) -> tuple[str, str]:
    lowered = {subset.lower(): subset for subset in found}
    for train, test in USUAL_SUBSETS:
        if set(lowered) == {train, test}:
            return lowered[train], lowered[test]
    if len(found) < 2:
        only = f"{found[0]!r} is its only subset" if found else "no video of it has a subset"
        raise ImportFault(f"{where}: {only}; training and test need one each: write there which video is of which")
    raise ImportFault(
        f"{where}: the subsets are {', '.join(map(repr, found))}, and which of them trains and which is tested on is "
        f"not to be told; give train_subset= and test_subset="
    )
