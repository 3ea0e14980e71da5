"""From a network and a store to the mAP table.

Videos of similar length go through the network together, padded with zeros that change no result; of a batch only what
proposals and video-level scores need is kept, so that memory is bounded by ``max_snippets_per_batch``.
Shapes: B videos of a batch, T snippets (padded), D channels, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dce_ray.baselines import TwoStreamNetwork
from dce_ray.config import EvaluationConfig
from dce_ray.data.resident import ResidentVideos
from dce_ray.data.transfer import Download, host_buffer, upload, upload_array
from dce_ray.errors import EvaluationError
from dce_ray.evaluation.checks import check_skipped
from dce_ray.evaluation.classification import classification_ap, video_scores
from dce_ray.evaluation.detection import detection_ap
from dce_ray.evaluation.export import export_detections
from dce_ray.evaluation.tables import MapTable, classification_table, map_table
from dce_ray.evaluation.truth import ground_truth
from dce_ray.localize import Evidence, drop_ambiguous, observe, propose_from, to_snippets
from dce_ray.records import GroundTruth, Proposals
from dce_ray.store import FeatureStore

Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class VideoOutputs:
    """What the network says about one video, on the CPU, float32."""

    logits: NDArray[np.float32]
    """``(T, C + 1)``, background last."""
    rgb_attention: NDArray[np.float32]
    """``(T,)``, in [0, 1]."""
    flow_attention: NDArray[np.float32]
    """``(T,)``, in [0, 1]."""

    @property
    def attention(self) -> NDArray[np.float32]:
        """Mean of both attentions, ``(T,)``."""
        mean: NDArray[np.float32] = (self.rgb_attention + self.flow_attention) / np.float32(2)
        return mean


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Table and detections of a set of videos."""

    table: MapTable
    proposals: Proposals
    """``video`` counts ``video_names``."""
    ground_truth: GroundTruth
    """Without an instance where no temporal label was to be read."""
    snippets_per_second: float

    @property
    def video_names(self) -> tuple[str, ...]:
        """The videos that were evaluated, in the order asked for."""
        return self.ground_truth.video_names

    def export(self, path: Path | str) -> None:
        """Write the detections as ActivityNet JSON, in seconds.

        Raises:
            EvaluationError: when the file cannot be written.
        """
        names = self.ground_truth
        export_detections(path, self.proposals, names.video_names, names.class_names, self.snippets_per_second)


def evaluate(
    network: TwoStreamNetwork,
    store: FeatureStore,
    videos: NDArray[np.int64],
    config: EvaluationConfig,
    *,
    device: torch.device | str = "cpu",
    resident: ResidentVideos | None = None,
    caption: str = "",
    temporal: bool = True,
) -> Evaluation:
    """Run the network over ``videos`` and score what it finds.

    Reads features, labels and, where ``temporal``, annotations of these videos only. ``config.skip_videos`` and videos
    without a snippet get no prediction and no video-level score; their instances still count.

    Args:
        network: used in evaluation mode and put back; it must be on ``device``.
        store: the data set.
        videos: store rows, at least one.
        config: proposals, thresholds, memory bound.
        device: where the features are sent.
        resident: features that lie on the device already; videos that are not all among them are sent there.
        caption: what the table is of.
        temporal: False reads neither instances nor ambiguous stretches: the table has the classification mAP alone,
            and proposals in ambiguous stretches stay.

    Raises:
        EvaluationError: no video, no annotated instance in them where ``temporal``, outputs that are NaN or
            infinite (the video is named).
    """
    videos = np.asarray(videos, np.int64)
    if not len(videos):
        raise EvaluationError("zero videos: there is nothing to evaluate; check the split")
    predicted = np.flatnonzero(~_skipped(store, videos, config) & (store.lengths[videos] > 0))
    evidence: dict[int, Evidence] = {}
    scores_NC = np.empty((len(videos), len(store.class_names)))
    for place, outputs in run_network(
        network, store, videos, predicted, max_snippets=config.max_snippets_per_batch, device=device, resident=resident
    ):
        try:
            evidence[place] = observe(outputs.logits, outputs.attention, config)
        except EvaluationError as fault:
            raise type(fault)(f"video {store.video_names[videos[place]]}: {fault}") from fault
        scores_NC[place] = video_scores(outputs.logits)
    found = propose_from([evidence[place] for place in predicted.tolist()], config)
    found = Proposals(predicted[found.video], found.start, found.end, found.label, found.score)
    if temporal and config.drop_ambiguous:
        found = _without_ambiguous(found, store, videos)
    truth = ground_truth(store, videos, temporal=temporal)
    by_class = _classification_map(scores_NC[predicted], store.labels(videos[predicted]))
    if temporal:
        table = _detection_table(found, truth, config, by_class, caption)
    else:
        table = classification_table(by_class, class_names=truth.class_names, videos=len(videos), caption=caption)
    return Evaluation(table, found, truth, store.snippets_per_second)


def _detection_table(
    found: Proposals, truth: GroundTruth, config: EvaluationConfig, by_class: float, caption: str
) -> MapTable:
    return map_table(
        detection_ap(found, truth, config.tiou_thresholds),
        thresholds=config.tiou_thresholds,
        averages=config.averages,
        class_names=truth.class_names,
        videos=len(truth.video_names),
        instances=len(truth),
        classification_map=by_class,
        caption=caption,
    )


