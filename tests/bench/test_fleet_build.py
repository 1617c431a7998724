"""Which machine builds what, and which files go where; machines are made up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import on_host, parcel
from bench.case import host_bound
from bench.files import FileKey, Files
from bench.kinds import Kind, Machine, Node, kinds_of
from bench.on_host import Inputs, Made, Order
from bench.options import Options
from bench.parcel import Parcel, Part
from tests.bench.made_up import fake_artifact
from tests.bench.test_kinds import machine

pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")

from bench.cluster import HostLost
from bench.fleet_build import Builder

PORTABLE: FileKey = ("revisited-base", "fp32", "onnx")
COMPILED: FileKey = ("revisited-base", "fp32", "aoti")


class Answer:
    """What a machine has said, or that it is gone."""

    def __init__(self, value: object, lost: bool = False) -> None:
        self.reference = self
        self._value, self._lost = value, lost

    def get(self) -> Any:
        """As of a real one."""
        if self._lost:
            raise HostLost("made up")
        return self._value


class MadeUp:
    """A cluster that does at once what it is asked, and notes who did it."""

    def __init__(self, machines: Iterable[Machine]) -> None:
        self.machines = {one.node.id: one for one in machines}
        self.built: list[tuple[str, FileKey]] = []
        self.brought: list[tuple[str, str]] = []
        self.dying = ""
        """A node that is gone as soon as others want its files."""

    def nodes(self) -> tuple[Node, ...]:
        """Those that are still there."""
        return tuple(one.node for one in self.machines.values())

    def on(self, node: Node, cpus: int, function: object, *arguments: Any) -> Answer:
        """Pieces are read and folders taken."""
        if node.id == self.dying:
            self.machines.pop(node.id, None)
        if node.id not in self.machines:
            return Answer(None, lost=True)
        if function is on_host.take:
            name, _, pieces = arguments[:3]
            if any(piece._lost for piece in pieces):
                return Answer(None, lost=True)
            self.brought.append((node.id, name))
        else:
            assert function is parcel.piece
        return Answer(b"")

    def on_and_tell(self, node: Node, cpus: int, function: object, *arguments: Any) -> Answer:
        """Files are built on that node."""
        assert function is on_host.build
        return Answer((node.id, self._made(node.id, arguments[0])))

    def anywhere(self, cpus: int, function: object, *arguments: Any) -> Answer:
        """The same on the first node there is."""
        return self.on_and_tell(self.nodes()[0], cpus, function, *arguments)

    def _made(self, node_id: str, order: Order) -> Made:
        own = self.machines[node_id].own
        made, parcels = Files(), {}
        for key in order.keys:
            self.built.append((node_id, key))
            sets = own.instruction_sets.replace(" ", "-") if host_bound(*key) else "any"
            folder = Path(own.store) / f"{key[0]}.{key[2]}.{sets}"
            made.artifacts[key] = replace(fake_artifact(folder), variant=key[0], format=key[2])
            parcels[folder.name] = Parcel((Part("model", 1, sets),))
        return Made(made, parcels)


def fleet(*instruction_sets: str) -> list[Machine]:
    """A machine for each, none of which sees another's store."""
    return [
        machine(number, instruction_sets=sets, store=f"/store{number}", store_id=str(number))
        for number, sets in enumerate(instruction_sets, 1)
    ]


def built(cluster: MadeUp, keys: Iterable[FileKey], said: list[str] | None = None) -> Any:
    """What ``Builder`` makes of that cluster's machines, by instruction sets."""
    kinds: list[Kind] = list(kinds_of(list(cluster.machines.values())))
    options = Options(threads=(1,))
    say = (said if said is not None else []).append
    return Builder(cluster, kinds, options, Inputs(), say).build(keys)  # type: ignore[arg-type]


def test_what_any_machine_can_run_is_built_once() -> None:
    """And brought to each of the others, whatever its instruction sets."""
    cluster = MadeUp(fleet("avx2", "avx512", "avx512"))
    found = built(cluster, [PORTABLE])
    assert cluster.built == [("00000001", PORTABLE)]
    name = "revisited-base.onnx.any"
    assert sorted(cluster.brought) == [("00000002", name), ("00000003", name)]
    assert all(files.artifacts.keys() == {PORTABLE} for files in found.values())


def test_what_is_compiled_is_built_once_for_each_instruction_set() -> None:
    """By a machine that has it, and brought to those alone that have the same."""
    cluster = MadeUp(fleet("avx2", "avx512", "avx512"))
    found = built(cluster, [COMPILED])
    assert set(found) == {"avx2", "avx512"}
    by = [node_id for node_id, key in cluster.built if key == COMPILED]
    assert len(by) == 2
    assert set(by) & {"00000001"}
    assert set(by) & {"00000002", "00000003"}
    compiled = {(node_id, name) for node_id, name in cluster.brought if ".aoti." in name}
    (other,) = {"00000002", "00000003"} - set(by)
    assert compiled == {(other, "revisited-base.aoti.avx512")}
    assert found["avx2"].artifacts[COMPILED].folder == "/store1/revisited-base.aoti.avx2"
    assert found["avx512"].artifacts[COMPILED].folder.endswith("revisited-base.aoti.avx512")


def test_what_only_a_lost_machine_had_is_built_again() -> None:
    """By one that is there; the lost one is waited for no more."""
    said: list[str] = []
    cluster = MadeUp(fleet("avx2", "avx2", "avx2"))
    cluster.dying = "00000001"
    found = built(cluster, [PORTABLE], said)
    assert [node_id for node_id, _ in cluster.built] == ["00000001", "00000002"]
    assert cluster.brought[-1] == ("00000003", "revisited-base.onnx.any")
    assert found["avx2"].artifacts[PORTABLE].folder.startswith("/store2/")
    assert any("made up" in text for text in said)


def test_machines_that_see_one_folder_are_sent_nothing() -> None:
    """A shared store has it all as soon as one has built it."""
    shared = [replace(one, own=replace(one.own, store_id="1")) for one in fleet("avx2", "avx2")]
    cluster = MadeUp(shared)
    built(cluster, [PORTABLE])
    assert len(cluster.built) == 1
    assert not cluster.brought
