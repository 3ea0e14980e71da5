"""From a checkpoint and a store to the mAP table: ``python -m dce_ray.evaluate checkpoint=run/best.pt``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dce_ray.baselines import TwoStreamNetwork
from dce_ray.baselines.published import load_published
from dce_ray.commandline import apply, command, parse
from dce_ray.config import EvaluationConfig, MethodConfig, RunConfig
from dce_ray.data import make_splits
from dce_ray.datasets import resolve_data
from dce_ray.errors import CheckpointError, ConfigError, EvaluationError, unknown_name
from dce_ray.evaluation import Evaluation, evaluate, may_be_read, run_network
from dce_ray.evaluation.tables import TABLE_ENDINGS
from dce_ray.method import Intervention
from dce_ray.presets import data_set_of, merge, run_config
from dce_ray.store import FeatureStore, open_store
from dce_ray.timeline import Timeline, draw_timelines, figure_of, timeline_of
from dce_ray.train.arithmetic import arithmetic
from dce_ray.train.build import build_network, choose_device, load_trained
from dce_ray.train.checkpoint import FORMAT
from dce_ray.winner import checkpoint_of
from dce_ray.words import counted

USAGE = """
python -m dce_ray.evaluate checkpoint=<file> key=value ...     print the mAP table of a trained network

  checkpoint=<file>        written by dce_ray.train, or a published state_dict (then baseline= is needed);
                           a search's folder stands for its confirmed winner, a run's folder for its best state
  baseline=co2net|delu|ddgnet   the network of a published checkpoint
  data=<folder or name>    feature store, released layout or named data set (default: what it was trained on)
  preset=paper|released    published evaluation to start from, for a published checkpoint
  split=test|holdout       videos to evaluate (default test); holdout: the fold of train that its run held out
  device=auto|cpu|cuda:0
  per_class=on             also the AP of every class
  table=<file>             write the table; .json, .md, .csv or .tex by its ending
  detections=<file.json>   write the detections in the ActivityNet format, in seconds
  timeline=<video>         draw annotations, detections, attentions and Psi; several: 'timeline=[a,b]'
  figure=<file>            where the timelines go, .png, .svg or .pdf (default timeline-<video>.png in the working
                           folder); a file that is there is replaced
  evaluation.<key>=  method.<key>=      change the evaluation, or how Psi is drawn
"""

SPLITS = ("test", "holdout")
OPTIONS: dict[str, Any] = {
    "checkpoint": None,
    "baseline": None,
    "data": None,
    "preset": None,
    "split": "test",
    "device": "auto",
    "per_class": False,
    "table": None,
    "detections": None,
    "timeline": None,
    "figure": None,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """A network, the data it is judged on, and the configuration that it brings along."""

    network: TwoStreamNetwork
    store: FeatureStore
    config: RunConfig
    origin: str
    """What the table's caption says of the weights."""
    holdout_known: bool = True
    """Whether ``config`` says which videos were held out."""


def main(arguments: list[str]) -> int:
    """Evaluate one checkpoint; print and write what was asked for."""
    values = parse(arguments)
    apply(_defaults(EvaluationConfig(), MethodConfig()), values)  # a typo is refused before anything is read
    subject = load_subject(*_named_checkpoint(values))
    options = apply(_defaults(subject.config.evaluation, subject.config.method), values)
    _check(options)
    evaluation = EvaluationConfig.from_mapping(options["evaluation"], "evaluation.")
    method = MethodConfig.from_mapping(options["method"], "method.")
    subject = replace(subject, config=subject.config.replace(evaluation=evaluation, method=method))
    videos = _videos(subject, options["split"])
    chosen = _timeline_rows(options["timeline"], subject.store, videos)
    outcome = _evaluated(subject, videos, options["split"], options["device"])
    print(outcome.table.text(per_class=bool(options["per_class"])))
    if options["table"]:
        outcome.table.write(Path(options["table"]), bool(options["per_class"]))
    if options["detections"]:
        outcome.export(options["detections"])
        log.info("%d detections written to %s", len(outcome.proposals), options["detections"])
    if len(chosen):
        figure = options["figure"] or figure_of([subject.store.video_names[video] for video in videos[chosen]])
        draw_timelines(picture_videos(subject, videos, chosen, outcome), figure)
        log.info("%s drawn to %s", counted(len(chosen), "timeline"), figure)
    return 0


