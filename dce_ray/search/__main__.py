"""``python -m dce_ray.search``: search the six scalars of SCS and MCM for a baseline, confirm the best on test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dce_ray.commandline import apply, command, flatten, nest, parse
from dce_ray.config import SCALARS
from dce_ray.datasets import IMPORT_KEYS, ImportOptions, data_set_meant, import_options
from dce_ray.errors import ConfigError
from dce_ray.experiment.campaign import CampaignFolder
from dce_ray.keys import chosen, keys_from, keys_of, listing
from dce_ray.presets import run_config
from dce_ray.search.api import conduct
from dce_ray.search.campaign import SEVERAL, conduct_campaign, create_campaign, reopen_campaign, spread_out
from dce_ray.search.opening import create, reopen
from dce_ray.search.settings import Request, Settings, unaliased
from dce_ray.search.space_file import load_space

USAGE = """
python -m dce_ray.search key=value ...     tune SCS and MCM for a baseline, choose on holdout, confirm on test

  baseline=co2net|delu|ddgnet              the network (default delu)
  data=synthetic|thumos14|activitynet12|hapt|<folder>|s3://...   named data set, feature store or released layout
                         or a folder of <video>.npy with annotations=<ActivityNet JSON>; while importing: fps=
                         stride_frames= train_subset= test_subset=
  policy=replicates|single                 folds and seeds with a model of the noise (default), or one run per point
  sampler=gp|tpe|cmaes|random              who suggests new points (default gp; tpe with policy=single)
  scheduler=asha|hyperband|median|none     who stops early, with policy=single (default asha; none with sampler=gp)
  protocol=holdout|paper                   rank on held-out train videos (default) or on test, as published
  metric=detection|classification          rank by detection mAP (default) or, strictly weakly supervised, by class

how much
  search.num_runs=32     runs of the search in all, the plain baseline's included (search.num_trials is the same)
  search.folds=5         parts of the train videos; a run trains without one of them and is scored on it
  search.time_budget=90m for everything, the confirmation included, from the first node on
  search.max_failures=2  search.seed=0     search.min_iterations= (policy=single)
  confirm.top=3          confirm.seeds=5 (0: no confirmation, test is never read)
  confirm.precision=1.0  winner and plain baseline get more seeds until half the interval is so wide, in mAP percent,
                         up to confirm.max_seeds=20; confirm.precision=null: they do not
                         (afterwards, more and fresh seeds: python -m dce_ray.confirm)

the search space (search_spaces/<baseline>.yaml)
  space=<file.yaml>      your own, in the same form, laid over the shipped one
  space.delta.high=0.95  change a range    space.lambda=1.0  fix    space.gamma=beta  tie
  space.beta={low: 0.1, high: 1.0}         a range, here as in a file; what it does not say stays as shipped, the scale
                         too: beta's and gamma's is logarithmic (log: false searches them evenly)
  space.training.learning_rate={low: 1e-5, high: 1e-3, log: true}   search this too, and training.weight_decay,
                         training.iterations, sampling.segments, sampling.batch, sampling.pairs; the plain baseline then
                         has a search of its own with half of the runs; whole numbers may have a step
  space.first_points=[paper,results/.../best.yaml]   what runs first: published values, points of earlier searches

where
  search.cpus_per_trial=  search.gpus_per_trial=0.25  ray.address=auto|<host:port>  ray.num_cpus=  device=auto|cpu
  name=  results=results                   the folder results/<data>/<baseline>/<name>
  tracking=on|off  tracking.uri=           MLflow (default on, a local database beside the results)
  tracking.system=on|off                   also what each run takes of its machine: CPU, memory, GPU (default on)
  storage=<shared folder>|s3://...|gs://...   what runs go on from, and a copy of the results: on several nodes
  resume=<folder>|s3://...                 go on after Ctrl-C, a kill or a crash; also with more search.num_runs=

several searches as one (a campaign)
  baseline=co2net,delu  data=thumos14,hapt   every baseline on every data set: one search after the other, each on all
                         slots, in one Ray and one MLflow experiment; what it costs is measured and told first; search.*
                         and confirm.* are each search's own. results/campaigns/<name> compares them (report.html) and
                         is what resume= takes; one that fails does not end the others, and the exit status tells of it

