"""Which machine builds what, and which files go where; machines are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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

from bench.cluster import HostLost, HostTrouble, ProcessDied
from bench.fleet_build import Builder

Joined = Callable[[str], Machine | None]
PORTABLE: FileKey = ("revisited-base", "fp32", "onnx")
COMPILED: FileKey = ("revisited-base", "fp32", "aoti")


class Answer:
    """What a machine has said, or what is known of it instead."""

    def __init__(self, value: object, lost: HostLost | None = None) -> None:
        self.reference = self
        self.lost = lost
        self._value = value

    def get(self) -> Any:
        """As of a real one."""
        if self.lost:
            raise self.lost
        return self._value


class MadeUp:
    """A cluster that does at once what it is asked, and notes who did it."""

    def __init__(self, machines: Iterable[Machine]) -> None:
        self.machines = {one.node.id: one for one in machines}
        self.built: list[tuple[str, FileKey]] = []
        self.brought: list[tuple[str, str]] = []
        self.size_bytes = 1
        """Of each file."""
        self.waited: list[int] = []
        """How many pieces were waited for, each time."""
        self.dying = ""
        """A node that is gone as soon as others want its files."""
        self.full = ""
        """A node whose disk is full."""
        self.no_room_for = ("", "")
        """A node, and the variant that its disk has no room for."""
        self.weak = ""
        """A node on which whoever takes a folder dies."""
        self.spoilt = ""
        """A node whose files were changed since it built them."""
        self.chosen = ""
        """The node that Ray chooses for what may run anywhere; empty: the first."""

    def nodes(self) -> tuple[Node, ...]:
        """Those that are still there."""
        return tuple(one.node for one in self.machines.values())

    def on(self, node: Node, cpus: int, function: object, *arguments: Any) -> Answer:
        """Pieces are read, folders looked at and taken."""
        if node.id == self.dying:
            self.machines.pop(node.id, None)
        if node.id not in self.machines:
            return Answer(None, HostLost("made up"))
        if function is parcel.is_whole:
            return Answer(node.id != self.spoilt)
        if function is on_host.take:
            return self._taken(node, *arguments)
        assert function is parcel.piece
        return Answer(node.id)

    def wait(self, replies: Sequence[Answer]) -> None:
        """They are there at once."""
        self.waited.append(len(replies))

    def _taken(self, node: Node, name: str, contents: Parcel, pieces: Any, *_: object) -> Answer:
        lost: list[HostLost] = [piece.lost for piece in pieces if piece.lost]
        if node.id == self.full:
            lost.append(HostTrouble("No space left on device", node.id))
        if node.id == self.weak:
            lost.append(ProcessDied("killed"))
        if self.spoilt and any(piece.get() == self.spoilt for piece in pieces if not piece.lost):
            lost.append(HostTrouble("it was changed on the way or where it stood", node.id))
        if lost:
            return Answer(None, lost[0])
        self.brought.append((node.id, name))
        return Answer(None)

    def on_and_tell(self, node: Node, cpus: int, function: object, *arguments: Any) -> Answer:
        """Files are built on that node."""
        assert function is on_host.build
        if node.id == self.full or (node.id, arguments[0].keys[0][0]) == self.no_room_for:
            return Answer(None, HostTrouble("No space left on device", node.id))
        return Answer((node.id, self._made(node.id, arguments[0])))

    def anywhere(self, cpus: int, function: object, *arguments: Any) -> Answer:
        """The same on whichever node is chosen."""
        nodes = {node.id: node for node in self.nodes()}
        node = nodes.get(self.chosen, self.nodes()[0])
        return self.on_and_tell(node, cpus, function, *arguments)

    def _made(self, node_id: str, order: Order) -> Made:
        own = self.machines[node_id].own
        made, parcels = Files(), {}
        for key in order.keys:
            self.built.append((node_id, key))
            sets = own.instruction_sets.replace(" ", "-") if host_bound(*key) else "any"
            folder = Path(own.store) / f"{key[0]}.{key[2]}.{sets}"
            made.artifacts[key] = replace(fake_artifact(folder), variant=key[0], format=key[2])
            parcels[folder.name] = Parcel((Part("model", self.size_bytes, sets),))
        return Made(made, parcels)


def fleet(*instruction_sets: str) -> list[Machine]:
    """A machine for each, none of which sees another's store."""
    return [
        machine(number, instruction_sets=sets, store=f"/store{number}", store_id=str(number))
        for number, sets in enumerate(instruction_sets, 1)
    ]


def builder(
    cluster: MadeUp, said: list[str] | None = None, joined: Joined = lambda node_id: None
) -> Builder:
    """One for the machines that are there now."""
    kinds: list[Kind] = list(kinds_of(list(cluster.machines.values())))
    options = Options(threads=(1,))
    say = (said if said is not None else []).append
    return Builder(cluster, kinds, options, Inputs(), say, joined)  # type: ignore[arg-type]


def built(cluster: MadeUp, keys: Iterable[FileKey], said: list[str] | None = None) -> Any:
    """What ``Builder`` makes of that cluster's machines, by instruction sets."""
    return builder(cluster, said).build(keys)


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


def test_a_large_folder_is_read_a_few_pieces_at_a_time() -> None:
    """A process for each piece would be hundreds of them."""
    cluster = MadeUp(fleet("avx2", "avx2"))
    cluster.size_bytes = 9 * parcel.PIECE_BYTES
    built(cluster, [PORTABLE])
    assert cluster.waited == [4, 4, 1]
    assert cluster.brought == [("00000002", "revisited-base.onnx.any")]