def evaluate_checkpoint(
    checkpoint: Path | str,
    *,
    baseline: str | None = None,
    data: Path | str | None = None,
    preset: str | None = None,
    split: str = "test",
    device: str = "auto",
    evaluation: Mapping[str, Any] | None = None,
) -> Evaluation:
    """The mAP table and detections of a trained network.

    Args:
        checkpoint: written by ``dce_ray.train`` or a search, or a published state_dict; the folder of a search stands
            for its confirmed winner, that of a run for its best state.
        baseline: the network of a published checkpoint; ours say it themselves.
        data: named data set, store or released layout; None takes what it was trained on.
        preset: published evaluation to start from, for a published checkpoint.
        split: ``test``, or ``holdout``: the fold of the train videos that its run held out.
        device: ``auto``, ``cpu`` or ``cuda:<n>``.
        evaluation: changes of the evaluation, by the keys of ``EvaluationConfig``.

    Raises:
        DceError: a file that cannot be read or does not fit, a key or split that does not exist.

    Example:
        >>> import dce_ray
        >>> from dce_ray.presets import run_config
        >>> changes = {"training": {"iterations": 4}, "device": "cpu"}
        >>> run = dce_ray.Run(run_config("delu", store, data_set="synthetic", overrides=changes))
        >>> metrics = run.advance(4)
        >>> run.save(folder / "run.pt")
        >>> table = dce_ray.evaluate_checkpoint(folder / "run.pt", device="cpu").table
        >>> table.caption
        'delu + SCS + MCM, iteration 4 on synthetic test'
    """
    subject = load_subject(Path(checkpoint), baseline, None if data is None else str(data), preset)
    changed = merge(subject.config.evaluation.to_mapping(), evaluation or {})
    subject = replace(subject, config=subject.config.replace(evaluation=EvaluationConfig.from_mapping(changed)))
    return _evaluated(subject, _videos(subject, split), split, device)


def load_subject(path: Path, baseline: str | None, data: str | None, preset: str | None) -> Subject:
    """Read the checkpoint, ours or a published one, and open the data it is evaluated on.

    Raises:
        ConfigError: for what is missing.
        CheckpointError: for a file that cannot be read or does not fit the data.
    """
    path = checkpoint_of(path.expanduser())
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    return _ours(path, baseline, data) if _written_by_us(path) else _published(path, baseline, data, preset)


def _evaluated(subject: Subject, videos: NDArray[np.int64], split: str, device: str) -> Evaluation:
    chosen = choose_device(device)
    subject.network.to(chosen)
    caption = f"{subject.origin} on {subject.store.name} {split}"
    with arithmetic(chosen, subject.config.training):
        return evaluate(
            subject.network,
            subject.store,
            videos,
            subject.config.evaluation,
            device=chosen,
            caption=caption,
            temporal=may_be_read(split, subject.config.metric),
        )


def picture_videos(
    subject: Subject, videos: NDArray[np.int64], chosen: NDArray[np.int64], outcome: Evaluation
) -> list[Timeline]:
    """Timelines of the videos ``videos[chosen]``, in that order, with what ``outcome`` says of them."""
    network, store, intervention = subject.network, subject.store, Intervention.of(subject.config.method)
    bound, device = subject.config.evaluation.max_snippets_per_batch, next(network.parameters()).device
    outputs = dict(run_network(network, store, videos, chosen, max_snippets=bound, device=device))
    return [
        timeline_of(
            place,
            outputs[place],
            outcome.proposals,
            outcome.ground_truth,
            snippets_per_second=store.snippets_per_second,
            intervention=intervention,
        )
        for place in chosen.tolist()
    ]


def _defaults(evaluation: EvaluationConfig, method: MethodConfig) -> dict[str, Any]:
    return OPTIONS | {"evaluation": evaluation.to_mapping(), "method": method.to_mapping()}


