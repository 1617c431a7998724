"""The files of a fleet's run: built once in the cluster, and brought to where they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import files, on_host, parcel
from bench.case import host_bound, portable_prefix
from bench.cluster import Cluster, HostLost, HostTrouble, Reply, fetch
from bench.files import FileKey, Files
from bench.kinds import Kind, Machine
from bench.on_host import Inputs, Made, Order, Sent
from bench.options import Options
from bench.parcel import Parcel
from export.artifact import Artifact, default_store
from export.build import Int8
from export.checkpoints import DEFAULT, SEEDED, weights_of
from export.variants import OWN

_TRIES = 3
"""How often a file is built again because the machine that had it is gone."""
_READ_AT_ONCE = 4
"""Pieces of a folder, by as many processes."""

Say = Callable[[str], None]


@dataclass
class Shelf:
    """Where the folders of the stores stand: by name their contents, and who has them."""

    parcels: dict[str, Parcel] = field(default_factory=dict)
    holders: dict[str, set[str]] = field(default_factory=dict)
    """Name -> the stores' ids."""

    def add(self, made: Made, store_id: str) -> None:
        """What one machine has built."""
        for name, contents in made.parcels.items():
            holders = self.holders.setdefault(name, set())
            if not holders:
                self.parcels[name] = contents
            # Two machines may have built the same: what the first one has is what counts.
            if self.parcels[name] == contents:
                holders.add(store_id)


def said_store(options: Options) -> str:
    """The folder that machines look for: empty where nobody named one, and each has its cache."""
    return "" if options.store == default_store() else str(options.store.absolute())


# --- what the driver has


def inputs_of(options: Options, variants: Iterable[str], cluster: Cluster) -> Inputs:
    """The files that ``options`` name, cut into pieces that any machine can fetch."""
    weights = options.weights if Path(options.weights).is_file() else ""
    given = tuple(
        _given(row.given.file, row.given.data_files, cluster) for row in options.given if row.given
    )
    return Inputs(
        data=packed(Path(options.data), cluster) if options.data else None,
        weights=packed(Path(weights), cluster) if weights else None,
        checkpoints=_checkpoints(options, variants, cluster),
        given=given,
    )


def packed(place: Path, cluster: Cluster) -> Sent:
    """A file or a folder of this machine, ready to be fetched."""
    return of_parts(place.absolute(), parcel.packed(place), cluster)


def of_parts(place: Path, contents: Parcel, cluster: Cluster) -> Sent:
    """Some files of the folder ``place``, or that one file, ready to be fetched."""
    pieces = tuple(
        cluster.keep(parcel.piece(place, part.name, *span))
        for part in contents.parts
        for span in part.pieces
    )
    return Sent(str(place), contents, place.is_dir(), pieces)


def _checkpoints(options: Options, variants: Iterable[str], cluster: Cluster) -> Sent | None:
    """Of a folder of checkpoints those that the variants are built with; ``None``: none of it."""
    if not options.checkpoints:
        return None
    folder = Path(options.checkpoints).absolute()
    chosen = {weights_of(name, DEFAULT, options.checkpoints) for name in variants}
    names = {
        Path(place).name for place in chosen - {SEEDED, OWN} if Path(place).parent.samefile(folder)
    }
    return of_parts(folder, parcel.chosen(folder, names), cluster) if names else None


def _given(file: str, data_files: Sequence[str], cluster: Cluster) -> Sent:
    """A model of the user's with its data files."""
    folder = Path(file).parent
    return of_parts(folder, parcel.chosen(folder, (Path(file).name, *data_files)), cluster)


# --- building


def _nobody(node_id: str) -> Machine | None:
    del node_id
    return None


