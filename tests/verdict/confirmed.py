"""Experiment folders with a confirmation whose scores a test decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from made_tables import score_table

from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, WITHOUT_METHOD, RunRecord
from dce_ray.files import write_json
from dce_ray.presets import merge, run_config

RUN = run_config("delu", "/nowhere/store", data_set="default").to_mapping()


def candidate(setting="top1", origin="search", value=0.5, iteration=100, **changes) -> Candidate:
    config = merge(RUN, WITHOUT_METHOD if setting == PLAIN else {})
    point = None if setting == PLAIN else 7
    made = Candidate(setting, config, value, iteration, PLAIN if setting == PLAIN else origin, point, deviation=0.01)
    return replace(made, **changes)


def make_folder(path: Path, *, run: Mapping = RUN, **confirm) -> ExperimentFolder:
    options = {"top": 1, "seeds": 3, "precision": None, "max_seeds": 20} | confirm
    decided = {key: run[key] for key in ("baseline", "protocol", "metric")}
    config = {**decided, "data_set": "hapt", "confirm": options, "run": dict(run)}
    return ExperimentFolder.create(path / "experiment", config, {})


def add_runs(folder: ExperimentFolder, one: Candidate, percents: Sequence[float | None], first: int = 0) -> None:
    """Runs of a candidate with the seeds from ``first``, scores in percent; None is a run that failed."""
    for number, percent in enumerate(percents, start=first):
        seed = one.confirmation_seed(number)
        place = folder.confirm(f"{one.setting}-{seed}")
        state = "failed" if percent is None else "finished"
        config = one.configuration(seed)
        place.write(RunRecord(place.key, "confirm", one.setting, number, state, config, seed, origin=one.origin))
        if percent is not None:
            write_json(place.table, score_table(percent / 100).to_mapping())
