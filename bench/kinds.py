"""The machines of a fleet by kind, and whether they may be measured together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench import host
from bench.on_host import Described
from bench.options import UsageError

KIND_RESOURCE = "host-kind:"
"""A node's custom resource of this name and anything behind it says what its kind is called."""
_SHOWN = 6


@dataclass(frozen=True)
class Node:
    """One node as the cluster lists it; ``label`` is what its resource calls its kind."""

    id: str
    address: str
    cpus: int
    label: str = ""


@dataclass(frozen=True)
class Machine:
    """A node and what it says of itself. Its facts and cores are those that a run may use."""

    node: Node
    own: Described

    @property
    def facts(self) -> Mapping[str, str]:
        """As in a run's header; the label is part of what the kind is."""
        usable = {"usable cores": str(self.cores)} if self.cores < self.own.cores else {}
        label = {"kind": self.node.label} if self.node.label else {}
        return {**label, **self.own.facts, **usable}

    @property
    def cores(self) -> int:
        """What the cluster may use of the machine: a node can be given fewer than there are."""
        return min(self.own.cores, self.node.cpus)

    @property
    def shown(self) -> str:
        """For people who look for the machine."""
        return f"{self.node.address} ({self.own.machine})"


@dataclass(frozen=True)
class Kind:
    """Machines of the same CPU model, instruction sets, cores and memory (and label)."""

    name: str
    machines: tuple[Machine, ...]

    @property
    def facts(self) -> Mapping[str, str]:
        """Those of its first machine."""
        return self.machines[0].facts

    @property
    def cores(self) -> int:
        """That a case uses unless told otherwise."""
        return self.machines[0].cores


def key_of(machine: Machine) -> tuple[str, int]:
    """What machines of one kind share: CPU model, instruction sets, cores, memory, label."""
    return host.host_id(machine.facts), machine.cores


def kinds_of(machines: Sequence[Machine]) -> tuple[Kind, ...]:
    """The kinds in the order in which the cluster lists their first machines.

    Raises :class:`UsageError` for machines that can't be measured together.
    """
    if not machines:
        raise UsageError("--ray: no node of the cluster has a CPU to measure on")
    check_same(machines)
    groups: dict[tuple[str, int], list[Machine]] = {}
    for machine in machines:
        groups.setdefault(key_of(machine), []).append(machine)
    names = _names([group[0] for group in groups.values()])
    found = zip(names, groups.values(), strict=True)
    return tuple(Kind(name, tuple(group)) for name, group in found)


def _names(firsts: Iterable[Machine]) -> list[str]:
    """What each kind is called: by its label, else by its CPU and cores; never two alike."""
    names: list[str] = []
    for machine in firsts:
        name = machine.node.label or _plain_name(machine)
        taken = sum(known == name or known.startswith(f"{name} #") for known in names)
        names.append(f"{name} #{taken + 1}" if taken else name)
    return names


def _plain_name(machine: Machine) -> str:
    model = machine.own.facts.get("CPU", host.UNAVAILABLE).partition(" (")[0]
    cores = f"{machine.cores} core{'' if machine.cores == 1 else 's'}"
    return f"{model}, {cores}"


# --- versions


def check_same(machines: Sequence[Machine], driver: Described | None = None) -> None:
    """Raise :class:`UsageError` where two have other versions of anything that counts.

    Also beside those of the ``driver``, which plans and shows.
    """
    described = [(machine.shown, machine.own) for machine in machines]
    if driver is not None:
        described = [("this machine, which drives,", driver), *described]
    first, own = described[0]
    for shown, other in described[1:]:
        texts = list(_differences(own, other))
        if texts:
            more = f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
            raise UsageError(
                f"--ray: {first} and {shown} have other versions ({'; '.join(texts[:_SHOWN])}"
                f"{more}): figures of both would not be comparable; install the same on all nodes "
                "(pip install -c constraints.txt) and start again"
            )


def _differences(one: Described, other: Described) -> Iterable[str]:
    for name in {**one.versions, **other.versions}:
        ours, theirs = one.versions.get(name), other.versions.get(name)
        if ours != theirs:
            yield f"{name} {ours or 'absent'} and {theirs or 'absent'}"
    if one.code != other.code:
        yield f"deploybench's own code {one.code[:8]} and {other.code[:8]}"


# --- what a person should know before


def warnings(kinds: Sequence[Kind]) -> tuple[str, ...]:
    """What makes figures doubtful though nothing forbids to measure."""
    machines = [machine for kind in kinds for machine in kind.machines]
    return (*_shared(machines), *_polite(machines))


def _shared(machines: Sequence[Machine]) -> Iterable[str]:
    nodes: dict[str, list[str]] = {}
    for machine in machines:
        nodes.setdefault(machine.own.machine, []).append(machine.node.id[:8])
    for name, ids in nodes.items():
        if len(ids) > 1:
            yield (
                f"nodes {', '.join(ids)} are one machine ({name}): they measure in turns, beside "
                "each other's idle processes, which is good for trying things out only"
            )


def _polite(machines: Sequence[Machine]) -> Iterable[str]:
    nice = [machine for machine in machines if machine.own.niceness > 0]
    if nice:
        levels = ", ".join(map(str, sorted({machine.own.niceness for machine in nice})))
        shown = ", ".join(machine.shown for machine in nice[:_SHOWN])
        yield (
            f"Ray starts its workers with niceness {levels} on {shown}: anything else that runs "
            "there comes first; start Ray with RAY_worker_niceness=0"
        )


def without(kind: Kind, lost: str) -> Kind:
    """The kind without the node of this id."""
    left = tuple(machine for machine in kind.machines if machine.node.id != lost)
    return replace(kind, machines=left)
