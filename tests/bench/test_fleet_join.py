"""Nodes that come after the machines of a run were described; all of them are made up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bench import on_host
from bench.kinds import Machine, Node, kinds_of
from bench.record import read_run
from tests.bench.test_kinds import OWN, machine

pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")

from bench.cluster import HostLost
from bench.fleet_join import Latecomers
from tests.bench.fleet_made_up import Later, running

FIRST = machine(1, label="small")


class Growing:
    """A cluster to which nodes can be added; each says of itself what a test gave it."""

    def __init__(self, *machines: Machine) -> None:
        self.machines: dict[str, Machine | None] = {one.node.id: one for one in machines}
        self._nodes = {one.node.id: one.node for one in machines}

    def add(self, node: Node, one: Machine | None) -> None:
        """One more; ``None``: it is gone before it says anything."""
        self.machines[node.id] = one
        self._nodes[node.id] = node

    def nodes(self) -> tuple[Node, ...]:
        """All of them."""
        return tuple(self._nodes.values())

    def on(self, node: Node, cpus: int, function: object, *arguments: Any) -> Later:
        """What a node says of itself."""
        assert function is on_host.describe

        def call() -> Any:
            one = self.machines[node.id]
            if one is None:
                raise HostLost("made up")
            return one.own

        return Later(call)


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver has the versions that all have."""
    monkeypatch.setattr(on_host, "describe", lambda store: OWN)


def latecomers(cluster: Growing, said: list[str]) -> Latecomers:
    """Of a cluster whose machines are all there at first."""
    first = [one for one in cluster.machines.values() if one is not None]
    return Latecomers(cast(Any, cluster), kinds_of(first), "", said.append)


def joined(cluster: Growing, one: Machine, said: list[str]) -> Mapping[str, str]:
    """Which machines have joined after this one was added, by node, and with which kind."""
    late = latecomers(cluster, said)
    cluster.add(one.node, one)
    return {machine.node.id: name for name, machine in late.joined()}


def test_a_machine_of_a_kind_measures_with_it() -> None:
    """And is named."""
    said: list[str] = []
    assert joined(Growing(FIRST), machine(2, label="small"), said) == {"00000002": "small"}
    assert said == ["node 10.0.0.2 (00000002) has joined: it measures with small"]


def test_another_kind_may_build_and_is_named() -> None:
    """It has no plan, and no record."""
    said: list[str] = []
    cluster = Growing(FIRST)
    late = latecomers(cluster, said)
    other = machine(2, label="large")
    cluster.add(other.node, other)
    assert late.machine("00000002") == other
    assert late.joined() == ()
    assert said == [
        "node 10.0.0.2 (00000002) has joined late and does not measure: no kind of this run is "
        "like it; it may build files"
    ]


def test_other_versions_are_named_and_not_used() -> None:
    """As they would have been refused at first; the run goes on without them."""
    said: list[str] = []
    other = machine(2, label="small", versions={**OWN.versions, "numpy": "1.0"})
    cluster = Growing(FIRST)
    late = latecomers(cluster, said)
    cluster.add(other.node, other)
    assert late.machine("00000002") is None
    assert late.joined() == ()
    (text,) = said
    assert text.startswith("node 10.0.0.2 (00000002) has joined late and does not take part: ")
    assert "numpy 2.0 and 1.0" in text


def test_a_node_that_is_gone_again_is_named() -> None:
    """It ends nothing."""
    said: list[str] = []
    cluster = Growing(FIRST)
    late = latecomers(cluster, said)
    cluster.add(machine(2).node, None)
    assert late.joined() == ()
    assert late.machine("00000002") is None
    assert said == ["node 10.0.0.2 (00000002) has joined late and does not take part: made up"]


def test_a_node_that_comes_while_machines_measure_is_named_once() -> None:
    """Those that were there from the first, or have joined in time, are not."""
    said: list[str] = []
    cluster = Growing(FIRST)
    late = latecomers(cluster, said)
    cluster.add(machine(2, label="small").node, machine(2, label="small"))
    late.joined()
    said.clear()
    late.turn_away()
    assert said == []
    cluster.add(machine(3).node, machine(3))
    late.turn_away()
    late.turn_away()
    (text,) = said
    assert text.startswith("node 10.0.0.3 (00000003) has joined late and does not take part: all ")
    assert "the same command takes it in when it is started again" in text


def test_the_record_names_who_joined(tmp_path: Path) -> None:
    """Its blocks are of one of the record's machines, and it is one of the kind."""
    with ExitStack() as stack:
        one = running(tmp_path, [], [FIRST], stack)
        second = machine(2, label="small")
        one.take_in(second)
        fleet = read_run(one.recorder.path).header.fleet
        assert fleet is not None
        assert fleet.machines == ("00000001", "00000002")
        assert one.kind.machines == (FIRST, second)


def test_a_machine_that_joins_again_is_not_lost(tmp_path: Path) -> None:
    """Whatever an earlier start has written of it."""
    with ExitStack() as stack:
        one = running(tmp_path, [], [FIRST], stack)
        fleet = one.recorder.header.fleet
        assert fleet is not None
        earlier = replace(fleet, lost={"00000001": "x", "00000002": "y"})
        one.recorder.amend(replace(one.recorder.header, fleet=earlier))
        one.take_in(machine(1, label="small"))
        fleet = read_run(one.recorder.path).header.fleet
        assert fleet is not None
        assert fleet.lost == {"00000002": "y"}
        assert fleet.machines == ("00000001",)


def test_two_nodes_of_one_machine_are_named_once(tmp_path: Path) -> None:
    """A record tells machines apart, and not nodes."""
    with ExitStack() as stack:
        one = running(tmp_path, [], [FIRST], stack)
        twin = replace(machine(2), own=FIRST.own)
        one.take_in(twin)
        fleet = read_run(one.recorder.path).header.fleet
        assert fleet is not None
        assert fleet.machines == ("00000001",)
        assert len(one.kind.machines) == 2