def run_network(
    network: TwoStreamNetwork,
    store: FeatureStore,
    videos: Whole,
    places: Whole,
    *,
    max_snippets: int,
    device: torch.device | str = "cpu",
    resident: ResidentVideos | None = None,
) -> Iterator[tuple[int, VideoOutputs]]:
    """Outputs of the videos ``videos[places]``, each with its place, in the order of batches.

    The next batch is on its way through the network before the outputs of the one in front are handed out, so that a
    device works while the host looks at them; the host waits once per batch. The network is in evaluation mode while
    the iterator is open.

    Args:
        max_snippets: padded snippets that a batch may hold; a video longer than that goes alone.
        device: where the network is.
        resident: see :func:`evaluate`.
    """
    lengths, device = store.lengths[videos], torch.device(device)
    if resident is not None and not resident.holds(videos[places]):
        resident = None
    under_way: tuple[Whole, Download] | None = None
    with _evaluation_mode(network):
        for batch in batches_by_length(lengths, places, max_snippets):
            launched = batch, _launch(network, store, videos[batch], device, resident)
            if under_way is not None:
                yield from _arrived(*under_way, lengths)
            under_way = launched
        if under_way is not None:
            yield from _arrived(*under_way, lengths)


@torch.inference_mode()
def _launch(
    network: TwoStreamNetwork,
    store: FeatureStore,
    videos: Whole,
    device: torch.device,
    resident: ResidentVideos | None,
) -> Download:
    """Send a batch through the network; its outputs come back as one ``(B, T, C + 3)``: logits, RGB, FLOW attention."""
    lengths = store.lengths[videos]
    if resident is None:
        features_BTD, lengths_B = _sent(store, videos, lengths, device), upload_array(lengths.copy(), device)
    else:
        features_BTD, lengths_B = _gathered(resident, videos, lengths, device)
    outputs = network(features_BTD, lengths_B)
    attentions = outputs.rgb_attention[:, :, None], outputs.flow_attention[:, :, None]
    return Download(torch.cat([outputs.logits, *attentions], dim=2).float())


def _arrived(batch: Whole, download: Download, lengths: Whole) -> Iterator[tuple[int, VideoOutputs]]:
    """The videos of a batch, each with its place."""
    for place, outputs_TK in zip(batch.tolist(), download.wait(), strict=True):
        video_TK = outputs_TK[: lengths[place]]
        yield place, VideoOutputs(video_TK[:, :-2], video_TK[:, -2], video_TK[:, -1])


def batches_by_length(lengths: Whole, places: Whole, max_snippets: int) -> Iterator[Whole]:
    """Split ``places`` into batches of similar length, longest first, of at most ``max_snippets`` with padding.

    Args:
        lengths: snippets of each place.
        places: what to split.
        max_snippets: bound on videos times the longest of them; one longer video makes a batch of its own.
    """
    order = places[np.argsort(-lengths[places], kind="stable")]
    first = 0
    while first < len(order):
        size = max(1, max_snippets // int(lengths[order[first]]))
        yield order[first : first + size]
        first += size


def _sent(store: FeatureStore, videos: Whole, lengths: Whole, device: torch.device) -> Tensor:
    """Features ``(B, T, D)`` float32 with zeros behind each video's end, from the store to the device."""
    host_BTD = host_buffer((len(videos), int(lengths.max()), store.feature_size), torch.float32, device)
    rows_BTD = host_BTD.numpy()
    for row, (video, length) in enumerate(zip(videos.tolist(), lengths.tolist(), strict=True)):
        rows_BTD[row, :length] = store.features(video)
        rows_BTD[row, length:] = 0
    return upload(host_BTD, device)


def _gathered(resident: ResidentVideos, videos: Whole, lengths: Whole, device: torch.device) -> tuple[Tensor, Tensor]:
    """The same and the lengths ``(B,)``, out of features on the device: one small copy of row numbers goes there."""
    steps_T = np.arange(int(lengths.max()))
    snippets_BT = np.minimum(steps_T, lengths[:, None] - 1)  # behind the end the last snippet, for now
    positions_BT = resident.positions(videos, snippets_BT)
    numbers = upload_array(np.concatenate([lengths, positions_BT.ravel()]), device)
    lengths_B, positions = numbers[: len(videos)], numbers[len(videos) :]
    features_BTD = resident.gather(positions.view(positions_BT.shape))
    inside_BT = torch.arange(len(steps_T), device=device) < lengths_B[:, None]
    return features_BTD.masked_fill_(~inside_BT[:, :, None], 0.0), lengths_B


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for the block; every module gets its own mode back."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _skipped(store: FeatureStore, videos: Whole, config: EvaluationConfig) -> NDArray[np.bool_]:
    """Which of the videos the configuration leaves without predictions."""
    check_skipped(config.skip_videos, store.video_names)
    names = [store.video_names[video] for video in videos]
    return np.isin(np.array(names), np.array(config.skip_videos, dtype=np.str_))


def _without_ambiguous(proposals: Proposals, store: FeatureStore, videos: Whole) -> Proposals:
    unclear, rate = store.ambiguous(videos), store.snippets_per_second
    start, end = to_snippets(unclear.start_s, rate), to_snippets(unclear.end_s, rate)
    return drop_ambiguous(proposals, unclear.video, start, end)


def _classification_map(scores_NC: NDArray[Any], labels_NC: NDArray[Any]) -> float:
    """Mean over the classes that some video carries, in [0, 1]; NaN where there is none."""
    ap_C = classification_ap(scores_NC, labels_NC)
    return math.nan if np.isnan(ap_C).all() else float(np.nanmean(ap_C))
