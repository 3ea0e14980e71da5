"""One run without Ray: a network that learns a data set, step by step.

From Python: ``Run(config)``, then ``advance``, ``select`` or ``evaluate``, ``save``. The loop is in ``driver``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dce_ray.baselines import baseline_named
from dce_ray.config import RunConfig
from dce_ray.data import BatchSource, make_splits
from dce_ray.errors import CheckpointError, ConfigError, unknown_name
from dce_ray.evaluation import Evaluation, MapTable, check_skipped, evaluate, may_be_read
from dce_ray.method import build_method, em_step
from dce_ray.store import FeatureStore, open_store
from dce_ray.train.arithmetic import arithmetic, check_training
from dce_ray.train.build import build_network, build_optimiser, choose_device, load_optimiser
from dce_ray.train.captured import CapturedStep
from dce_ray.train.checkpoint import load_checkpoint, load_latest, require_same_run, save_checkpoint
from dce_ray.train.meter import Meter, Row, weighted_mean
from dce_ray.train.random_states import RandomStates


@dataclass(frozen=True, slots=True)
class Best:
    """The best evaluation on the selection split so far."""

    iteration: int
    score: float
    """Ranking average of the detection mAP, or the classification mAP; in [0, 1]."""
    table: MapTable


class Run:
    """One network that learns one data set, step by step.

    Args:
        config: all that decides the run.
        store: the data; None opens ``config.data`` (once per process).

    Raises:
        DceError: for data that cannot serve the configuration.

    Example:
        >>> import dce_ray
        >>> from dce_ray.presets import run_config
        >>> changes = {"training": {"iterations": 4, "eval_every": 2}, "method": {"delta": 0.8}, "device": "cpu"}
        >>> run = dce_ray.Run(run_config("delu", store, data_set="synthetic", overrides=changes))
        >>> while not run.finished:
        ...     metrics = run.advance(2)
        ...     outcome, improved = run.select()  # mAP table on the holdout videos
        >>> outcome.table.caption
        'delu + SCS + MCM on synthetic holdout, fold 0 of 5, iteration 4, seed 0'
    """

    def __init__(self, config: RunConfig, store: FeatureStore | None = None) -> None:
        self.config = config
        self.device = choose_device(config.device)
        check_training(config.training, self.device)
        self.store = store if store is not None else open_store(config.data)
        check_skipped(config.evaluation.skip_videos, self.store.video_names)
        self.splits = make_splits(self.store, config.sampling, hold_out=config.protocol == "holdout")
        self.random = RandomStates(config.seed, self.device)
        with self.random.active():
            network = build_network(config, feature_size=self.store.feature_size, classes=len(self.store.class_names))
        self.network = network.to(self.device)
        self.objective = baseline_named(config.baseline).objective(config.objective)
        self.intervention, self.consistency = build_method(config.method, scs=config.scs, mcm=config.mcm)
        self.optimiser = build_optimiser(config, self.network)
        self.source = BatchSource(
            self.store,
            self.splits.train,
            config.sampling,
            seed=config.seed,
            device=self.device,
            resident=config.training.resident,
            prefetch=config.training.prefetch,
        )
        self.meter = Meter(list(self.network.named_parameters()))
        self.iteration = 0
        self.best: Best | None = None
        self.stop_requested = False
        self._em_step = torch.compile(em_step) if config.training.compile else em_step
        self._progress = torch.zeros((), device=self.device)
        forget = partial(self.optimiser.zero_grad, set_to_none=True)
        self._captured = CapturedStep(forget, self.device) if config.training.graphs else None

    @property
    def last_iteration(self) -> int:
        """The iteration at which the run ends."""
        training = self.config.training
        return min(training.iterations, training.stop_at or training.iterations)

    @property
    def finished(self) -> bool:
        """Whether all iterations are done."""
        return self.iteration >= self.last_iteration

    def request_stop(self) -> bool:
        """Let the step in progress be the last one for now; False where that was asked before."""
        if self.stop_requested:
            return False
        self.stop_requested = True
        return True

    @property
    def selection_split(self) -> str | None:
        """The split that picks the best iteration; None where the protocol selects nothing."""
        return {"holdout": "holdout", "paper": "test", "confirm": None}[self.config.protocol]

    def advance(self, iterations: int) -> dict[str, float]:
        """Train for ``iterations`` steps, fewer where the run ends or ``stop_requested`` is set in between.

        Returns:
            Means over these steps: ``loss/<term>`` (unweighted), ``loss/total``, ``psi_share``, ``mcm_share``,
            ``proposals``, and ``iterations_per_second``.

        Raises:
            NonFiniteError: a loss term or gradient was NaN or infinite; the run cannot go on.
        """
        training = self.config.training
        last = min(self.iteration + iterations, self.last_iteration)
        readings: list[tuple[int, dict[str, float]]] = []
        first, unread = self.iteration, 0
        self.network.train()
        with self.random.active(), arithmetic(self.device, training):
            while self.iteration < last and not self.stop_requested:
                self._step(progress=self.iteration / training.iterations)
                unread += 1
                if unread == training.log_every or self.iteration == last:
                    readings.append((unread, self.meter.read(self.iteration)))
                    unread = 0
        if unread:
            readings.append((unread, self.meter.read(self.iteration)))
        return weighted_mean(readings, self.iteration - first)

    def _step(self, progress: float) -> None:
        """One iteration; nothing here waits for the device."""
        inputs, iteration = self.source.inputs(), self.iteration + 1
        if self.config.training.compile or self._captured:  # one recording for all iterations: numbers are inputs
            stage = self.consistency.stage(iteration) if self.consistency else 0
            learn = partial(self._captured, self._learn) if self._captured else self._learn
            row = learn(inputs, stage, self._progress.fill_(progress))
        else:
            row = self._learn(inputs, iteration, progress)
        self.meter.note(row)
        self.iteration = iteration

    def _learn(self, inputs: tuple[Tensor, ...], iteration: int, progress: float | Tensor) -> Row:
        """From a batch's uploaded inputs to changed weights and the step's numbers, all on the device."""
        result = self._em_step(
            self.network,
            self.objective,
            self.source.assemble(inputs),
            intervention=self.intervention,
            consistency=self.consistency,
            iteration=iteration,
            progress=progress,
        )
        total = result.total
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        row = self.meter.row(result, total)
        self.optimiser.step()
        return row

    def evaluate(self, split: str) -> Evaluation:
        """Detections and mAP table on ``split`` (``holdout`` or ``test``) with the weights as they are.

        With ``metric=classification`` the holdout's table has the classification mAP alone: its instances stay unread.

        Raises:
            ConfigError: for another name.
            DataError: when the split has no video.
        """
        if split not in {"holdout", "test"}:
            raise ConfigError(unknown_name("split", split, ("holdout", "test")))
        with arithmetic(self.device, self.config.training):
            return evaluate(
                self.network,
                self.store,
                self.splits.part(split),
                self.config.evaluation,
                device=self.device,
                resident=self.source.shared,
                caption=self.caption(split),
                temporal=may_be_read(split, self.config.metric),
            )

    def select(self) -> tuple[Evaluation, bool]:
        """Evaluate on the selection split; remember the table where it is the best so far.

        Returns:
            The evaluation, and whether it is the best so far (the first of equals stays).
        """
        split = self.selection_split
        if split is None:
            raise ConfigError(f"protocol={self.config.protocol} selects nothing; call evaluate")
        outcome = self.evaluate(split)
        score = self.score(outcome.table)
        improved = self.best is None or score > self.best.score
        if improved:
            self.best = Best(self.iteration, score, outcome.table)
        return outcome, improved

    def score(self, table: MapTable) -> float:
        """What selection ranks by, in [0, 1]."""
        return table.score(self.config.metric)

    def caption(self, split: str) -> str:
        """What a table of this run must say about itself."""
        config = self.config
        parts = [name for name, used in (("SCS", config.scs), ("MCM", config.mcm)) if used]
        method = " + ".join([config.baseline, *parts])
        warning = "; selected on the test set (published habit, optimistic)" if config.protocol == "paper" else ""
        fold = f", fold {config.sampling.fold} of {config.sampling.folds}" if split == "holdout" else ""
        return f"{method} on {self.store.name} {split}{fold}, iteration {self.iteration}, seed {config.seed}{warning}"

    def save(self, path: Path) -> None:
        """Write all that the run is to ``path``, atomically.

        A restored run goes on bit for bit on the same device, on CUDA where ``training.deterministic`` is on.

        Raises:
            CheckpointError: when the file cannot be written.
        """
        best = self.best
        save_checkpoint(
            path,
            {
                "config": json.dumps(self.config.to_mapping()),
                "iteration": self.iteration,
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "source": self.source.state(),
                "random": self.random.state(),
                "best": best
                and {"iteration": best.iteration, "score": best.score, "table": json.dumps(best.table.to_mapping())},
                "data": {
                    "name": self.store.name,
                    "digest": self.store.digest,
                    "feature_size": self.store.feature_size,
                    "class_names": list(self.store.class_names),
                },
            },
        )

    def restore(self, path: Path) -> bool:
        """Go on from ``path``, or from its predecessor where it is damaged; False where there is neither.

        Raises:
            CheckpointError: when no file can be read, or it belongs to another configuration or data set.
        """
        payload = load_latest(path)
        if payload is None:
            return False
        self._take_over(payload, path)
        return True

    def restore_exactly(self, path: Path, iteration: int) -> None:
        """Take the weights of ``iteration`` from ``path``, and nothing else in their place.

        Raises:
            CheckpointError: the file is absent, damaged, another run's or another iteration's.
        """
        payload = load_checkpoint(path)
        if payload["iteration"] != iteration:
            raise CheckpointError(
                f"{path}: holds iteration {payload['iteration']}, but iteration {iteration} was selected; its weights "
                f"are lost, train the run anew in another folder"
            )
        self._take_over(payload, path)

    def _take_over(self, payload: Mapping[str, Any], path: Path) -> None:
        require_same_run(payload, path, self.config, self.store.digest)
        self.network.load_state_dict(payload["network"])
        load_optimiser(self.optimiser, payload["optimiser"])
        self.source.restore(payload["source"])
        self.random.restore(payload["random"])
        self.iteration = payload["iteration"]
        best = payload["best"]
        self.best = best and Best(best["iteration"], best["score"], MapTable.from_mapping(json.loads(best["table"])))
        self.meter.clear()
        if self._captured:
            self._captured.reset()
