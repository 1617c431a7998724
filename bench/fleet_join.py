"""Nodes that a cluster gets after its machines were described.

One that comes while files are built is described, compared, and measures with its kind. Once
machines measure none is taken in: its files would have to come from a machine that measures,
whose figures would be disturbed. Whoever is not used is named, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench import kinds, on_host
from bench.cluster import Cluster, HostLost
from bench.kinds import Kind, Machine, Node
from bench.options import UsageError

Say = Callable[[str], None]


class Latecomers:
    """Looks at each node that was not there at first, once."""

    def __init__(self, cluster: Cluster, found: Sequence[Kind], store: str, say: Say) -> None:
        self._cluster = cluster
        self._kinds = {kinds.key_of(kind.machines[0]): kind.name for kind in found}
        self._known = {machine.node.id for kind in found for machine in kind.machines}
        self._store = store
        self._say = say
        self._fit: dict[str, Machine] = {}

    def machine(self, node_id: str) -> Machine | None:
        """A node that has joined; ``None``: this run can't use it, which was said."""
        if node_id not in self._known:
            self._describe(node for node in self._cluster.nodes() if node.id == node_id)
        return self._fit.get(node_id)

    def joined(self) -> tuple[tuple[str, Machine], ...]:
        """By the name of its kind every machine that has come by now and can measure."""
        self._describe(self._new())
        found = ((self._kinds.get(kinds.key_of(one)), one) for one in self._fit.values())
        return tuple((name, one) for name, one in found if name is not None)

    def turn_away(self) -> None:
        """Name the nodes that have come since, which is too late for this run."""
        for node in self._new():
            self._known.add(node.id)
            self._refuse(
                node,
                "all files had been brought, and its own would have to come from a machine that "
                "measures; the same command takes it in when it is started again",
            )

    def _new(self) -> tuple[Node, ...]:
        return tuple(node for node in self._cluster.nodes() if node.id not in self._known)

    def _describe(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self._known.add(node.id)
            try:
                described = self._cluster.on(node, 0, on_host.describe, self._store).get()
                machine = Machine(node, described)
                kinds.check_same([machine], on_host.describe(self._store))
            except (HostLost, ImportError, UsageError) as exc:
                self._refuse(node, str(exc))
                continue
            self._fit[node.id] = machine
            if (name := self._kinds.get(kinds.key_of(machine))) is None:
                self._refuse(node, "no kind of this run is like it; it may build files", "measure")
            else:
                self._say(f"node {_named(node)} has joined: it measures with {name}")

    def _refuse(self, node: Node, why: str, what: str = "take part") -> None:
        self._say(f"node {_named(node)} has joined late and does not {what}: {why}")


def _named(node: Node) -> str:
    return f"{node.address} ({node.id[:8]})"
