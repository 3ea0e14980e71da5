"""``python -m dce_ray.ablate``: the paper's ablations on Ray, with several seeds, their tables and figures.

All ablations of a baseline on a data set share one folder, ``results/<data>/<baseline>/ablation``. The key of a run is
decided by its configuration, seed and data: a run that two studies need is done once, and a command that was killed
goes on when it is given again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dce_ray import confounding
from dce_ray.ablation_runs import ablation_folder, at_work, runner, told, tracking_of
from dce_ray.commandline import apply, command, parse
from dce_ray.config import MethodConfig, RunConfig
from dce_ray.data.levels import LEVELS
from dce_ray.datasets import results_name
from dce_ray.errors import ConfigError, unknown_name
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.record import PLAIN, SEARCHED, RunRecord
from dce_ray.files import read_json, write_atomically, write_json
from dce_ray.presets import PRESETS, merge, run_config, run_config_from_mapping
from dce_ray.provenance import environment
from dce_ray.report import html
from dce_ray.report.acting import idle_in
from dce_ray.report.measured import Measured, gather
from dce_ray.report.rendering import FORMATS, html_table, markdown
from dce_ray.report.studies import STUDIES, Context, Setting, study_figure, study_settings, study_table
from dce_ray.report.style import house_style, write_figure
from dce_ray.search.ledger import run_key
from dce_ray.search.options import TrackingOptions
from dce_ray.search.plan import Planned
from dce_ray.search.tune_run import Stop
from dce_ray.store import FeatureStore, open_store
from dce_ray.train.configure import configure, spelled_out
from dce_ray.words import is_name

ALL_STUDIES: Mapping[str, str] = {**STUDIES, confounding.STUDY: confounding.ABOUT}

USAGE = f"""
python -m dce_ray.ablate key=value ...       ablations of SCS and MCM over several seeds

  study={"|".join(ALL_STUDIES)}
{chr(10).join(f"      {name:<12}{text}" for name, text in ALL_STUDIES.items())}
  baseline=co2net|delu|ddgnet        the network (default ddgnet, as in the paper)
  data=synthetic|thumos14|activitynet12|hapt|<folder>   named data set, feature store or released layout
  seeds=3                            seeds 0, 1, 2; more of them later only add runs (study=confounding: 1)
  values=[0.0,0.5,1.0]               places of a sweep (study=lambda, study=thresholds)
  draws=10                           study=confounding: draws of the generator; more of them later only add runs
  levels=[none,strong]               study=confounding: of {", ".join(LEVELS)} (default all)
  preset={"|".join(PRESETS)}  config=best.yaml    what each setting departs from
  protocol=confirm|paper             read test once at the end (default), or select the iteration on test, as published

where
  results=results  name=ablation     the folder results/<data>/<baseline>/<name>, shared by all studies
  tracking=on|off  tracking.uri=     MLflow (default on, a local database beside the results)
  cpus_per_run=  gpus_per_run=  max_failures=2  ray.address=auto|<host:port>  ray.num_cpus=

study=confounding generates data=synthetic or synthetic-<size> anew at every draw and level, below its folder, and
removes it after the draw (size bench: 31 MB each, 220 MB for all seven levels; what a run keeps, with delu: 2.4 MB).