def _written_by_us(path: Path) -> bool:
    """Whether the file names our format; a file that cannot be read is left to the reader of published ones."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # a damaged archive raises whatever its broken bytes lead to
        log.debug("%s: %s", path, fault)
        return False
    return isinstance(content, Mapping) and content.get("format") == FORMAT


def _named_checkpoint(values: Mapping[str, Any]) -> tuple[Path, str | None, str | None, str | None]:
    """The arguments of :func:`load_subject` as the command line gives them."""
    if not values.get("checkpoint"):
        raise ConfigError("checkpoint: missing; give checkpoint=<file written by dce_ray.train or published>")
    given = (str(values[key]) if values.get(key) else None for key in ("baseline", "data", "preset"))
    return Path(str(values["checkpoint"])), next(given), next(given), next(given)


def _ours(path: Path, baseline: str | None, data: str | None) -> Subject:
    trained = load_trained(path)
    config = trained.config
    if baseline not in (None, config.baseline):
        raise CheckpointError(f"{path}: holds {config.baseline}, not baseline={baseline}; leave baseline= out")
    store = open_store(resolve_data(data or config.data))
    if store.class_names != trained.class_names or store.feature_size != trained.network.feature_size:
        raise CheckpointError(
            f"{path}: trained on {trained.network.feature_size} channels and {len(trained.class_names)} classes, but "
            f"{store.name} has {store.feature_size} channels and {len(store.class_names)} classes, or other names; "
            f"give data=<the data set it was trained on>"
        )
    parts = [config.baseline, *(name for name, used in (("SCS", config.scs), ("MCM", config.mcm)) if used)]
    origin = f"{' + '.join(parts)}, iteration {trained.iteration}"
    return Subject(trained.network, store, config, origin, trained.holdout_known)


def _published(path: Path, baseline: str | None, data: str | None, preset: str | None) -> Subject:
    if baseline is None or data is None:
        needed = " and ".join(f"{key}=" for key, value in (("baseline", baseline), ("data", data)) if value is None)
        raise ConfigError(f"checkpoint={path}: not written by dce_ray.train; a published one also needs {needed}")
    folder = resolve_data(data)
    store = open_store(folder)
    config = run_config(baseline, folder, data_set=data_set_of(store.name), preset=preset)
    network = build_network(config, feature_size=store.feature_size, classes=len(store.class_names))
    load_published(network, path)
    return Subject(network.eval(), store, config, f"{config.baseline}, weights of {path.name}")


def _check(options: Mapping[str, Any]) -> None:
    """Refuse what would only fail after the evaluation."""
    faults = []
    if options["split"] not in SPLITS:
        faults.append(unknown_name("split", str(options["split"]), SPLITS))
    if options["table"] and Path(options["table"]).suffix not in TABLE_ENDINGS:
        faults.append(f"table={options['table']}: end in {', '.join(TABLE_ENDINGS)}")
    if faults:
        raise ConfigError("\n".join(faults))


def _videos(subject: Subject, split: str) -> NDArray[np.int64]:
    if split not in SPLITS:
        raise ConfigError(unknown_name("split", split, SPLITS))
    held_out = split == "holdout"
    if held_out and not subject.holdout_known:
        raise EvaluationError(
            "split=holdout: this checkpoint was written before there were folds, and which videos it held out cannot "
            "be told any more; use split=test"
        )
    splits = make_splits(subject.store, subject.config.sampling, hold_out=held_out)
    videos: NDArray[np.int64] = getattr(splits, split)
    if not len(videos):
        raise EvaluationError(f"split={split}: {subject.store.name} has no video there; choose another split")
    return videos


def _timeline_rows(names: Any, store: FeatureStore, videos: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places in ``videos`` of the videos to draw.

    Raises:
        ConfigError: naming those that are not among them, with the nearest name.
    """
    wanted = [names] if isinstance(names, str) else [str(name) for name in names or ()]
    places = {store.video_names[video]: place for place, video in enumerate(videos.tolist())}
    faults = [
        f"timeline={name}: " + unknown_name("video", name, places).split("; known:")[0] + " in this split"
        for name in wanted
        if name not in places
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    return np.array([places[name] for name in wanted], np.int64)


if __name__ == "__main__":
    command(main, USAGE)