def test_machines_that_see_one_folder_are_sent_nothing() -> None:
    """A shared store has it all as soon as one has built it."""
    shared = [replace(one, own=replace(one.own, store_id="1")) for one in fleet("avx2", "avx2")]
    cluster = MadeUp(shared)
    built(cluster, [PORTABLE])
    assert len(cluster.built) == 1
    assert not cluster.brought


NAME = "revisited-base.onnx.any"


def test_a_full_disk_costs_its_machine_alone() -> None:
    """It takes nothing more; the others have all."""
    cluster = MadeUp(fleet("avx2", "avx2", "avx2"))
    cluster.full = "00000002"
    one = builder(cluster)
    found = one.build([PORTABLE])
    assert one.lost == {"00000002": "No space left on device"}
    assert cluster.brought == [("00000003", NAME)]
    assert found["avx2"].artifacts.keys() == {PORTABLE}


def test_who_can_t_build_for_its_disk_is_left_out() -> None:
    """Another one builds."""
    cluster = MadeUp(fleet("avx2", "avx2"))
    cluster.full = "00000001"
    one = builder(cluster)
    found = one.build([PORTABLE])
    assert one.lost == {"00000001": "No space left on device"}
    assert cluster.built == [("00000002", PORTABLE)]
    assert found["avx2"].artifacts.keys() == {PORTABLE}


def test_what_who_is_left_out_has_built_besides_is_built_again() -> None:
    """By those who are not: they would wait for files that nobody brings, and be left out."""
    cluster = MadeUp(fleet("avx2", "avx2"))
    cluster.no_room_for = ("00000001", "revisited-base")
    other: FileKey = ("revisited-v1", "fp32", "onnx")
    one = builder(cluster)
    found = one.build([PORTABLE, other])
    assert one.lost == {"00000001": "No space left on device"}
    assert [key for node_id, key in cluster.built if node_id == "00000002"] == [PORTABLE, other]
    assert found["avx2"].artifacts.keys() == {PORTABLE, other}


def test_who_sends_damaged_files_is_left_out_and_not_who_notices() -> None:
    """They are built again by another one."""
    cluster = MadeUp(fleet("avx2", "avx2", "avx2"))
    cluster.spoilt = "00000001"
    one = builder(cluster)
    one.build([PORTABLE])
    assert one.lost == {"00000001": f"{NAME} is not what it has built"}
    assert [node_id for node_id, _ in cluster.built] == ["00000001", "00000002"]
    assert cluster.brought == [("00000003", NAME)]


def test_whose_process_dies_of_a_file_is_left_out_in_the_end() -> None:
    """Its node lives, but it can't have the file; the others measure it."""
    cluster = MadeUp(fleet("avx2", "avx2", "avx2"))
    cluster.weak = "00000002"
    said: list[str] = []
    one = builder(cluster, said)
    found = one.build([PORTABLE])
    assert one.lost == {"00000002": f"{NAME} could not be brought to it"}
    assert found["avx2"].artifacts.keys() == {PORTABLE}
    assert any("killed" in text for text in said)


def test_without_a_machine_that_can_build_the_reason_is_told() -> None:
    """That of the last try."""
    cluster = MadeUp(fleet("avx2"))
    cluster.full = "00000001"
    found = built(cluster, [PORTABLE])
    text = "it was built in vain, the last time because: No space left on device"
    assert found["avx2"].reasons == {PORTABLE: text}


def late(cluster: MadeUp) -> Machine:
    """A third machine, which Ray gives work to at once."""
    newcomer = fleet("avx2", "avx2", "avx2")[2]
    cluster.machines[newcomer.node.id] = newcomer
    cluster.chosen = newcomer.node.id
    return newcomer


def test_what_a_node_that_joined_has_built_counts() -> None:
    """It is brought from there to the others; then all that is there is brought to it."""
    cluster = MadeUp(fleet("avx2", "avx2"))
    asked: list[str] = []

    def joined(node_id: str) -> Machine | None:
        asked.append(node_id)
        return cluster.machines[node_id]

    one = builder(cluster, joined=joined)
    newcomer = late(cluster)
    found = one.build([PORTABLE])
    assert cluster.built == [("00000003", PORTABLE)]
    assert sorted(cluster.brought) == [("00000001", NAME), ("00000002", NAME)]
    assert asked == ["00000003"]
    assert one.bring_all(found["avx2"], newcomer)


def test_a_machine_that_joined_gets_what_it_lacks() -> None:
    """Before it measures; one that can't have it doesn't."""
    cluster = MadeUp(fleet("avx2", "avx2"))
    one = builder(cluster)
    found = one.build([PORTABLE])
    newcomer = late(cluster)
    assert one.bring_all(found["avx2"], newcomer)
    assert cluster.brought[-1] == ("00000003", NAME)
    cluster.full = "00000004"
    full = fleet(*["avx2"] * 4)[3]
    cluster.machines["00000004"] = full
    assert not one.bring_all(found["avx2"], full)
    assert one.lost == {"00000004": "No space left on device"}


def test_what_a_node_that_may_not_be_used_has_built_is_built_again() -> None:
    """By one of those that may, however often Ray would choose the other one."""
    cluster = MadeUp(fleet("avx2", "avx2"))
    one = builder(cluster)
    late(cluster)
    found = one.build([PORTABLE])
    assert cluster.built == [("00000003", PORTABLE), ("00000001", PORTABLE)]
    assert found["avx2"].artifacts.keys() == {PORTABLE}
