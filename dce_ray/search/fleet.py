"""The nodes that runs are sent to: how many runs they hold now, which are set aside, how much of them was used."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from dce_ray.session.ray_session import living_nodes
from dce_ray.session.resources import Node, Resources

NODES_FRESH_S = 10.0
"""For so long the nodes are believed before the cluster is asked again."""
NODES_GONE_S = 30.0
"""For so long Ray may be without any node before the search ends, to be gone on with: a late one may still come."""
FAULTS_OF_A_NODE = 2
"""So many runs in a row that ended on a node by a fault of their surroundings: it gets no more."""
NODES_AT_FAULT = 3
"""So many nodes set aside, and no more that are left: the cause is none of theirs, and the search ends."""
NOTHING_STARTS_S = 60.0
"""When nothing runs and runs wait for so long, the user is told."""

log = logging.getLogger(__name__)


@dataclass
class Fleet:
    """The cluster as runs see it; asked often, it asks Ray every ten seconds.

    Args:
        resources: of one run.
        ask: the nodes that live now.
    """

    resources: Resources
    ask: Callable[[], list[Node]] = living_nodes
    nodes: Sequence[Node] = ()
    faults: Counter[str] = field(default_factory=Counter)
    """Faults in a row, by node id."""
    lost_on: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Runs whose processes were lost since a node was last fine, by node id."""
    told: dict[str, str] = field(default_factory=dict)
    """Last fault of each node that had one, with its host, by node id."""
    held: Counter[str] = field(default_factory=Counter)
    """Seconds times ``CPU`` and ``GPU`` that the cluster had."""
    busy: Counter[str] = field(default_factory=Counter)
    """Seconds times ``CPU`` and ``GPU`` that runs had."""
    _asked: float | None = None
    _counted: float | None = None
    _empty_since: float | None = None

    def refresh(self) -> None:
        """Ask which nodes live, where that was not asked just now."""
        now = time.monotonic()
        if self._asked is not None and now - self._asked < NODES_FRESH_S:
            return
        self.measure()
        self.nodes, self._asked = self.ask(), now
        self._empty_since = None if any(node.cpus for node in self.nodes) else self._empty_since or now

    def measure(self) -> None:
        """Count what was held since this was done last."""
        before, self._counted = self._counted, time.monotonic()
        if before is not None:
            since = self._counted - before
            self.held["CPU"] += since * sum(node.cpus for node in self.nodes)  # type: ignore[assignment]
            self.held["GPU"] += since * sum(node.gpus for node in self.nodes)  # type: ignore[assignment]

    def used(self, share: Resources, seconds: float) -> None:
        """A run had its share for so long."""
        self.busy["CPU"] += seconds * share.cpus  # type: ignore[assignment]
        self.busy["GPU"] += seconds * share.gpus  # type: ignore[assignment]

    @property
    def usable(self) -> list[Node]:
        """Nodes that live and are not set aside."""
        return [node for node in self.nodes if self.faults[node.id] < FAULTS_OF_A_NODE]

    def share(self, taken: Counter[Resources]) -> Resources | None:
        """What the next run gets, beside what those in flight have; None where it must wait.

        Of nodes that come and go at least one run is always in flight: Ray has it wait for a node.
        """
        self.refresh()
        usable = self.usable
        for kind in self.resources.kinds:
            if taken[kind] < kind.slots(usable):
                return kind
        return self.resources.kinds[0] if not taken.total() else None

    def where(self, share: Resources, avoid: Collection[str] = ()) -> list[str] | None:
        """Ids of the nodes that a run with this share may go to; None where all of them are.

        Args:
            share: of the run.
            avoid: nodes on which it has failed already, to which it goes where there are no others alone.
        """
        usable = self.usable
        others = [node for node in usable if node.id not in avoid]
        if any(share.slots_on(node) for node in others):
            usable = others
        if not share.without_gpu and len(usable) == len(self.nodes):
            return None
        return sorted(node.id for node in usable if share.slots_on(node))

    def stranded(self, allowed: Collection[str] | None) -> bool:
        """Whether none of the nodes to which a run may go lives any more, though others do."""
        self.refresh()
        return allowed is not None and bool(self.nodes) and not any(node.id in allowed for node in self.nodes)

    def loss(self, node: str, host: str, error: str, run: str) -> str | None:
        """A run's process was lost on a node, of a fault of either; a word to the user where the node is set aside.

        Several runs lost in a row speak against the node, and one that is lost everywhere against the run. The only
        node is not set aside: without it there is no search.

        Args:
            node: Ray's id.
            host: its name.
            error: what is known of it.
            run: key of the run.
        """
        self.refresh()
        known = self.lost_on[node]
        if run in known or not self.resources.slots([each for each in self.usable if each.id != node]):
            return None
        known.add(run)
        return self.fault(node, host, error)

    def fault(self, node: str, host: str, error: str) -> str | None:
        """A run ended on a node by a fault of its surroundings; a word to the user where the node is set aside."""
        self.faults[node] += 1
        self.told[node] = f"{error} (on {host})"
        if self.faults[node] != FAULTS_OF_A_NODE:
            return None
        return f"no more runs go to {host}, where {FAULTS_OF_A_NODE} in a row ended with: {error}"

    def fine(self, node: str) -> None:
        """A run was evaluated on a node: faults before were not the node's."""
        if self.faults[node] < FAULTS_OF_A_NODE:
            self.faults[node] = 0
            self.lost_on.pop(node, None)

    def lost(self) -> str | None:
        """Why nothing can run any more; None while something can."""
        self.refresh()
        aside = [node.id for node in self.nodes if self.faults[node.id] >= FAULTS_OF_A_NODE]
        many = len(aside) >= max(NODES_AT_FAULT, len(self.usable))
        if many or (aside and not self.resources.slots(self.usable)):
            return "; ".join(sorted({self.told[node] for node in aside}))
        if self._empty_since is None or time.monotonic() - self._empty_since < NODES_GONE_S:
            return None
        return f"Ray lost all its nodes (for {NODES_GONE_S:g} s it has had no CPU); see log.txt"

    def waiting(self, share: Resources) -> str:
        """What to tell when nothing starts."""
        there = "; ".join(sorted(node.text() for node in self.usable)) or "no node"
        return (
            f"nothing has started for {NOTHING_STARTS_S:g} s: a run needs {share.asked()} of one node, and there is "
            f"{there}; either something else holds them ('ray status' shows what is in use), or the run's process is "
            f"still starting, which takes long on a loaded machine"
        )

    def utilisation(self) -> str:
        """How much of what the cluster had was given to runs, in a line; empty where nothing was held.

        >>> fleet = Fleet(Resources(1.0, 0.0), held=Counter({"CPU": 7200.0}), busy=Counter({"CPU": 5400.0}))
        >>> fleet.utilisation()
        'utilisation: 1.50 of 2.00 CPU hours held (75%)'
        """
        parts = [
            f"{self.busy[name] / 3600:.2f} of {held / 3600:.2f} {name} hours held ({self.busy[name] / held:.0%})"
            for name, held in self.held.items()
            if held
        ]
        return f"utilisation: {', '.join(parts)}" if parts else ""