Given again, the command goes on: every finished run counts once. All keys of a run (training.iterations=, ...) work.
"""
OWN_KEYS: dict[str, Any] = {
    "study": None,
    "seeds": 3,
    "values": None,
    "results": "results",
    "name": "ablation",
    "cpus_per_run": None,
    "gpus_per_run": None,
    "max_failures": 2,
    "ray": {"address": None, "num_cpus": None},
    "tracking": TrackingOptions().to_mapping(),
    **confounding.KEYS,
}


@dataclass(frozen=True, slots=True)
class Ablation:
    """One study of one baseline on one data set."""

    context: Context
    run: RunConfig
    """What the settings depart from."""
    settings: tuple[Setting, ...]
    seeds: int
    options: Mapping[str, Any]
    """The values of :data:`OWN_KEYS`."""

    def planned(self, folder: ExperimentFolder, digest: str) -> list[tuple[str, Planned]]:
        """Every setting with every seed, seed by seed, so that pairs are complete early.

        Returns:
            The run by the study's name of its setting: two studies may share a run and name it differently.
        """
        pairs = [(seed, setting) for seed in range(self.seeds) for setting in self.settings]
        plan = []
        for number, (seed, setting) in enumerate(pairs):
            config = merge(self.run.to_mapping(), {**setting.changes, "seed": seed})
            place = folder.confirm(run_key(config, digest))
            origin = PLAIN if setting.name == PLAIN else SEARCHED
            record = RunRecord(place.key, "ablation", setting.name, number, "running", config, seed, origin=origin)
            plan.append((setting.name, Planned(place, record)))
        return plan


def main(arguments: list[str]) -> int:
    """Run what is not finished yet, then write the study's table and figure; the exit status."""
    values = spelled_out(parse(arguments))
    if values.get("study") == confounding.STUDY:
        return confounding.main(*_read(values, seeds=1))
    ablation, store = build(values)
    folder = ablation_folder(ablation.options, ablation.run, ablation.context.data, store)
    print(f"ablation folder: {folder.path}")
    plan = ablation.planned(folder, store.digest)
    once = {planned.record.key: planned for _, planned in plan}
    with at_work(ablation.options, folder):
        stop = _run(ablation, folder, list(once.values()), store)
        measured = gather((name, planned.folder, planned.now) for name, planned in plan)
        if any(one.scores for one in measured):
            write_study(folder, ablation, measured, [(name, planned.record.key) for name, planned in plan])
        else:
            print(f"no run is finished, so {folder.path}/{ablation.context.study}.* is left as it is")
    return told(stop)


def build(values: Mapping[str, Any]) -> tuple[Ablation, FeatureStore]:
    """The ablation that the command line asks for, and its data.

    Raises:
        DceError: naming everything that is unknown or out of range, before any data is touched.
    """
    given, options = _read(values, seeds=3)
    places = _places(options["values"])
    study_settings(str(options["study"]), MethodConfig().to_mapping(), places)
    run, _ = configure(given)
    store = open_store(run.data)
    method = run.method.to_mapping()
    settings = study_settings(str(options["study"]), method, places)
    for setting in settings:  # every value in range, before anything runs
        run_config_from_mapping(merge(run.to_mapping(), setting.changes))
    data = results_name(str(given["data"]) if "data" in given else None, store)
    context = Context(str(options["study"]), run.baseline, data, run.protocol, method)
    return Ablation(context, run, tuple(settings), options["seeds"], options), store


