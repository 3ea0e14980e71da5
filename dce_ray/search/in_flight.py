"""The runs in flight: handed to Ray Tune, heard of, and passed on to the ledger when they end, fail or are lost."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.tune.search import Searcher

from dce_ray.errors import StorageAwayError
from dce_ray.experiment.run_folder import RunFolder
from dce_ray.files import write_atomically, write_json
from dce_ray.places import Place
from dce_ray.places.place import FINE, REFUSED
from dce_ray.search.fleet import NOTHING_STARTS_S, Fleet
from dce_ray.search.ledger import Ledger
from dce_ray.search.observers import Observer
from dce_ray.session.resources import Resources
from dce_ray.session.whereabouts import attempt_name, forget, noted
from dce_ray.train.run_files import Reading

INTERRUPTED = "interrupted"
"""Why a search stopped that the user stopped."""
OUT_OF_TIME = "the time budget is used up"
"""Why a search stopped that its time budget stopped."""
FAILURES_IN_A_ROW = 5
"""So many failed trials with none in between that did not fail: the cause is not the trials."""


@dataclass
class InFlight:
    """A run in flight."""

    folder: RunFolder
    share: Resources
    heard: set[tuple[int, bool]] = field(default_factory=set)
    """Iterations of the readings that are written, and whether they had a score."""
    handed: float = 0.0
    """When it was handed to Tune."""
    began: float | None = None
    """When its process had its share; None while it waits."""
    nodes: Sequence[str] | None = None
    """Nodes to which it may go; None where all of them are."""
    name: str = ""
    """By which its process notes where it is."""

    @classmethod
    def of(cls, folder: RunFolder, share: Resources) -> InFlight:
        """A run that begins, or goes on with what its folder knows."""
        return cls(folder, share, {_name_of(reading) for reading in folder.readings()}, handed=time.monotonic())

    def news(self, result: Mapping[str, Any]) -> list[Reading]:
        """The readings of a result that were not heard of, from now on heard: a run that goes on repeats some."""
        readings = [Reading(**each) for each in result.get("readings", ())]
        new = [reading for reading in readings if _name_of(reading) not in self.heard]
        self.heard.update(map(_name_of, new))
        return new


def _name_of(reading: Reading) -> tuple[int, bool]:
    return reading.iteration, reading.metrics.get("score") is not None


@dataclass
class RunsInFlight:
    """What searcher, scheduler and callback share.

    Args:
        ledger: which runs there are, and who notes how they end.
        fleet: the nodes, asked before each start (a cluster may grow).
        observer: the display.
        out_of_time: whether the time budget is used up, asked often.
        max_failures: how often one run's process may be lost before the run counts as failed.
        system: whether runs tell what they take of their machine.
    """

    ledger: Ledger
    fleet: Fleet
    observer: Observer
    out_of_time: Callable[[], bool] = lambda: False
    max_failures: int = 2
    system: bool = False
    reason: str | None = None
    """Why the search stops before its end; None while it goes on."""
    failure: bool = False
    """Whether :attr:`reason` is a fault of the environment."""
    live: dict[str, InFlight] = field(default_factory=dict)
    """Runs in flight, by Tune's trial id."""
    pruned: set[str] = field(default_factory=set)
    _failures: int = 0
    _finished: bool = False
    _lacks: set[str] = field(default_factory=set)
    _losses: Counter[str] = field(default_factory=Counter)
    """Lost processes and faults of their surroundings, by run."""
    _failed_on: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Nodes on which runs have failed by a fault of their surroundings, or were lost, by run."""
    _stalled: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore that is not used here, and would take the study along."""
        return {}

    def stop(self, reason: str, *, failure: bool = False) -> None:
        """End the search tidily: runs in flight stay as they are, to be gone on with."""
        if self.reason is None:
            self.reason, self.failure = reason, failure

    def interrupt(self) -> bool:
        """The user wants the search to end; False where it is ending already."""
        if self.reason is not None:
            return False
        self.stop(INTERRUPTED)
        return True

    @property
    def stopping(self) -> bool:
        """Whether the search shall end now."""
        if self.reason is None and self.out_of_time():
            self.stop(OUT_OF_TIME)
        if self.reason is None and (why := self.fleet.lost()):
            self.stop(why, failure=True)
        self._tell_when_nothing_starts()
        return self.reason is not None

    def _tell_when_nothing_starts(self) -> None:
        waiting = [run for run in self.live.values() if run.began is None]
        if not waiting or len(waiting) < len(self.live):
            self._stalled = False
        elif not self._stalled and time.monotonic() - max(run.handed for run in waiting) > NOTHING_STARTS_S:
            self._stalled = True
            self.observer.noted(self.fleet.waiting(waiting[0].share))

    def start(self, trial_id: str) -> dict[str, Any] | str | None:
        """Tune's question for another run."""
        if self.stopping:
            return str(Searcher.FINISHED)
        share = self.fleet.share(Counter(run.share for run in self.live.values()))
        if share is None:
            return None
        folder = self.ledger.ask()
        if folder is None:
            return None if self.live else str(Searcher.FINISHED)  # a run in flight may still lose its process
        run = self.live[trial_id] = InFlight.of(folder, share)
        self.observer.started(folder.record())
        told = folder.for_worker()
        run.nodes, run.name = self.fleet.where(share, self._failed_on[folder.key]), attempt_name(told)
        return {
            **told,
            "threads": share.threads,
            "share": {"CPU": share.cpus, "GPU": share.gpus, "memory": share.memory},
            "nodes": run.nodes,
            "system": self.system,
        }

    def stranded(self, trial_id: str) -> bool:
        """Whether a run waits for nodes that are all gone: it is to be taken back, and goes on on others."""
        run = self.live.get(trial_id)
        return run is not None and run.began is None and self.fleet.stranded(run.nodes)

    def take_back(self, trial_id: str) -> None:
        """Let a run that was handed out and never began wait with the ledger again."""
        self._go_on(self._pop(trial_id).folder, "the nodes for which it waited are gone")

    def _tell_lacks(self, result: Mapping[str, Any]) -> None:
        """Say once what of the machines cannot be recorded."""
        for line in result.get("lacks", ()):
            if line not in self._lacks:
                self._lacks.add(line)
                self.observer.noted(f"{line}; tracking.system=off says nothing of it")

    def began(self, trial_id: str) -> None:
        """A run's process has its share of a node."""
        self.live[trial_id].began = time.monotonic()

    def _pop(self, trial_id: str) -> InFlight:
        run = self.live.pop(trial_id)
        if run.began is not None:
            self.fleet.used(run.share, time.monotonic() - run.began)
        forget(run.name)
        return run

    def close(self) -> None:
        """The session of runs is over: those in flight stay as they are."""
        for trial_id in list(self.live):
            self._pop(trial_id)
        self.fleet.measure()

    def result(self, trial_id: str, result: dict[str, Any]) -> bool:
        """An evaluation; whether the run stops here."""
        run = self.live[trial_id]
        self._tell_lacks(result)
        self._note_host(run.folder, result)
        self.fleet.fine(str(result.get("node")))
        self.observer.scored(run.folder.record(), result["iteration"], result.get("score"))
        if self._report(run, result):
            self.pruned.add(trial_id)
            return True
        return False

    def _report(self, run: InFlight, result: dict[str, Any]) -> bool:
        """Write down what a result tells anew; whether the run stops here."""
        for reading in run.news(result):
            run.folder.append(reading.iteration, reading.metrics, reading.time)
            if self.ledger.report(run.folder.key, reading.iteration, reading.metrics.get("score")):
                return True
        return False

    def complete(self, trial_id: str, result: dict[str, Any]) -> None:
        """A run ended without an exception: at its full length, pruned, by a fault, or by the stop of the search."""
        if trial_id not in self.live:  # it was taken back
            return
        run = self._pop(trial_id)
        folder = run.folder
        self._note_host(folder, result)
        if result.get("fault_kind") == "environment":
            self._fault(folder, result)
        elif result.get("fault_kind"):
            self.failed(folder, str(result["fault"]), its_own=True)
        elif result.get("finished"):
            self._report(run, result)
            if lost := receive(folder, result):
                self._try_again(folder, lost)
                return
            if "table" in result:
                write_json(folder.table, json.loads(result["table"]))
            try:
                self.ledger.finish(folder.key)
            except StorageAwayError as fault:
                self._go_on(folder, f"{type(fault).__name__}: {fault}")
                return
            self._finished = True
            self._ended(folder)
        elif trial_id in self.pruned:
            self.ledger.prune(folder.key)
            self._ended(folder)

    def _fault(self, folder: RunFolder, result: dict[str, Any]) -> None:
        """A run ended by a fault that is not its own, as a full disk is none: it goes on on another node."""
        host, error = str(result.get("hostname", "an unknown host")), str(result["fault"])
        state = state_of(result.get("fault_place"), folder)
        if state == REFUSED:  # here too: no other node can do better
            self.stop(error, failure=True)
        if state != FINE:
            self._go_on(folder, error)
            return
        node = str(result.get("node"))
        self._failed_on[folder.key].add(node)
        self._blame(folder, self.fleet.fault(node, host, error), f"{error} (on {host})")

    def _blame(self, folder: RunFolder, note: str | None, error: str) -> None:
        """Let a run go on; where a node is set aside for it, as ``note`` says, it was the node's fault alone."""
        if note:
            self.observer.noted(note)
            self._go_on(folder, error)
        else:
            self._try_again(folder, error)

    def _try_again(self, folder: RunFolder, error: str) -> None:
        self._losses[folder.key] += 1
        if self._losses[folder.key] > self.max_failures and self.fleet.lost() is None:
            self.failed(folder, error)
        else:
            self._go_on(folder, error)

    def _go_on(self, folder: RunFolder, error: str) -> None:
        self.ledger.again(folder.key)
        self.observer.retried(folder.record(), error)

    @staticmethod
    def _note_host(folder: RunFolder, result: dict[str, Any]) -> None:
        """Where the run computes, which is not where the record was made when it is a cluster's node."""
        host = result.get("hostname")
        if host and folder.record().host != host:
            folder.update(host=host)

    def lost(self, trial_id: str, error: str) -> None:
        """A run's process ended with an exception, or was killed: the run goes on in another, or fails.

        Not left to Tune's ``max_failures``: a trial whose process dies while it is taken over from the run before
        (``reset``) is never tried again there. A run that goes on is a new trial of Tune's, the same of the study's.
        """
        place = noted(self.live[trial_id].name)
        folder = self._pop(trial_id).folder
        if place:
            node, host = place
            self._failed_on[folder.key].add(node)
            self._blame(folder, self.fleet.loss(node, host, error, folder.key), f"{error} (on {host})")
        else:
            self._try_again(folder, error)

    def failed(self, folder: RunFolder, error: str, *, its_own: bool = False) -> None:
        """A run that cannot go on.

        Args:
            folder: of the run.
            error: why.
            its_own: whether it is the run's setting that fails, as a high learning rate diverges: where others have
                finished, that says nothing of the environment.
        """
        self.ledger.fail(folder.key, error, lost=not its_own)
        self._ended(folder, failures=self._failures + (not (its_own and self._finished)))
        if self._failures >= FAILURES_IN_A_ROW:
            self.stop(f"{self._failures} trials failed in a row, the last one with: {error}", failure=True)

    def _ended(self, folder: RunFolder, failures: int = 0) -> None:
        self._failures = failures
        self.observer.ended(folder.record())


def state_of(address: str | None, folder: RunFolder) -> str:
    """How a place takes requests here, of which a run says that it cannot use it.

    One that does not answer here either is no fault of a node or a run, however long it takes; one that refuses here
    too is none either, but no waiting mends it.

    Args:
        address: of the place; None where there is none to ask.
        folder: of the run.
    """
    if address is None:
        return FINE
    state, own = Place.at(address).state(write=False), folder.common.place
    if state == FINE and own and address.startswith(own.address):
        return own.state(write=True)
    return state


def receive(folder: RunFolder, result: Mapping[str, Any]) -> str | None:
    """Write down the files that a run on test sends along where nobody else sees what its process wrote.

    Returns:
        Why they were lost on the way, as with their node; None where they were not.
    """
    parcels = result.get("files", [])
    try:
        for parcel in parcels:
            files = folder.attempts.of(folder.record().attempt)
            for name, content in ray.get(parcel).items():
                write_atomically(files.path / name, content)
    except ray.exceptions.RayError as fault:
        return f"its checkpoint and detections were lost with its process: {type(fault).__name__}"
    finally:
        parcels.clear()  # Tune keeps results, and with them the objects would stay
    return None