class Builder:
    """Has the files of all kinds built, each once, and brings them to all machines.

    ``lost`` are the ids of nodes that are gone by now, or can't keep files, with the reason.
    ``joined`` describes a node that came after the machines were; ``None``: it may not be used.
    """

    def __init__(
        self,
        cluster: Cluster,
        kinds: Sequence[Kind],
        options: Options,
        inputs: Inputs,
        say: Say,
        joined: Callable[[str], Machine | None] = _nobody,
    ) -> None:
        self.lost: dict[str, str] = {}
        self._cluster = cluster
        self._machines = [machine for kind in kinds for machine in kind.machines]
        self._options = options
        self._inputs = inputs
        self._say = say
        self._joined = joined
        self._store = said_store(options)
        self._shelf = Shelf()
        self._missed: dict[FileKey, str] = {}
        """Why the last try to build a file gave nothing."""

    def build(self, keys: Iterable[FileKey]) -> Mapping[str, Files]:
        """By instruction sets what could be built, and why the rest could not be."""
        every = tuple(dict.fromkeys(keys))
        bound = [key for key in every if host_bound(*key)]
        portable = [key for key in every if not host_bound(*key)]
        prefixes = [prefix for key in bound if (prefix := _prefix(key))]
        machines = tuple(self._machines)
        common = self._everywhere(dict.fromkeys([*portable, *prefixes]), machines)
        groups: dict[str, list[Machine]] = {}
        for machine in machines:
            groups.setdefault(machine.own.instruction_sets, []).append(machine)
        return {
            sets: _merged(common, self._everywhere(bound, same, pinned=True))
            for sets, same in groups.items()
        }

    def bring_all(self, built: Files, machine: Machine) -> bool:
        """Bring what was built to a machine that joined late; whether all of it arrived."""
        if machine not in self._machines:
            self._machines.append(machine)
        self._arrive(built, [machine])
        return machine.node.id not in self.lost

    def _everywhere(
        self, keys: Iterable[FileKey], machines: Sequence[Machine], pinned: bool = False
    ) -> Files:
        """Build, and put what was built on each of ``machines``. ``pinned``: by them alone."""
        whole, left = Files(), tuple(keys)
        for number in range(_TRIES):
            alive = self._alive(machines)
            if not left or not alive:
                break
            missing = [key for key in left if not self._held(whole, key)]
            # What somebody else has built may have been of no use.
            self._ordered(missing, alive if pinned or number else (), whole)
            self._distribute(whole, alive)
            left = tuple(key for key in left if not self._done(whole, key, machines))
        self._arrive(whole, machines)
        for key in left:
            if not self._held(whole, key):
                whole.artifacts.pop(key, None)
                whole.reasons.setdefault(key, self._why_not(key))
        return whole

    def _arrive(self, whole: Files, machines: Sequence[Machine]) -> None:
        """Have all folders that somebody has on each of these; a machine that can't is left out."""
        names = [name for artifact in whole.artifacts.values() for name in _folders(artifact)]
        for _ in range(_TRIES):
            self._distribute(whole, self._alive(machines))
        for machine in self._alive(machines):
            for name in names:
                holders = self._shelf.holders.get(name, set())
                if holders and machine.own.store_id not in holders:
                    self._leave_out(machine.node.id, f"{name} could not be brought to it")

    def _why_not(self, key: FileKey) -> str:
        if key not in self._missed:
            return "the machines that had built it were lost"
        return f"it was built in vain, the last time because: {self._missed[key]}"

    def _alive(self, machines: Sequence[Machine]) -> list[Machine]:
        return [machine for machine in machines if machine.node.id not in self.lost]

    def _held(self, whole: Files, key: FileKey) -> bool:
        """Whether somebody has the file, with what belongs to it."""
        artifact = whole.artifacts.get(key)
        return artifact is not None and all(
            self._shelf.holders.get(name) for name in _folders(artifact)
        )

    def _done(self, whole: Files, key: FileKey, machines: Sequence[Machine]) -> bool:
        """Whether it needs no further try: all of these have it, or it can't be built."""
        artifact = whole.artifacts.get(key)
        if artifact is None:
            return key in whole.reasons
        there = {machine.own.store_id for machine in self._alive(machines)}
        return self._held(whole, key) and all(
            there <= self._shelf.holders.get(name, set()) for name in _folders(artifact)
        )

    def _ordered(self, keys: Sequence[FileKey], machines: Sequence[Machine], whole: Files) -> None:
        """Have files built, a task for each variant; on any machine, or in turn on these."""
        tasks: list[Reply[tuple[str, Made]]] = []
        groups = _by_variant(keys)
        for place, group in enumerate(groups):
            order = Order(tuple(group), self._options, self._inputs, self._int8(group[0][0]))
            arguments = (on_host.build, order, self._store, fetch)
            if machines:
                node = machines[place % len(machines)].node
                tasks.append(self._cluster.on_and_tell(node, 1, *arguments))
            else:
                tasks.append(self._cluster.anywhere(1, *arguments))
        for group, task in zip(groups, tasks, strict=True):
            try:
                node_id, made = task.get()
            except HostLost as exc:
                self._say(f"building {group[0][0]}: {exc}; it is tried again")
                self._missed |= dict.fromkeys(group, str(exc))
                self._look_again(exc)
                continue
            self._take(node_id, made, whole)

    def _int8(self, variant: str) -> Mapping[str, Int8] | None:
        """How a search chose to quantise; its folder stands on this machine alone."""
        return files.chosen_int8([variant], self._options) if self._options.int8_choice else None

    def _take(self, node_id: str, made: Made, whole: Files) -> None:
        """Note what one task has built, and where."""
        store_id = self._store_of(node_id)
        # What it built while another of its tasks had it left out would have no other holder.
        if store_id is None or node_id in self.lost:
            return
        self._shelf.add(made, store_id)
        whole.artifacts |= made.files.artifacts
        whole.reasons |= made.files.reasons
        whole.refused |= made.files.refused
        whole.built += made.files.built
        for key, artifact in made.files.artifacts.items():
            size = f"{artifact.size_bytes / 1e6:.1f} MB"
            self._say(f"built {key[0]}/{key[1]} ({key[2]}): {size}, by {node_id[:8]}")

    def _store_of(self, node_id: str) -> str | None:
        """The store of a node, which may have joined meanwhile; ``None``: it may not be used."""
        own = {machine.node.id: machine.own.store_id for machine in self._machines}
        if node_id not in own:
            machine = self._joined(node_id)
            if machine is None:
                return None
            self._machines.append(machine)
            return machine.own.store_id
        return own[node_id]

    # --- losing

    def _look_again(self, exc: HostLost) -> None:
        """Which machines can't go on: one that says so itself, and those that are gone."""
        if isinstance(exc, HostTrouble) and exc.node_id:
            self._leave_out(exc.node_id, str(exc))
        alive = {node.id for node in self._cluster.nodes()}
        for machine in self._alive(self._machines):
            if machine.node.id not in alive:
                self._leave_out(machine.node.id, f"its node is gone: {exc}")

    def _leave_out(self, node_id: str, why: str) -> None:
        """A machine builds and keeps no more files for anybody."""
        if node_id in self.lost:
            return
        self.lost[node_id] = why
        left = {machine.own.store_id for machine in self._alive(self._machines)}
        for holders in self._shelf.holders.values():
            holders.intersection_update(left)

    # --- bringing

    def _distribute(self, whole: Files, machines: Sequence[Machine]) -> None:
        """Bring every folder to the stores of these machines that don't have it, one by one."""
        names = dict.fromkeys(
            name for artifact in whole.artifacts.values() for name in _folders(artifact)
        )
        for name in names:
            self._bring(name, self._alive(machines))

    def _bring(self, name: str, machines: Sequence[Machine]) -> None:
        """One folder to all of these that lack it, at the same time."""
        holders = self._shelf.holders.get(name, set())
        able = (one for one in self._alive(self._machines) if one.own.store_id in holders)
        source = next(able, None)
        if source is None:
            return
        contents = self._shelf.parcels[name]
        takers = {m.own.store_id: m for m in machines if m.own.store_id not in holders}
        if not takers:
            return
        pieces = self._pieces(source, Path(source.own.store) / name, contents)
        tasks = {
            store_id: self._cluster.on(
                machine.node, 0, on_host.take, name, contents, pieces, self._store, fetch
            )
            for store_id, machine in takers.items()
        }
        for store_id, task in tasks.items():
            try:
                task.get()
            except HostLost as exc:
                self._say(f"bringing {name} to {takers[store_id].shown}: {exc}")
                self._blame(exc, source, name)
            else:
                holders.add(store_id)

    def _pieces(self, source: Machine, place: Path, contents: Parcel) -> tuple[Any, ...]:
        """References to all pieces of a folder, which its machine reads a few at a time.

        Ray would start a process for each of them otherwise: their tasks ask for no CPU.
        """
        spans = [(part.name, *span) for part in contents.parts for span in part.pieces]
        read: list[Reply[bytes]] = []
        for start in range(0, len(spans), _READ_AT_ONCE):
            group = [
                self._cluster.on(source.node, 0, parcel.piece, place, *span)
                for span in spans[start : start + _READ_AT_ONCE]
            ]
            self._cluster.wait(group)
            read += group
        return tuple(reply.reference for reply in read)

    def _blame(self, exc: HostLost, source: Machine, name: str) -> None:
        """Leave out whichever end can't go on.

        What arrived is not what was sent: it may have been changed where it stood.
        """
        gives = isinstance(exc, HostTrouble) and exc.node_id != source.node.id
        if gives and source.node.id not in self.lost:
            place, contents = Path(source.own.store) / name, self._shelf.parcels[name]
            try:
                whole = self._cluster.on(source.node, 0, parcel.is_whole, contents, place).get()
            except HostLost as own:
                self._look_again(own)
                return
            if not whole:
                self._leave_out(source.node.id, f"{name} is not what it has built")
        if source.node.id not in self.lost or not gives:
            self._look_again(exc)


def _folders(artifact: Artifact) -> tuple[str, str]:
    """Names in the store: of the file's own folder and of its reference."""
    return Path(artifact.folder).name, Path(artifact.reference).name


def _prefix(key: FileKey) -> FileKey | None:
    found = portable_prefix(*key)
    return (key[0], *found) if found else None


def _by_variant(keys: Iterable[FileKey]) -> list[list[FileKey]]:
    """What one task builds: all files of a variant share its module."""
    groups: dict[str, list[FileKey]] = {}
    for key in keys:
        groups.setdefault(key[0], []).append(key)
    return list(groups.values())


def _merged(common: Files, own: Files) -> Files:
    return Files(
        {**common.artifacts, **own.artifacts},
        {**common.reasons, **own.reasons},
        common.refused | own.refused,
        common.built + own.built,
    )