def _read(values: Mapping[str, Any], seeds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run's values by dotted key, and the command's own options; without ``seeds=`` there are ``seeds``."""
    given = {"protocol": "confirm"} | ({} if "config" in values else {"baseline": "ddgnet"}) | dict(values)
    base = run_config(str(given.get("baseline", "ddgnet")), "", data_set="default", preset=given.get("preset"))
    known = apply(base.to_mapping() | OWN_KEYS | {"seeds": seeds, "config": None}, given)
    options = {key: known[key] for key in OWN_KEYS}
    _check(given, options)
    return {key: value for key, value in given.items() if key.split(".")[0] not in OWN_KEYS}, options


def _check(given: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    if options["study"] is None:
        raise ConfigError(f"study= is missing; choose one of {', '.join(ALL_STUDIES)}")
    if options["study"] not in ALL_STUDIES:
        raise ConfigError(unknown_name("study", str(options["study"]), ALL_STUDIES))
    alien = [key for key in confounding.KEYS if key in given and options["study"] != confounding.STUDY]
    if alien:
        raise ConfigError(f"{'=, '.join(alien)}=: only study={confounding.STUDY} draws data; leave it out")
    decided = [key for key in ("scs", "mcm", "seed") if key in given]
    if decided:
        raise ConfigError(f"{'=, '.join(decided)}=: the study's settings and seeds= decide this; leave it out")
    if given["protocol"] not in ("confirm", "paper"):
        raise ConfigError(f"protocol={given['protocol']}: an ablation selects no setting; use confirm or paper")
    if not is_name(str(options["name"])):
        raise ConfigError(f"name={options['name']!r}: must be a name and no path; results=<folder> says where it lies")
    if type(options["seeds"]) is not int or options["seeds"] < 1:
        raise ConfigError(f"seeds={options['seeds']!r}: must be a whole number from 1")
    tracking_of(options)


def _places(values: Any) -> list[float] | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise ConfigError(f"values={values!r}: write a list of numbers, such as 'values=[0.0,0.5,1.0]'")
    return [float(value) for value in values]


def _run(ablation: Ablation, folder: ExperimentFolder, plan: Sequence[Planned], store: FeatureStore) -> Stop | None:
    """Run what is not finished; None when all was run, else why not."""
    left = sum(not planned.finished for planned in plan)
    print(f"{len(plan)} runs, {len(plan) - left} of them finished before")
    if not left:
        return None
    with runner(ablation.options, folder) as session:
        title = f"ablation {ablation.context.study}: {ablation.context.title}"
        return session.run(title, plan, ablation.run, store)


def write_study(
    folder: ExperimentFolder, ablation: Ablation, measured: Sequence[Measured], runs: Sequence[tuple[str, str]]
) -> None:
    """Print the table and write ``<study>.{md,csv,tex,html,json}`` and ``figures/<study>.{svg,png}``.

    Raises:
        OutputError: the folder cannot be written.
    """
    context = ablation.context
    once = [folder.confirm(key) for key in dict.fromkeys(key for _, key in runs)]
    idle = idle_in(run for run in once if run.exists())
    table = study_table(context, measured, idle)
    for suffix, render in (FORMATS[name] for name in ("markdown", "csv", "latex")):
        write_atomically(folder.path / f"{context.study}.{suffix}", render(table))
    scores = {one.name: {str(seed): dict(score) for seed, score in one.scores.items()} for one in measured}
    write_json(
        folder.path / f"{context.study}.json",
        {
            "study": context.study,
            "run": ablation.run.to_mapping(),
            "settings": {setting.name: dict(setting.changes) for setting in ablation.settings},
            "runs": [list(run) for run in runs],
            "scores": scores,
            "environment": environment(),
        },
    )
    with house_style():
        drawing = study_figure(context, ablation.settings, measured, _other_baselines(folder, context))
        svg = write_figure(drawing, folder.figures, context.study)
    page = html.Page(f"{context.title}: {context.study}", f"{ALL_STUDIES[context.study]}.")
    shown = html.figure(svg, f"The same as a figure: {ALL_STUDIES[context.study]}.", "study-figure")
    page.add("study", "Measured on test", html_table(table), shown)
    write_atomically(folder.path / f"{context.study}.html", page.render())
    print(f"\n{markdown(table)}\nwritten to {folder.path}/{context.study}.*")


def _other_baselines(folder: ExperimentFolder, context: Context) -> dict[str, list[Measured]]:
    """The same study of other baselines on the same data, as far as it was run under the same name."""
    found = {}
    for path in folder.path.parent.parent.glob(f"*/{folder.path.name}/{context.study}.json"):
        content = read_json(path)
        if ExperimentFolder(path.parent).config.get("digest") != folder.config.get("digest"):
            continue
        baseline = str(content["run"]["baseline"])
        if baseline != context.baseline and content["run"]["protocol"] == context.protocol:
            planned = Counter(name for name, _ in content["runs"])
            found[baseline] = [
                Measured(name, {int(seed): score for seed, score in scores.items()}, planned[name])
                for name, scores in content["scores"].items()
            ]
    return found


if __name__ == "__main__":
    command(main, USAGE)
