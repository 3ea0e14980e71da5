"""Run a ledger's runs as Ray Tune trials in reused actors, until they are done, time is up or Ctrl-C is pressed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune

from dce_ray.files import not_written, scratch_folder
from dce_ray.interrupts import stop_on_signal
from dce_ray.search.display import Display
from dce_ray.search.fleet import Fleet
from dce_ray.search.in_flight import INTERRUPTED, RunsInFlight
from dce_ray.search.ledger import Ledger
from dce_ray.search.observers import Observer, Observers
from dce_ray.search.tune_hooks import LedgerCallback, LedgerScheduler, LedgerSearcher, WholeStopper
from dce_ray.session.resources import Resources

NO_LIMIT = 10**9
NODE_ID = "ray.io/node-id"
"""Label that Ray gives every node."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stop:
    """Why runs were left over."""

    reason: str
    failure: bool
    """Whether it was a fault of the environment (and not Ctrl-C or the time budget)."""

    @property
    def interrupted(self) -> bool:
        """Whether the user stopped it."""
        return self.reason == INTERRUPTED


@dataclass(frozen=True, slots=True)
class Workers:
    """Who runs the runs of a ledger: reused Ray actors, each with its share of the cluster."""

    trainable: type[tune.Trainable]
    resources: Resources
    max_failures: int = 2
    observers: tuple[Observer, ...] = ()
    """Who else hears of every run, beside the display."""
    system: bool = False
    """Whether runs tell what they take of their machines, for MLflow."""

    def seen_by(self, observer: Observer) -> Workers:
        """The same, of whose runs one more hears."""
        return replace(self, observers=(*self.observers, observer))

    def run(self, ledger: Ledger, display: Display, out_of_time: Callable[[], bool] = lambda: False) -> Stop | None:
        """Run everything that the ledger asks for in sight of the user; see :func:`run_ledger`."""
        fleet = Fleet(self.resources)
        with display.shown():
            stop = run_ledger(
                ledger,
                self.trainable,
                self.resources,
                fleet=fleet,
                max_failures=self.max_failures,
                out_of_time=out_of_time,
                observer=Observers([display, *self.observers]),
                system=self.system,
            )
        print("\n".join(filter(None, [display.summary(), fleet.utilisation()])))
        return stop


def run_ledger(
    ledger: Ledger,
    trainable: type[tune.Trainable],
    resources: Resources,
    *,
    max_failures: int = 2,
    out_of_time: Callable[[], bool] = lambda: False,
    observer: Observer | None = None,
    system: bool = False,
    fleet: Fleet | None = None,
) -> Stop | None:
    """Run everything that the ledger asks for.

    Args:
        ledger: which runs there are.
        trainable: a ``RunTrainable``.
        resources: of one run.
        max_failures: how often one run's process may be lost before it counts as failed.
        out_of_time: whether the time budget is used up; the search then stops.
        observer: told what happens.
        system: whether runs tell what they take of their machines.
        fleet: the nodes, for who wants to know how much of them was used; None makes one.

    Returns:
        None when everything was run; else why not. Runs in flight then stay RUNNING and go on when resumed.

    Raises:
        OutputError: the experiment folder cannot be written.
    """
    fleet = fleet or Fleet(resources)
    heard = observer if isinstance(observer, Observers) else Observers([observer or Observer()])
    runs = RunsInFlight(ledger, fleet, heard, out_of_time, max_failures, system)
    heard.unread = runs.interrupt
    scratch = scratch_folder("dce-ray-tune")
    tuner = tune.Tuner(
        tune.with_resources(trainable, placement),
        tune_config=tune.TuneConfig(
            search_alg=LedgerSearcher(runs),
            scheduler=LedgerScheduler(runs),
            num_samples=NO_LIMIT,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            stop=WholeStopper(runs),
            callbacks=[LedgerCallback(runs)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    try:
        with stop_on_signal(runs.interrupt):
            tuner.fit()
    except OSError as fault:  # the journal's and the scratch folder's; all other files raise OutputError themselves
        raise not_written(Path(fault.filename or scratch), fault) from fault
    except ValueError as fault:  # stopped before Tune had written its first snapshot, which nobody reads
        if not runs.reason or "snapshot" not in str(fault):
            raise
    finally:
        runs.close()
        shutil.rmtree(scratch, ignore_errors=True)
    return Stop(runs.reason, runs.failure) if runs.reason else None


def placement(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """What Ray keeps for a run: its share of one node, and which nodes may be that one."""
    share, nodes = config["share"], config["nodes"]
    amounts = {name: amount for name, amount in share.items() if amount}
    allowed = {} if nodes is None else {"bundle_label_selector": [{NODE_ID: f"in({','.join(nodes)})"}]}
    return tune.PlacementGroupFactory([amounts], **allowed)


def _name(trial: Any) -> str:
    return str(trial.trial_id)
