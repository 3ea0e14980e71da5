"""``python -m dce_ray.ablate study=confounding``: gain of SCS, MCM and both along the dial of confounding.

Every draw of the generator at every level is a data set of its own, on which all four arms are trained. They are
generated draw by draw below the ablation's folder and removed when the draw is done; what their digests were is kept,
since they decide the keys of the runs. All arms of a draw and seed share initial weights and batches: a gain is paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dce_ray.ablation_runs import ablation_folder, at_work, runner, told
from dce_ray.config import RunConfig
from dce_ray.data.levels import FIRST_DRAW, LEVELS, LevelDraw, level_named
from dce_ray.data.synthetic import DEFAULT_SIZE, NAME, SIZES
from dce_ray.errors import ConfigError, SearchError, unknown_name
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, SEARCHED, RunRecord
from dce_ray.files import read_json, write_atomically, write_json
from dce_ray.presets import merge
from dce_ray.provenance import environment
from dce_ray.report.confounding import Gains, confounding_figure, confounding_table, sentence
from dce_ray.report.measured import run_scores
from dce_ray.report.rendering import FORMATS, markdown
from dce_ray.report.studies import Setting, study_settings
from dce_ray.report.style import house_style, write_figure
from dce_ray.search.ledger import run_key
from dce_ray.search.plan import Planned
from dce_ray.search.tune_run import Stop
from dce_ray.store import FeatureStore, open_store
from dce_ray.train.configure import configure_for, given_values

STUDY = "confounding"
ABOUT = "gain of SCS, MCM and both over the embedded data's dial of confounding"
KEYS: dict[str, Any] = {"draws": 10, "levels": None}
"""Keys of this study alone."""


@dataclass(frozen=True, slots=True)
class ConfoundingStudy:
    """What one command asks for."""

    run: RunConfig
    """What the settings depart from; its ``data`` stands for all draws."""
    size: str
    levels: tuple[str, ...]
    draws: tuple[int, ...]
    seeds: int
    settings: tuple[Setting, ...]
    options: Mapping[str, Any]

    @property
    def data(self) -> str:
        """What ``data=`` is called, and the folder below the results."""
        return NAME if self.size == DEFAULT_SIZE else f"{NAME}-{self.size}"

    def cells(self) -> list[LevelDraw]:
        """All data sets, draw by draw, so that draws are complete early."""
        return [LevelDraw(self.size, level, draw) for draw in self.draws for level in self.levels]

    def planned(self, folder: ExperimentFolder, cell: LevelDraw, digest: str) -> list[tuple[str, int, Planned]]:
        """All runs on one data set: name of the setting, seed, run."""
        first = self.cells().index(cell) * self.seeds * len(self.settings)
        plan: list[tuple[str, int, Planned]] = []
        for seed in range(self.seeds):
            for setting in self.settings:
                data = str(stores_folder(folder) / cell.name)
                config = merge(self.run.to_mapping(), {**setting.changes, "seed": seed, "data": data})
                place = folder.confirm(run_key(config, digest))
                record = RunRecord(
                    place.key,
                    "ablation",
                    f"{setting.name}, {cell.level}, draw {cell.draw}",
                    first + len(plan),
                    "running",
                    config,
                    seed,
                    origin=PLAIN if setting.name == PLAIN else SEARCHED,
                )
                plan.append((setting.name, seed, Planned(place, record)))
        return plan


def main(given: Mapping[str, Any], options: Mapping[str, Any]) -> int:
    """Run what is not finished yet, then write table and figure; the exit status.

    Args:
        given: values by dotted key, the command's own left out.
        options: the command's own.

    Raises:
        DceError: naming what is wrong, before anything is generated.
    """
    study = build(given, options)
    folder = ablation_folder(options, study.run, study.data, None)
    print(f"ablation folder: {folder.path}")
    with at_work(options, folder):
        digests = Digests(folder)
        stop = run_draws(study, folder, digests)
        write_study(study, folder, digests)
    return told(stop)


def build(given: Mapping[str, Any], options: Mapping[str, Any]) -> ConfoundingStudy:
    """The study that the command line asks for.

    Raises:
        ConfigError: naming what is unknown or out of range.
    """
    values = given_values(given)
    size = _size(str(values.get("data", NAME)))
    if values.get("protocol", "confirm") != "confirm":
        raise ConfigError(f"protocol={values['protocol']}: study={STUDY} reads test once, at the end; leave it out")
    if options["values"] is not None:
        raise ConfigError(f"values={options['values']}: study={STUDY} sweeps no number; choose levels= instead")
    draws = options["draws"]
    if type(draws) is not int or draws < 2:
        raise ConfigError(f"draws={draws!r}: must be a whole number from 2; an interval over draws needs two")
    values |= {"protocol": "confirm"}
    run, _ = configure_for(values, NAME, NAME)
    settings = tuple(study_settings("components", run.method.to_mapping()))
    chosen = tuple(range(FIRST_DRAW, FIRST_DRAW + draws))
    return ConfoundingStudy(run, size, _levels(options["levels"]), chosen, options["seeds"], settings, options)


def _size(data: str) -> str:
    size = data.removeprefix(NAME).removeprefix("-") or DEFAULT_SIZE
    if data != NAME and not data.startswith(f"{NAME}-"):
        raise ConfigError(
            f"data={data}: study={STUDY} turns the confounding of generated data, and in other data nobody can; "
            f"use data={NAME} or data={NAME}-<size>"
        )
    if size not in SIZES:
        raise ConfigError(unknown_name("synthetic size", size, SIZES))
    return size


def _levels(levels: Any) -> tuple[str, ...]:
    if levels is None:
        return tuple(LEVELS)
    if not isinstance(levels, list) or not levels:
        raise ConfigError(f"levels={levels!r}: write a list of levels, such as 'levels=[none,strong]'")
    for name in levels:
        level_named(str(name))
    return tuple(name for name in LEVELS if name in levels)


def stores_folder(folder: ExperimentFolder) -> Path:
    """Where the data sets of the draw in work lie."""
    return folder.path / f"{STUDY}.data"


class Digests:
    """Digests of the data sets that were generated, by the name of their store; kept in ``confounding.digests.json``.

    They decide the keys of the runs: with them a finished draw needs no data any more.
    """

    def __init__(self, folder: ExperimentFolder) -> None:
        self.path = folder.path / f"{STUDY}.digests.json"
        self.known: dict[str, str] = read_json(self.path) if self.path.is_file() else {}

    def keep(self, name: str, digest: str) -> None:
        """Note a digest.

        Raises:
            SearchError: another one was noted before.
        """
        before = self.known.setdefault(name, digest)
        if before != digest:
            raise SearchError(
                f"{name} was generated with other content than before ({digest[:12]}, it was {before[:12]}): the "
                f"machine or NumPy draws other numbers; finish the study where it began, or give another name="
            )
        write_json(self.path, self.known)


def run_draws(study: ConfoundingStudy, folder: ExperimentFolder, digests: Digests) -> Stop | None:
    """Draw by draw: generate what its open runs need, run them, remove the data; None when all was run."""
    open_draws = [draw for draw in study.draws if _open_cells(study, folder, digests, draw)]
    runs, done = len(study.cells()) * study.seeds * len(study.settings), len(study.draws) - len(open_draws)
    print(f"{runs} runs on {len(study.draws)} draws, {done} of them done")
    for draw in set(study.draws) - set(open_draws):  # a killed command may have left the last one's data
        _remove_data(study, folder, draw)
    if not open_draws:
        return None
    with runner(study.options, folder, keys=()) as session:  # data= is generated, and lies nowhere else
        for draw in open_draws:
            cells = _open_cells(study, folder, digests, draw)
            stores = [_generated(folder, digests, cell) for cell in cells]
            plan = [
                planned
                for cell, store in zip(cells, stores, strict=True)
                for _, _, planned in study.planned(folder, cell, store.digest)
            ]
            run = replace(study.run, data=str(stores[0].path))
            stop = session.run(f"{STUDY}, draw {draw}", plan, run, stores[0])
            if stop is not None:
                return stop
            _remove_data(study, folder, draw)
    return None


def _remove_data(study: ConfoundingStudy, folder: ExperimentFolder, draw: int) -> None:
    for cell in study.cells():
        if cell.draw == draw:
            cell.remove(stores_folder(folder))


def _open_cells(study: ConfoundingStudy, folder: ExperimentFolder, digests: Digests, draw: int) -> list[LevelDraw]:
    """Data sets of a draw with a run that is not finished."""
    return [
        cell
        for cell in study.cells()
        if cell.draw == draw
        and not (
            cell.name in digests.known
            and all(planned.finished for *_, planned in study.planned(folder, cell, digests.known[cell.name]))
        )
    ]


def _generated(folder: ExperimentFolder, digests: Digests, cell: LevelDraw) -> FeatureStore:
    store = open_store(cell.ensure(stores_folder(folder)))
    digests.keep(cell.name, store.digest)
    return store


def gathered(study: ConfoundingStudy, folder: ExperimentFolder, digests: Digests) -> Gains:
    """What the finished runs measured."""
    gains = Gains(study.levels, tuple(setting.name for setting in study.settings), len(study.draws), study.seeds)
    for cell in study.cells():
        if cell.name not in digests.known:
            continue
        for name, seed, planned in study.planned(folder, cell, digests.known[cell.name]):
            scores = run_scores(planned.folder) if planned.finished else None
            if scores is not None:
                gains.add(cell.level, name, cell.draw, seed, scores)
                gains.add_marked(cell.level, name, planned.folder.last("psi_share"))
    return gains


def write_study(study: ConfoundingStudy, folder: ExperimentFolder, digests: Digests) -> None:
    """Print table and result; write ``confounding.{md,csv,tex,html,json}`` and ``figures/confounding.{svg,png}``.

    Raises:
        OutputError: the folder cannot be written.
    """
    gains = gathered(study, folder, digests)
    titles = {name: LEVELS[name].title for name in study.levels}
    table = confounding_table(gains, study.run.baseline, study.size, titles, study.run.method.to_mapping())
    for suffix, render in FORMATS.values():
        write_atomically(folder.path / f"{STUDY}.{suffix}", render(table))
    write_json(
        folder.path / f"{STUDY}.json",
        {
            "study": STUDY,
            "run": study.run.to_mapping(),
            "size": study.size,
            "draws": list(study.draws),
            "seeds": study.seeds,
            "settings": {setting.name: dict(setting.changes) for setting in study.settings},
            "levels": {name: repr(LevelDraw(study.size, name, 0).plan) for name in study.levels},
            "scores": gains.scores,
            "psi_share": gains.marked,
            "result": sentence(gains),
            "environment": environment(),
        },
    )
    with house_style():
        write_figure(confounding_figure(gains, study.run.baseline), folder.figures, STUDY)
    print(f"\n{markdown(table)}\n{sentence(gains)}\nwritten to {folder.path}/{STUDY}.*")