All other keys are those of a run (training.iterations=, evaluation.*, scs=off, ...). All keys, with their defaults for
a baseline and a data set, choices and meaning: python -m dce_ray.search keys [baseline=] [data=] [words]
"""


def main(arguments: list[str]) -> int:
    """Search, confirm, report; the exit status."""
    if arguments[:1] == ["keys"]:
        print(list_keys(arguments[1:]))
        return 0
    values = parse(arguments, known_keys, SEVERAL)
    if "resume" in values and not values["resume"]:
        raise ConfigError("resume=: names no folder; give the experiment folder to go on with, or leave it out")
    resume = values.pop("resume", None)
    if resume and CampaignFolder.holds(str(resume)):
        interrupted = conduct_campaign(*reopen_campaign(str(resume), spelled_out(values)), changed=bool(values))
    elif not resume and (each := spread_out(values)):
        interrupted = conduct_campaign(*create_campaign([request_of(one) for one in each]))
    else:
        prepared = reopen(str(resume), spelled_out(values)) if resume else create(request_of(values))
        interrupted = conduct(*prepared, made=not resume).interrupted
    return 130 if interrupted else 0


def spelled_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with every key under its own name: ``tracking=off`` is ``tracking.enabled=off``."""
    if {"tracking", "tracking.enabled"} <= values.keys():
        raise ConfigError("tracking is another name of tracking.enabled; give one of them")
    return unaliased({("tracking.enabled" if key == "tracking" else key): value for key, value in values.items()})


def request_of(values: Mapping[str, Any]) -> Request:
    """What the command line asks for: keys of the search, ``space.*``, and all others are a run's.

    ``method.delta=0.8`` fixes the scalar like ``space.delta=0.8``.

    Raises:
        ConfigError: naming every unknown key, with the nearest known one.
    """
    values = spelled_out(values)
    space = {key.removeprefix("space."): value for key, value in values.items() if key.startswith("space.")}
    fixed = {
        key.removeprefix("method."): value
        for key, value in values.items()
        if key.startswith("method.") and key.removeprefix("method.") in SCALARS
    }
    twice = sorted(fixed.keys() & space.keys())
    if twice:
        raise ConfigError(f"{', '.join(twice)}: given as method.<name> and as space.<name>; give one of them")
    space |= fixed
    file = values.get("space")
    if file is not None and not isinstance(file, str):
        raise ConfigError(f"space={file!r}: names a YAML file; single ranges are written space.delta.high=0.95")
    of_space = {f"{group}.{key}" for key in space for group in ("space", "method")}
    taken = {"baseline", "data", "preset", "space", *IMPORT_KEYS, *of_space}
    rest = {key: value for key, value in values.items() if key not in taken}
    baseline, data = str(values.get("baseline", "delu")), str(values.get("data", "synthetic"))
    preset = values.get("preset")
    own = Settings().to_mapping()
    base = run_config(baseline, data, data_set="default", preset=preset).to_mapping()
    merged = apply(base | own | dict.fromkeys(IMPORT_KEYS), rest)
    return Request(
        baseline,
        data,
        preset,
        run=nest({key: value for key, value in rest.items() if key.split(".")[0] not in own}),
        space=nest({f"space.{key}": value for key, value in space.items()}).get("space", {}),
        settings=Settings.from_mapping({key: merged[key] for key in own}),
        importing=import_options(values),
        space_file=file,
    )


def known_keys() -> dict[str, Any]:
    """All keys and their defaults, for ``python -m dce_ray.search keys``."""
    base = run_config("delu", "synthetic", data_set="synthetic").to_mapping()
    space = load_space("delu", "default", {}).to_mapping()
    return flatten(base | Settings().to_mapping() | dict.fromkeys(IMPORT_KEYS) | {"space": space})


def list_keys(arguments: list[str]) -> str:
    """All keys of this command for a baseline and a data set, with their defaults there and what they mean."""
    given, words = chosen(arguments)
    baseline, data_set = str(given.get("baseline", "delu")), data_set_meant(str(given.get("data", "synthetic")))
    base = run_config(baseline, str(given.get("data", "synthetic")), data_set=data_set, preset=given.get("preset"))
    space = {"space": load_space(baseline, data_set, {}).to_mapping()}
    about = {"space": "A range: low, high, log, step; what is not given stays. A number fixes it, a name ties it."}
    return listing([*keys_of(ImportOptions()), *keys_of(Settings()), *keys_from(space, about), *keys_of(base)], words)


if __name__ == "__main__":
    command(main, USAGE)
