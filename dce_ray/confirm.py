"""``python -m dce_ray.confirm``: a search's best setting confirmed anew on test, with more and fresh seeds.

What a user may validly do about an undecided verdict. The number of pairs is fixed before the first of them is trained,
and no seed of theirs was used before, neither by the search nor by an earlier confirmation: so the interval holds by
itself, whatever earlier ones said. The best setting and the plain baseline are those of the search, each up to its own
iteration. Every confirmation is a look at test; they are numbered, the search's own is the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dce_ray.commandline import command, compose
from dce_ray.config import LARGEST_SEED
from dce_ray.errors import ConfigError, SearchError
from dce_ray.experiment.brought import fetch_experiment
from dce_ray.experiment.candidate import Candidate
from dce_ray.experiment.claim import place_of
from dce_ray.experiment.folder import ExperimentFolder
from dce_ray.experiment.mirrored import at_storage
from dce_ray.files import read_json
from dce_ray.presets import run_config_from_mapping
from dce_ray.provenance import environment
from dce_ray.report.confirmation import write_confirmation
from dce_ray.report.page import write_outputs
from dce_ray.report.page_anew import write_page
from dce_ray.search.display import Display
from dce_ray.search.opening import same_data
from dce_ray.search.plan import PlanLedger, plan_confirmation
from dce_ray.search.tune_run import Stop, Workers
from dce_ray.session.demand import resources_for
from dce_ray.session.nodes import check_nodes
from dce_ray.session.ray_session import ray_session
from dce_ray.store import FeatureStore
from dce_ray.tracking.address import sync_command
from dce_ray.trainables import trainable_named
from dce_ray.verdict.stein import identity_of
from dce_ray.verdict.text import ANEW, MOST_SEEDS, next_command
from dce_ray.verdict.verdict import UNCONFIRMED, Verdict
from dce_ray.words import command_line, counted, runnable

USAGE = """
python -m dce_ray.confirm search=<folder> seeds=20    confirm a search's best setting anew on test, with fresh seeds

  search=results/<data>/<baseline>/<name>   a search whose confirmation has ended
  seeds=20      pairs of runs: the best setting and the plain baseline, trained anew with the same seed; fixed once
  look=2        which look at test it is (the search's own was the first): look=3 makes another one, with other seeds

where
  cpus_per_run=  gpus_per_run=  max_failures=2  ray.address=auto|<host:port>  ray.num_cpus=

The results lie beside the search, in <name>-confirm-<look>, and on top of the search's report.html. Given again, the
command goes on after Ctrl-C, a kill or a crash: every finished run counts once.
"""
DEFAULTS: dict[str, Any] = {
    "search": None,
    "seeds": 20,
    "look": 2,
    "cpus_per_run": None,
    "gpus_per_run": None,
    "max_failures": 2,
    "ray": {"address": None, "num_cpus": None},
}
MOST_LOOKS = 1000


@dataclass(frozen=True, slots=True)
class Look:
    """One confirmation anew."""

    search: ExperimentFolder
    folder: ExperimentFolder
    """Of its own, beside the search's."""
    pair: tuple[Candidate, Candidate]
    """The best setting and the plain baseline, with the seeds of this look."""
    seeds: int
    store: FeatureStore


def main(arguments: list[str]) -> int:
    """Train what is not finished yet, then write and print the verdict; the exit status."""
    options = compose(DEFAULTS, arguments)
    look = prepare(options)
    print(f"confirmation folder: {look.folder.path}")
    storage = look.search.config.get("storage")
    with look.folder.lock(), at_storage(look.folder, storage, look.store.digest) as folder:
        folder.note_session(environment())
        look = replace(look, folder=folder)
        stop = run(look, options)
        if stop is None:
            print(f"\n{write_confirmation(look.folder, look.pair)}")
            write_page(look.folder)
    if stop is not None:
        print(f"stopped: {stop.reason}\nWhat is done is kept. Go on by giving the same command again.")
        return 130 if stop.interrupted else 2
    write_outputs(look.search)  # its page shows this verdict, too
    print(f"to MLflow: {sync_command(look.folder, None)}")
    verdict = Verdict.read(look.folder)
    assert verdict is not None, "it was written just now"
    print(verdict.text)
    return 0


def prepare(options: Mapping[str, Any]) -> Look:
    """Check what is asked for, then make or open the folder of the look.

    Raises:
        ConfigError: a value that makes no sense, or another number of seeds than the look was begun with.
        SearchError: there is nothing that could be confirmed, or it is another setting's by now.
    """
    _check(options)
    search = ExperimentFolder.open(str(options["search"]))
    config, seeds, number = search.config, options["seeds"], options["look"]
    if config.get("kind"):
        raise SearchError(f"search={options['search']}: holds no search; give the folder of one")
    if search.in_use:
        raise SearchError(f"{search.path} is in use by its search; wait for it, or stop it first")
    pair = _pair(search, MOST_SEEDS * (number - 1))
    _check_seeds(pair, seeds, number)
    store = same_data(search, config["run"]["data"], config["digest"])
    for one in range(2, number + 1):
        bring_look(search, one)
    path = search.look(number)
    if not path.exists():
        before = ExperimentFolder(search.look(number - 1))
        left = before.path.exists() and before.config.get("identity") != identity_of(*pair)  # of an earlier choice
        if number > 2 and not left and Verdict.read(before) is None:
            begun = before.config["confirm"]["seeds"] if before.path.exists() else seeds
            former = command_line("dce_ray.confirm", search=search.path, seeds=begun, look=number - 1)
            raise ConfigError(f"look={number}: look {number - 1} has not ended; first: {former}")
        folder = ExperimentFolder.create(path, _asked(search, pair, options), environment())
    else:
        folder = _opened(path, pair, options)
    return Look(search, folder, pair, seeds, store)


def bring_look(search: ExperimentFolder, number: int) -> None:
    """Have here the folder of a look that was begun on another machine and lies at the search's storage.

    Raises:
        StorageError: the storage does not answer, or refuses.
    """
    storage, path = search.config.get("storage"), search.look(number)
    if storage is None or path.exists():
        return
    place = place_of(ExperimentFolder(path), storage)
    if place.read("config.json") is not None:
        folder, _ = fetch_experiment(place.address, str(search.root))
        print(f"brought here: {folder}")


def _check(options: Mapping[str, Any]) -> None:
    faults = []
    if not options["search"]:
        faults.append("search= is missing; give the folder of a search, results/<data>/<baseline>/<name>")
    for name, low, high, why in (
        ("seeds", 2, MOST_SEEDS, "an interval needs two"),
        ("look", 2, MOST_LOOKS, "the search's own confirmation was the first"),
    ):
        value = options[name]
        if type(value) is not int or not low <= value <= high:
            faults.append(f"{name}={value!r}: must be a whole number between {low} and {high}; {why}")
    if faults:
        raise ConfigError("\n".join(faults))


def _check_seeds(pair: tuple[Candidate, Candidate], seeds: int, look: int) -> None:
    """Refuse seeds that no run can have, before one is trained."""
    first = max(one.confirmation_seed(0) for one in pair)
    if first + seeds - 1 > LARGEST_SEED:
        fits = LARGEST_SEED - first + 1
        remedy = f"give seeds={fits} or fewer" if fits > 1 else "give a lower look=, or start a new search with seed=0"
        raise ConfigError(
            f"seeds={seeds}: look={look} at this search, whose own seed is {pair[0].config['seed']}, trains with the "
            f"seeds {first} to {first + seeds - 1}, and no seed may exceed {LARGEST_SEED}; {remedy}"
        )


def _pair(search: ExperimentFolder, first_seed: int) -> tuple[Candidate, Candidate]:
    """The best setting and the plain baseline as the search's confirmation has them."""
    verdict = Verdict.read(search)
    if verdict is None or verdict.outcome == UNCONFIRMED:
        going_on = command_line("dce_ray.search", resume=search.path)
        if verdict is not None or search.config["confirm"]["seeds"] == 0:
            going_on = runnable(next_command(Verdict(UNCONFIRMED), search))
        raise SearchError(f"{search.path}: its own confirmation has not ended; first: {going_on}")
    content = read_json(search.confirmation)
    found = [Candidate.from_mapping(entry) for entry in content["configurations"]]
    winner = next((one for one in found if one.setting == content["winner"]), None)
    plain = next((one for one in found if one.plain), None)
    if winner is None or plain is None:
        raise SearchError(
            f"{search.path}: its confirmation lacks {'the plain baseline' if winner else 'a best setting'}, so "
            f"there is nothing to compare; go on with the search: {command_line('dce_ray.search', resume=search.path)}"
        )
    return replace(winner, first_seed=first_seed), replace(plain, first_seed=first_seed)


def _asked(search: ExperimentFolder, pair: tuple[Candidate, Candidate], options: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json of the look holds."""
    seeds = options["seeds"]
    return {
        "kind": ANEW,
        "search_folder": str(search.path),
        "look": options["look"],
        "identity": identity_of(*pair),
        **{key: search.config[key] for key in ("baseline", "protocol", "metric", "data_set", "run", "digest")},
        "confirm": {"top": 1, "seeds": seeds, "precision": None, "max_seeds": seeds},
    }


def _opened(path: Path, pair: tuple[Candidate, Candidate], options: Mapping[str, Any]) -> ExperimentFolder:
    """The folder of a look that was begun before, which must be the one that is asked for."""
    folder, another = ExperimentFolder.open(path), f"look={options['look'] + 1} makes another one"
    config = folder.config
    if config.get("kind") != ANEW:
        raise SearchError(f"{path} is no confirmation of this search; rename it")
    if config["identity"] != identity_of(*pair):
        raise SearchError(f"{path} confirmed another best setting, which the search has left since; {another}")
    if config["confirm"]["seeds"] != options["seeds"]:
        raise ConfigError(
            f"seeds={options['seeds']}: {path} was begun with seeds={config['confirm']['seeds']}, and another number "
            f"after a look would make the interval too narrow; give the same, or {another}"
        )
    return folder


def run(look: Look, options: Mapping[str, Any]) -> Stop | None:
    """Run what is not finished; None when all was run, else why not."""
    plan = plan_confirmation(look.folder, look.pair, look.seeds)
    ledger, done = PlanLedger(plan), [item.now for item in plan if item.finished]
    print(f"cost: {counted(len(plan), 'run')} on test, {len(done)} of them finished before")
    if not ledger.waiting:
        return None
    settings = [run_config_from_mapping(one.configuration(0), kept=True) for one in look.pair]
    config = max(settings, key=lambda one: one.sampling.batch * one.sampling.segments)  # it takes most memory
    wish = {"cpus": options["cpus_per_run"], "gpus": options["gpus_per_run"]}
    with ray_session(options["ray"]["address"], look.folder.log, options["ray"]["num_cpus"]) as nodes:
        storage = look.search.config.get("storage")
        check_nodes(look.folder.mark, look.search.config["run"]["data"], look.store.digest, storage, keys=())
        resources = resources_for(config, look.store, nodes, runs=len(ledger.waiting), **wish)
        print(resources.text(nodes))
        workers = Workers(trainable_named(config.baseline), resources, options["max_failures"])
        title = f"confirmation {config.baseline} on {look.search.data_name}, look {options['look']}"
        return workers.run(ledger, Display(title, len(plan), config.training.iterations, done))


if __name__ == "__main__":
    command(main, USAGE)
