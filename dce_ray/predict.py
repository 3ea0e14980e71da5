"""Detections for videos that nobody annotated: ``python -m dce_ray.predict checkpoint=... data=... target=...``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dce_ray.commandline import command, compose
from dce_ray.datasets import resolve_data
from dce_ray.errors import ConfigError, DceError, EvaluationError, unknown_among_many, unknown_name
from dce_ray.evaluation import VideoOutputs, export_detections
from dce_ray.localize import propose_videos
from dce_ray.method import Intervention
from dce_ray.records import GroundTruth, Proposals
from dce_ray.store import open_store
from dce_ray.store.feature_files import PREFIX, Unusable, find_features, has_feature_files, read_features
from dce_ray.timeline import draw_timelines, figure_of, timeline_of
from dce_ray.train.arithmetic import arithmetic
from dce_ray.train.build import Trained, choose_device, load_trained
from dce_ray.winner import checkpoint_of

USAGE = """
python -m dce_ray.predict checkpoint=<file or folder> data=<folder> key=value ...     find actions in new videos

  checkpoint=<...>         written by dce_ray.train, or the folder of a search (its confirmed winner) or of a run
  data=<folder or name>    folder of <video>.npy or .npz (or rgb/ and flow/ in it), a feature store or a data set's name
                           v_<video>.npy is called <video>, unless videos of the training data are called v_...
  target=<file.json>       detections in the ActivityNet format, in seconds (default detections.json)
  fps= stride_frames=      tempo of the features in a folder (default: that of the data the network was trained on)
  split=all|train|test     videos of a store (default all)
  device=auto|cpu|cuda:0
  timeline=<video>         draw detections, attentions and Psi; several: 'timeline=[a,b]'
  figure=<file>            where the timelines go, .png, .svg or .pdf (default timeline-<video>.png in the working
                           folder); a file that is there is replaced
"""
OPTIONS: dict[str, Any] = {
    "checkpoint": None,
    "data": None,
    "target": "detections.json",
    "fps": None,
    "stride_frames": None,
    "split": "all",
    "device": "auto",
    "timeline": None,
    "figure": None,
}
SPLITS = ("all", "train", "test")
SHOWN = 10
"""Videos that a message names."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in a list of videos."""

    proposals: Proposals
    """Times in snippets; ``video`` counts ``video_names``."""
    video_names: tuple[str, ...]
    class_names: tuple[str, ...]
    snippets_per_second: float
    outputs: Mapping[str, VideoOutputs]
    """Of the videos that ``keep`` named."""

    def export(self, path: Path | str) -> None:
        """Write them as ActivityNet JSON, in seconds.

        Raises:
            EvaluationError: when the file cannot be written.
        """
        export_detections(path, self.proposals, self.video_names, self.class_names, self.snippets_per_second)


@dataclass(frozen=True, slots=True)
class Videos:
    """Features by name, read when they are asked for."""

    names: tuple[str, ...]
    snippets_per_second: float
    read: Any
    """Callable from a name to ``(T, D)``."""


def predict_detections(
    checkpoint: Path | str,
    data: Path | str,
    *,
    fps: float | None = None,
    stride_frames: int | None = None,
    split: str = "all",
    device: str = "auto",
    keep: Sequence[str] = (),
) -> Detections:
    """Detections of a trained network in videos without annotations.

    Args:
        checkpoint: as written by ``dce_ray.train``, or the folder of a search (its winner) or of a run.
        data: folder of per-video features, store, or name of a data set.
        fps: frames per second at which features of a folder were extracted; None takes the training data's.
        stride_frames: frames from one snippet to the next, likewise.
        split: ``all``, ``train`` or ``test`` videos of a store.
        device: ``auto``, ``cpu`` or ``cuda:<n>``.
        keep: videos whose attentions are kept, for a picture.

    Raises:
        ConfigError: a value out of range, or a tempo that cannot be told.
        CheckpointError: no such checkpoint, or a damaged one.
        EvaluationError: naming every video whose features do not fit the network.

    Example:
        >>> import dce_ray
        >>> from dce_ray.predict import predict_detections
        >>> from dce_ray.presets import run_config
        >>> changes = {"training": {"iterations": 4}, "device": "cpu"}
        >>> run = dce_ray.Run(run_config("delu", store, data_set="synthetic", overrides=changes))
        >>> metrics = run.advance(4)
        >>> run.save(folder / "new.pt")
        >>> found = predict_detections(folder / "new.pt", store, split="test", device="cpu")
        >>> len(found.video_names), found.class_names[0]
        (8, 'Action00')
    """
    trained = load_trained(checkpoint_of(Path(checkpoint).expanduser()))
    videos = _videos(trained, str(data), (fps, stride_frames), split)
    absent = [name for name in keep if name not in videos.names]
    unknown = [
        f"timeline={name}: {unknown_among_many('video', name, videos.names, 'data= holds them')}" for name in absent
    ]
    if unknown:
        raise ConfigError("\n".join(unknown))
    chosen = choose_device(device)
    trained.network.to(chosen)
    kept: dict[str, VideoOutputs] = {}

    def outputs() -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        for name, features_TD in _checked(videos, trained.network.feature_size):
            with torch.inference_mode():
                found = trained.network(torch.from_numpy(features_TD)[None].to(chosen))
            one = VideoOutputs(
                *(part[0].float().cpu().numpy() for part in (found.logits, found.rgb_attention, found.flow_attention))
            )
            if name in keep:
                kept[name] = one
            yield one.logits, one.attention

    with arithmetic(chosen, trained.config.training):
        proposals = propose_videos(outputs(), trained.config.evaluation)
    return Detections(proposals, videos.names, trained.class_names, videos.snippets_per_second, kept)


def _videos(trained: Trained, data: str, tempo: tuple[float | None, int | None], split: str) -> Videos:
    """The videos of a folder of features or of a store."""
    if split not in SPLITS:
        raise ConfigError(unknown_name("split", split, SPLITS))
    folder = Path(data).expanduser()
    if has_feature_files(folder):
        if split != "all":
            raise ConfigError(f"split={split}: {folder} holds features alone, which have no subsets; leave it out")
        files = find_features(folder)
        if files.one_sided:
            listed = [f"{name} lacks {stream}" for name, stream in sorted(files.one_sided.items())]
            raise EvaluationError(f"{folder}: a stream is missing: {', '.join(listed[:SHOWN])}; extract both")
        rate, paths = _tempo(trained, *tempo), files.videos(prefixed=_prefixed(trained))
        return Videos(tuple(paths), rate, lambda name: read_features(paths[name]))
    given = [f"{key}=" for key, value in zip(("fps", "stride_frames"), tempo, strict=True) if value is not None]
    if given:
        raise ConfigError(f"{', '.join(given)}: a store has its own; give it with a folder of features alone")
    store = open_store(resolve_data(data))
    rows = {
        name: row
        for row, (name, subset) in enumerate(zip(store.video_names, store.subsets, strict=True))
        if split in ("all", subset) and store.lengths[row]
    }
    if not rows:
        raise EvaluationError(f"split={split}: {store.name} has no video there; choose another split")
    return Videos(tuple(rows), store.snippets_per_second, lambda name: store.features(rows[name]))


def _prefixed(trained: Trained) -> bool:
    """Whether the training data's videos are called ``v_...``, which is part of the name then; not where it is gone."""
    try:
        names = open_store(trained.config.data).video_names
    except DceError:
        return False
    return any(name.startswith(PREFIX) for name in names)


def _tempo(trained: Trained, fps: float | None, stride_frames: int | None) -> float:
    """Snippets per second: as asked for, else the training data's."""
    if fps is not None and stride_frames is not None:
        if fps <= 0 or stride_frames < 1:
            raise ConfigError(f"fps={fps}, stride_frames={stride_frames}: both must be above 0")
        return fps / stride_frames
    try:
        store = open_store(trained.config.data)
    except DceError as fault:
        raise ConfigError(
            f"fps= and stride_frames= are needed: the data that the network was trained on is gone ({fault})"
        ) from fault
    fps, stride_frames = fps or store.fps, stride_frames or store.stride_frames
    log.info("tempo of the features: fps=%g stride_frames=%d (of %s, unless given)", fps, stride_frames, store.name)
    return fps / stride_frames


def _checked(videos: Videos, feature_size: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Features by name; all that do not fit are named together, after the last."""
    faults = []
    for name in videos.names:
        try:
            features_TD = np.ascontiguousarray(videos.read(name), np.float32)
        except Unusable as fault:
            kind, found, _ = fault.args
            faults.append(f"{name}: {kind}: {found}")
            continue
        if features_TD.shape[1] != feature_size:
            faults.append(f"{name}: {features_TD.shape[1]} channels, the network takes {feature_size}")
        elif not faults:
            yield name, features_TD.copy()  # a store's pages are read-only, which PyTorch warns of
    if faults:
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise EvaluationError(
            "\n  ".join([f"{len(faults)} videos cannot be read, so nothing was written:", *faults[:SHOWN], *more])
        )


def main(arguments: list[str]) -> int:
    """Write the detections, and the timelines that were asked for."""
    given = compose(OPTIONS, arguments)
    missing = [key for key in ("checkpoint", "data") if not given[key]]
    if missing:
        raise ConfigError(f"{', '.join(f'{key}=' for key in missing)} is missing; see python -m dce_ray.predict --help")
    timeline = given["timeline"]
    keep = [timeline] if isinstance(timeline, str) else [str(name) for name in timeline or ()]
    found = predict_detections(
        str(given["checkpoint"]),
        str(given["data"]),
        fps=_number(given, "fps"),
        stride_frames=None if (stride := _number(given, "stride_frames")) is None else int(stride),
        split=str(given["split"]),
        device=str(given["device"]),
        keep=keep,
    )
    found.export(str(given["target"]))
    print(f"{len(found.proposals)} detections in {len(found.video_names)} videos: {given['target']}")
    if keep:
        figure = str(given["figure"] or figure_of(keep))
        _draw(found, keep, str(given["checkpoint"]), figure)
        print(f"timelines: {figure}")
    return 0


def _draw(found: Detections, keep: Sequence[str], checkpoint: str, figure: str) -> None:
    intervention = Intervention.of(load_trained(checkpoint_of(Path(checkpoint).expanduser())).config.method)
    nothing = GroundTruth.empty(found.video_names, found.class_names)
    timelines = [
        timeline_of(
            found.video_names.index(name),
            found.outputs[name],
            found.proposals,
            nothing,
            snippets_per_second=found.snippets_per_second,
            intervention=intervention,
        )
        for name in keep
    ]
    draw_timelines(timelines, figure)


def _number(given: Mapping[str, Any], key: str) -> float | None:
    value = given[key]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ConfigError(f"{key}={value!r}: must be a number")
    return None if value is None else float(value)


if __name__ == "__main__":
    command(main, USAGE)
